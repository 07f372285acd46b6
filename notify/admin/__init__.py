"""The operator's pages in Django's admin, over `operations`: dashboard, messages, events. Start with `messages`."""

from django.contrib import admin

from notify.admin.dashboard import RelayAdmin
from notify.admin.events import EventAdmin
from notify.admin.messages import MessageAdmin

__all__ = ["EventAdmin", "MessageAdmin", "RelayAdmin"]

if admin.site.index_template is None:  # else the project has chosen its own
    admin.site.index_template = "admin/notify/index.html"
