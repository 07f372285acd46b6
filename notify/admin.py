"""The operator's view: visitors to search and add; events, messages and attempts to read, never to write."""

import email
import email.policy
from email.message import MIMEPart
from typing import Any, cast

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from notify import windows
from notify.models import Attempt, Event, Message, Visitor


class WrittenByMachine(admin.ModelAdmin):
    """Rows nobody may add, change or remove by hand: they are what happened."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Visitor)
class VisitorAdmin(admin.ModelAdmin):
    list_display = ["name", "created_at"]
    search_fields = ["name"]
    readonly_fields = ["created_at"]
    date_hierarchy = "created_at"


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


class AttemptInline(admin.TabularInline):
    model = Attempt
    readonly_fields = ["at", "seconds", "phase", "code", "enhanced", "text", "decision"]
    fields = [*readonly_fields]
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Message)
class MessageAdmin(WrittenByMachine):
    list_display = ["subject", "recipient", "state", "created_at", "sent_at", "attempts", "reply"]
    list_filter = ["state", "created_at"]
    search_fields = ["recipient", "subject", "message_id"]
    readonly_fields = [
        *("subject", "recipient", "sender", "message_id", "state", "reply", "diagnosis", "uncertain", "attempts"),
        *("created_at", "due_at", "sent_at", "text"),
    ]
    fields = [*readonly_fields]
    inlines = [AttemptInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        """Lists do without the bodies."""
        return super().get_queryset(request).defer("mime")

    @admin.display(description=_("text of the mail"))
    def text(self, message: Message) -> str:
        part = email.message_from_bytes(bytes(message.mime), policy=email.policy.default).get_body(("plain", "html"))
        return format_html('<pre class="notify-text">{}</pre>', _content(part) if part else "")


def _content(part: MIMEPart) -> str:
    try:
        return str(part.get_content())
    except LookupError:  # a charset that Python does not know
        return cast("bytes", part.get_payload(decode=True)).decode("utf-8", "replace")
