"""The worker's loop, and the threads it runs in: notifies of events, delivers what is due, looks whether mail works."""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django.db.models.sql import compiler as _compiler  # noqa: F401  (now: a fork may come while a thread imports it)

from notify.delivery import breaker, claims
from notify.delivery.counts import Successes
from notify.delivery.session import CLOSE_AFTER
from notify.delivery.worker import DATABASE_BACKOFF, Worker
from notify.dispatch.listener import Listener
from notify.events.digest import notify_due
from notify.models import Message

logger = logging.getLogger(__name__)

# Between looks at the database: other processes store messages too, and leases and intervals end.
POLL_SECONDS = 1.0
POSTGRESQL_POLL_SECONDS = 0.03  # of a worker process whose session hears no wake-ups
REST_SECONDS = 0.03  # after a turn: in a flood one look at the database serves many wake-ups
NOTIFY_EVERY = 1.0  # seconds, while there is always something to send
LOOK_EVERY = 5.0  # seconds from one look at whether mail works to the next


class Loop:
    """The worker's loop, in whichever process: notifies of events and delivers what is due until it is stopped."""

    def __init__(
        self,
        *,
        notifies: bool,
        stop: threading.Event,
        wake: threading.Event,
        connections: int = 1,
        listener: Listener | None = None,
        successes: Successes | None = None,
        backlog: Callable[[], None] | None = None,
    ) -> None:
        self._notifies = notifies
        self._stop = stop
        self._wake = wake
        self._make_worker = partial(Worker, stop, connections=connections, successes=successes, backlog=backlog)
        self._worker: Worker | None = None
        self._listener = listener
        self._looked_after_at = -math.inf

    def run(self) -> None:
        """Return once `stop` is set and the current message is recorded. Waits for a database that is unavailable."""
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
                _release_to_pool()
                self._stop.wait(REST_SECONDS)
                is_deaf = self._listener is not None and not self._listener.hears
                self._wake.wait(POSTGRESQL_POLL_SECONDS if is_deaf else POLL_SECONDS)
        self.close()

    def work(self, until: float) -> bool:
        """Take turns until there is nothing to do, `stop` is set, or the monotonic clock reads `until`.

        True if there is more to do. A database that is unavailable is logged.
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
        """Close the connections to relay and database."""
        if self._worker:
            self._worker.close()
        connection.close()

    def turn(self, until: float = math.inf) -> bool:
        """Notify of events, send what is due, at most until that time. True if there was something to do."""
        busy = self._notifies and notify_due() > 0
        # Here, in the loop's own thread: it looks up this machine's name, and fails for a setting that is wrong.
        worker = self._worker = self._worker or self._make_worker()
        if time.monotonic() - self._looked_after_at >= breaker.SEEN_EVERY:
            breaker.notice_configuration(starting=math.isinf(self._looked_after_at))
            claims.unstrand()
            self._looked_after_at = time.monotonic()
        if Message.objects.due().exists():
            # Events also happen while messages are sent: a queue that is never empty must not delay them.
            busy |= worker.drain(NOTIFY_EVERY if self._notifies else math.inf, until=until)
        else:
            worker.rest()
        return busy


class Crew:
    """Loops that are kept between the tasks of Celery: a thread each, with its connections to relay and database.

    Where no task came for a while they close the connections. Used by one thread.
    """

    def __init__(self, *, connections: int, stop: threading.Event, backlog: Callable[[], None]) -> None:
        shared: dict[str, Any] = {"connections": connections, "successes": Successes(), "backlog": backlog}
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix=f"deliver-{number}") for number in range(connections)]
        self._loops = [
            Loop(notifies=number == 0, stop=stop, wake=threading.Event(), **shared) for number in range(connections)
        ]
        self._rest = threading.Timer(CLOSE_AFTER, self._close_connections)

    def work(self, seconds: float) -> bool:
        """Notify of events and deliver, for about so long at most. True if there is more to do."""
        self._rest.cancel()
        until = time.monotonic() + seconds
        each = [thread.submit(loop.work, until) for thread, loop in zip(self._threads, self._loops, strict=True)]
        try:
            return any([done.result() for done in each])
        finally:
            self._rest = threading.Timer(CLOSE_AFTER, self._close_connections)
            self._rest.daemon = True
            self._rest.start()

    def close(self) -> None:
        """End the threads and their connections."""
        self._rest.cancel()
        self._close_connections()
        for thread in self._threads:
            thread.shutdown()

    def _close_connections(self) -> None:
        for thread, loop in zip(self._threads, self._loops, strict=True):
            thread.submit(loop.close)


class Lookout:
    """Checks every few seconds whether mail works, in a thread: a slow check delays no mail, nor a mail a check.

    Ends with the main thread, at the latest: a command that stored a mail does not wait for the next check.
    """

    def __init__(self) -> None:
        self.look: Callable[[], None] | None = None  # raises DatabaseError
        self._looked_at = -LOOK_EVERY

    @property
    def is_due(self) -> bool:
        """Whether there is something to check, and this process has not done so within LOOK_EVERY seconds."""
        return self.look is not None and time.monotonic() - self._looked_at >= LOOK_EVERY

    def once(self) -> None:
        """Look, if it is due. A failure is logged."""
        if not self.look or not self.is_due:
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

    def beside(self, work: Callable[[], object]) -> None:
        """Look, if it is due, in a thread; `work` is called every second until that ends."""
        if not self.is_due:
            return

        def look() -> None:
            self.once()
            connection.close()  # this thread's own

        thread = threading.Thread(target=look, name="lookout", daemon=False)
        thread.start()
        thread.join(POLL_SECONDS)
        while thread.is_alive():
            work()
            thread.join(POLL_SECONDS)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set() and threading.main_thread().is_alive():
            self.once()
            _release_to_pool()
            stop.wait(0.5)
        connection.close()


def _release_to_pool() -> None:
    """Close the database connection where it belongs to Django's pool: requests wait for it while this thread waits."""
    if connection.settings_dict["OPTIONS"].get("pool"):  # not connection.pool, which raises where it is set up wrongly
        connection.close()


