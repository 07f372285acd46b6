"""Who runs the worker, and waking it: threads of the web process, a worker process, or Celery.

The row in the outbox is the truth; a wake-up may be lost or doubled.
"""

import _thread
import atexit
import contextlib
import functools
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core import mail
from django.core.signals import request_started
from django.db import DatabaseError, InterfaceError, connection
from django.utils.autoreload import autoreload_started
from django.utils.module_loading import import_string

from notify import conf
from notify.delivery import breaker, claims
from notify.delivery.counts import Successes
from notify.delivery.session import CLOSE_AFTER
from notify.delivery.worker import DATABASE_BACKOFF, LAST_WORD_SECONDS, Worker
from notify.dispatch import listener
from notify.dispatch.listener import Listener
from notify.events.digest import notify_due
from notify.models import Message

logger = logging.getLogger(__name__)

# Between looks at the database: other processes store messages too, and leases and intervals end.
POLL_SECONDS = 1.0
POSTGRESQL_POLL_SECONDS = 0.03  # of a worker process whose session hears no wake-ups
REST_SECONDS = 0.1  # after a turn: in a flood one look at the database serves many wake-ups
BROKER_REST_SECONDS = 30  # after a wake-up that a broker did not accept, which may have cost a post a second
NOTIFY_EVERY = 1.0  # seconds, while there is always something to send
LOOK_EVERY = 5.0  # seconds from one look at whether mail works to the next
RESTART_SECONDS = 10.0  # at least, from one worker process that failed to the next


class Loop:
    """The worker's loop, in whichever process: notifies of events and delivers what is due until it is stopped."""

    def __init__(
        self,
        *,
        notifies: bool,
        stop: threading.Event,
        wake: threading.Event,
        connections: int = 1,
        poll_seconds: float = POLL_SECONDS,
        listener: Listener | None = None,
        successes: Successes | None = None,
        backlog: Callable[[], None] | None = None,
    ) -> None:
        self._notifies = notifies
        self._stop = stop
        self._wake = wake
        self._worker = Worker(stop, connections=connections, successes=successes, backlog=backlog)
        self._poll_seconds = poll_seconds
        self._listener = listener
        self._looked_after_at = -math.inf

    def run(self) -> None:
        """Return once `stop` is set and the message in hand is recorded. Waits for a database that is unavailable."""
        tries = 0
        while not self._stop.is_set():
            self._wake.clear()
            busy = False
            try:
                busy = self.turn()
                tries = 0
            except (DatabaseError, InterfaceError) as error:
                logger.error("delivery waits for the database: %s", error)
                connection.close()
                self._stop.wait(DATABASE_BACKOFF[min(tries, len(DATABASE_BACKOFF) - 1)])
                tries += 1
            except Exception:
                logger.exception("an error in delivery; it continues")
                connection.close()
            if not threading.main_thread().is_alive() and not (busy or self._wake.is_set()):
                break  # a command that is over, and all it stored had its chance
            if not busy:
                self._stop.wait(min(REST_SECONDS, self._poll_seconds))
                is_woken = self._listener is not None and self._listener.hears
                self._wake.wait(POLL_SECONDS if is_woken else self._poll_seconds)
        self.close()

    def work(self, until: float) -> bool:
        """Turns until there is nothing to do, `stop` is set, or that time of the monotonic clock. True for more to do.

        A database that is unavailable is logged.
        """
        connection.close_if_unusable_or_obsolete()
        busy = True
        try:
            while busy and not self._stop.is_set() and time.monotonic() < until:
                busy = self.turn(until)
        except (DatabaseError, InterfaceError) as error:
            logger.error("delivery waits for the database: %s", error)
            connection.close()
            return False
        if self._stop.is_set():
            self.close()
        return busy

    def close(self) -> None:
        """End the connections to relay and database."""
        self._worker.close()
        connection.close()

    def turn(self, until: float = math.inf) -> bool:
        """Notify of events, send what is due, until a time at most. True if there was something to do."""
        busy = self._notifies and notify_due() > 0
        if time.monotonic() - self._looked_after_at >= breaker.SEEN_EVERY:
            breaker.notice_configuration(starting=math.isinf(self._looked_after_at))
            claims.unstrand()
            self._looked_after_at = time.monotonic()
        if Message.objects.due().exists():
            # Events come about while messages are sent, too: a queue that never ends must not keep them waiting.
            busy |= self._worker.drain(NOTIFY_EVERY if self._notifies else math.inf, until=until)
        else:
            self._worker.rest()
        return busy


