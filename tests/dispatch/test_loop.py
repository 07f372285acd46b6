"""The worker's loop goes on whatever happens, and looks whether mail works."""

import threading
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError

from notify import dispatch
from notify.delivery import worker
from notify.dispatch import loop
from notify.dispatch.loop import Crew, Lookout, Loop
from tests.backends import Scripted
from tests.delivery.test_claims import queue


class Turns:
    """Replaces a loop's turn: does the given steps in order, then stops the loop."""

    def __init__(self, *steps: Exception | None) -> None:
        self.stop, self.wake, self.count = threading.Event(), threading.Event(), 0
        self.loop = Loop(notifies=True, stop=self.stop, wake=self.wake)
        self.loop.turn = self.turn  # type: ignore[method-assign]
        self._steps = list(steps)

    def turn(self) -> None:
        self.count += 1
        self.wake.set()  # no waiting between the turns
        if not self._steps:
            self.stop.set()
        elif step := self._steps.pop(0):
            raise step


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError("the database is away"), ZeroDivisionError("a mistake of ours")])
def test_a_loop_outlives_whatever_a_turn_raises(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop, "DATABASE_BACKOFF", (0.01,))
    turns = Turns(error, None, error)
    turns.loop.run()
    assert turns.count == 4
    words = {
        OperationalError: "delivery waits for the database: the database is away",
        ZeroDivisionError: "an error in delivery; it continues",
    }[type(error)]
    assert caplog.text.count(words) == 2


@pytest.mark.django_db(transaction=True)
def test_a_database_that_stays_away_is_asked_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(*[OperationalError("away")] * 8)
    waits: list[float] = []
    monkeypatch.setattr(loop, "REST_SECONDS", 0)
    monkeypatch.setattr(turns.stop, "wait", waits.append)
    turns.loop.run()
    assert [wait for wait in waits if wait] == [0.1, 0.5, 1, 2, 5, 10, 10, 10]


@pytest.mark.parametrize(("pool", "count"), [({"max_size": 4}, 3), (None, 1)], ids=["pool", "no pool"])
def test_a_connection_of_a_pool_is_given_back_between_turns(
    pool: object, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[None] = []
    monkeypatch.setattr(
        loop,
        "connection",
        SimpleNamespace(settings_dict={"OPTIONS": {"pool": pool}}, close=lambda: closed.append(None)),
    )
    Turns(None).loop.run()
    assert len(closed) == count  # after each of two turns, and at the end


@pytest.mark.django_db(transaction=True)
def test_events_get_their_turn_while_there_is_always_something_to_send(
    scripted: type[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "NOTIFY_EVERY", 0)
    monkeypatch.setattr(worker, "BATCH", 20)
    sent_before: list[int] = []
    monkeypatch.setattr(loop, "notify_due", lambda: sent_before.append(len(scripted.sent)) or 0)
    queue(60)
    one = Loop(notifies=True, stop=threading.Event(), wake=threading.Event())
    assert [one.turn() for _ in range(4)] == [True, True, True, False]
    assert sent_before == [0, 20, 40, 60]


def test_a_loop_that_is_stopped_before_it_begins_does_nothing() -> None:
    turns = Turns()
    turns.stop.set()
    turns.loop.run()
    assert turns.count == 0


@pytest.mark.django_db(transaction=True)
def test_connections_are_closed_after_a_task_that_came_just_as_they_were_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "CLOSE_AFTER", 0.05)
    closed, closes = threading.Semaphore(0), []
    close = Loop.close
    monkeypatch.setattr(Loop, "close", lambda self: (close(self), closed.release()))
    crew = Crew(connections=1, stop=threading.Event(), backlog=lambda: None)
    [thread] = crew._threads
    submit = thread.submit

    def submit_after_a_task(function: Any, *args: Any) -> Any:
        if function != crew._loops[0].work:
            closes.append(function)
            if len(closes) == 1:
                crew.work(1)
        return submit(function, *args)

    monkeypatch.setattr(thread, "submit", submit_after_a_task)
    crew.work(1)
    assert closed.acquire(timeout=10)
    assert closed.acquire(timeout=10)
    crew.close()


@pytest.fixture
def lookout(monkeypatch: pytest.MonkeyPatch) -> Lookout:
    made = Lookout()
    monkeypatch.setattr(loop, "lookout", made)
    monkeypatch.setattr(dispatch, "lookout", made)
    return made


def test_a_process_looks_whether_mail_works_every_few_seconds_at_most(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    dispatch.look()
    lookout.look = lambda: looks.append(1)
    dispatch.look()
    dispatch.look()
    assert len(looks) == 1
    monkeypatch.setattr(loop, "LOOK_EVERY", 0)
    dispatch.look()
    assert len(looks) == 2


@pytest.mark.parametrize("error", [OperationalError("away"), ZeroDivisionError("x")])
def test_a_look_that_fails_is_logged_and_repeated(
    lookout: Lookout, error: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOOK_EVERY", 0)

    def fail() -> None:
        raise error

    lookout.look = fail
    dispatch.look()
    dispatch.look()
    known = "whether mail works is unknown: away"
    unknown = "an error in the look at whether mail works; it continues"
    assert caplog.messages == [known if isinstance(error, OperationalError) else unknown] * 2


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_cannot_be_made_is_tried_again_though_others_run(
    lookout: Lookout, scripted: type[Scripted], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, stop = Mock(side_effect=[TypeError("a wrong setting"), loop.Worker(threading.Event())]), threading.Event()
    monkeypatch.setattr(loop, "Worker", made)
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.01)
    lookout.look = lambda: None
    queue(1)
    threads = loop.start_threads(stop, [threading.Event()])
    deadline = time.monotonic() + 5
    while not scripted.sent and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join(5)
    assert len(scripted.sent) == 1
    assert caplog.text.count("an error in delivery; it continues") == 1


def test_delivery_in_threads_has_one_more_that_looks_until_it_is_stopped(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.Loop, "run", lambda self: self._stop.wait())
    looked, stop = threading.Event(), threading.Event()
    lookout.look = looked.set
    threads = loop.start_threads(stop, [threading.Event()])
    assert looked.wait(5)
    stop.set()
    for thread in threads:
        thread.join(5)
    assert [thread.name for thread in threads] == ["deliver-0", "lookout"]
    assert not any(thread.is_alive() for thread in threads)