lookout = Lookout()


def watch(*, connections: int, stop: threading.Event, wake_ups: Iterable[bytes] | None = None) -> None:
    """Deliver over so many connections until `stop` is set, or `wake_ups`, if given, ends; each item wakes it."""
    wakes = [threading.Event() for _ in range(connections)]
    listener = Listener(stop=stop, wakes=wakes) if connection.vendor == "postgresql" else None
    threads = start_threads(stop, wakes, listener)

    def listen(wake_ups: Iterable[bytes]) -> None:
        for _ in wake_ups:
            for wake in wakes:
                wake.set()
        stop.set()

    if wake_ups is not None:
        threading.Thread(target=listen, args=[wake_ups], name="wake-ups", daemon=True).start()
    for thread in threads:
        thread.join()


def start_threads(
    stop: threading.Event, wakes: Sequence[threading.Event], listener: Listener | None = None
) -> list[threading.Thread]:
    """A thread per connection to the relay, each with its own wake-up; the first one also notifies of events.

    With alerts or a heartbeat, one more that looks whether mail works.
    Where the machine has no room for all of them, fewer. Raises RuntimeError for none.
    """

    shared: dict[str, Any] = {"connections": len(wakes), "listener": listener, "successes": Successes()}
    threads: list[threading.Thread] = []
    for number, wake in enumerate(wakes):
        loop = Loop(notifies=number == 0, stop=stop, wake=wake, **shared)
        thread = threading.Thread(target=loop.run, name=f"deliver-{number}", daemon=False)
        try:
            thread.start()
        except RuntimeError as error:
            if not threads:
                raise
            logger.warning("delivery has %d threads instead of %d: %s", len(threads), len(wakes), error)
            break
        threads.append(thread)
    if lookout.look:
        thread = threading.Thread(target=lookout.run, args=[stop], name="lookout", daemon=False)
        with contextlib.suppress(RuntimeError):  # no room for it: others look
            thread.start()
            threads.append(thread)
    return threads
