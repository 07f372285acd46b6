"""Visitors in the admin, each with the mail that notified of it."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from notify.admin import events, rows
from notify.admin.rows import Field, RestrictedLookups
from notify.models import Event
from notify.visitors.models import Visitor
from notify.visitors.signals import TOPIC


@admin.register(Visitor)
class VisitorAdmin(RestrictedLookups):
    list_display = ["name", "first_typed"]
    lookups = {
        "created_at__year": r"(19|20|21)[0-9]{2}",
        "created_at__month": r"[1-9]|1[0-2]",
        "created_at__day": r"[1-9]|[12][0-9]|3[01]",
    }
    search_fields = ["name"]
    date_hierarchy = "created_at"
    object_history_template = "admin/notify/history.html"

    def get_fields(self, request: HttpRequest, obj: Visitor | None = None) -> list[Any]:
        mails = [Field(request, _("event"), event), Field(request, _("notified by"), notified_by)]
        return ["name", "first_typed", *mails] if obj else ["name"]

    def get_readonly_fields(self, request: HttpRequest, obj: Visitor | None = None) -> list[Any]:
        return self.get_fields(request, obj)[1:]

    @admin.display(description=_("first typed"), ordering="created_at")
    def first_typed(self, visitor: Visitor) -> str:
        return rows.when(visitor.created_at)


def event_of(visitor: Visitor) -> Event | None:
    """The event of a new visitor, until it is purged."""
    return Event.objects.filter(topic=TOPIC, key=str(visitor.pk)).first()


def event(request: HttpRequest, visitor: Visitor) -> str:
    found = event_of(visitor)
    return rows.link(request, found) if found else gettext("none")


def notified_by(request: HttpRequest, visitor: Visitor) -> str:
    found = event_of(visitor)
    if found is None:
        return ""
    if not found.notified_at:
        return gettext("waiting for a digest")
    return events.mails_of(request, found) or gettext("no recipient")
