"""Keys of messages, which grow with time: the first, the last, and the first of a moment, each in no time."""

from datetime import datetime, timedelta

from notify.models import Message

# Keys follow the time of storing, but for transactions that overlap and for clocks of several machines.
CLOCKS_DIFFER = timedelta(hours=1)


def first() -> int | None:
    """The lowest key; None where there is no message."""
    return Message.objects.order_by("pk").values_list("pk", flat=True).first()


def last() -> int | None:
    """The highest key; None where there is no message."""
    return Message.objects.order_by("-pk").values_list("pk", flat=True).first()


def first_since(moment: datetime) -> int:
    """A key below which nothing was stored since; found by halving, as there is no index on the time of storing."""
    moment -= CLOCKS_DIFFER
    low, high = first() or 0, (last() or 0) + 1
    while low < high:
        middle = (low + high) // 2
        row = Message.objects.filter(pk__gte=middle).order_by("pk").values_list("pk", "created_at").first()
        if row is None or row[1] >= moment:
            high = middle
        else:
            low = row[0] + 1
    return low
