"""Delivery in the web process: its threads, and their part in signals, forks, Django's autoreloader and exit."""

import _thread
import enum
import functools
import os
import signal
import threading
import time
from typing import Any

from notify import conf
from notify.delivery import claims
from notify.delivery.worker import LAST_WORD_SECONDS
from notify.dispatch.loop import start_threads
from notify.dispatch.worker_process import WorkerProcess

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)  # that end a process


class Role(enum.Enum):
    """What this process does, as far as it is known."""

    COMMAND = "stores mails and ends: they get one chance"
    SERVER = "serves the site, and so do the processes forked from it"
    RELOADED = "serves the site under Django's autoreloader: a process beside it delivers"
    WORKER = "delivers by other means: what it stores needs no waking"


class End(enum.Enum):
    """What has happened since a signal was to end the process."""

    NOT_YET = "none was received"
    STOPPING = "the current message is finished"
    STOPPED = "signals take effect"


class StopAtExit(threading.Event):
    """Set by `set()`, or `grace` seconds after the main thread has ended."""

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

    The threads are not daemons: Python waits for them when the process ends, so the current message is finished, and
    a command that stored a mail (`manage.py shell`, say) gets one chance to deliver it before it ends.

    Under Django's autoreloader, which kills the process that serves, delivery has a process beside it.
    """

    def __init__(self, role: Role = Role.COMMAND) -> None:
        self._role = role
        self._end = End.NOT_YET
        self._process: WorkerProcess | None = None
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._others: list[threading.Thread] = []
        self._stop = StopAtExit(grace=0)
        # One for each thread: one that they shared would be cleared by whichever of them sees it first.
        self._wakes: list[threading.Event] = []

    def serve(self) -> None:
        """This process serves the site; a process forked from it delivers at once."""
        if self._role is not Role.RELOADED:
            self._role = Role.SERVER

    def end_before_signals(self) -> None:
        """Let signals that end the process take effect only when the current message is recorded.

        Not every server ends in a way that lets Python wait for its threads: `runserver --noreload` has no handler,
        uvicorn raises the signal again when it is done, with the handler it found (uvicorn#1600), and Ctrl-C sends
        gunicorn's workers SIGINT and SIGQUIT. Elsewhere than in the main thread this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            handler = signal.getsignal(number)
            is_held_back = isinstance(handler, functools.partial) and handler.func == self._on_signal
            # Ctrl-C where no server handles it is Python's: asyncio.run() relies on that, and it waits for threads.
            is_servers = callable(handler) and handler is not signal.default_int_handler
            if not is_held_back and (is_servers or (number == signal.SIGTERM and handler is signal.SIG_DFL)):
                signal.signal(number, functools.partial(self._on_signal, handler))

    def move_out(self) -> None:
        """Django's autoreloader runs here. Its parent process kills this one with SIGKILL when it is itself ended."""
        self._role = Role.RELOADED
        self.stop()  # what a request started before this was known

    def disable(self) -> None:
        """A command delivers by other means: what it stores itself starts no threads."""
        if self._role is Role.COMMAND:  # not a server that calls the command
            self._role = Role.WORKER

    def wake(self) -> None:
        """Something was committed."""
        for wake in self._wakes:
            wake.set()
        if self._process:
            self._process.wake()
        self.start()

    def start(self) -> None:
        """Start delivery, unless it runs. Raises RuntimeError or OSError where there is no room for it."""
        with self._lock:
            if self._role is Role.WORKER or self._end is not End.NOT_YET:
                return
            if self._role is Role.RELOADED:
                if self._process is None or self._process.needs_restart():
                    self._process = WorkerProcess()
            elif not any(thread.is_alive() for thread in self._threads):
                self.end_before_signals()  # again: a server may have set its handlers since Django was ready
                self._stop = StopAtExit(grace=0 if self._role is Role.SERVER else conf.MAIL_TIMEOUT)
                self._wakes = [threading.Event() for _ in range(conf.NOTIFY_CONNECTIONS)]
                self._threads = start_threads(self._stop, self._wakes)

    def stop(self) -> None:
        """Finish the current message and end the threads. Returns when they have ended."""
        with self._lock:
            threads, wakes = self._threads, self._wakes
        self._stop.set()
        for wake in wakes:
            wake.set()
        # An attempt ends by its deadline; a transport that knows none must not keep the process for ever.
        until = time.monotonic() + claims.attempt_seconds() + LAST_WORD_SECONDS
        for thread in [*threads, *self._others]:
            thread.join(max(until - time.monotonic(), 0))
        self._threads = []

    def finish_with(self, thread: threading.Thread) -> None:
        """Let `stop`, and so a signal that ends the process, also wait for this thread, which has been started."""
        self._others = [*(other for other in self._others if other.is_alive()), thread]

    def finish(self) -> None:
        """At exit: a second signal may have interrupted Python while it waited for the threads."""
        if self._process:
            self._process.stop()
        if any(thread.is_alive() for thread in [*self._threads, *self._others]):
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            self.stop()

    def restart_in_child(self) -> None:
        """After a fork: the parent's threads are not here. A server's child delivers as its parent does."""
        self.__init__(self._role)  # type: ignore[misc]  # the parent's locks and events may be held
        if self._role is Role.SERVER:
            self.start()

    def _on_signal(self, handler: Any, number: int, frame: Any) -> None:
        """The first one ends delivery, in a thread; that then sends the second, which is passed on."""
        if self._end is End.NOT_YET:
            self._end = End.STOPPING
            try:
                # Here, the interrupted code may hold any lock; also those of `threading`.
                _thread.start_new_thread(self._end_and_repeat, (number,))
            except RuntimeError:  # no more threads
                self._end = End.STOPPED
        if self._end is End.STOPPING:
            return
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)

    def _end_and_repeat(self, number: int) -> None:
        try:
            self.stop()
        finally:  # the process ends also if its settings do not say how long an attempt may take
            self._end = End.STOPPED
            os.kill(os.getpid(), number)
