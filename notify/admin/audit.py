"""The audit log: who did what, kept in Django's log of admin actions in English and shown in the reader's language.

An entry's change_message is one of these titles, or one with a detail that is not translated: `Mail paused: moving`.
"""

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.utils.translation import gettext as translated
from django.utils.translation import gettext_noop

from notify.models import Message, Relay

PAUSED = gettext_noop("Mail paused")
RESUMED = gettext_noop("Mail resumed")
PROBED = gettext_noop("Mail server probed")
TESTED = gettext_noop("Test mail queued")
RETRIED = gettext_noop("Retried")
CANCELLED = gettext_noop("Cancelled")
RESENT = gettext_noop("Sent again as a new message")
PREVIEWED = gettext_noop("Preview sent")
REVEALED = gettext_noop("Content shown")
HTML = gettext_noop("HTML shown")
SOURCE = gettext_noop("Source shown")
DOWNLOADED = gettext_noop("File downloaded")


def of_relay(request: HttpRequest, title: str, detail: str = "") -> None:
    """An entry about the mail server as a whole."""
    _write(request, Relay, title, object_id=relay().pk, change_message=_line(title, detail))


def relay() -> Relay:
    """The row that the audit log is kept under, whichever configuration is in use."""
    Relay.current()
    return Relay.objects.earliest("pk")


def of_messages(
    request: HttpRequest, messages: Iterable[Message], title: str, detail: str = "", *, flag: int = CHANGE
) -> None:
    """An entry for each of these messages."""
    user: Any = request.user
    LogEntry.objects.log_actions(user.pk, messages, flag, _line(title, detail))


def of_many(request: HttpRequest, which: str, title: str) -> None:
    """One entry for too many messages to log each."""
    _write(request, Message, which, change_message=title)


def words(entry: LogEntry) -> str:
    """What was done, in the reader's language."""
    title, colon, detail = entry.get_change_message().partition(": ")
    return f"{translated(title)}{colon}{detail}"


def _line(title: str, detail: str) -> str:
    return f"{title}: {detail}" if detail else title


def _write(request: HttpRequest, model: type[Message | Relay], which: str, **columns: Any) -> None:
    user: Any = request.user
    kind = ContentType.objects.get_for_model(model)
    LogEntry.objects.create(user_id=user.pk, content_type=kind, object_repr=which[:200], action_flag=CHANGE, **columns)
