"""When a topic floods: the slots of an interval, taken without making anybody wait.

An interval opens with the first event after a quiet time, or with a digest. Its first NOTIFY_BURST events have a slot
each and are mailed at once. The others wait until NOTIFY_INTERVAL seconds after it opened.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from notify.models import Event, Window


def is_full(topic: str, now: datetime | None = None) -> bool:
    """Whether what happens now must wait for the digest: the interval's slots are all taken.

    This is all that a visitor costs in a flood, besides the event's row: one SELECT by key, and nothing locked. A full
    interval stays full until it ends, so what was read a moment ago is still true.
    """
    if settings.NOTIFY_INTERVAL == 0:
        return False
    window = Window.objects.filter(topic=topic).first()
    return window is not None and is_live(window, now or timezone.now()) and window.singles >= settings.NOTIFY_BURST


def take_slot(event: Event, now: datetime | None = None) -> bool:
    """Whether a recorded event may be mailed at once. Called in the visitor's transaction.

    Where another transaction is just taking a slot, the answer is False rather than a wait: the event is told by
    the next sweep, about a second later.
    """
    if settings.NOTIFY_INTERVAL == 0:
        return True
    window = lock(event.topic, now)
    if window is None:
        return False
    now = now or timezone.now()
    if not is_live(window, now):
        left_over = Event.objects.waiting().filter(topic=event.topic, created_at__lt=ends_at(window))
        if left_over.exclude(pk=event.pk).exists():
            return False  # the digest that ends this interval is due: it carries this event too
        window.opened_at, window.singles = now, 0
    return count_single(window)


def lock(topic: str, now: datetime | None = None) -> Window | None:
    """The topic's row, ours until the transaction ends; None where somebody else has it. Never waits.

    A topic that never had an interval gets one that is over. Read the clock afterwards: whoever had the row before may
    have opened an interval since it was read last, and that would look as if it began in the future.
    """
    rows = Window.objects.filter(topic=topic)
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True)
    window = rows.first()  # SQLite: a transaction that writes is alone from its start (IMMEDIATE)
    if window is None and _may_make(topic):
        # Over for long: who comes at this very moment is not left over from it.
        over = (now or timezone.now()) - timedelta(seconds=2 * settings.NOTIFY_INTERVAL)
        Window.objects.bulk_create([Window(topic=topic, opened_at=over)], ignore_conflicts=True)
        window = rows.first()
    return window


def _may_make(topic: str) -> bool:
    """Whether to insert the row: on PostgreSQL, who inserts a key waits for everybody who is inserting the same."""
    if connection.vendor != "postgresql":
        return True
    if Window.objects.filter(topic=topic).exists():
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"notify_window {topic}"])
        return bool(cursor.fetchone()[0])


def count_single(window: Window) -> bool:
    """Take one of the interval's slots; False when all are taken."""
    if window.singles >= settings.NOTIFY_BURST:
        return False
    window.singles += 1
    window.save(update_fields=["opened_at", "singles"])
    return True


def is_live(window: Window, now: datetime) -> bool:
    """Not over yet. Another machine's clock may be a little ahead; one far ahead means that ours was set back."""
    return window.opened_at - timedelta(seconds=settings.NOTIFY_INTERVAL) <= now < ends_at(window)


def ends_at(window: Window) -> datetime:
    """When the digest is due. An event at this very moment belongs to the next interval."""
    return window.opened_at + timedelta(seconds=settings.NOTIFY_INTERVAL)


def reopen(window: Window, now: datetime) -> None:
    window.opened_at, window.singles = now, 0
    window.save(update_fields=["opened_at", "singles"])


def next_digests() -> dict[str, datetime]:
    """For each topic that has events waiting: when the digest that tells them is due."""
    topics = Event.objects.waiting().order_by().values_list("topic", flat=True).distinct()
    return {window.topic: ends_at(window) for window in Window.objects.filter(topic__in=topics).order_by("topic")}
