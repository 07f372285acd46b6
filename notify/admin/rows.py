"""What all lists and pages of rows in the admin share: filters, read-only access, badges, times, links."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR, SEARCH_VAR
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _

from notify import clock, conf
from notify.models import Message
from notify.operations.actions import addresses

LIVE = "X-Live"  # the header that live.js sends when it refreshes a page
OPERATE = "notify.operate_outbox"  # the permission to retry, cancel, pause …, and to read sensitive mails
WORDS = 20  # of a search: each is a condition, and databases limit these
SEARCH_LENGTH = 200  # characters
_PAGING = {ORDER_VAR: r"-?[0-9]{1,2}(\.-?[0-9]{1,2}){0,9}", PAGE_VAR: r"[0-9]{1,9}"}


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
                return _("This list cannot be filtered by that: %(name)s.") % {"name": name}
        if not all(searchable(term) for term in request.GET.getlist(SEARCH_VAR)):
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


class WrittenByMachine(RestrictedLookups):
    """Rows that only the program writes: read-only in the admin. Their history is an audit log."""

    object_history_template = "admin/notify/history.html"

    def history_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().history_view(request, *args, **{**kwargs, "extra_context": {"title": _("Audit log")}})

    def page_context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        """The context that every page of the admin needs."""
        return {**self.admin_site.each_context(request), "title": title, "opts": self.opts}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def own_addresses(request: HttpRequest) -> list[str]:
    """The default recipients of a test: the user, or else FLASKY_ADMIN."""
    own = getattr(request.user, "email", "")
    return [own] if own else conf.admins()


def recipients(request: HttpRequest) -> list[str]:
    """The addresses in the field `to`, or else `own_addresses`. Empty, with an error on the next page, if invalid."""
    try:
        found = addresses(request.POST.get("to", "")) or own_addresses(request)
    except ValidationError as error:
        messages.error(request, error.messages[0])
        return []
    if not found:
        none = _("There is no recipient: your account has no address, and FLASKY_ADMIN is not set.")
        messages.error(request, conf.named(none))
    return found


@dataclass(frozen=True)
class Field:
    """A field or column that depends on the user: created for each request, and compared by value."""

    request: HttpRequest
    short_description: str | Promise
    show: Callable[[HttpRequest, Any], str]

    def __call__(self, row: Model) -> str:
        return self.show(self.request, row)

    @property
    def __name__(self) -> str:
        return self.show.__name__


MINUTE = timedelta(minutes=1)


def when(moment: datetime) -> str:
    """A time as shown on every page: relative, with the exact time and zone on hover."""
    local = clock.site_time(moment)
    words = away(moment) if moment > timezone.now() else ago(moment)
    exact = date_format(local, "Y-m-d H:i:s T")
    return format_html('<time datetime="{}" title="{}">{}</time>', local.isoformat(timespec="seconds"), exact, words)


def ago(moment: datetime) -> str:
    """`4 minutes ago`, in the largest unit."""
    if timezone.now() - moment < MINUTE:
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(moment, depth=1)}


def away(moment: datetime) -> str:
    """`in 4 minutes`, in the largest unit."""
    left = moment - timezone.now()
    if left <= timedelta(0):
        return _("at any moment")
    return _("within a minute") if left < MINUTE else _("in %(time)s") % {"time": timeuntil(moment, depth=1)}


def state_badge(message: Message) -> str:
    """A message's state, in words and colour."""
    return format_html(
        '<span class="message-state message-state-{}">{}</span>', message.state, message.get_state_display()
    )


def uncertain_badge(message: Message) -> str:
    """A mark if no reply to a send was received, else ""."""
    return format_html('<span class="message-uncertain">{}</span>', _("outcome unknown")) if message.uncertain else ""


def link(request: HttpRequest, row: Model, words: object = "") -> str:
    """A link to a row's page with these words, or the row's name; plain text if the user may not view it."""
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return _link(request, type(row), url, words or row)


def list_link(request: HttpRequest, model: type[Model], words: object, **filters: str) -> str:
    """A link to a model's filtered list; plain text if the user may not view it."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return _link(request, model, f"{url}?{urlencode(filters)}", words)


def lines(links: Iterable[str]) -> str:
    """Each on its own line."""
    return format_html_join("", "<div>{}</div>", ((link,) for link in links))


def _link(request: HttpRequest, model: type[Model], url: str, words: object) -> str:
    if not admin.site.get_model_admin(model).has_view_permission(request):
        return format_html("{}", words)
    return format_html('<a href="{}">{}</a>', url, words)
