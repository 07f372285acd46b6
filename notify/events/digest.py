"""Mails the events that are due: one by one while their topic's interval has room, else as a digest. Run by workers.

Marking an event and storing its mail is one transaction under the lock of the topic's window, so each event is in
exactly one mail, whatever crashes and however many workers run.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.mail import EmailMultiAlternatives
from django.db import InterfaceError, InternalError, OperationalError, connection, transaction
from django.db.models import Min

from notify import clock, conf
from notify.events import policy
from notify.events.policy import Interval, Plan
from notify.events.record import ObjectGone, load_context, storable
from notify.models import RETRY_AFTER, Event, EventQuerySet, Window
from notify.rendering import message as rendering

logger = logging.getLogger(__name__)

SHOWN = 20  # events in a digest, the newest
TEMPLATE = "notify/mail/digest"
SUBJECT_LENGTH = 76  # characters, with the prefix
TRIES = 3  # of an event's own template; then it is mailed by its summary and link
UNFOLDED_AT_ONCE = 100  # events mailed in one turn if NOTIFY_INTERVAL is 0
MARKED_AT_ONCE = 2_000  # events in one transaction
_UNAVAILABLE = (OperationalError, InterfaceError, InternalError)  # the database does not answer, or is read-only


def notify_due(now: datetime | None = None) -> int:
    """Store the mails that are due; returns how many. Raises DatabaseError if the database is unavailable."""
    now = now or clock.now()
    topics = list(Event.objects.waiting().order_by().values_list("topic", flat=True).distinct())
    return sum(_notify_topic(topic, now) for topic in topics)


def next_digests() -> dict[str, datetime]:
    """When the waiting events of each topic are due."""
    topics = Event.objects.waiting().order_by().values_list("topic", flat=True).distinct()
    windows = Window.objects.filter(topic__in=topics).order_by("topic")
    length = timedelta(seconds=conf.NOTIFY_INTERVAL)
    return {window.topic: window.opened_at + length for window in windows if window.opened_at}


def oldest_due() -> datetime | None:
    """Since when the event that is due longest has been due: in the future if all must wait, None if none waits."""
    return min(_dues().values(), default=None)


def overdue(now: datetime) -> int:
    """How many events should be in a mail by now: where it stays above 0, nothing looks for them."""
    topics = [topic for topic, due in _dues().items() if due <= now]
    return _unmailed().filter(topic__in=topics).count() if topics else 0


def _unmailed() -> EventQuerySet:
    """Waiting, and not in a digest that is stored and whose events are being marked."""
    found = Event.objects.waiting()
    for topic, last in Window.objects.exclude(digest="").values_list("topic", "digest_to"):
        found = found.exclude(topic=topic, pk__lte=last)
    return found


def _dues() -> dict[str, datetime]:
    """By topic, when its oldest waiting event is due: as it happened, or at the end of an interval without room."""
    keys = _unmailed().order_by().values("topic").annotate(oldest=Min("pk")).values("oldest")
    events = list(Event.objects.filter(pk__in=list(keys.values_list("oldest", flat=True))))
    windows = Window.objects.in_bulk([event.topic for event in events])
    found = {}
    for event in events:
        window = windows.get(event.topic, Window(topic=event.topic))
        found[event.topic] = _plan(window, [event], event.created_at).wait_until or event.created_at
    return found


def _notify_topic(topic: str, now: datetime) -> int:
    if not conf.admins():
        Event.objects.waiting().filter(topic=topic).update(notified_at=now)
        return 0
    window = Window.objects.get_or_create(topic=topic)[0]
    if window.retry_at and now < window.retry_at <= now + RETRY_AFTER:
        return 0
    if window.digest and not _mark_all(topic, now):
        return 0
    events = _oldest(window, now)
    plan = _plan(window, events, now)
    try:
        if plan.digest:
            stored = _store_digest(topic, now)
            if stored and Window.objects.filter(topic=topic).exclude(digest="").exists():
                _mark_all(topic, now)
            return stored
        return sum(_mail_singly(event, now) for event in events[: plan.singles])
    except _UNAVAILABLE:
        raise
    except Exception:  # must not keep other topics from their turn
        logger.exception("the notifications of topic %r could not be built; its events wait", topic)
        Window.objects.filter(topic=topic).update(retry_at=now + RETRY_AFTER)
        return 0


def _oldest(window: Window, now: datetime) -> list[Event]:
    """A topic's oldest events that may be mailed now, as many as one turn can need."""
    ready = Event.objects.ready(now).filter(topic=window.topic, pk__gt=window.digest_to or 0).order_by("id")
    burst = policy.burst_of(window.topic, conf.NOTIFY_BURST)
    return list(ready[: burst + 1 if conf.NOTIFY_INTERVAL else UNFOLDED_AT_ONCE])


