"""Hours of delivery as a picture: counts in, rectangles out. Above the line what was sent, below it what was not.

Both sides have a scale of their own, so that one failure is seen beside a thousand mails. Sizes are whole units of
the picture's own grid: the page stretches it, and puts the words beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from notify.delivery import counts
from notify.delivery.counts import Hour

PITCH, BAR = 20, 16  # an hour's width, and its bar's
ABOVE, BELOW = 150, 60  # heights
LEAST = 4  # one mail is to be seen, however many others there are
LABEL_EVERY = 12  # hours


class Bar(NamedTuple):
    kind: str  # sent, retried or failed
    y: int
    height: int


class Column(NamedTuple):
    x: int
    hour: Hour
    bars: list[Bar]


@dataclass(frozen=True)
class Chart:
    """`top` and `bottom`: how many mails, or attempts, the full height above and below the line stands for."""

    columns: list[Column]
    top: int
    bottom: int
    total: Hour

    width: int
    height: int = ABOVE + BELOW
    line: int = ABOVE
    pitch: int = PITCH
    bar: int = BAR
    inset: int = (PITCH - BAR) // 2

    @property
    def labels(self) -> list[datetime]:
        """Evenly spread times to stand under the picture."""
        return [column.hour.begins for column in self.columns[::LABEL_EVERY]]

    @property
    def busy(self) -> list[Hour]:
        """The hours in which something happened, the newest first."""
        hours = (column.hour for column in reversed(self.columns))
        return [hour for hour in hours if hour.sent or hour.retried or hour.failed]


def draw(hours: Sequence[Hour]) -> Chart:
    """The picture of these hours, the oldest at the left."""
    top = ceiling(max(hour.sent for hour in hours))
    bottom = ceiling(max(hour.retried + hour.failed for hour in hours))
    columns = [Column(place * PITCH, hour, _bars(hour, top, bottom)) for place, hour in enumerate(hours)]
    return Chart(columns, top, bottom, counts.together(hours), width=len(hours) * PITCH)


def ceiling(number: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50 … that is not less."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if number <= factor * step:
                return factor * step
        step *= 10


def _bars(hour: Hour, top: int, bottom: int) -> list[Bar]:
    sent = _height(hour.sent, top, ABOVE)
    failed = _height(hour.failed, bottom, BELOW)
    retried = min(_height(hour.retried, bottom, BELOW), BELOW - failed)
    bars = [Bar("sent", ABOVE - sent, sent), Bar("failed", ABOVE, failed), Bar("retried", ABOVE + failed, retried)]
    return [bar for bar in bars if bar.height]


def _height(count: int, full: int, room: int) -> int:
    return max(round(count * room / full), LEAST) if count else 0