class Crew:
    """Loops that are kept between the tasks of Celery: a thread each, with its connections to relay and database.

    Where nothing was done for a while they close the connections. Used by one thread.
    """

    def __init__(self, *, connections: int, stop: threading.Event, backlog: Callable[[], None]) -> None:
        self._stop = stop
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix=f"deliver-{number}") for number in range(connections)]
        shared: dict[str, Any] = {"connections": connections, "successes": Successes(), "backlog": backlog}
        self._loops = [
            Loop(notifies=number == 0, stop=stop, wake=threading.Event(), **shared) for number in range(connections)
        ]
        self._worked_at = time.monotonic()
        self._rest: threading.Timer | None = None

    def work(self, seconds: float) -> bool:
        """Notify of events and deliver, for about so long at most. True if there is more to do."""
        until = time.monotonic() + seconds
        each = [thread.submit(loop.work, until) for thread, loop in zip(self._threads, self._loops, strict=True)]
        more = any([done.result() for done in each])
        self._worked_at = time.monotonic()
        if self._rest is None or not self._rest.is_alive():
            self._rest_later()
        return more

    def close(self) -> None:
        """End the threads and their connections."""
        if self._rest:
            self._rest.cancel()
        for thread, loop in zip(self._threads, self._loops, strict=True):
            thread.submit(loop.close)
            thread.shutdown()

    def _rest_later(self) -> None:
        self._rest = threading.Timer(CLOSE_AFTER - (time.monotonic() - self._worked_at), self._close_if_idle)
        self._rest.daemon = True
        self._rest.start()

    def _close_if_idle(self) -> None:
        if time.monotonic() - self._worked_at < CLOSE_AFTER:
            self._rest_later()
            return
        for thread, loop in zip(self._threads, self._loops, strict=True):
            thread.submit(loop.close)


def watch(*, connections: int, stop: threading.Event, wake_ups: Iterable[bytes] | None = None) -> None:
    """Deliver over so many connections until `stop` is set, or `wake_ups`, if given, ends; each item wakes it."""
    poll_seconds = POSTGRESQL_POLL_SECONDS if connection.vendor == "postgresql" else POLL_SECONDS
    wakes = [threading.Event() for _ in range(connections)]
    hearing = Listener(stop=stop, wakes=wakes) if connection.vendor == "postgresql" else None
    threads = start_threads(stop, wakes, poll_seconds, hearing)

    def listen(wake_ups: Iterable[bytes]) -> None:
        for _ in wake_ups:
            for wake in wakes:
                wake.set()
        stop.set()

    if wake_ups is not None:
        threading.Thread(target=listen, args=[wake_ups], name="wake-ups", daemon=True).start()
    for thread in threads:
        thread.join()


class Lookout:
    """Looks every few seconds whether mail works, in a thread: a slow look delays no mail, a slow mail server no look.

    Ends with the main thread, at the latest: a command that stored a mail does not wait for the next look.
    """

    def __init__(self) -> None:
        self.look: Callable[[], None] | None = None  # raises DatabaseError
        self._looked_at = -LOOK_EVERY

    def once(self) -> None:
        """Look, unless this process did so a moment ago. A failure is logged."""
        if not self.look or time.monotonic() - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = time.monotonic()
        try:
            self.look()
        except (DatabaseError, InterfaceError) as error:
            logger.error("whether mail works is unknown: %s", error)
            connection.close()
        except Exception:
            logger.exception("an error in the look at whether mail works; it continues")
            connection.close()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set() and threading.main_thread().is_alive():
            self.once()
            stop.wait(0.5)
        connection.close()


_lookout = Lookout()


def look() -> None:
    """For what delivers without threads of its own: look whether mail works, if there is an alert or a heartbeat."""
    _lookout.once()


def start_threads(
    stop: threading.Event,
    wakes: Sequence[threading.Event],
    poll_seconds: float = POLL_SECONDS,
    listener: Listener | None = None,
) -> list[threading.Thread]:
    """A thread per connection to the relay, each with its own wake-up; the first one also notifies of events.

    With alerts or a heartbeat, one more that looks whether mail works.
    Where the machine has no room for all of them, fewer. Raises RuntimeError for none.
    """

    def deliver(number: int) -> None:
        # Made in the thread: it looks up this machine's name, and whoever starts the threads may be serving a visitor.
        Loop(
            notifies=number == 0,
            stop=stop,
            wake=wakes[number],
            connections=len(wakes),
            poll_seconds=poll_seconds,
            listener=listener,
            successes=successes,
        ).run()

    successes = Successes()
    threads: list[threading.Thread] = []
    for number in range(len(wakes)):
        thread = threading.Thread(target=deliver, args=[number], name=f"deliver-{number}", daemon=False)
        try:
            thread.start()
        except RuntimeError as error:
            if not threads:
                raise
            logger.warning("delivery has %d threads instead of %d: %s", len(threads), len(wakes), error)
            break
        threads.append(thread)
    if _lookout.look:
        lookout = threading.Thread(target=_lookout.run, args=[stop], name="lookout", daemon=False)
        with contextlib.suppress(RuntimeError):  # no room for it: others look
            lookout.start()
            threads.append(lookout)
    return threads


