"""The clock that all machines share."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.db import connection
from django.utils import timezone

from notify import clock, outbox
from notify.models import Message

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


def test_without_time_zones_the_one_that_a_request_uses_does_not_matter(settings: Any) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Shanghai"
    with timezone.override("America/New_York"):
        assert abs(clock.now() - timezone.now()) < timedelta(seconds=clock.TOLERATED_SECONDS)
        outbox.EmailBackend().send_messages([EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"])])
        assert Message.objects.due().count() == 1
        assert abs(Message.objects.get().created_at - timezone.now()) < timedelta(minutes=1)
    assert abs(Message.objects.get().created_at - timezone.now()) < timedelta(minutes=1)


@pytest.mark.parametrize("use_tz", [True, False])
def test_a_time_is_shown_in_the_zone_of_the_site(use_tz: bool, settings: Any) -> None:
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Asia/Shanghai"
    moment = clock.as_set(datetime(2026, 11, 23, 12, 0, tzinfo=UTC))
    with timezone.override("America/New_York"):
        assert clock.shown(moment) == "2026-11-23 20:00 CST"
