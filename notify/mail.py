"""The door for other code: `send_mail` sends one mail now, `notify_admins` tells the administrators of an event."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction

from notify import dispatch
from notify.events.record import record
from notify.rendering.message import Text, build


def send_mail(to: str | Sequence[str], subject: Text, template: str, /, **context: Any) -> int:
    """Send one mail, rendered from `<template>.txt` and `<template>.html`; returns 1, or 0 for no recipients.

    `to` is an address or several; the subject gets FLASKY_MAIL_SUBJECT_PREFIX. Called twice, it sends two mails,
    each with its own Message-ID. Raises TemplateDoesNotExist and what the template raises; ValueError for a
    line break in an address, and for several addresses in one string.
    """
    return build(to, subject, template, context).send()


def notify_admins(
    topic: str, subject: Text, template: str, /, *, key: str, summary: str, url: str, **context: Any
) -> None:
    """Notify every address in FLASKY_ADMIN of an event. The same `topic` and `key` are notified once.

    One INSERT in the caller's transaction; a worker renders `<template>.txt` and `.html` after the commit, with
    `context` and the event as `event`, or folds the event into a digest, where `summary` (one line) and `url` (an
    absolute link) stand for it. The context is kept until then: strings, numbers, booleans, None, dates and times,
    Decimal, UUID, saved model instances (by reference: they are loaded again), and lists and dicts of these.

    Raises TypeError for any other value, naming its key; ValueError if `topic`, `key`, `url` or `template` is
    too long for its column; DatabaseError if the event cannot be stored.
    """
    record(topic, subject, template, context, key=key, summary=summary, url=url)
    transaction.on_commit(dispatch.wake, robust=True)
