"""How rows are shown in the admin: read-only, with badges, links to one another, and a log of what was done."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from notify.admin.changelist import RestrictedLookups
from notify.models import Message

OPERATE = "notify.operate_outbox"  # the permission to retry, cancel, pause …, and to read what is sensitive


class WrittenByMachine(RestrictedLookups):
    """Rows that cannot be added, changed or removed by hand: they are what happened."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@dataclass(frozen=True)
class Field:
    """A field or column that depends on the user: made for a request, and equal to another of the same kind."""

    request: HttpRequest
    short_description: str | Promise
    show: Callable[[HttpRequest, Any], str]

    def __call__(self, row: Model) -> str:
        return self.show(self.request, row)

    @property
    def __name__(self) -> str:
        return self.show.__name__


def state_badge(message: Message) -> str:
    """A message's state, in words and in a colour."""
    return format_html(
        '<span class="message-state message-state-{}">{}</span>', message.state, message.get_state_display()
    )


def uncertain_badge(message: Message) -> str:
    """A mark where no reply to a send was received, else ""."""
    return format_html('<span class="message-uncertain">{}</span>', _("outcome unknown")) if message.uncertain else ""


def link(request: HttpRequest, row: Model, words: object = "") -> str:
    """A link to a row's page, by the row's name unless `words` are given; only the words without the permission."""
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return _link(request, type(row), url, words or row)


def list_link(request: HttpRequest, model: type[Model], words: object, **filters: str) -> str:
    """A link to a table's list, filtered; only the words without the permission."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return _link(request, model, f"{url}?{urlencode(filters)}", words)


def lines(links: Iterable[str]) -> str:
    """Each on its own line."""
    return format_html_join("", "<div>{}</div>", ((link,) for link in links))


def log(request: HttpRequest, messages: Iterable[Message], what: str, flag: int = CHANGE) -> None:
    """An entry in the admin's log for each of these messages."""
    user: Any = request.user
    LogEntry.objects.log_actions(user.pk, messages, flag, what)


def log_all(request: HttpRequest, which: str, what: str) -> None:
    """One entry for messages that are too many to have one each."""
    user: Any = request.user
    kind = ContentType.objects.get_for_model(Message)
    LogEntry.objects.create(
        user_id=user.pk, content_type=kind, object_repr=which[:200], action_flag=CHANGE, change_message=what
    )


def _link(request: HttpRequest, model: type[Model], url: str, words: object) -> str:
    if not admin.site.get_model_admin(model).has_view_permission(request):
        return format_html("{}", words)
    return format_html('<a href="{}">{}</a>', url, words)
