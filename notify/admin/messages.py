"""Messages: their state, what they say, and every failed attempt."""

import email
import email.policy
from email.message import MIMEPart
from typing import Any, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from notify.admin.readonly import WrittenByMachine
from notify.models import Attempt, Message


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