def _plan(window: Window, oldest: Sequence[Event], now: datetime) -> Plan:
    """What is due now of a topic whose oldest waiting events are these."""
    interval = Interval(opened_at=window.opened_at, singles=window.singles) if window.opened_at else None
    burst = policy.burst_of(window.topic, conf.NOTIFY_BURST)
    length = timedelta(seconds=conf.NOTIFY_INTERVAL)
    return policy.decide(interval, [event.created_at for event in oldest], now, burst=burst, length=length)


def _mail_singly(event: Event, now: datetime) -> int:
    """Mail an event by its own template; returns the mails stored. A failure costs this event only.

    It is tried again, then mailed by its summary and link.
    """
    message = None
    try:
        # Rendered before the transaction: a slow template must not hold SQLite's write lock.
        message = _single(event)
        return _store_single(event, message, now)
    except ObjectGone:
        pass
    except Exception as error:
        # While rendering it may be a query of the template's, one that times out say, which must not stop delivery.
        # If it is the database that is unavailable, the UPDATE below says so.
        if message and isinstance(error, _UNAVAILABLE):
            raise
        logger.exception("the notification of event %s (%s) could not be built", event.pk, event.topic)
        event.failures += 1
        has_tries_left = event.failures < TRIES
        Event.objects.waiting().filter(pk=event.pk).update(
            failures=event.failures,
            error=storable(f"{type(error).__name__}: {error}")[:2000],
            retry_at=now + RETRY_AFTER if has_tries_left else None,
        )
        if has_tries_left:
            return 0
    return _store_single(event, _folded([event], 1, rendering.new_message_id()), now)


@transaction.atomic
def _store_single(event: Event, message: EmailMultiAlternatives, now: datetime) -> int:
    """Mark the event and store its mail, if it is still its turn. Returns the mails stored: 1 or 0."""
    window = _lock(event.topic)
    if window is None:
        return 0
    plan = _plan(window, [event], now)  # the window says whether there is room; others that wait do not matter
    message_id = message.extra_headers["Message-ID"]
    ready = Event.objects.ready(now).filter(pk=event.pk, pk__gt=window.digest_to or 0)
    if not plan.singles or not ready.update(notified_at=now, message_id=message_id):
        return 0  # mailed by another worker, or the interval is full since
    if plan.interval:
        columns = {"opened_at": plan.interval.opened_at, "singles": plan.interval.singles + 1, "retry_at": None}
        Window.objects.filter(topic=event.topic).update(**columns)
    message.send()
    return 1


