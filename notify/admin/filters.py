"""What the list of messages can be narrowed by: state, cause, topic, time, and words."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from notify.admin import keys
from notify.models import Event, Message
from notify.smtp.diagnosis import rules

FEW = 5000  # unfinished messages that are cheaper to sort than to walk to


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return Message.State.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message] | None:
        if not self.value():
            return None
        if self.value() in (Message.State.QUEUED, Message.State.SENDING) and not self.walks():
            queryset = queryset.filter(pk__in=Message.objects.unfinished().order_by().values("pk"))
        return queryset.filter(state=self.value())

    def walks(self) -> bool:
        if self.value() in (Message.State.FAILED, Message.State.CANCELLED):
            return False  # an index leads to each
        if self.value() in (Message.State.QUEUED, Message.State.SENDING):
            return Message.objects.unfinished().order_by()[FEW : FEW + 1].exists()
        return bool(self.value())

    def finds(self) -> bool:
        """Whether it leads straight to the rows."""
        return bool(self.value()) and not self.walks()


class CauseFilter(admin.SimpleListFilter):
    title = _("cause")
    parameter_name = "diagnosis"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(cause, words_of(cause)) for cause in distinct(Message.objects.filter(diagnosis__gt=""), "diagnosis")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message] | None:
        # Word for word the condition of the index `message_cause`.
        return queryset.filter(diagnosis__gt="", diagnosis=self.value()) if self.value() else None

    def walks(self) -> bool:
        return False

    def finds(self) -> bool:
        return bool(self.value())


class TopicFilter(admin.SimpleListFilter):
    """By the events that a mail told of."""

    title = _("topic")
    parameter_name = "topic"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(topic, topic) for topic in distinct(Event.objects.all(), "topic")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message] | None:
        if not self.value():
            return None
        told = Event.objects.filter(message_id=OuterRef("message_id"), topic=self.value())
        return queryset.filter(Exists(told))

    def walks(self) -> bool:
        return bool(self.value())

    def finds(self) -> bool:
        return False


class StoredFilter(admin.SimpleListFilter):
    title = _("time")
    parameter_name = "since"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [
            ("1h", _("Past hour")),
            ("24h", _("Past 24 hours")),
            ("168h", _("Past 7 days")),
            ("720h", _("Past 30 days")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message] | None:
        if not re.fullmatch(r"[0-9]{1,5}h", self.value() or ""):
            return None
        since = timezone.now() - timedelta(hours=int(str(self.value())[:-1]))
        return queryset.filter(pk__gte=keys.first_since(since), created_at__gte=since)

    def walks(self) -> bool:
        return False

    def finds(self) -> bool:
        return False


def exactly(term: str) -> Q | None:
    """The Message-ID that a search names in full, if there is such a message: an index finds it."""
    if not re.fullmatch(r"\S+@\S+", term):
        return None
    by_id = Q(message_id=term if term.startswith("<") else f"<{term}>")
    return by_id if Message.objects.filter(by_id).order_by().exists() else None


def containing(term: str) -> Q:
    """Every word of it, in the subject or the recipient; this has to look at each row."""
    found = Q()
    for word in term.split():
        found &= Q(subject__icontains=word) | Q(recipient__icontains=word)
    return found


def distinct(rows: QuerySet[Any], column: str) -> Iterator[str]:
    """The values that a column has, but for the empty one: from each to the next by an index, however many rows."""
    values = rows.order_by(column).values_list(column, flat=True)
    value = ""
    while following := values.filter(**{f"{column}__gt": value}).first():
        yield following
        value = following


def words_of(cause: str) -> str:
    """A diagnosis in words, or its id where no words are known any more."""
    known = rules.known(cause)
    return str(known.cause) if known else cause
