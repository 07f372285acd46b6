"""From one page of the desk to another: a link for those who may view where it leads, the words alone for others."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode


@dataclass(frozen=True)
class Field:
    """A field or column of the admin that depends on who looks: made for a request, and equal to its like."""

    request: HttpRequest
    short_description: str | Promise
    show: Callable[[HttpRequest, Any], str]

    def __call__(self, row: Model) -> str:
        return self.show(self.request, row)

    @property
    def __name__(self) -> str:
        return self.show.__name__


def to_row(request: HttpRequest, row: Model, words: object = "") -> str:
    """A link to a row's own page. Its words are the row's name unless others are given."""
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return _link(request, type(row), url, words or row)


def to_list(request: HttpRequest, model: type[Model], words: object, **filters: str) -> str:
    """A link to a table's list, filtered."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return _link(request, model, f"{url}?{urlencode(filters)}", words)


def lines(links: Iterable[str]) -> str:
    """Each on a line of its own."""
    return format_html_join("", "<div>{}</div>", ((link,) for link in links))


def _link(request: HttpRequest, model: type[Model], url: str, words: object) -> str:
    if not admin.site.get_model_admin(model).has_view_permission(request):
        return format_html("{}", words)
    return format_html('<a href="{}">{}</a>', url, words)