@transaction.atomic
def _store_digest(topic: str, now: datetime) -> int:
    """Store one mail for all waiting events and mark them. Returns the mails stored: 1 or 0.

    Of very many a first part is marked here; the window keeps what the digest covers, for `_mark_all`.
    """
    window = _lock(topic)
    if window is None or not _plan(window, _oldest(window, now), now).digest:
        return 0  # mailed by another worker
    message_id = rendering.new_message_id()
    waiting = Event.objects.waiting().filter(topic=topic)
    if not (rest := waiting.order_by("id").values_list("pk", flat=True)[MARKED_AT_ONCE : MARKED_AT_ONCE + 1]):
        # Marked first, in one statement: an event that comes later is not in this digest.
        count = waiting.update(notified_at=now, message_id=message_id)
        newest = list(Event.objects.filter(message_id=message_id).order_by("-id")[:SHOWN])
    else:
        newest = list(waiting.order_by("-id")[:SHOWN])
        Window.objects.filter(topic=topic).update(digest=message_id, digest_to=newest[0].pk)
        count = waiting.filter(pk__lte=newest[0].pk).count()
        waiting.filter(pk__lt=rest[0]).update(notified_at=now, message_id=message_id)
    Window.objects.filter(topic=topic).update(opened_at=now, singles=0, retry_at=None)
    _folded(newest, count, message_id).send()
    return 1


def _mark_all(topic: str, now: datetime) -> bool:
    """Mark what a stored digest covers, in short transactions; if a worker dies in between, another one continues.

    False where another worker is marking them.
    """
    while True:
        with transaction.atomic():
            window = _lock(topic)
            if window is None:
                return False
            covered = Event.objects.waiting().filter(topic=topic, pk__lte=window.digest_to or 0).order_by("id")
            keys = list(covered.values_list("pk", flat=True)[:MARKED_AT_ONCE])
            if not keys:
                Window.objects.filter(topic=topic).update(digest="", digest_to=None)
                return True
            covered.filter(pk__range=(keys[0], keys[-1])).order_by().update(notified_at=now, message_id=window.digest)


def _lock(topic: str) -> Window | None:
    """The topic's row, locked until the transaction ends; None if another worker holds it. Never waits."""
    rows = Window.objects.filter(topic=topic)
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True)
    return rows.first()  # SQLite: a transaction that writes is alone from its start (IMMEDIATE)


def _single(event: Event) -> EmailMultiAlternatives:
    """The event's own mail. Raises ObjectGone, and whatever its template raises."""
    if not event.template:
        raise ObjectGone("stored by a version that kept no template")
    context = {**load_context(event.context), "event": event}
    message = _build(subject_of([event], 1), event.template, context, event.topic, rendering.new_message_id())
    if event.topic.startswith(policy.ERRORS):  # with what a visitor sent, as on the event's page: for operators
        message.extra_headers[rendering.SENSITIVE_HEADER] = "yes"
    return message


def _folded(newest: Sequence[Event], count: int, message_id: str) -> EmailMultiAlternatives:
    """One mail for `count` events of a topic, by summary and link; `newest` are shown."""
    context = {
        "heading": newest[0].subject,
        "events": newest,
        "count": count,
        "more": count - len(newest),
        "list_url": rendering.list_url(Event, message_id=message_id),
    }
    return _build(subject_of(newest, count), TEMPLATE, context, newest[0].topic, message_id)


def _build(subject: str, template: str, context: dict[str, Any], topic: str, message_id: str) -> EmailMultiAlternatives:
    headers = rendering.thread_headers(topic, message_id)
    return rendering.build(conf.admins(), subject, template, context, headers=headers)


def subject_of(newest: Sequence[Event], count: int) -> str:
    """`New visitor: Ann` for one, `12 × New visitor: Ann, Bob, …` for more; short enough for one header line.

    An error's subject says all, and its summary holds what a visitor sent.
    """
    event = newest[0]
    if count == 1 and (event.topic.startswith(policy.ERRORS) or event.summary in ("", event.subject)):
        return event.subject
    names = ", ".join(rendering.unlinked(event.summary) for event in newest)
    line = rendering.one_line(f"{f'{count} × ' if count > 1 else ''}{event.subject}: {names}")
    room = SUBJECT_LENGTH - len(conf.subject_prefix()) - 1
    return line if len(line) <= room and count <= len(newest) else line[: room - 1].rstrip(" ,") + "…"
