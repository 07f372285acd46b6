"""Celery's task, without Celery: what a wake-up does."""

import threading
from typing import Any

import pytest

from notify import dispatch, tasks
from notify.dispatch import loop
from notify.models import Event, Message
from notify.rendering import message as rendering
from tests.delivery.test_claims import queue

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("scripted")]


def waits(key: str) -> Event:
    return Event.objects.create(topic="order", key=key, subject="New order", summary=f"Order {key}")


def test_a_wake_up_notifies_of_what_waits_and_sends_what_is_due(settings: Any) -> None:
    settings.NOTIFY_CONNECTIONS = 2
    queue(3)
    waits("1")
    tasks.deliver()
    assert set(Message.objects.values_list("state", flat=True)) == {"sent"}
    assert Message.objects.count() == 4
    tasks.deliver()  # doubled
    assert Message.objects.count() == 4


def test_a_wake_up_looks_whether_mail_works(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    lookout = loop.Lookout()
    lookout.look = lambda: looks.append(Message.objects.filter(state="sent").count())
    monkeypatch.setattr(dispatch, "lookout", lookout)
    queue(1)
    tasks.deliver()
    assert looks == [1]


def test_a_notification_that_cannot_be_built_is_reported_once_and_stops_no_mail(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rendering, "build", lambda *args, **kwargs: 1 / 0)
    queue(1)
    waits("1")
    for _ in range(3):
        tasks.deliver()
    assert caplog.text.count("the notifications of topic 'order' could not be built") == 1
    assert Message.objects.get().state == "sent"
    assert Event.objects.waiting().count() == 1


def test_a_look_that_takes_long_delays_no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    lookout, sent = loop.Lookout(), threading.Event()
    monkeypatch.setattr(dispatch, "lookout", lookout)
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.05)

    def look() -> None:
        queue(1)  # after the worker's turn
        for _ in range(100):
            if Message.objects.get().state == "sent":
                sent.set()
                return
            sent.wait(0.05)

    lookout.look = look
    tasks.deliver()
    assert sent.is_set()
