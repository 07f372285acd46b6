"""Claim and record: who holds a message. Single statements that only the holder of its token can follow up.

A claim is one UPDATE that takes due rows in order, gives them a token and pushes `due_at` to the end of a lease, by
the database's clock. The rows of a worker that dies come due by themselves; no janitor is needed. Every record
is conditional on the token, so a worker that lost its lease changes nothing.
"""

import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.models import F
from django.db.models.functions import Now

from notify import clock, conf
from notify.models import Body, Message

FURTHEST_SECONDS = 3600  # beyond every step of retry.SCHEDULE

# The condition of the index `message_unfinished`, word for word: SQLite uses a partial index only then.
_UNFINISHED = "state IN ('queued', 'sending')"

# RETURNING has no order, so the token ends with the row's place in the batch.
_CLAIM = {
    # SKIP LOCKED lets workers pass each other.
    "postgresql": f"""
    WITH due AS MATERIALIZED (
        SELECT id, due_at, body_id FROM notify_message
        WHERE {_UNFINISHED} AND due_at <= statement_timestamp()
        ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED
    ), batch AS (
        SELECT due.id, row_number() OVER places AS place,
            sum(octet_length(body.mime)) OVER places - octet_length(body.mime) AS bytes_before
        FROM due JOIN notify_body AS body ON body.id = due.body_id
        WINDOW places AS (ORDER BY due.due_at, due.id)
    )
    UPDATE notify_message AS message
    SET state = 'sending', claim = %s || '.' || lpad(batch.place::text, 5, '0'),
        due_at = statement_timestamp() + %s * interval '1 second'
    FROM batch WHERE message.id = batch.id AND batch.bytes_before < %s
    RETURNING message.id, message.sender, message.recipient, message.body_id, message.attempts, message.claim,
        message.expires_at <= statement_timestamp()
    """,  # noqa: S608  (no value from outside is part of the text)
    "sqlite": f"""
    WITH batch AS (
        SELECT id, row_number() OVER () AS place, sum(size) OVER (ROWS UNBOUNDED PRECEDING) - size AS bytes_before
        FROM (
            SELECT message.id, length(body.mime) AS size
            FROM notify_message AS message JOIN notify_body AS body ON body.id = message.body_id
            WHERE message.{_UNFINISHED} AND due_at <= strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')
            ORDER BY due_at, message.id LIMIT %s
        )
    )
    UPDATE notify_message
    SET state = 'sending', claim = %s || '.' || substr('00000' || batch.place, -5),
        due_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')
    FROM batch WHERE notify_message.id = batch.id AND batch.bytes_before < %s
    RETURNING notify_message.id, sender, recipient, body_id, attempts, claim,
        expires_at <= strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')
    """,  # noqa: S608
}
# Before statistics exist PostgreSQL would sort the whole queue to find its first rows; and a claim that a power cut
# takes back is simply claimed again. One statement, as several cannot be prepared.
_CLAIM_SETTINGS = "SELECT " + ", ".join(
    f"set_config('{name}', 'off', true)" for name in ("enable_seqscan", "enable_bitmapscan", "synchronous_commit")
)

_SENT = {
    # Need not be on the disk before the next mail goes out: what a power cut takes back is a duplicate with the same
    # Message-ID, never a loss. Set by a condition that always holds, so that it costs no round trip and ends with
    # this statement: behind a pool the session serves visitors next.
    "postgresql": """
    UPDATE notify_message
    SET state = 'sent', claim = '', sent_at = statement_timestamp(), attempts = %s, reply = %s, diagnosis = '',
        uncertain = false
    WHERE id = %s AND claim = %s AND set_config('synchronous_commit', 'off', true) = 'off'
    """,
    "sqlite": """
    UPDATE notify_message
    SET state = 'sent', claim = '', sent_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), attempts = ?, reply = ?,
        diagnosis = '', uncertain = false
    WHERE id = ? AND claim = ?
    """,
}


class Claimed(NamedTuple):
    """A message a worker holds, with all it takes to send it. `token` fences every record."""

    id: int
    sender: str
    recipient: str
    mime: bytes
    attempts: int  # before this one
    token: str
    expired: bool  # past the time after which a failure is final
    held_until: float  # by the monotonic clock: when the lease ends
    attributes: str = ""  # what the body has beside its bytes: delivery.attributes


def lease_seconds() -> int:
    """How long a claim holds: longer than an attempt, so that no other worker sends the same message meanwhile."""
    return int(attempt_seconds() + 15)


def attempt_seconds() -> float:
    """How long one attempt to send may take."""
    return max(conf.MAIL_TIMEOUT, conf.transport()["OPTIONS"].get("timeout") or 0)


