"""Claim and settle: who holds a message, in single statements that only the holder of its token can follow up.

A claim is one UPDATE that takes due rows in order, gives them a token and pushes `due_at` to the end of a lease, on
the database's clock. A worker that dies therefore needs nobody to clean up: its rows come due again. Every settle
is conditional on the token, so a worker that lost its lease changes nothing.
"""

import secrets
import time
from collections.abc import Collection
from datetime import timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import DateTimeField, ExpressionWrapper, F, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from notify.models import Message
from notify.statement import Statement

# Beyond every lease and every step of retry.SCHEDULE.
FURTHEST_SECONDS = 3600

# The condition of the index `message_unfinished`, word for word: SQLite uses a partial index only then.
_UNFINISHED = "state IN ('queued', 'sending')"

# RETURNING has no order: a row's place in the batch rides at the end of its token.
_CLAIM = Statement(
    "notify_claim",
    # SKIP LOCKED lets workers pass each other.
    postgresql=f"""
    WITH due AS MATERIALIZED (
        SELECT id, due_at, octet_length(mime) AS size FROM notify_message
        WHERE {_UNFINISHED} AND due_at <= statement_timestamp()
        ORDER BY due_at, id LIMIT ? FOR UPDATE SKIP LOCKED
    ), batch AS (
        SELECT id, row_number() OVER places AS place, sum(size) OVER places - size AS bytes_before
        FROM due WINDOW places AS (ORDER BY due_at, id)
    )
    UPDATE notify_message AS message
    SET state = 'sending', claim = ? || '.' || lpad(batch.place::text, 5, '0'),
        due_at = statement_timestamp() + ? * interval '1 second'
    FROM batch WHERE message.id = batch.id AND batch.bytes_before < ?
    RETURNING message.id, message.sender, message.recipient, message.mime, message.attempts, message.claim,
        message.expires_at <= statement_timestamp()
    """,  # noqa: S608  (no value from outside is part of the text)
    sqlite=f"""
    WITH batch AS (
        SELECT id, row_number() OVER () AS place, sum(size) OVER (ROWS UNBOUNDED PRECEDING) - size AS bytes_before
        FROM (
            SELECT id, length(mime) AS size FROM notify_message
            WHERE {_UNFINISHED} AND due_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
            ORDER BY due_at, id LIMIT ?
        )
    )
    UPDATE notify_message
    SET state = 'sending', claim = ? || '.' || substr('00000' || batch.place, -5),
        due_at = strftime('%Y-%m-%d %H:%M:%f', 'now', ? || ' seconds')
    FROM batch WHERE notify_message.id = batch.id AND batch.bytes_before < ?
    RETURNING notify_message.id, sender, recipient, mime, attempts, claim,
        expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
    """,  # noqa: S608
    settings={
        # PostgreSQL, where it has not counted the table yet, would sort all that waits to find the first few.
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "synchronous_commit": "off",  # a claim that a power cut takes back is claimed again
    },
    returns=(int, str, str, bytes, int, str, bool),
)

_SENT = Statement(
    "notify_mark_sent",
    # A "sent" need not be on the disk when the next mail goes out: what a power cut takes back is a duplicate with the
    # same Message-ID, never a loss. For this transaction alone: whoever uses the connection next may be a visitor. Said
    # as a condition that always holds, which is cheaper than `settings` or a join, and early enough for a commit.
    postgresql="""
    UPDATE notify_message
    SET state = 'sent', claim = '', sent_at = statement_timestamp(), attempts = ?, reply = ?, diagnosis = '',
        uncertain = false
    WHERE id = ? AND claim = ? AND set_config('synchronous_commit', 'off', true) = 'off'
    """,
    sqlite="""
    UPDATE notify_message
    SET state = 'sent', claim = '', sent_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), attempts = ?, reply = ?,
        diagnosis = '', uncertain = false
    WHERE id = ? AND claim = ?
    """,
)


class Claimed(NamedTuple):
    """A message in a worker's hands, with all that sending it takes. `token` fences every settle."""

    id: int
    sender: str
    recipient: str
    mime: bytes
    attempts: int  # before this one
    token: str
    expired: bool  # past the time after which a failure is final
    held_until: float  # by the monotonic clock: when the lease ends


def lease_seconds() -> int:
    """How long a claim holds: longer than an attempt, so that nobody else sends what is being sent."""
    return int(getattr(settings, "NOTIFY_LEASE", settings.MAIL_TIMEOUT + 15))


def claim(limit: int, *, size: int = 2**62) -> list[Claimed]:
    """Take up to `limit` due messages, the longest due first, and no more once their bodies exceed `size` bytes."""
    lease = lease_seconds()
    until = time.monotonic() + lease  # before it is asked for: the lease begins no sooner
    rows = _CLAIM.fetch(limit, secrets.token_hex(12), lease, size)
    claimed = [
        Claimed(key, sender, recipient, bytes(mime), attempts, token, bool(expired), until)
        for key, sender, recipient, mime, attempts, token, expired in rows
    ]
    return sorted(claimed, key=attrgetter("token"))


def mark_sent(message: Claimed, *, reply: str) -> bool:
    """The relay took it. False where the claim was lost meanwhile."""
    return _SENT.execute(message.attempts + 1, reply, message.id, message.token) == 1


def mark_retry(message: Claimed, *, delay: float, reply: str, diagnosis: str, uncertain: bool) -> bool:
    """Not this time; again in `delay` seconds. Once uncertain, a message stays so until it is sent."""
    return _settle(
        message,
        state=Message.State.QUEUED,
        due_at=in_seconds(delay),
        attempts=message.attempts + 1,
        reply=reply,
        diagnosis=diagnosis,
        **({"uncertain": True} if uncertain else {}),
    )


def mark_failed(message: Claimed, *, reply: str, diagnosis: str, uncertain: bool) -> bool:
    """For good, until an operator says otherwise."""
    return _settle(
        message,
        state=Message.State.FAILED,
        attempts=message.attempts + 1,
        reply=reply,
        diagnosis=diagnosis,
        **({"uncertain": True} if uncertain else {}),
    )


def mark_held_back(message: Claimed, *, reply: str, diagnosis: str) -> bool:
    """The relay as a whole is unusable: the message waits in its old place and has spent no attempt."""
    return _settle(message, state=Message.State.QUEUED, due_at=F("created_at"), reply=reply, diagnosis=diagnosis)


def release(messages: Collection[Claimed]) -> None:
    """Give back what was claimed and not begun, each to its old place in the order."""
    if messages:
        Message.objects.filter(
            pk__in=[message.id for message in messages], claim__in={message.token for message in messages}
        ).update(state=Message.State.QUEUED, due_at=F("created_at"), claim="")


def pull_in() -> int:
    """Make due what is to wait longer than any schedule does: the clock was set back. Returns how many."""
    stranded = Message.objects.unfinished().filter(due_at__gt=in_seconds(FURTHEST_SECONDS))
    return stranded.update(due_at=Now()) if stranded.exists() else 0


def in_seconds(seconds: float) -> Combinable:
    """A time from now, on the database's clock."""
    return ExpressionWrapper(Now() + Value(timedelta(seconds=seconds)), output_field=DateTimeField())


def _settle(message: Claimed, **columns: Any) -> bool:
    return Message.objects.filter(pk=message.id, claim=message.token).update(claim="", **columns) == 1
