"""The list of messages, whose pages cost the same after years.

Messages are listed newest first, without a count and without an offset: a page begins below a key (`?before=`) or ends
above one (`?after=`). A search that no index supports covers the next SPAN messages; the page says so and offers to
continue.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from notify.models import Event, Message
from notify.smtp.diagnosis import rules

SPAN = 50_000  # keys that one page searches without an index
FEW = 5000  # unfinished messages that are cheaper to sort than to search for
# Keys follow the time of storing, except for transactions that overlap and for clocks of several machines.
CLOCKS_DIFFER = timedelta(hours=1)
BEFORE, AFTER = "before", "after"
State = Message.State
WAITING = "waiting"  # queued or sending: what the dashboard counts
UNFINISHED = (WAITING, State.QUEUED, State.SENDING)


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(WAITING, _("waiting")), *State.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message] | None:
        if not self.value():
            return None
        if self.value() in UNFINISHED and are_few_unfinished():
            queryset = queryset.filter(pk__in=Message.objects.unfinished().order_by().values("pk"))
        if self.value() == WAITING:
            return queryset.filter(state__in=[State.QUEUED, State.SENDING])
        return queryset.filter(state=self.value())


class CauseFilter(admin.SimpleListFilter):
    title = _("cause")
    parameter_name = "diagnosis"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(cause, words_of(cause)) for cause in _distinct(Message.objects.filter(diagnosis__gt=""), "diagnosis")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message] | None:
        # Exactly the condition of the index `message_cause`.
        return queryset.filter(diagnosis__gt="", diagnosis=self.value()) if self.value() else None


class TopicFilter(admin.SimpleListFilter):
    """By the topic of the events in the mail."""

    title = _("topic")
    parameter_name = "topic"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(topic, topic) for topic in _distinct(Event.objects.all(), "topic")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message] | None:
        found = Event.objects.filter(message_id=OuterRef("message_id"), topic=self.value())
        return queryset.filter(Exists(found)) if self.value() else None


class StoredFilter(admin.SimpleListFilter):
    title = _("time")
    parameter_name = "since"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        hours = {1: _("Past hour"), 24: _("Past 24 hours"), 168: _("Past 7 days"), 720: _("Past 30 days")}
        return [(f"{number}h", words) for number, words in hours.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message] | None:
        if not re.fullmatch(r"[0-9]{1,5}h", self.value() or ""):
            return None
        since = timezone.now() - timedelta(hours=int(str(self.value())[:-1]))
        return queryset.filter(pk__gte=first_key_since(since), created_at__gte=since)


class NewestFirst(ChangeList):
    """`newer` and `older`: keys for links to other pages. `looked_down_to`: the key at which a bounded search ended."""

    newer: int | None = None
    older: int | None = None
    looked_down_to: int | None = None

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        # These are not filters, and links of filters and searches lead to the first page.
        for name in (BEFORE, AFTER):
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        return super().get_queryset(request, exclude_parameters)

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        return ["-pk"]

    def get_results(self, request: HttpRequest) -> None:
        """Reads one more row than fits on a page, to know whether there is another page."""
        size, span = self.list_per_page, self._span()
        before, after = _key(request.GET.get(BEFORE)), _key(request.GET.get(AFTER))
        if after is not None:
            rows = self.queryset.filter(pk__gt=after, pk__lte=after + span).order_by("pk")[: size + 1]
            self.result_list = list(rows)[:size][::-1]
            self.older = after + 1
            if len(rows) > size:
                self.newer = self.result_list[0].pk
            elif (_end("-pk") or 0) > after + span:
                self.newer = after + span
        else:
            top = (_end("-pk") or 0) + 1 if before is None else before
            rows = self.queryset.filter(pk__lt=top, pk__gte=top - span)[: size + 1]
            self.result_list = list(rows)[:size]
            if len(rows) > size:
                self.older = self.result_list[-1].pk
            elif (oldest := _end("pk")) is not None and oldest < top - span:
                self.older = self.looked_down_to = top - span
            if before is not None:
                self.newer = self.result_list[0].pk if self.result_list else top - 1
        self.result_count = len(self.result_list) + (self.older is not None)
        self.full_result_count = self.paginator = None
        self.show_full_result_count = self.can_show_all = False
        self.show_admin_actions = True
        self.multi_page = True

    @property
    def newer_url(self) -> str:
        return str(self.get_query_string({AFTER: self.newer}))

    @property
    def older_url(self) -> str:
        return str(self.get_query_string({BEFORE: self.older}))

    def _span(self) -> int:
        """How many keys to search: SPAN for a search or filter that no index supports."""
        specs: list[Any] = self.filter_specs
        asked = {spec.parameter_name: spec.value() for spec in specs}
        state = asked.get("state")
        is_indexed = (
            asked.get("diagnosis")
            or state in (State.FAILED, State.CANCELLED)
            or (state in UNFINISHED and are_few_unfinished())
            or (self.query and exactly(self.query))
        )
        is_asked = state or asked.get("topic") or self.query
        return SPAN if is_asked and not is_indexed else 2**62


def are_few_unfinished() -> bool:
    return not Message.objects.unfinished().order_by()[FEW : FEW + 1].exists()


def exactly(term: str) -> Q | None:
    """By Message-ID, if the term is that of a stored message; uses an index."""
    if not re.fullmatch(r"\S+@\S+", term):
        return None
    by_id = Q(message_id=term if term.startswith("<") else f"<{term}>")
    return by_id if Message.objects.filter(by_id).order_by().exists() else None


def containing(term: str) -> Q:
    """By each word in the subject or recipient; scans every row."""
    found = Q()
    for word in term.split():
        found &= Q(subject__icontains=word) | Q(recipient__icontains=word)
    return found


def first_key_since(moment: datetime) -> int:
    """A key below which no message was stored since `moment`. A binary search: `created_at` has no index."""
    moment -= CLOCKS_DIFFER
    low, high = _end("pk") or 0, (_end("-pk") or 0) + 1
    while low < high:
        middle = (low + high) // 2
        row = Message.objects.filter(pk__gte=middle).order_by("pk").values_list("pk", "created_at").first()
        if row is None or row[1] >= moment:
            high = middle
        else:
            low = row[0] + 1
    return low


def words_of(cause: str) -> str:
    """A diagnosis in words, or its id if this version no longer knows it."""
    known = rules.known(cause)
    return str(known.cause) if known else cause


def _distinct(rows: QuerySet[Any], column: str) -> Iterator[str]:
    """The distinct values of a column, except "". Steps from value to value along an index, however many rows."""
    values = rows.order_by(column).values_list(column, flat=True)
    value = ""
    while following := values.filter(**{f"{column}__gt": value}).first():
        yield following
        value = following


def _end(order: str) -> int | None:
    """The lowest key (`pk`) or the highest (`-pk`); None if there are no messages."""
    return Message.objects.order_by(order).values_list("pk", flat=True).first()


def _key(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None
