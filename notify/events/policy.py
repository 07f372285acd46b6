"""Which mails a topic's waiting events are due for now. Pure: nothing is read or written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

ERRORS = "error:"  # how topics of server errors begin


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A topic's interval so far: when it opened, and how many events were mailed one by one since."""

    opened_at: datetime
    singles: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to mail now. `interval` is the one these mails count in, None if events are not folded.

    `singles`: this many of the oldest events, one mail each. `digest`: all waiting events in one mail, which opens a
    new interval. `wait_until`: when the rest is due; None if nothing is left waiting.
    """

    interval: Interval | None = None
    singles: int = 0
    digest: bool = False
    wait_until: datetime | None = None


def burst_of(topic: str, burst: int) -> int:
    """How many events of a topic are mailed one by one in an interval: `burst`, and 1 for server errors."""
    return 1 if topic.startswith(ERRORS) else burst


def decide(
    interval: Interval | None, waiting: Sequence[datetime], now: datetime, *, burst: int, length: timedelta
) -> Plan:
    """What is due now of a topic.

    `interval`: the latest one, None if there was none. `waiting`: when each waiting event happened, oldest first; the
    first `burst` + 1 are enough. `length`: of an interval; 0 means that events are never folded.
    """
    if not waiting or not length:
        return Plan(singles=len(waiting))
    # An interval that begins in the future, by more than clocks differ, is left from before the clock was set back.
    if interval and interval.opened_at - length > now:
        interval = None
    if interval is None or interval.opened_at + length <= now:
        oldest = min(waiting)
        is_left_over = interval is not None and oldest < interval.opened_at + length
        is_late = oldest + length <= now and len(waiting) > burst  # no worker was running for longer than an interval
        interval = Interval(opened_at=now)
        if is_left_over or is_late:
            return Plan(interval=interval, digest=True)
    singles = min(max(burst - interval.singles, 0), len(waiting))
    wait_until = interval.opened_at + length if len(waiting) > singles else None
    return Plan(interval=interval, singles=singles, wait_until=wait_until)
