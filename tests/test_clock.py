"""The clock that all machines share."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from notify import clock

pytestmark = pytest.mark.django_db


def test_a_machine_on_time_is_not_ahead() -> None:
    assert abs(clock.seconds_ahead()) < clock.TOLERATED_SECONDS
    assert abs(clock.now() - timezone.now()) < timedelta(seconds=clock.TOLERATED_SECONDS)


@pytest.mark.parametrize("wrong", [-300, 300])
def test_a_machine_whose_clock_is_wrong_knows_the_databases_time(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    right = timezone.now()
    skewed: Any = type("skewed", (), {"now": staticmethod(lambda: right + timedelta(seconds=wrong))})
    monkeypatch.setattr(clock, "timezone", skewed)
    if connection.vendor == "postgresql":
        assert clock.seconds_ahead() == pytest.approx(wrong, abs=2)
        assert abs(clock.now() - right) < timedelta(seconds=2)
    else:
        assert clock.seconds_ahead() == 0  # the database is in this process
