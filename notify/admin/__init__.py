"""The operator's desk, in Django's admin: registers its pages."""

from notify.admin.events import EventAdmin
from notify.admin.messages import MessageAdmin
from notify.admin.relay import RelayAdmin

__all__ = ["EventAdmin", "MessageAdmin", "RelayAdmin"]
