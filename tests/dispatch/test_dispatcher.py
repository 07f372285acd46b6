"""Delivery in the web process: its threads, and what signals, forks and exit mean for them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from notify import conf
from notify.delivery.worker import Worker
from notify.dispatch import loop
from notify.dispatch.dispatcher import Dispatcher, StopAtExit
from notify.dispatch.loop import Loop
from tests.dispatch.conftest import threads
from tests.relays import Relay
from tests.site import ROOT, Site, environment
from tests.waiting import until


def test_stop_begins_with_the_end_of_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    alive, now = [True], [100.0]
    main = SimpleNamespace(is_alive=lambda: alive[0])
    fake = SimpleNamespace(main_thread=lambda: main, Event=threading.Event)
    monkeypatch.setattr("notify.dispatch.dispatcher.threading", fake)
    monkeypatch.setattr("notify.dispatch.dispatcher.time", SimpleNamespace(monotonic=lambda: now[0]))
    server, command, by_hand = StopAtExit(grace=0), StopAtExit(grace=30), StopAtExit(grace=30)
    by_hand.set()
    assert [stop.is_set() for stop in (server, command, by_hand)] == [False, False, True]
    alive[0] = False
    assert [stop.is_set() for stop in (server, command)] == [True, False]
    now[0] += 30
    assert command.is_set()


def test_the_first_wake_up_starts_the_threads_and_the_next_ones_do_not(dispatcher: Dispatcher, settings: Any) -> None:
    settings.NOTIFY_CONNECTIONS = 2
    assert threads() == []
    dispatcher.wake()
    first = threads()
    assert len(first) == 2
    assert not any(thread.daemon for thread in first)
    dispatcher.wake()
    assert threads() == first


def test_a_stopped_dispatcher_starts_again_when_it_is_woken(dispatcher: Dispatcher) -> None:
    dispatcher.wake()
    dispatcher.stop()
    assert threads() == []
    dispatcher.wake()
    assert len(threads()) == 1


def test_a_stop_waits_as_long_as_an_attempt_of_the_transport_may_take(
    dispatcher: Dispatcher, settings: Any, use_transport: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    idle: Any = loop.Loop

    class Attempt(idle):  # type: ignore[misc]
        def run(self) -> None:
            self.stop.wait()
            time.sleep(1)

    monkeypatch.setattr(loop, "Loop", Attempt)
    monkeypatch.setattr("notify.dispatch.dispatcher.LAST_WORD_SECONDS", 0)
    settings.MAIL_TIMEOUT = 0
    use_transport(conf.SMTP, timeout=30)
    dispatcher.wake()
    dispatcher.stop()
    assert threads() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_ends_a_process_whose_settings_are_wrong(
    dispatcher: Dispatcher, use_transport: Callable[..., None]
) -> None:
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    dispatcher.end_before_signals()
    use_transport(conf.SMTP, timeout="soon")
    os.kill(os.getpid(), signal.SIGTERM)
    until(lambda: received == [signal.SIGTERM])


def test_a_wake_up_reaches_each_thread(monkeypatch: pytest.MonkeyPatch, settings: Any, dispatcher: Dispatcher) -> None:
    settings.NOTIFY_CONNECTIONS = 2
    wakes: list[threading.Event] = []
    made = threading.Semaphore(0)
    idle: Any = loop.Loop

    class Watched(idle):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            wakes.append(options["wake"])
            made.release()

    monkeypatch.setattr(loop, "Loop", Watched)
    dispatcher.wake()
    assert made.acquire(timeout=10)
    assert made.acquire(timeout=10)
    dispatcher.wake()
    wakes[0].clear()  # as a loop does before its turn
    assert wakes[1].is_set()


@pytest.mark.django_db(transaction=True)
def test_a_wake_up_does_not_wait_for_the_machines_name(monkeypatch: pytest.MonkeyPatch, dispatcher: Dispatcher) -> None:
    found, made = threading.Event(), threading.Event()

    class Slow(Worker):
        def __init__(self, *args: Any, **options: Any) -> None:
            assert found.wait(10)
            super().__init__(*args, **options)
            made.set()

    monkeypatch.setattr(loop, "Loop", Loop)
    monkeypatch.setattr(loop, "Worker", Slow)
    dispatcher.wake()
    was_made = made.is_set()
    found.set()
    assert not was_made
    assert made.wait(10)


def test_a_signal_takes_effect_once_when_the_threads_have_ended(dispatcher: Dispatcher) -> None:
    alive_at: list[int] = []
    signal.signal(signal.SIGTERM, lambda *received: alive_at.append(len(threads())))
    dispatcher.end_before_signals()
    dispatcher.wake()
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    until(lambda: alive_at != [])
    assert alive_at == [0]
    dispatcher.wake()
    assert threads() == []  # the process is about to end: what comes now is for another


def test_a_signal_that_comes_while_a_thread_is_started_waits_for_it(dispatcher: Dispatcher) -> None:
    alive_at: list[int] = []
    signal.signal(signal.SIGTERM, lambda *received: alive_at.append(len(threads())))
    dispatcher.end_before_signals()
    with dispatcher._lock:  # as while threads are started; the handler must not wait for it
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        assert alive_at == []
    until(lambda: alive_at == [0])


def test_an_ignored_signal_stays_ignored(dispatcher: Dispatcher) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    dispatcher.end_before_signals()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


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


def test_a_worker_process_beside_another_ends_cleanly_by_a_signal_that_reaches_both(
    make_site: Callable[..., Site], relay: Relay
) -> None:
    site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=relay.port, NOTIFY_DISPATCH="worker")
    site.manage(
        "shell", "-v0", "-c", "from notify.mail import send_mail; send_mail('a@example.com', 'Hi', 'notify/mail/test')"
    )
    words = [sys.executable, "manage.py", "deliver", "--watch", "--until-stdin-ends"]
    variables = environment(**site.variables)
    with subprocess.Popen(words, cwd=ROOT, env=variables, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr
        relay.wait_for(1)
        process.send_signal(signal.SIGINT)  # Ctrl-C in a terminal; its parent has not closed the pipe yet
        assert (process.wait(30), process.stderr.read()) == (0, b"")


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


@pytest.mark.slow
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


@pytest.mark.slow
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
