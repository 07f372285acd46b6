"""Which parameters the admin's lists accept, and the list of messages, whose pages cost the same after years.

Messages are listed newest first, without a count and without an offset: a page begins below a key (`?before=`) or ends
above one (`?after=`). A search that no index supports covers the next SPAN messages; the page says so and offers to
continue.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR, SEARCH_VAR, ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from notify.models import Event, Message
from notify.smtp.diagnosis import rules

WORDS = 20  # of a search: each is a condition, and databases limit these
SEARCH_LENGTH = 200  # characters
SPAN = 50_000  # keys that one page searches without an index
FEW = 5000  # unfinished messages that are cheaper to sort than to search for
# Keys follow the time of storing, except for transactions that overlap and for clocks of several machines.
CLOCKS_DIFFER = timedelta(hours=1)
BEFORE, AFTER = "before", "after"
_PAGING = {ORDER_VAR: r"-?[0-9]{1,2}(\.-?[0-9]{1,2}){0,9}", PAGE_VAR: r"[0-9]{1,9}"}
State = Message.State
WAITING = "waiting"  # queued or sending: what the dashboard counts
UNFINISHED = (WAITING, State.QUEUED, State.SENDING)


def text(length: int) -> str:
    """A pattern for a lookup's value: one line of at most `length` characters."""
    return rf"[^\x00-\x1f\x7f]{{1,{length}}}"


def searchable(term: str) -> bool:
    return len(term) <= SEARCH_LENGTH and len(term.split()) <= WORDS and "\0" not in term


class RestrictedLookups(admin.ModelAdmin):
    """Lists that are filtered by `lookups` alone: parameters of the URL, each with a pattern for its values.

    Django's admin filters by any column, so a viewer could guess a hidden one letter by letter. Other parameters get
    status 400; an invalid value redirects to the unfiltered list, with a message.
    """

    lookups: Mapping[str, str] = {}

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in self.lookups

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        return bool(self.opts.pk and to_field == self.opts.pk.name)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Finds nothing for a term that is not searchable; autocompletion calls this, too."""
        if not searchable(search_term):
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if problem := self._problem(request):
            messages.error(request, problem)
            return HttpResponseRedirect(request.path)
        return super().changelist_view(request, extra_context)

    def _problem(self, request: HttpRequest) -> str:
        for name, pattern in {**_PAGING, **self.lookups}.items():
            values = request.GET.getlist(name)
            if len(values) > 1 or (values and values[0] and not re.fullmatch(pattern, values[0])):
                return gettext("This list cannot be filtered by that: %(name)s.") % {"name": name}
        if not all(searchable(term) for term in request.GET.getlist(SEARCH_VAR)):
            limits = {"words": WORDS, "characters": SEARCH_LENGTH}
            return gettext("The search is too long: at most %(words)d words and %(characters)d characters.") % limits
        if not all(self._is_key(key) for key in request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)):
            return gettext("What was selected is not in this list.")
        return ""

    def _is_key(self, key: str) -> bool:
        field: Any = self.opts.pk
        try:
            field.run_validators(field.to_python(key))
        except ValidationError:
            return False
        return True


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
