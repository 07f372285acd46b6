"""The database's clock, the one that all machines share (on SQLite this machine's), and how its times are written."""

import time
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from django.utils import timezone

TOLERATED_SECONDS = 5.0  # a larger difference is reported


def now() -> datetime:
    """The time of the database, naive where USE_TZ is off. Raises DatabaseError."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return as_set(moment)


def stamp() -> datetime | Now:
    """The same as a column's value: the time at which the row is written, without another statement."""
    return Now() if connection.vendor == "postgresql" else timezone.now()


def in_seconds(seconds: float) -> Combinable:
    """A time from now, computed by the statement that it is part of."""
    return Now() + timedelta(seconds=seconds)


def written(moment: datetime) -> str:
    """ISO 8601 in UTC, whether USE_TZ is on or off."""
    return aware(moment).astimezone(UTC).isoformat()


def read(text: str) -> datetime:
    """What `written` was given, as USE_TZ has it now. Without an offset, as of earlier versions, it is in TIME_ZONE."""
    return as_set(datetime.fromisoformat(text))


def as_set(moment: datetime) -> datetime:
    """The moment as USE_TZ has it: aware, or naive in TIME_ZONE whatever zone the current request uses."""
    moment = aware(moment)
    return moment if settings.USE_TZ else timezone.make_naive(moment, timezone.get_default_timezone())


def aware(moment: datetime) -> datetime:
    """The moment with its offset: without one it is in TIME_ZONE."""
    return moment if moment.tzinfo else timezone.make_aware(moment, timezone.get_default_timezone())


def site_time(moment: datetime) -> datetime:
    """The moment in TIME_ZONE, whatever zone the current request uses, and aware also where USE_TZ is off."""
    return aware(moment).astimezone(timezone.get_default_timezone())


def shown(moment: datetime) -> str:
    """`2026-11-23 12:00 UTC`, in TIME_ZONE."""
    return f"{site_time(moment):%Y-%m-%d %H:%M %Z}"


def seconds_ahead() -> float:
    """How far this machine's clock is ahead of the database's; negative if it is behind. Raises DatabaseError."""
    if connection.vendor != "postgresql":
        return 0.0
    began, asked = time.monotonic(), timezone.now()
    theirs = now()
    midway = asked + timedelta(seconds=(time.monotonic() - began) / 2)
    return round((midway - theirs).total_seconds(), 3)
