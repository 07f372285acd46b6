"""Who runs the worker, and waking it: threads of the web process, a worker process, or Celery.

The row in the outbox is the truth; a wake-up may be lost or doubled.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.signals import request_started
from django.db import DatabaseError, InterfaceError, connection
from django.utils.module_loading import import_string

from notify.delivery import breaker, claims
from notify.delivery.worker import DATABASE_BACKOFF, Worker
from notify.events.digest import notify_due
from notify.models import Message

logger = logging.getLogger(__name__)

# Between looks at the database: other processes store messages too, and leases and intervals end.
POLL_SECONDS = 1.0
POSTGRESQL_POLL_SECONDS = 0.03  # of a worker process, which is not woken by what the site stores
REST_SECONDS = 0.1  # after a turn: in a flood one look at the database serves many wake-ups
UNSTRAND_EVERY = 60.0  # seconds
NOTIFY_EVERY = 1.0  # seconds, while there is always something to send


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
    ) -> None:
        self._notifies = notifies
        self._stop = stop
        self._wake = wake
        self._worker = Worker(stop, connections=connections)
        self._poll_seconds = poll_seconds
        self._unstranded_at = -UNSTRAND_EVERY
        self._has_begun = False

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
                self._wake.wait(self._poll_seconds)
        self._worker.close()
        connection.close()

    def turn(self) -> bool:
        """Notify of events, send what is due. True if there was something to do."""
        busy = self._notifies and notify_due() > 0
        if not self._has_begun:
            breaker.notice_configuration()
            self._has_begun = True
        if time.monotonic() - self._unstranded_at >= UNSTRAND_EVERY:
            claims.unstrand()
            self._unstranded_at = time.monotonic()
        if Message.objects.due().exists():
            # Events come about while messages are sent, too: a queue that never ends must not keep them waiting.
            busy |= self._worker.drain(NOTIFY_EVERY if self._notifies else math.inf)
        else:
            self._worker.rest()
        return busy


def watch(*, connections: int, stop: threading.Event) -> None:
    """Deliver over so many connections until `stop` is set."""
    poll_seconds = POSTGRESQL_POLL_SECONDS if connection.vendor == "postgresql" else POLL_SECONDS
    for thread in start_threads(stop, [threading.Event() for _ in range(connections)], poll_seconds):
        thread.join()


def start_threads(
    stop: threading.Event, wakes: Sequence[threading.Event], poll_seconds: float = POLL_SECONDS
) -> list[threading.Thread]:
    """A thread per connection to the relay, each with its own wake-up; the first one also notifies of events.

    Where the machine has no room for all of them, fewer. Raises RuntimeError for none.
    """

    def deliver(number: int) -> None:
        # Made in the thread: it looks up this machine's name, and whoever starts the threads may be serving a visitor.
        Loop(
            notifies=number == 0, stop=stop, wake=wakes[number], connections=len(wakes), poll_seconds=poll_seconds
        ).run()

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


class Dispatcher:
    """Delivery inside this process: a thread per connection, started by the first wake-up or request.

    The threads are not daemons: Python waits for them when the process ends, so the message in hand is finished, and
    a command that stored a mail (`manage.py shell`, say) gets one chance to deliver it before it ends.
    """

    def __init__(self, *, serving: bool = False) -> None:
        self._serving = serving
        self._is_disabled = False
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._stop = Leaving(grace=0)
        # One for each thread: one that they shared would be cleared by whichever of them sees it first.
        self._wakes: list[threading.Event] = []

    def serve(self) -> None:
        """This process serves the site: deliver from the first request on, and at once in processes forked from it."""
        self._serving = True
        request_started.connect(self._on_request, dispatch_uid="notify.dispatch")

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
            if any(thread.is_alive() for thread in self._threads):
                return
            self._stop = Leaving(grace=0 if self._serving else settings.MAIL_TIMEOUT)
            self._wakes = [threading.Event() for _ in range(settings.NOTIFY_CONNECTIONS)]
            self._threads = start_threads(self._stop, self._wakes)

    def stop(self) -> None:
        """Finish the message in hand and end the threads."""
        self._stop.set()
        self._set_wakes()
        for thread in self._threads:
            thread.join(settings.MAIL_TIMEOUT)
        self._threads = []

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

    def _on_request(self, **kwargs: Any) -> None:
        try:
            self.start()
        except RuntimeError as error:  # no more threads: the page is served all the same
            logger.warning("delivery could not be started: %s", error)


_dispatcher = Dispatcher()
os.register_at_fork(after_in_child=_dispatcher.restart_in_child)


def serve() -> None:
    """Called at a server's entry (wsgi, asgi): this process delivers if NOTIFY_DISPATCH is `thread`."""
    if settings.NOTIFY_DISPATCH == "thread":
        _dispatcher.serve()


def disable() -> None:
    """Called by commands that deliver: they need no waking."""
    _dispatcher.disable()


def wake() -> None:
    """Called after a commit that stored a message or an event."""
    try:
        if settings.NOTIFY_DISPATCH == "thread":
            _dispatcher.wake()
        elif settings.NOTIFY_DISPATCH == "celery":
            _send_task()
    except Exception as error:  # noqa: BLE001
        # No more threads, a wrong setting: if raised, it would become an error report, which wakes again.
        logger.warning("the worker could not be woken (%s); the message stays in the outbox", error)


def _send_task() -> None:
    """Wake a Celery worker. A broker that is unavailable is logged: beat finds the row later."""
    app = import_string(settings.NOTIFY_CELERY_APP)
    try:
        app.send_task("notify.tasks.deliver", ignore_result=True, retry=False)
    except Exception as error:  # noqa: BLE001  (kombu's brokers each raise their own)
        logger.warning("the broker did not accept the wake-up (%s); the message stays in the outbox", error)
