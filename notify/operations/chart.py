"""The chart of delivery by the hour: turns counts into rectangles, sent above the line, the rest below it.

Both sides have the same scale. A bar is at least LEAST high, so that one failure is visible beside a thousand mails.
Sizes are whole units of the picture's own grid: the page stretches it, and adds the words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from notify.delivery import counts
from notify.delivery.counts import Hour

PITCH, BAR = 20, 16  # an hour's width, and its bar's
ABOVE, BELOW = 150, 60  # heights: 5 to 2, so that a scale that ends at a multiple of 5 has whole numbers at both ends
LEAST = 4  # the height of one mail, however many others there are
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
    """`top` and `bottom`: how many messages, or attempts, the full height above and below the line means."""

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
        """The times below the picture, evenly spread."""
        return [column.hour.begins for column in self.columns[::LABEL_EVERY]]

    @property
    def busy(self) -> list[Hour]:
        """The hours in which something happened, the newest first."""
        hours = (column.hour for column in reversed(self.columns))
        return [hour for hour in hours if hour.sent or hour.retried or hour.failed]


def draw(hours: Sequence[Hour]) -> Chart:
    """The picture of these hours, the oldest at the left."""
    above = max(hour.sent for hour in hours)
    below = max(hour.retried + hour.failed for hour in hours)
    top = ceiling(max(above, math.ceil(below * ABOVE / BELOW)))
    columns = [Column(place * PITCH, hour, _bars(hour, top)) for place, hour in enumerate(hours)]
    return Chart(columns, top, top * BELOW // ABOVE, counts.together(hours), width=len(hours) * PITCH)


def ceiling(number: int) -> int:
    """The smallest of 5, 10, 20, 50, 100 … that is not less."""
    step = 5
    while number > step:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def _bars(hour: Hour, top: int) -> list[Bar]:
    sent = _height(hour.sent, top)
    failed = _height(hour.failed, top)
    retried = min(_height(hour.retried, top), BELOW - failed)
    bars = [Bar("sent", ABOVE - sent, sent), Bar("failed", ABOVE, failed), Bar("retried", ABOVE + failed, retried)]
    return [bar for bar in bars if bar.height]


def _height(count: int, top: int) -> int:
    return max(round(count * ABOVE / top), LEAST) if count else 0
