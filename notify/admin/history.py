"""What operators did and read, in the admin's own log."""

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest

from notify.models import Message


def note(request: HttpRequest, messages: Iterable[Message], what: str, flag: int = CHANGE) -> None:
    """An entry for each of these messages."""
    user: Any = request.user
    LogEntry.objects.log_actions(user.pk, messages, flag, what)


def note_all(request: HttpRequest, which: str, what: str) -> None:
    """One entry for messages that are too many to have one each."""
    user: Any = request.user
    kind = ContentType.objects.get_for_model(Message)
    LogEntry.objects.create(
        user_id=user.pk, content_type=kind, object_repr=which[:200], action_flag=CHANGE, change_message=what
    )
