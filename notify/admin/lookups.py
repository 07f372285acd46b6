"""What a list may be asked for. Django's admin filters by any column, so a viewer could guess one letter by letter."""

import re
from collections.abc import Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR, SEARCH_VAR
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

WORDS = 20  # of a search: each is a condition, and a database takes only so many
SEARCH_LENGTH = 200  # characters
_PAGING = {ORDER_VAR: r"-?[0-9]{1,2}(\.-?[0-9]{1,2}){0,9}", PAGE_VAR: r"[0-9]{1,9}"}


def text(length: int) -> str:
    """A pattern for a lookup's value: text in one line, at most so many characters."""
    return rf"[^\x00-\x1f\x7f]{{1,{length}}}"


class RestrictedLookups(admin.ModelAdmin):
    """Lists that are filtered by `lookups` alone: parameters of the URL, each with a pattern for its values.

    Another parameter is answered with 400; a value that cannot be is answered in words, above the list as it is
    without any parameter.
    """

    lookups: Mapping[str, str] = {}

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in self.lookups

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        return bool(self.opts.pk and to_field == self.opts.pk.name)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """As `find`, and nothing where no search is possible. Not only lists ask: autocompletion does, too."""
        if not _searchable(search_term):
            return queryset.none(), False
        return self.find(request, queryset, search_term)

    def find(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """The rows that a search finds, and whether it may find one twice."""
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
                return _("This list cannot be filtered by that: %(name)s.") % {"name": name}
        if not all(_searchable(term) for term in request.GET.getlist(SEARCH_VAR)):
            limits = {"words": WORDS, "characters": SEARCH_LENGTH}
            return _("The search is too long: at most %(words)d words and %(characters)d characters.") % limits
        if not all(self._is_key(key) for key in request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)):
            return _("What was selected is not in this list.")
        return ""

    def _is_key(self, key: str) -> bool:
        field: Any = self.opts.pk
        try:
            field.run_validators(field.to_python(key))
        except ValidationError:
            return False
        return True


def _searchable(term: str) -> bool:
    return len(term) <= SEARCH_LENGTH and len(term.split()) <= WORDS and "\0" not in term
