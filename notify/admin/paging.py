"""The list of messages, newest first, in pages that cost the same after years: no count, no offset, no long walk.

A page begins below a key (`?before=`) or ends above one (`?after=`). What no index finds is looked for among the next
SPAN messages only; the page says so and offers to look further.
"""

from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest

from notify.admin import filters, keys

BEFORE, AFTER = "before", "after"
SPAN = 50_000  # keys that one page looks through where no index helps


class NewestFirst(ChangeList):
    """`newer` and `older` are keys for the links of the page; `looked_down_to` is where a bounded walk ended."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self._before, self._after = _key(request.GET.get(BEFORE)), _key(request.GET.get(AFTER))
        self.newer: int | None = None
        self.older: int | None = None
        self.looked_down_to: int | None = None
        super().__init__(request, *args, **kwargs)
        # No filter's link, and no search, is to begin in the middle.
        for name in (BEFORE, AFTER):
            self.params.pop(name, None)
            self.filter_params.pop(name, None)

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in (BEFORE, AFTER)}

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        return ["-pk"]

    def get_results(self, request: HttpRequest) -> None:
        """Reads one row more than a page has; that is all it knows of what lies beyond."""
        if self._after is not None:
            self._read_upwards(self._after)
        else:
            self._read_downwards(self._before)
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

    def _read_downwards(self, before: int | None) -> None:
        rows = self.queryset if before is None else self.queryset.filter(pk__lt=before)
        floor = None
        if self._walks():
            top = before if before is not None else (keys.last() or 0) + 1
            floor = top - SPAN
            rows = rows.filter(pk__gte=floor)
        found = list(rows[: self.list_per_page + 1])
        self.result_list = found[: self.list_per_page]
        if len(found) > self.list_per_page:
            self.older = self.result_list[-1].pk
        elif floor is not None and (oldest := keys.first()) is not None and oldest < floor:
            self.older = self.looked_down_to = floor
        if before is not None:
            self.newer = self.result_list[0].pk if self.result_list else before - 1

    def _read_upwards(self, after: int) -> None:
        rows = self.queryset.filter(pk__gt=after).order_by("pk")
        if self._walks():
            rows = rows.filter(pk__lte=after + SPAN)
        found = list(rows[: self.list_per_page + 1])
        self.result_list = found[: self.list_per_page][::-1]
        self.older = after + 1
        if len(found) > self.list_per_page:
            self.newer = self.result_list[0].pk
        elif self._walks() and (keys.last() or 0) > after + SPAN:
            self.newer = after + SPAN

    def _walks(self) -> bool:
        """Whether nothing leads straight to what is asked for. One thing that does is enough: the rest is looked at."""
        specs: list[Any] = self.filter_specs
        if any(spec.finds() for spec in specs) or (self.query and filters.exactly(self.query)):
            return False
        return bool(self.query) or any(spec.walks() for spec in specs)


def _key(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None
