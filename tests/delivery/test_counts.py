"""Counts per hour: what delivery adds, what a chart and a counter read, and what a purge leaves."""

import smtplib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from notify.delivery import counts
from notify.delivery.counts import Hour, Successes
from notify.delivery.worker import Tally, deliver_due
from notify.models import HourlyCount, Message
from notify.operations import actions
from tests.backends import Scripted, marked
from tests.delivery.test_claims import queue

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def outcomes() -> dict[tuple[str, str], int]:
    return {(outcome, diagnosis): attempts for outcome, diagnosis, attempts, _ in counts.totals()}


def test_attempts_of_an_hour_add_up_in_one_row_for_each_outcome_and_cause() -> None:
    for minute in (0, 59):
        counts.add("sent", count=2, seconds=0.5, now=NOON + timedelta(minutes=minute))
    counts.add("fail", seconds=1, diagnosis="no-such-recipient", now=NOON)
    counts.add("sent", seconds=1, now=NOON + timedelta(hours=1))
    assert HourlyCount.objects.count() == 3
    assert counts.totals() == [("fail", "no-such-recipient", 1, 1.0), ("sent", "", 5, 2.0)]


def test_the_last_hours_are_whole_and_also_those_in_which_nothing_happened() -> None:
    counts.add("sent", count=7, seconds=1, now=NOON)
    counts.add("retry", count=2, seconds=1, diagnosis="greylisted", now=NOON)
    counts.add("retry", count=1, seconds=1, now=NOON)
    counts.add("hold", seconds=1, now=NOON - timedelta(hours=1))
    counts.add("down", seconds=1, now=NOON - timedelta(hours=1))
    counts.add("fail", seconds=1, now=NOON - timedelta(hours=3))
    assert counts.hours(3, NOON + timedelta(minutes=30)) == [
        Hour(NOON - timedelta(hours=2)),
        Hour(NOON - timedelta(hours=1), retried=2),
        Hour(NOON, sent=7, retried=3),
    ]


def test_a_zone_of_half_hours_counts_in_the_same_hours() -> None:
    india = NOON.astimezone(timezone.get_fixed_timezone(330))
    assert counts.hour_of(india + timedelta(minutes=20)) == NOON


@pytest.mark.django_db(transaction=True)
def test_delivery_counts_what_it_did(use_transport: Callable[..., None]) -> None:
    use_transport("tests.backends.Scripted")
    Scripted.reset()
    queue(4)
    Scripted.script = [
        None,
        marked(smtplib.SMTPRecipientsRefused({"you@example.com": (550, b"5.1.1 No such user")}), "recipient"),
        marked(smtplib.SMTPRecipientsRefused({"you@example.com": (451, b"Greylisted, come back")}), "recipient"),
        marked(smtplib.SMTPAuthenticationError(535, b"5.7.8 wrong"), "auth"),
    ]
    assert deliver_due() == Tally(sent=1, retry=2, failed=1)
    assert outcomes() == {
        ("sent", ""): 1,
        ("fail", "no-such-recipient"): 1,
        ("retry", "greylisted"): 1,
        ("hold", "bad-credentials"): 1,
    }
    Scripted.reset()


def test_what_was_sent_is_counted_at_once_then_every_ten_seconds_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(counts.time, "monotonic", lambda: clock[0])
    successes = Successes()
    successes.write_if_due()  # there is nothing yet
    successes.note(0.5)
    assert counts.totals() == [("sent", "", 1, 0.5)]
    for _ in range(2):
        clock[0] += 4.9
        successes.note(0.5)
    assert counts.totals() == [("sent", "", 1, 0.5)]
    clock[0] += 0.2
    successes.note(0.5)
    assert counts.totals() == [("sent", "", 4, 2.0)]
    successes.note(1)
    successes.write()
    successes.write()
    assert counts.totals() == [("sent", "", 5, 3.0)]


def test_a_count_that_could_not_be_written_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("away")

    successes = Successes()
    monkeypatch.setattr(counts, "WRITE_EVERY", 0)
    with monkeypatch.context() as patch:
        patch.setattr(counts, "add", away)
        successes.note(1)
        with pytest.raises(OperationalError):
            successes.write()
    successes.note(1)
    assert counts.totals() == [("sent", "", 2, 2.0)]


def test_a_purge_takes_messages_and_never_a_count() -> None:
    now = timezone.now()
    for days in (400, 200, 1):
        counts.add("sent", count=10, seconds=1, now=now - timedelta(days=days))
        counts.add("fail", seconds=1, diagnosis="refused", now=now - timedelta(days=days))
    old = now - timedelta(days=400)
    queue(3, state="sent", created_at=old, due_at=old, sent_at=old)
    before, shown = counts.totals(), counts.hours(48, now)
    assert actions.purge(days=90, now=now)["messages"] == 3
    assert actions.purge(days=0, now=now)["messages"] == 0
    assert not Message.objects.exists()
    assert counts.totals() == before
    assert counts.hours(48, now) == shown
    assert HourlyCount.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_two_purges_at_a_time_count_nothing_twice() -> None:
    now = timezone.now()
    for days in range(10, 60):
        counts.add("sent", count=10, seconds=1, now=now - timedelta(days=days))
    barrier = threading.Barrier(4)

    def purge() -> None:
        barrier.wait()
        counts.fold(now - timedelta(days=3))
        connection.close()

    threads = [threading.Thread(target=purge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.totals() == [("sent", "", 500, 50.0)]
    assert HourlyCount.objects.count() == 1
