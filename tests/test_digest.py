"""Told at once, never flooded: the rules of intervals, with the time passed in."""

import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from notify import mail, windows
from notify.digest import Sweep
from notify.models import Event, Message, Visitor, Window

pytestmark = pytest.mark.django_db
START = timezone.now().replace(microsecond=0)


@pytest.fixture(autouse=True)
def _intervals(settings: Any) -> None:
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = 2, 60


class Clock:
    """Stands in for django.utils.timezone.now in windows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        monkeypatch.setattr(windows.timezone, "now", lambda: self.now)

    def at(self, seconds: float) -> datetime:
        self.now = START + timedelta(seconds=seconds)
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def tell(key: object, topic: str = "order") -> None:
    mail.notify_admins(
        topic, "New order", "mail/digest", key=str(key), summary=f"Order {key}", url="https://x.example/"
    )


def subjects() -> list[str]:
    return list(Message.objects.order_by("id").values_list("subject", flat=True))


def test_the_first_of_a_burst_come_one_by_one_and_the_rest_in_one_digest(clock: Clock) -> None:
    for number in range(5):
        tell(number)
    assert subjects() == ["[Flasky] New order"] * 2
    assert Sweep().run(clock.at(59.9)) == 0
    assert Sweep().run(clock.at(60)) == 1
    assert subjects()[2:] == ["[Flasky] 3 × New order: Order 4, Order 3, Order 2"]
    assert Sweep().run(clock.at(61)) == 0
    assert not Event.objects.waiting().exists()


def test_a_digest_opens_the_next_interval(clock: Clock) -> None:
    for number in range(3):
        tell(number)
    Sweep().run(clock.at(60))
    assert Window.objects.get().opened_at == START + timedelta(seconds=60)


def test_when_it_is_quiet_again_the_next_event_is_mailed_at_once(clock: Clock) -> None:
    for number in range(3):
        tell(number)
    Sweep().run(clock.at(60))
    clock.at(121)
    tell("later")
    assert subjects()[-1] == "[Flasky] New order"
    assert len(subjects()) == 4


def test_an_event_at_the_end_of_an_interval_waits_for_the_digest_that_is_due(clock: Clock) -> None:
    for number in range(3):
        tell(number)
    clock.at(60)
    tell(3)
    assert len(subjects()) == 2
    Sweep().run(clock.at(60))
    assert subjects()[2] == "[Flasky] 2 × New order: Order 3, Order 2"


def test_topics_do_not_flood_each_other(clock: Clock) -> None:
    for number in range(4):
        tell(number)
    tell(1, topic="refund")
    assert len(subjects()) == 3


def test_interval_zero_never_folds(settings: Any) -> None:
    settings.NOTIFY_INTERVAL = 0
    for number in range(9):
        tell(number)
    assert len(subjects()) == 9


def test_a_clock_set_back_ends_an_interval_that_has_not_begun(clock: Clock) -> None:
    clock.at(7200)
    tell("future")
    clock.at(0)
    tell("now")
    assert len(subjects()) == 2


def test_a_digest_shows_the_newest_twenty_and_links_to_all(clock: Clock) -> None:
    for number in range(27):
        tell(number)
    Sweep().run(clock.at(60))
    body = bytes(Message.objects.order_by("id").last().mime).decode()  # type: ignore[union-attr]
    assert "and 5 more" in body
    assert "Order 26" in body
    assert "Order 7\r\n" in body
    assert "Order 6\r\n" not in body
    assert "/admin/notify/event/?message_id=" in body


def test_a_digest_that_fails_to_render_leaves_its_events_waiting(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        tell(number)
    with monkeypatch.context() as broken:
        broken.setattr(mail, "build", lambda *args, **kwargs: 1 / 0)
        sweep = Sweep()
        assert sweep.run(clock.at(60)) == 0
        assert Event.objects.waiting().count() == 2
        assert "was not built; its events wait" in caplog.text
        assert sweep.run(clock.at(61)) == 0
        assert caplog.text.count("was not built") == 1  # tried again later, not every second
    assert Sweep().run(clock.at(62)) == 1
    assert not Event.objects.waiting().exists()


def test_without_administrators_waiting_events_are_told_to_nobody(clock: Clock, settings: Any) -> None:
    for number in range(4):
        tell(number)
    settings.FLASKY_ADMIN = []
    Sweep().run(clock.at(60))
    assert len(subjects()) == 2
    assert not Event.objects.waiting().exists()


@profile(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    burst=st.integers(1, 4),
    interval=st.integers(1, 50),
    steps=st.lists(
        st.tuples(st.sampled_from(["event", "event", "again", "sweep", "crash", "found"]), st.integers(0, 30)),
        max_size=40,
    ),
)
def test_every_event_is_told_by_exactly_one_mail_and_no_interval_has_too_many(
    burst: int, interval: int, steps: list[tuple[str, int]], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = burst, interval
    for model in (Event, Message, Window, Visitor):
        model.objects.all().delete()  # type: ignore[attr-defined]
    clock, told_at, sweep = Clock(monkeypatch), [], Sweep()
    now = 0.0

    def note() -> None:
        told_at.extend([now] * (Message.objects.count() - len(told_at)))

    for number, (step, wait) in enumerate(steps):
        now += wait
        clock.at(now)
        if step == "event":
            tell(number)
        elif step == "again":
            tell(0)
        elif step == "found":
            Visitor.objects.bulk_create([Visitor(name=f"V{number}a"), Visitor(name=f"V{number}b")])
        elif step == "crash":
            with transaction.atomic():
                tell(f"lost {number}")
                transaction.set_rollback(True)
        else:
            sweep.run(clock.now)
        note()
    now += interval + 1
    sweep.run(clock.at(now))
    note()
    assert not Event.objects.waiting().exists()
    assert not Event.objects.filter(key__startswith="lost").exists()
    mails = Counter(Event.objects.values_list("message_id", flat=True))
    assert set(mails) == set(Message.objects.values_list("message_id", flat=True))
    for opened in told_at:
        within = [moment for moment in told_at if opened <= moment < opened + interval]
        # Two topics; an interval may hold the digest that ended the one before it, and the burst of the next.
        assert len(within) <= 2 * (2 * burst + 2)


@pytest.mark.django_db(transaction=True)
def test_many_processes_posting_at_once_tell_each_event_once(settings: Any) -> None:
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = 3, 3600
    posting = threading.Event()

    def post(poster: int) -> None:
        for number in range(6):
            Visitor.objects.create(name=f"Visitor {poster} {number}")
        connection.close()

    def sweep() -> None:
        while not posting.is_set():
            Sweep().run()
        connection.close()

    posters = [threading.Thread(target=post, args=[number]) for number in range(8)]
    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in posters + sweepers:
        thread.start()
    for thread in posters:
        thread.join()
    posting.set()
    for thread in sweepers:
        thread.join()
    # A sweep may be the first to find an event: its digest then opens the interval, which has its whole burst to come.
    at_once = Message.objects.count()
    assert at_once in (3, 4)
    Sweep().run(timezone.now() + timedelta(seconds=3601))
    assert Message.objects.count() == at_once + 1
    assert not Event.objects.waiting().exists()
    told = Counter(Event.objects.values_list("message_id", flat=True))
    assert (len(told), sum(told.values())) == (at_once + 1, 48)
