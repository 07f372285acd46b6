"""Events: waiting or told, and by which mail."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from notify import windows
from notify.admin.readonly import WrittenByMachine
from notify.models import Event


@admin.register(Event)
class EventAdmin(WrittenByMachine):
    list_display = ["summary", "topic", "created_at", "notified_at", "told_by"]
    list_filter = ["topic", ("notified_at", admin.EmptyFieldListFilter)]
    search_fields = ["summary", "message_id"]
    change_list_template = "admin/notify/event/change_list.html"

    @admin.display(description=_("told by"))
    def told_by(self, event: Event) -> str:
        """A link to the mail that told it: one Message-ID, a message for each administrator."""
        if not event.notified_at:
            return gettext("waiting for a digest")
        if not event.message_id:
            return gettext("nobody to tell")
        url = reverse("admin:notify_message_changelist")
        return format_html('<a href="{}?{}">{}</a>', url, urlencode({"message_id": event.message_id}), event.message_id)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), "next_digests": windows.next_digests()})
