"""Who runs delivery, and waking it: a thread of the web process, a worker process, or Celery.

The row in the outbox is the truth; a wake-up may be lost or come twice.
"""

import logging
import os
import threading
import time

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.utils.module_loading import import_string

from notify import breaker, claims
from notify.delivery import DATABASE_BACKOFF, Worker
from notify.digest import Sweep
from notify.models import Message

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # other processes store messages too, and leases and intervals end


class Loop:
    """Delivers whatever comes due until it is stopped: the workers' loop, wherever it runs."""

    def __init__(self, *, sweeps: bool, stop: threading.Event, wake: threading.Event, connections: int = 1) -> None:
        self._sweep = Sweep() if sweeps else None
        self._stop = stop
        self._wake = wake
        self._worker = Worker(stop, connections=connections)
        self._begun = False

    def run(self) -> None:
        """Return once `stop` is set and the message in hand is settled. A database that is away is waited for."""
        tries = 0
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self.turn()
                tries = 0
            except (DatabaseError, InterfaceError) as error:
                logger.error("delivery waits for the database: %s", error)
                connection.close()
                self._stop.wait(DATABASE_BACKOFF[min(tries, len(DATABASE_BACKOFF) - 1)])
                tries += 1
            except Exception:
                logger.exception("delivery stumbled and goes on")
                connection.close()
            if not threading.main_thread().is_alive() and not self._wake.is_set():
                break  # a command that is over, and all it stored had its chance
            self._wake.wait(POLL_SECONDS)
        self._worker.close()
        connection.close()

    def turn(self) -> None:
        """Tell what is to be told, send what is due."""
        if self._sweep:
            self._sweep.run()
        if not self._begun:
            breaker.notice_configuration()
            self._begun = True
        claims.pull_in()
        if Message.objects.due().exists():
            self._worker.drain()
        else:
            self._worker.rest()


def watch(*, connections: int, stop: threading.Event) -> None:
    """Deliver over so many connections until `stop` is set."""
    wake = threading.Event()
    loops = [Loop(sweeps=number == 0, stop=stop, wake=wake, connections=connections) for number in range(connections)]
    threads = [threading.Thread(target=loop.run, name=f"deliver-{number}") for number, loop in enumerate(loops)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


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
    """Delivery inside this process: a thread per connection, started when first needed, and again after every fork.

    The threads are no daemons: Python waits for them when the process ends, so the message in hand is finished, and
    a command that stored a mail (`manage.py shell`, say) gives it one chance before it goes.
    """

    def __init__(self, *, serving: bool = False) -> None:
        self._serving = serving
        self._standing_aside = False
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._stop = Leaving(grace=0)
        self._wake = threading.Event()
        self._has_begun = self._is_interrupted = False

    def serve(self) -> None:
        """This process serves the site: deliver from now on, and in every process forked from it."""
        self._serving = True
        self.start()

    def stand_aside(self) -> None:
        """The process delivers by other means (a command): what it stores itself starts no threads."""
        self._standing_aside = True

    def wake(self) -> None:
        """Something was committed."""
        if not self._standing_aside:
            self._wake.set()
            self.start()

    def start(self) -> None:
        with self._lock:
            if any(thread.is_alive() for thread in self._threads):
                return
            self._stop = Leaving(grace=0 if self._serving else settings.MAIL_TIMEOUT)
            self._threads = [
                threading.Thread(target=self._run, args=[number], name=f"deliver-{number}")
                for number in range(settings.NOTIFY_CONNECTIONS)
            ]
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """Finish the message in hand and end the threads."""
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(settings.MAIL_TIMEOUT)
        self._threads = []

    def step_aside(self) -> None:
        """Before a fork: nothing of ours may be open, nor in hand."""
        self._is_interrupted = self._has_begun and any(thread.is_alive() for thread in self._threads)
        self.stop()

    def go_on(self) -> None:
        """After a fork, in the parent. Where delivery had not begun, the process only forks those that serve."""
        if self._is_interrupted:
            self.start()

    def renew(self) -> None:
        """In a forked child: the parent's threads are not here. A server's child delivers as its parent did."""
        self.__init__(serving=self._serving)  # type: ignore[misc]  # locks and events of the parent may be held
        if self._serving:
            self.start()

    def _run(self, number: int) -> None:
        if self._serving:
            # A server that forks does so now: nothing of ours may be open then.
            self._wake.wait(POLL_SECONDS)
        self._has_begun |= not self._stop.is_set()
        Loop(sweeps=number == 0, stop=self._stop, wake=self._wake, connections=settings.NOTIFY_CONNECTIONS).run()


_dispatcher = Dispatcher()
os.register_at_fork(before=_dispatcher.step_aside, after_in_parent=_dispatcher.go_on, after_in_child=_dispatcher.renew)


def serve() -> None:
    """Called where a server comes in (wsgi, asgi): this process delivers, if the setting says so."""
    if settings.NOTIFY_DISPATCH == "thread":
        _dispatcher.serve()


def stand_aside() -> None:
    """Called by commands that deliver: they need no waking."""
    _dispatcher.stand_aside()


def wake() -> None:
    """Called after the commit that stored a message."""
    if settings.NOTIFY_DISPATCH == "thread":
        _dispatcher.wake()
    elif settings.NOTIFY_DISPATCH == "celery":
        _send_task()


def _send_task() -> None:
    """Wake a Celery worker. A broker that is away is logged: beat finds the row later."""
    app = import_string(settings.NOTIFY_CELERY_APP)
    try:
        app.send_task("notify.tasks.deliver", ignore_result=True, retry=False)
    except Exception as error:  # noqa: BLE001  (kombu's brokers each raise their own)
        logger.warning("the broker took no wake-up (%s); the message waits in the outbox", error)
