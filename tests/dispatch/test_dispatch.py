"""Who runs delivery: which process, which threads, and that they go on whatever happens."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from django.core import mail
from django.core.signals import request_started
from django.db import OperationalError
from django.utils.autoreload import autoreload_started

from notify import dispatch
from notify.delivery import worker
from notify.dispatch import Dispatcher, Leaving, Lookout, Loop
from tests.backends import Scripted
from tests.delivery.test_claims import queue
from tests.relays import Relay
from tests.site import ROOT, Site, environment


class Turns:
    """Stands in for a loop's turn: does what it is told in order, then stops the loop."""

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
    monkeypatch.setattr(dispatch, "DATABASE_BACKOFF", (0.01,))
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
    monkeypatch.setattr(dispatch, "REST_SECONDS", 0)
    monkeypatch.setattr(turns.stop, "wait", waits.append)
    turns.loop.run()
    assert [wait for wait in waits if wait] == [0.1, 0.5, 1, 2, 5, 10, 10, 10]


@pytest.mark.django_db(transaction=True)
def test_events_get_their_turn_while_there_is_always_something_to_send(
    scripted: type[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "NOTIFY_EVERY", 0)
    monkeypatch.setattr(worker, "BATCH", 20)
    sent_before: list[int] = []
    monkeypatch.setattr(dispatch, "notify_due", lambda: sent_before.append(len(scripted.sent)) or 0)
    queue(60)
    loop = Loop(notifies=True, stop=threading.Event(), wake=threading.Event())
    assert [loop.turn() for _ in range(4)] == [True, True, True, False]
    assert sent_before == [0, 20, 40, 60]


def test_a_loop_that_is_stopped_before_it_begins_does_nothing() -> None:
    turns = Turns()
    turns.stop.set()
    turns.loop.run()
    assert turns.count == 0


def test_leaving_begins_with_the_end_of_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    alive, now = [True], [100.0]
    main = SimpleNamespace(is_alive=lambda: alive[0])
    monkeypatch.setattr(dispatch, "threading", SimpleNamespace(main_thread=lambda: main, Event=threading.Event))
    monkeypatch.setattr(dispatch, "time", SimpleNamespace(monotonic=lambda: now[0]))
    server, command, by_hand = Leaving(grace=0), Leaving(grace=30), Leaving(grace=30)
    by_hand.set()
    assert [leaving.is_set() for leaving in (server, command, by_hand)] == [False, False, True]
    alive[0] = False
    assert [leaving.is_set() for leaving in (server, command)] == [True, False]
    now[0] += 30
    assert command.is_set()


@pytest.fixture
def outside_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no test runner had set Django up."""
    monkeypatch.delattr(mail, "outbox")


@pytest.fixture
def dispatcher(monkeypatch: pytest.MonkeyPatch, outside_tests: None) -> Iterator[Dispatcher]:
    """A dispatcher that no other test uses, with loops that only wait to be stopped."""

    class Idle:
        def __init__(self, *, stop: threading.Event, wake: threading.Event, **options: Any) -> None:
            self.stop, self.wake = stop, wake

        def run(self) -> None:
            while not self.stop.is_set():
                self.wake.wait(0.01)

    monkeypatch.setattr(dispatch, "Loop", Idle)
    monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.01)
    made = Dispatcher()
    monkeypatch.setattr(dispatch, "_dispatcher", made)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)}
    yield made
    request_started.disconnect(dispatch_uid="notify.dispatch")
    autoreload_started.disconnect(dispatch_uid="notify.dispatch")
    made.stop()
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("deliver-")]


def test_the_first_wake_up_starts_the_threads_and_the_next_ones_do_not(dispatcher: Dispatcher, settings: Any) -> None:
    settings.NOTIFY_CONNECTIONS = 2
    assert threads() == []
    dispatcher.wake()
    first = threads()
    assert len(first) == 2
    assert not any(thread.daemon for thread in first)
    dispatcher.wake()
    assert threads() == first


def test_a_stopped_dispatcher_starts_anew_when_it_is_woken(dispatcher: Dispatcher) -> None:
    dispatcher.wake()
    dispatcher.stop()
    assert threads() == []
    dispatcher.wake()
    assert len(threads()) == 1


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
    dispatcher.serve()
    for _ in range(2):
        request_started.send(sender=None)
        assert len(threads()) == room


def test_a_wake_up_reaches_each_thread(monkeypatch: pytest.MonkeyPatch, settings: Any, dispatcher: Dispatcher) -> None:
    settings.NOTIFY_CONNECTIONS = 2
    wakes: list[threading.Event] = []
    made = threading.Semaphore(0)
    idle: Any = dispatch.Loop

    class Watched(idle):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            wakes.append(options["wake"])
            made.release()

    monkeypatch.setattr(dispatch, "Loop", Watched)
    dispatcher.wake()
    assert made.acquire(timeout=10)
    assert made.acquire(timeout=10)
    dispatcher.wake()
    wakes[0].clear()  # as a loop does before its turn
    assert wakes[1].is_set()


def test_whoever_starts_the_threads_does_not_wait_for_the_machines_name(
    monkeypatch: pytest.MonkeyPatch, dispatcher: Dispatcher
) -> None:
    found, made = threading.Event(), threading.Event()
    idle: Any = dispatch.Loop

    class Slow(idle):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            assert found.wait(10)
            made.set()

    monkeypatch.setattr(dispatch, "Loop", Slow)
    dispatcher.wake()
    was_made = made.is_set()
    found.set()
    assert not was_made
    assert made.wait(10)


@pytest.mark.django_db(transaction=True)
def test_a_server_delivers_from_its_first_request_on(dispatcher: Dispatcher) -> None:
    dispatcher.serve()
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


def test_a_signal_takes_effect_once_when_the_threads_have_ended(dispatcher: Dispatcher) -> None:
    alive_at: list[int] = []
    signal.signal(signal.SIGTERM, lambda *received: alive_at.append(len(threads())))
    dispatcher.end_before_signals()
    dispatcher.wake()
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    wait_until(lambda: alive_at != [])
    assert alive_at == [0]
    dispatcher.wake()
    assert threads() == []  # the process is about to end: what comes now is for another


def test_a_signal_that_comes_while_a_thread_is_started_waits_for_it(dispatcher: Dispatcher) -> None:
    alive_at: list[int] = []
    signal.signal(signal.SIGTERM, lambda *received: alive_at.append(len(threads())))
    dispatcher.end_before_signals()
    with dispatcher._lock:  # in the hands of whoever starts the threads; the handler must not wait for it
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        assert alive_at == []
    wait_until(lambda: alive_at == [0])


def test_an_ignored_signal_stays_ignored(dispatcher: Dispatcher) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    dispatcher.end_before_signals()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


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

    monkeypatch.setattr(dispatch, "WorkerProcess", Beside)
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


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("serving", "count"), [(True, 1), (False, 0)])
def test_a_forked_child_delivers_at_once_if_its_parent_serves(
    dispatcher: Dispatcher, serving: bool, count: int
) -> None:
    dispatcher.serve() if serving else dispatcher.wake()
    dispatcher.stop()  # a child has none of its parent's threads
    dispatcher._lock.acquire()  # and its parent's locks may be held for ever
    dispatcher.restart_in_child()
    assert len(threads()) == count
    dispatcher.wake()
    assert len(threads()) == 1


def test_a_command_that_delivers_by_other_means_starts_no_threads(dispatcher: Dispatcher, settings: Any) -> None:
    settings.NOTIFY_DISPATCH = "thread"
    dispatch.disable()
    dispatch.wake()
    assert threads() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("mode", "count"), [("thread", 1), ("worker", 0), ("celery", 0)])
def test_a_server_delivers_only_where_the_setting_says_so(
    dispatcher: Dispatcher, settings: Any, mode: str, count: int
) -> None:
    settings.NOTIFY_DISPATCH = mode
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


def test_a_command_gives_the_mail_it_stored_one_chance_before_it_ends(
    make_site: Callable[..., Site], relay: Relay
) -> None:
    site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=relay.port)
    send = "from notify.mail import send_mail; print(send_mail('ann@example.com', 'Test', 'notify/mail/test'))"
    done = site.manage("shell", "-v0", "-c", send)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")
    assert [envelope.recipients for envelope in relay.wait_for(1)] == [["ann@example.com"]]


def test_a_command_does_not_wait_long_for_a_relay_that_is_away(make_site: Callable[..., Site], free_port: int) -> None:
    site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=free_port)
    send = "from notify.mail import send_mail; send_mail('ann@example.com', 'Test', 'notify/mail/test')"
    started = time.monotonic()
    assert site.manage("shell", "-v0", "-c", send).returncode == 0
    assert time.monotonic() - started < 15
    assert "queued 1" in site.manage("outbox", "status").stdout


FORK = """
import os, sys, threading, time
import django
django.setup()
from notify import dispatch, mail
dispatch.serve()
time.sleep(0.2)  # ample for a thread that should not be there
child = os.fork()
names = [thread.name for thread in threading.enumerate() if thread.name.startswith("deliver")]
if child == 0:
    print("child", names, flush=True)
    mail.send_mail("ann@example.com", "From the child", "notify/mail/test")
    from notify.models import Message
    while Message.objects.unfinished().exists():
        time.sleep(0.05)
    sys.exit()
os.waitpid(child, 0)
print("parent", names)
"""


def test_a_forked_server_process_delivers_as_its_parent_did(make_site: Callable[..., Site], relay: Relay) -> None:
    site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=relay.port)
    variables = environment(**site.variables, DJANGO_SETTINGS_MODULE="flasky.settings")
    done = subprocess.run(
        [sys.executable, "-c", FORK], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "child ['deliver-0']\nparent []\n", "")
    assert len(relay.wait_for(1)) == 1


FORK_IN_A_VIEW = """
import os, time
import django
django.setup()
from django.core.signals import request_started
from notify import dispatch, mail
from notify.models import Message
dispatch.serve()
request_started.send(sender=None)
for _ in range(2):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
dispatch.wake = lambda: None  # as what another process stores
mail.send_mail("ann@example.com", "From elsewhere", "notify/mail/test")
while Message.objects.unfinished().exists():
    time.sleep(0.05)
"""


def test_a_server_process_that_forked_still_delivers_what_others_store(
    make_site: Callable[..., Site], relay: Relay
) -> None:
    site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=relay.port)
    variables = environment(**site.variables, DJANGO_SETTINGS_MODULE="flasky.settings")
    # Python 3.12 and later warn of any fork in a process with threads; a view that forks is somebody else's.
    words = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", FORK_IN_A_VIEW]
    done = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(relay.wait_for(1)) == 1


@pytest.fixture
def lookout(monkeypatch: pytest.MonkeyPatch) -> Lookout:
    made = Lookout()
    monkeypatch.setattr(dispatch, "_lookout", made)
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
    monkeypatch.setattr(dispatch, "LOOK_EVERY", 0)
    dispatch.look()
    assert len(looks) == 2


@pytest.mark.parametrize("error", [OperationalError("away"), ZeroDivisionError("x")])
def test_a_look_that_fails_is_logged_and_repeated(
    lookout: Lookout, error: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LOOK_EVERY", 0)

    def fail() -> None:
        raise error

    lookout.look = fail
    dispatch.look()
    dispatch.look()
    known = "whether mail works is unknown: away"
    unknown = "an error in the look at whether mail works; it continues"
    assert caplog.messages == [known if isinstance(error, OperationalError) else unknown] * 2


def test_whatever_delivers_in_threads_has_one_more_that_looks_until_it_is_stopped(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch.Loop, "run", lambda self: self._stop.wait())
    looked, stop = threading.Event(), threading.Event()
    lookout.look = looked.set
    threads = dispatch.start_threads(stop, [threading.Event()])
    assert looked.wait(5)
    stop.set()
    for thread in threads:
        thread.join(5)
    assert [thread.name for thread in threads] == ["deliver-0", "lookout"]
    assert not any(thread.is_alive() for thread in threads)