def claim(limit: int, *, size: int = 2**62) -> list[Claimed]:
    """Claim up to `limit` due messages, the longest due first, and no more once their bodies exceed `size` bytes."""
    lease = lease_seconds()
    until = time.monotonic() + lease  # before the claim: the lease begins no sooner
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_CLAIM_SETTINGS)
        cursor.execute(_CLAIM[connection.vendor], [limit, secrets.token_hex(12), lease, size])
        rows = cursor.fetchall()
    stored = Body.objects.filter(pk__in={row[3] for row in rows}).values_list("pk", "mime", "attributes")
    bodies = {key: (bytes(mime), attributes) for key, mime, attributes in stored}
    claimed = []
    for key, sender, recipient, body, attempts, token, expired in rows:
        mime, attributes = bodies[body]
        claimed.append(Claimed(key, sender, recipient, mime, attempts, token, bool(expired), until, attributes))
    return sorted(claimed, key=attrgetter("token"))


def mark_sent(message: Claimed, *, reply: str) -> bool:
    """The relay accepted it. False if the claim was lost meanwhile.

    The one statement that every mail costs, so it is run by the driver's cursor: half the time of Django's.
    """
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    with database.wrap_database_errors:
        cursor = database.connection.cursor()
        cursor.execute(_SENT[database.vendor], [message.attempts + 1, reply, message.id, message.token])
    return bool(cursor.rowcount == 1)


def mark_retry(message: Claimed, *, delay: float, reply: str, diagnosis: str, uncertain: bool) -> bool:
    """Not this time; again in `delay` seconds. Once uncertain, a message stays so until it is sent."""
    row: dict[str, Any] = {
        "state": Message.State.QUEUED,
        "due_at": clock.in_seconds(delay),
        "attempts": message.attempts + 1,
    }
    return _settle(message, **row, reply=reply, diagnosis=diagnosis, uncertain=uncertain)


def mark_failed(message: Claimed, *, reply: str, diagnosis: str, uncertain: bool) -> bool:
    """For good, until an operator says otherwise."""
    row: dict[str, Any] = {"state": Message.State.FAILED, "attempts": message.attempts + 1}
    return _settle(message, **row, reply=reply, diagnosis=diagnosis, uncertain=uncertain)


def mark_held_back(message: Claimed, *, reply: str, diagnosis: str) -> bool:
    """The relay as a whole is unusable: the message waits in its old place and has spent no attempt."""
    return _settle(message, state=Message.State.QUEUED, due_at=F("created_at"), reply=reply, diagnosis=diagnosis)


def share_out(message: Claimed, recipients: Sequence[str]) -> Claimed | None:
    """Give each recipient of a whole message a row: the claimed one has the first. None if the claim was lost.

    For a transport that needs them apart: so one refusal is one row's failure, and no other is sent to twice.
    """
    first, *others = recipients
    with transaction.atomic():
        if not Message.objects.filter(pk=message.id, claim=message.token).update(recipient=first):
            return None
        Message.objects.bulk_create(_rows_beside(message, others))
    return message._replace(recipient=first)


def mark_partly_sent(message: Claimed, *, reply: str, refused: Mapping[str, str], taken: str, diagnosis: str) -> bool:
    """Of a whole message's recipients some were taken (named by `taken`): each of the others gets a row that failed."""
    with transaction.atomic():
        rows = _rows_beside(
            message, refused, state=Message.State.FAILED, attempts=message.attempts + 1, diagnosis=diagnosis
        )
        if not (mark_sent(message, reply=reply) and Message.objects.filter(pk=message.id).update(recipient=taken)):
            return False
        for row in rows:
            row.reply = refused[row.recipient]
        Message.objects.bulk_create(rows)
    return True


def _rows_beside(message: Claimed, recipients: Iterable[str], **columns: Any) -> list[Message]:
    """Unsaved rows of the same message for other recipients, queued, in the claimed one's place of the order."""
    stored = Message.objects.values().get(pk=message.id)
    beside = {**stored, "id": None, "state": Message.State.QUEUED, "claim": "", "due_at": stored["created_at"]}
    return [Message(**{**beside, **columns, "recipient": recipient}) for recipient in recipients]


def release(messages: Collection[Claimed]) -> None:
    """Give back what was claimed and not begun, each to its old place in the order."""
    if messages:
        Message.objects.filter(
            pk__in=[message.id for message in messages], claim__in={message.token for message in messages}
        ).update(state=Message.State.QUEUED, due_at=F("created_at"), claim="")


def unstrand() -> int:
    """Make due what would wait longer than any schedule says: the clock was set back. Returns how many."""
    furthest = clock.in_seconds(FURTHEST_SECONDS + lease_seconds())
    stranded = Message.objects.unfinished().filter(due_at__gt=furthest)
    return stranded.update(due_at=Now()) if stranded.exists() else 0


def _settle(message: Claimed, *, uncertain: bool = False, **columns: Any) -> bool:
    if uncertain:
        columns["uncertain"] = True
    return Message.objects.filter(pk=message.id, claim=message.token).update(claim="", **columns) == 1
