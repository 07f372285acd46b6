"""When a topic floods: one mail for many events. Also finds what nobody was told of."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import DatabaseError, transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from notify import mail, windows
from notify.mail import VISITORS
from notify.models import Event, EventQuerySet, Visitor, Window

logger = logging.getLogger(__name__)

SHOWN = 20  # events in a digest, the newest
SUBJECT_LENGTH = 76  # characters with the prefix
RETRY_AFTER = 30  # seconds after a digest that could not be built
FOUND_AT_ONCE = 500  # visitors found by one sweep


class Sweep:
    """Tells the events that wait. Every process that delivers has one; a topic is told by one of them at a time."""

    def __init__(self) -> None:
        self._not_before: dict[str, float] = {}

    def run(self, now: datetime | None = None) -> int:
        """Tell what is to be told by now; returns how many mails were stored. Raises DatabaseError."""
        mails = self._try(VISITORS, announce_found_visitors, now)
        for topic in Event.objects.waiting().order_by().values_list("topic", flat=True).distinct():
            mails += self._try(topic, partial(tell_waiting, topic), now)
        return mails

    def _try(self, topic: str, tell: Callable[[datetime | None], int], now: datetime | None) -> int:
        """A mail that cannot be built is reported, and keeps neither other topics nor delivery from their turn."""
        if time.monotonic() < self._not_before.get(topic, 0):
            return 0
        try:
            return tell(now)
        except DatabaseError:
            raise
        except Exception:
            logger.exception("the digest of topic %r was not built; its events wait", topic)
            self._not_before[topic] = time.monotonic() + RETRY_AFTER
            return 0


@transaction.atomic
def tell_waiting(topic: str, now: datetime | None = None) -> int:
    """Mail a topic's waiting events where they are to be told by now, all or nothing. Returns the mails stored."""
    window = windows.lock(topic, now)
    if window is None:
        return 0  # somebody else is at it
    now = now or timezone.now()
    if not settings.FLASKY_ADMIN:
        Event.objects.waiting().filter(topic=topic).update(notified_at=now)
        return 0
    if settings.NOTIFY_INTERVAL and windows.is_live(window, now):
        return _tell_singly(topic, window, now)
    if not _tell(Event.objects.waiting().filter(topic=topic), now):
        return 0  # told meanwhile by somebody else
    windows.reopen(window, now)
    return 1


@transaction.atomic
def announce_found_visitors(now: datetime | None = None) -> int:
    """Record events for visitors that were made without signals (bulk_create, SQL), and tell them in one mail.

    Where the interval has no slot left for it they wait with the others. Returns how many mails were stored.
    """
    found = list(Visitor.objects.filter(announced=False).order_by("id")[:FOUND_AT_ONCE])
    if not found:
        return 0
    window = windows.lock(VISITORS, now)
    if window is None:
        return 0
    now = now or timezone.now()
    # Read again under the lock: another sweep may have found the same.
    ours = Visitor.objects.filter(pk__in=[visitor.pk for visitor in found], announced=False)
    events = [mail.event_of(visitor) for visitor in ours.order_by("id")]
    Event.objects.bulk_create(events, ignore_conflicts=True)
    ours.update(announced=True)
    told_now = settings.FLASKY_ADMIN and windows.is_live(window, now) and windows.count_single(window)
    if not told_now:
        return 0  # tell_waiting does what is to be done with them
    return 1 if _tell(Event.objects.waiting().filter(topic=VISITORS, key__in=[e.key for e in events]), now) else 0


def _tell_singly(topic: str, window: Window, now: datetime) -> int:
    """Events that found the topic busy take the slots that are left, the oldest first, a mail each."""
    mails = 0
    for event in Event.objects.waiting().filter(topic=topic).order_by("id")[: settings.NOTIFY_BURST]:
        if not windows.count_single(window):
            break
        _tell(Event.objects.waiting().filter(pk=event.pk), now)
        mails += 1
    return mails


def _tell(waiting: EventQuerySet, now: datetime) -> int:
    """One mail for these events of a topic; returns how many they were.

    They are marked first, in one statement: what comes later is not among them.
    """
    message_id = mail.new_message_id()
    count = waiting.update(notified_at=now, message_id=message_id)
    if count == 0:
        return 0
    newest = list(Event.objects.filter(message_id=message_id).order_by("-id")[:SHOWN])
    context = {
        "heading": newest[0].subject,
        "events": newest,
        "count": count,
        "more": count - len(newest),
        "list_url": _list_url(message_id),
    }
    mail.tell_administrators(
        _subject(newest, count), "mail/digest", context, topic=newest[0].topic, message_id=message_id
    )
    return count


def _subject(newest: Sequence[Event], count: int) -> str:
    """`New visitor` for one; `12 × New visitor: Ann, Bob, …` for more, short enough for one header line."""
    if count == 1:
        return newest[0].subject
    line = f"{count} × {newest[0].subject}: " + ", ".join(event.summary for event in newest)
    room = SUBJECT_LENGTH - len(settings.FLASKY_MAIL_SUBJECT_PREFIX) - 1
    return line if len(line) <= room and count <= len(newest) else line[: room - 1].rstrip(" ,") + "…"


def _list_url(message_id: str) -> str:
    """The admin's list of all events that this mail tells of."""
    query = urlencode({"message_id": message_id})
    return f"{settings.FLASKY_URL}{reverse('admin:notify_event_changelist')}?{query}"
