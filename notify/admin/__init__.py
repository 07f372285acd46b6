"""The operator's pages in Django's admin, over `operations`: dashboard, messages, events. Start with `messages`."""

from notify.admin.dashboard import RelayAdmin
from notify.admin.events import EventAdmin
from notify.admin.messages import MessageAdmin

__all__ = ["EventAdmin", "MessageAdmin", "RelayAdmin"]
