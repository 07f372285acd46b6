"""A clock for events: what happens and what is decided are at its time."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

import notify.clock
from notify.models import Event

START = timezone.now().replace(microsecond=0)


class Clock:
    """Replaces this machine's clock, the database's, and the default of Event.created_at.

    It stands still until it is set.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(timezone, "now", lambda: self.now)
        monkeypatch.setattr(notify.clock, "now", lambda: self.now)
        monkeypatch.setattr(notify.clock, "stamp", lambda: self.now)
        monkeypatch.setattr(Event._meta.get_field("created_at"), "_get_default", lambda: self.now)

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def at(self, seconds: float) -> datetime:
        """Set the clock to so many seconds after its start."""
        self.seconds = seconds
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)
