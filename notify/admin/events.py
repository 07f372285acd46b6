"""Events in the admin: what happened, and which mail notified of it."""

import contextlib
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from notify import conf
from notify.admin import rows
from notify.admin.rows import OPERATE, Field, WrittenByMachine, text
from notify.events import digest
from notify.events.policy import ERRORS
from notify.events.record import ObjectGone, load_context
from notify.models import Event, Message

SHOWN = 20  # events of a digest that a message's page names; a link leads to the others


@admin.register(Event)
class EventAdmin(WrittenByMachine):
    list_filter = ["topic", ("notified_at", admin.EmptyFieldListFilter)]
    lookups = {"topic": text(100), "notified_at__isempty": "[01]", "message_id": text(255)}
    search_fields = ["summary", "message_id"]
    change_list_template = "admin/notify/event/change_list.html"

    class Media:
        css = {"all": ["notify/messages.css"]}

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return ["summary", "topic", "happened", "notified", Field(request, _("notified by"), notified_by)]

    def get_fields(self, request: HttpRequest, obj: Event | None = None) -> list[Any]:
        facts = ["summary", "subject", "topic", Field(request, _("link"), link_of), "happened", "notified"]
        mails = [Field(request, _("notified by"), notified_by), Field(request, _("messages"), mails_of)]
        failed = ["template", "failures", "error", "retry_at"] if obj and obj.error else []
        report = [Field(request, _("report"), report_of)] if request.user.has_perm(OPERATE) else []
        return [*facts, *mails, *failed, *report]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), "next_digests": digest.next_digests()})

    @admin.display(description=_("happened"))
    def happened(self, event: Event) -> str:
        return rows.when(event.created_at)

    @admin.display(description=_("notified"))
    def notified(self, event: Event) -> str:
        return rows.when(event.notified_at) if event.notified_at else gettext("waiting for a digest")


def events_of(request: HttpRequest, message_id: str) -> str:
    """Links to the events in the mail with this Message-ID, "" if there are none; for the message's page."""
    if not message_id:
        return ""
    events = list(Event.objects.filter(message_id=message_id)[: SHOWN + 1])
    named = [rows.link(request, event, event.summary) for event in events[:SHOWN]]
    if len(events) > SHOWN:
        named.append(rows.list_link(request, Event, gettext("All of them"), message_id=message_id))
    return rows.lines(named)


def mails_of(request: HttpRequest, event: Event) -> str:
    """Links to the messages that notify of an event, one for each administrator, with their states."""
    if not event.message_id:
        return ""
    messages = Message.objects.filter(message_id=event.message_id).only("recipient", "state").order_by("pk")
    return rows.lines(
        rows.link(request, message, f"{message.recipient}: {message.get_state_display()}") for message in messages
    )


def notified_by(request: HttpRequest, event: Event) -> str:
    """A link to the mail that notified of it: one Message-ID, a message for each administrator."""
    if not event.notified_at:
        return ""
    if not event.message_id:
        return gettext("no recipient")
    return rows.list_link(request, Message, event.message_id, message_id=event.message_id)


def link_of(request: HttpRequest, event: Event) -> str:
    """The event's own link; as text if it is not an HTTP URL."""
    if not event.url.startswith(("http://", "https://")):
        return event.url
    # Pages of this site are linked relative to the address that this browser uses.
    return format_html('<a href="{}">{}</a>', event.url.removeprefix(conf.site_url()) or "/", event.url)


def report_of(request: HttpRequest, event: Event) -> str:
    """The full report of a server error, for operators only: it may contain what a visitor sent."""
    if not event.topic.startswith(ERRORS):
        return ""
    with contextlib.suppress(ObjectGone):
        return format_html("<pre>{}</pre>", load_context(event.context).get("report", ""))
    return ""
