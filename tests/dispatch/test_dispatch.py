"""Which process delivers, by NOTIFY_DISPATCH, and what a wake-up does."""

import signal
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from django.core import mail
from django.core.signals import request_started
from django.utils.autoreload import autoreload_started

from notify import dispatch
from notify.dispatch.dispatcher import Dispatcher
from tests.dispatch.conftest import threads


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("room", [0, 1])
def test_a_request_is_served_where_there_is_no_room_for_threads_and_starts_no_more_of_them(
    room: int, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.NOTIFY_CONNECTIONS = 3
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if len(threads()) >= room:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    settings.NOTIFY_DISPATCH = "thread"
    dispatch.prepare()
    for _ in range(2):
        request_started.send(sender=None)
        assert len(threads()) == room


@pytest.mark.django_db(transaction=True)
def test_a_server_delivers_from_its_first_request_on(dispatcher: Dispatcher, settings: Any) -> None:
    settings.NOTIFY_DISPATCH = "thread"
    dispatch.prepare()
    dispatch.serve()
    assert threads() == []
    request_started.send(sender=None)
    first = threads()
    assert len(first) == 1
    request_started.send(sender=None)
    assert threads() == first


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("mode", "count"), [("thread", 1), ("worker", 0), ("celery", 0)])
def test_a_process_that_serves_a_request_delivers_though_its_entry_does_not_say_so(
    dispatcher: Dispatcher, settings: Any, mode: str, count: int
) -> None:
    settings.NOTIFY_DISPATCH = mode
    dispatch.prepare()
    assert threads() == []
    request_started.send(sender=None)
    assert len(threads()) == count


@pytest.mark.django_db(transaction=True)
def test_no_thread_is_started_under_a_test_runner(
    dispatcher: Dispatcher, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "outbox", [], raising=False)  # as setup_test_environment() does
    settings.NOTIFY_DISPATCH = "thread"
    dispatch.prepare()
    request_started.send(sender=None)
    dispatch.wake()
    assert threads() == []


@pytest.mark.parametrize(("handler", "is_kept"), [(signal.default_int_handler, True), (lambda *received: None, False)])
def test_ctrl_c_is_left_to_python_where_no_server_handles_it(
    dispatcher: Dispatcher, settings: Any, handler: Callable[..., Any], is_kept: bool
) -> None:
    settings.NOTIFY_DISPATCH = "thread"
    signal.signal(signal.SIGINT, handler)
    dispatch.prepare()
    assert (signal.getsignal(signal.SIGINT) is handler) == is_kept


@pytest.mark.django_db(transaction=True)
def test_under_the_autoreloader_a_process_beside_it_delivers(
    dispatcher: Dispatcher, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Beside:
        made: list["Beside"] = []

        def __init__(self) -> None:
            self.wakes, self.fails = 0, False
            self.made.append(self)

        def wake(self) -> None:
            self.wakes += 1

        def needs_restart(self) -> bool:
            return self.fails

    monkeypatch.setattr("notify.dispatch.dispatcher.WorkerProcess", Beside)
    settings.NOTIFY_DISPATCH = "thread"
    dispatch.prepare()
    request_started.send(sender=None)
    assert len(threads()) == 1  # before the reloader says that it runs
    autoreload_started.send(sender=Mock())
    assert threads() == []
    dispatch.wake()
    dispatch.wake()
    assert [beside.wakes for beside in Beside.made] == [1]  # the first one finds what is due as it starts
    Beside.made[0].fails = True
    dispatch.wake()
    assert len(Beside.made) == 2
    assert threads() == []


@pytest.mark.django_db(transaction=True)
def test_a_request_is_served_where_there_is_no_room_for_a_process_beside_it(
    dispatcher: Dispatcher, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fork_fails() -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("notify.dispatch.dispatcher.WorkerProcess", fork_fails)
    settings.NOTIFY_DISPATCH = "thread"
    dispatch.prepare()
    autoreload_started.send(sender=Mock())
    request_started.send(sender=None)
    assert "delivery could not be started: [Errno 11]" in caplog.text


def test_a_command_that_delivers_by_other_means_starts_no_threads(dispatcher: Dispatcher, settings: Any) -> None:
    settings.NOTIFY_DISPATCH = "thread"
    dispatch.disable()
    dispatch.wake()
    assert threads() == []


def test_a_server_that_calls_such_a_command_goes_on_delivering(dispatcher: Dispatcher, settings: Any) -> None:
    settings.NOTIFY_DISPATCH = "thread"
    dispatch.serve()
    dispatch.disable()
    dispatch.wake()
    assert len(threads()) == 1


@pytest.mark.django_db(transaction=True)
def test_a_process_that_called_such_a_command_delivers_once_it_serves(dispatcher: Dispatcher, settings: Any) -> None:
    settings.NOTIFY_DISPATCH = "thread"
    dispatch.prepare()
    dispatch.disable()
    request_started.send(sender=None)
    assert len(threads()) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("mode", "count"), [("thread", 1), ("worker", 0), ("celery", 0)])
def test_a_server_delivers_only_where_the_setting_says_so(
    dispatcher: Dispatcher, settings: Any, mode: str, count: int
) -> None:
    settings.NOTIFY_DISPATCH = mode
    dispatch.prepare()
    dispatch.serve()
    request_started.send(sender=None)
    assert len(threads()) == count


def test_waking_does_nothing_where_a_worker_polls(dispatcher: Dispatcher, settings: Any) -> None:
    settings.NOTIFY_DISPATCH = "worker"
    dispatch.wake()
    assert threads() == []


class Broker:
    """A Celery application's one method that is used."""

    sent: list[tuple[str, dict[str, Any]]] = []

    @classmethod
    def send_task(cls, name: str, **options: Any) -> None:
        cls.sent.append((name, options))


class NoBroker:
    tries = 0

    @classmethod
    def send_task(cls, name: str, **options: Any) -> None:
        cls.tries += 1
        raise ConnectionError("refused")


def test_celery_is_sent_a_task(settings: Any, outside_tests: None) -> None:
    settings.NOTIFY_DISPATCH, settings.NOTIFY_CELERY_APP = "celery", "tests.dispatch.test_dispatch.Broker"
    Broker.sent.clear()
    dispatch.wake()
    [(name, options)] = Broker.sent
    assert (name, options["retry"]) == ("notify.tasks.deliver", False)


def test_a_broker_that_is_away_is_no_error_and_is_left_alone_for_half_a_minute(
    settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, outside_tests: None
) -> None:
    settings.NOTIFY_DISPATCH, settings.NOTIFY_CELERY_APP = "celery", "tests.dispatch.test_dispatch.NoBroker"
    monkeypatch.setattr(dispatch, "_broker_failed_at", {})
    monkeypatch.setattr(NoBroker, "tries", 0)
    for _ in range(3):
        dispatch.wake()
    assert caplog.messages == [
        "the broker did not accept the wake-up (refused); the message stays in the outbox",
        "no wake-up is tried for 30 s",
    ]
    assert NoBroker.tries == 1
    dispatch._broker_failed_at[settings.NOTIFY_CELERY_APP] -= dispatch.BROKER_REST_SECONDS
    dispatch.wake()
    assert NoBroker.tries == 2
