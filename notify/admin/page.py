"""What the page of one message shows: its facts, the failed attempts in words, the events it told of, what it says."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from notify.admin import actions, display, source
from notify.admin.actions import OPERATE
from notify.admin.events import told_of
from notify.models import Attempt, Message
from notify.smtp.diagnosis import rules

ATTEMPTS_SHOWN = 200

PHASES = {
    "prepare": _("while the message was prepared"),
    "config": _("before connecting"),
    "proxy": _("at the proxy"),
    "dns": _("looking up the relay's name"),
    "connect": _("connecting"),
    "greeting": _("waiting for the greeting"),
    "ehlo": _("sending EHLO"),
    "tls": _("starting TLS"),
    "auth": _("logging in"),
    "sender": _("sending the sender"),
    "recipient": _("sending the recipient"),
    "data": _("sending the message"),
    "end": _("waiting for the reply to the message"),
}


@dataclass(frozen=True)
class Try:
    """A failed attempt and what is known of its cause."""

    attempt: Attempt
    phase: str | Promise
    known: rules.Diagnosis | None


def context(request: HttpRequest, message: Message) -> dict[str, Any]:
    """The template's context. Sensitive words are in it only once an operator has asked to see them (source.reveal)."""
    permitted = source.may_read(request, message)
    shown = permitted and source.is_revealed(request, message)
    found: dict[str, Any] = {
        "message": message,
        "known": rules.known(message.diagnosis),
        "tries": tries(message),
        "verbs": actions.applicable(message) if request.user.has_perm(OPERATE) else [],
        "permitted": permitted,
        "shown": shown,
        "size": source.size(message),
        "told_of": told_of(request, message.message_id),
    }
    if shown:
        found |= _words(message, found["size"])
    return found


def tries(message: Message) -> list[Try]:
    """The last failed attempts, oldest first."""
    last = list(message.failed_attempts.order_by("-id")[:ATTEMPTS_SHOWN])[::-1]
    return [Try(each, PHASES.get(each.phase, each.phase), rules.known(each.diagnosis)) for each in last]


def _words(message: Message, size: int) -> dict[str, Any]:
    read = display.read(source.beginning(message))
    text = read.text or ""
    return {
        "content": read,
        "text": text[: source.TEXT_SHOWN],
        "cut": size > source.SHOWN or len(text) > source.TEXT_SHOWN,
        "shown_bytes": source.SHOWN,
    }