class Leaving(threading.Event):
    """Set by hand, or by the end of the main thread: at once in a server, with some grace in a command."""

    def __init__(self, *, grace: float) -> None:
        super().__init__()
        self._grace = grace
        self._since: float | None = None

    def is_set(self) -> bool:
        if super().is_set():
            return True
        if threading.main_thread().is_alive():
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since >= self._grace


class WorkerProcess:
    """`manage.py deliver --watch` beside this process: it ends when this one has, after the message in hand."""

    def __init__(self) -> None:
        words = [
            sys.executable,
            "-m",
            "django",
            "deliver",
            "--watch",
            "--until-stdin-ends",
            "--pythonpath",
            sys.path[0],
        ]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE)  # noqa: S603  (no word from outside)
        assert self._process.stdin  # noqa: S101  (for the type checker: it is a pipe)
        self._stdin = self._process.stdin
        os.set_blocking(self._stdin.fileno(), False)  # a wake-up never waits for it
        self._started_at = time.monotonic()

    def needs_restart(self) -> bool:
        return self._process.poll() is not None and time.monotonic() - self._started_at > RESTART_SECONDS

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # it has ended, or has not read thousands of earlier ones
            os.write(self._stdin.fileno(), b"\n")

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.close()


class Dispatcher:
    """Delivery inside this process: a thread per connection, started by the first wake-up or request.

    The threads are not daemons: Python waits for them when the process ends, so the message in hand is finished, and
    a command that stored a mail (`manage.py shell`, say) gets one chance to deliver it before it ends.

    Under Django's autoreloader, which kills the process that serves, delivery has a process beside it.
    """

    def __init__(self, *, serving: bool = False) -> None:
        self._serving = serving
        self._is_disabled = False
        self._is_ending = False
        self._has_ended = False
        self._is_reloaded = False
        self._process: WorkerProcess | None = None
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._stop = Leaving(grace=0)
        # One for each thread: one that they shared would be cleared by whichever of them sees it first.
        self._wakes: list[threading.Event] = []

    def serve(self) -> None:
        """This process serves the site: deliver from the first request on, and at once in processes forked from it."""
        self._serving = True
        self.start_by_request()

    def start_by_request(self) -> None:
        """Whichever process serves a request delivers from then on."""
        request_started.connect(self._on_request, dispatch_uid="notify.dispatch")

    def end_before_signals(self) -> None:
        """Let signals that end the process take effect only when the message in hand is recorded.

        Not every server ends in a way that lets Python wait for its threads: `runserver --noreload` has no handler,
        uvicorn raises the signal again when it is done, with the handler it found (uvicorn#1600), and Ctrl-C sends
        gunicorn's workers SIGINT and SIGQUIT. Elsewhere than in the main thread this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            handler = signal.getsignal(number)
            is_held_back = isinstance(handler, functools.partial) and handler.func == self._on_signal
            # Ctrl-C where no server handles it is Python's: asyncio.run() relies on that, and it waits for threads.
            is_servers = callable(handler) and handler is not signal.default_int_handler
            if not is_held_back and (is_servers or (number == signal.SIGTERM and handler is signal.SIG_DFL)):
                signal.signal(number, functools.partial(self._on_signal, handler))

    def move_out(self, **kwargs: Any) -> None:
        """Django's autoreloader runs here. Its parent process kills this one with SIGKILL when it is itself ended."""
        self._is_reloaded = True
        self.stop()  # what a request started before this was known

    def disable(self) -> None:
        """The process delivers by other means (a command): what it stores itself starts no threads."""
        self._is_disabled = True

    def wake(self) -> None:
        """Something was committed."""
        if not self._is_disabled:
            self._set_wakes()
            self.start()

    def start(self) -> None:
        with self._lock:
            if self._is_ending or any(thread.is_alive() for thread in self._threads):
                return
            if self._is_reloaded:
                if self._process is None or self._process.needs_restart():
                    self._process = WorkerProcess()
                return
            self.end_before_signals()  # again: a server may have set its handlers since Django was ready
            self._stop = Leaving(grace=0 if self._serving else conf.MAIL_TIMEOUT)
            self._wakes = [threading.Event() for _ in range(conf.NOTIFY_CONNECTIONS)]
            self._threads = start_threads(self._stop, self._wakes)

    def stop(self) -> None:
        """Finish the message in hand and end the threads. Returns when they have ended."""
        with self._lock:
            threads = self._threads
        self._stop.set()
        self._set_wakes()
        # An attempt ends by its deadline; a transport that knows none must not keep the process for ever.
        until = time.monotonic() + conf.MAIL_TIMEOUT + LAST_WORD_SECONDS
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))
        self._threads = []

    def finish(self) -> None:
        """At exit: a second signal may have interrupted Python while it waited for the threads."""
        if self._process:
            self._process.stop()
        if any(thread.is_alive() for thread in self._threads):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)
            self.stop()

    def restart_in_child(self) -> None:
        """After a fork: the parent's threads are not here. A server's child delivers as its parent does."""
        serving = self._serving
        self.__init__()  # type: ignore[misc]  # the parent's locks and events may be held
        if serving:
            self.serve()
            self.start()

    def _set_wakes(self) -> None:
        for wake in self._wakes:
            wake.set()
        if self._process:
            self._process.wake()

    def _on_request(self, **kwargs: Any) -> None:
        self._serving = True
        if is_testing():
            return
        try:
            self.start()
        except RuntimeError as error:  # no more threads: the page is served all the same
            logger.warning("delivery could not be started: %s", error)

    def _on_signal(self, handler: Any, number: int, frame: Any) -> None:
        """The first one ends delivery, in a thread; that then sends the second, which is passed on."""
        if not self._is_ending:
            self._is_ending = True
            try:
                # Here, the interrupted code may hold any lock; also those of `threading`.
                _thread.start_new_thread(self._end_and_repeat, (number,))
            except RuntimeError:  # no more threads
                self._has_ended = True
        if not self._has_ended:
            return
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)

    def _end_and_repeat(self, number: int) -> None:
        self.stop()
        self._has_ended = True
        os.kill(os.getpid(), number)


