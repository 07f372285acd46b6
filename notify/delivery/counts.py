"""How many attempts ended how, per hour: written by delivery, read by the dashboard's chart and by metrics.

A few rows per hour stand for a million messages. They outlive the messages: a purge changes no count. Failures are
counted in the transaction that records them. Sent messages are counted every ten seconds, so a worker that is killed
loses up to ten seconds of that count; the exact number is that of the messages.
"""

import contextlib
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import F, Sum

from notify import clock
from notify.models import HourlyCount, Outcome

WRITE_EVERY = 10.0  # seconds
# The hour of the rows that sum up older ones: long before the first real one.
FOLDED = datetime(1970, 1, 1, tzinfo=UTC)

Total = tuple[str, str, int, float]  # outcome, diagnosis, attempts, their seconds


@dataclass(frozen=True)
class Hour:
    """How the attempts of an hour ended. `retried` includes those for which the relay as a whole was unusable."""

    begins: datetime
    sent: int = 0
    retried: int = 0
    failed: int = 0


class Successes:
    """Messages sent and not yet counted: those of one process, whose threads share it.

    All processes share the row of the hour, so each writes it at most once in WRITE_EVERY seconds: the first one at
    once, so that the dashboard shows it beside its mail.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._seconds = 0.0
        self._written_at = -math.inf
        self._noted_at = -math.inf

    def note(self, seconds: float) -> bool:
        """Count one more. A count that cannot be written now must not stop sending: it is part of the next one.

        True where the relay's last success is to be noted: at the first, and then as rarely as counts are written.
        """
        now = time.monotonic()
        with self._lock:
            self._count += 1
            self._seconds += seconds
            is_due = now - self._noted_at >= WRITE_EVERY
            if is_due:
                self._noted_at = now
        self.write_if_due()
        return is_due

    def write_if_due(self) -> None:
        if self._count and time.monotonic() - self._written_at >= WRITE_EVERY:
            with contextlib.suppress(DatabaseError, InterfaceError):
                self.write()

    def write(self) -> None:
        """Raises DatabaseError; what could not be written is part of the next count."""
        self._written_at = time.monotonic()
        with self._lock:
            count, seconds = self._count, self._seconds
            self._count, self._seconds = 0, 0.0
        if count:
            try:
                add(Outcome.SENT, count=count, seconds=seconds)
            except (DatabaseError, InterfaceError):
                with self._lock:
                    self._count += count
                    self._seconds += seconds
                raise


def add(outcome: str, *, count: int = 1, seconds: float, diagnosis: str = "", now: datetime | None = None) -> None:
    """Count attempts that ended so, in this hour."""
    row = {"hour": hour_of(now or clock.now()), "outcome": outcome, "diagnosis": diagnosis}
    more = {"attempts": F("attempts") + count, "seconds": F("seconds") + seconds}
    if not HourlyCount.objects.filter(**row).update(**more):
        HourlyCount.objects.bulk_create([HourlyCount(**row)], ignore_conflicts=True)
        HourlyCount.objects.filter(**row).update(**more)


def hours(count: int, now: datetime | None = None) -> list[Hour]:
    """The current hour and those before it, `count` in all, the oldest first; also those without attempts."""
    last = hour_of(now or clock.now())
    begins = [last - timedelta(hours=back) for back in reversed(range(count))]
    found: defaultdict[datetime, Counter[str]] = defaultdict(Counter)
    rows = HourlyCount.objects.filter(hour__gte=begins[0]).values_list("hour", "outcome").annotate(Sum("attempts"))
    for hour, outcome, attempts in rows:
        found[hour][outcome] = attempts
    return [_hour(begin, found[begin]) for begin in begins]


def together(hours: Sequence[Hour]) -> Hour:
    """Their sum, as an hour that begins with the first."""
    return Hour(
        hours[0].begins,
        sent=sum(hour.sent for hour in hours),
        retried=sum(hour.retried for hour in hours),
        failed=sum(hour.failed for hour in hours),
    )


def totals() -> list[Total]:
    """How all attempts ended since the outbox began. No number in it ever goes down."""
    rows = HourlyCount.objects.order_by("outcome", "diagnosis").values_list("outcome", "diagnosis")
    return list(rows.annotate(Sum("attempts"), Sum("seconds")))


@transaction.atomic
def fold(before: datetime) -> None:
    """Sum up the hours before a time in one row per outcome and diagnosis, so that years of them are a few rows."""
    # Locked, so that of two purges at a time only one adds an hour.
    old = HourlyCount.objects.filter(hour__gt=FOLDED, hour__lt=hour_of(before)).order_by("pk").select_for_update()
    alike: defaultdict[tuple[str, str], list[HourlyCount]] = defaultdict(list)
    for row in old:
        alike[row.outcome, row.diagnosis].append(row)
    for (outcome, diagnosis), rows in sorted(alike.items()):
        count, seconds = sum(row.attempts for row in rows), sum(row.seconds for row in rows)
        add(outcome, count=count, seconds=seconds, diagnosis=diagnosis, now=FOLDED)
        HourlyCount.objects.filter(pk__in=[row.pk for row in rows]).delete()


def hour_of(moment: datetime) -> datetime:
    return clock.as_set(clock.aware(moment).astimezone(UTC).replace(minute=0, second=0, microsecond=0))


def _hour(begins: datetime, attempts: Counter[str]) -> Hour:
    sent, failed = attempts[Outcome.SENT], attempts[Outcome.FAIL]
    return Hour(begins, sent=sent, retried=attempts.total() - sent - failed, failed=failed)