_dispatcher = Dispatcher()
_broker_failed_at: dict[str, float] = {}  # by the application's path
os.register_at_fork(after_in_child=_dispatcher.restart_in_child)
atexit.register(_dispatcher.finish)


def prepare(*, look: Callable[[], None] | None = None) -> None:
    """Called once when Django is ready: a process that serves a request delivers if NOTIFY_DISPATCH is `thread`.

    `look`, if given, is called every few seconds by whatever delivers.
    """
    _lookout.look = look
    if conf.NOTIFY_DISPATCH == "thread":
        _dispatcher.start_by_request()
        autoreload_started.connect(_dispatcher.move_out, dispatch_uid="notify.dispatch")
        _dispatcher.end_before_signals()


def serve() -> None:
    """For a server's entry (wsgi, asgi), where delivery is to begin in forked processes before their first request."""
    if conf.NOTIFY_DISPATCH == "thread":
        _dispatcher.serve()


def is_testing() -> bool:
    """Whether a test runner has set Django up (setup_test_environment): then nothing is delivered or woken here."""
    return hasattr(mail, "outbox")


def disable() -> None:
    """Called by commands that deliver: they need no waking."""
    _dispatcher.disable()


def wake() -> None:
    """Called after a commit that stored a message or an event."""
    if is_testing():
        return
    try:
        if conf.NOTIFY_DISPATCH == "thread":
            _dispatcher.wake()
        elif conf.NOTIFY_DISPATCH == "celery":
            _send_task()
        elif connection.vendor == "postgresql":
            listener.send()
    except Exception as error:  # noqa: BLE001
        # No more threads, a wrong setting: if raised, it would become an error report, which wakes again.
        logger.warning("the worker could not be woken (%s); the message stays in the outbox", error)


def _send_task() -> None:
    """Wake a Celery worker. A broker that is unavailable is logged, and left alone for a while: beat finds the row."""
    path = conf.NOTIFY_CELERY_APP
    if time.monotonic() - _broker_failed_at.get(path, -math.inf) < BROKER_REST_SECONDS:
        return
    app = import_string(path)
    try:
        app.send_task("notify.tasks.deliver", ignore_result=True, retry=False)
    except Exception as error:  # noqa: BLE001  (kombu's brokers each raise their own)
        _broker_failed_at[path] = time.monotonic()
        logger.warning("the broker did not accept the wake-up (%s); the message stays in the outbox", error)
        logger.warning("no wake-up is tried for %d s", BROKER_REST_SECONDS)
