"""Claims due messages, sends each, and records each right after the relay's reply.

No transaction is open during SMTP I/O.
"""

import contextlib
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from django.db import DatabaseError, DataError, InterfaceError, InternalError, OperationalError, connection

from notify.delivery import attributes, breaker, claims, counts, outcome
from notify.delivery.claims import Claimed
from notify.delivery.outcome import Result
from notify.delivery.session import Session
from notify.models import Outcome

logger = logging.getLogger(__name__)

BATCH = 100  # messages claimed in one statement, of all connections together
SMALLEST_BATCH = 20
BATCH_BYTES = 8 * 1024 * 1024  # of all connections together: a batch's bodies are what a worker's memory holds
BACKLOG_EVERY = 1.0  # seconds
DATABASE_BACKOFF = (0.1, 0.5, 1, 2, 5, 10)  # seconds between attempts to reach a database that does not answer
LAST_WORD_SECONDS = 30  # how long a stopping worker keeps trying to record an outcome

Progress = Callable[[], None]  # called after each attempt


@dataclass
class Tally:
    """How many messages were sent, will be retried, and failed for good."""

    sent: int = 0
    retry: int = 0
    failed: int = 0


class Worker:
    """One connection to the relay and one to the database. Used by one thread."""

    def __init__(
        self,
        stop: threading.Event,
        progress: Progress | None = None,
        *,
        connections: int = 1,
        successes: counts.Successes | None = None,
        backlog: Callable[[], None] | None = None,
    ) -> None:
        """`successes`: shared by the threads of a process.

        `backlog`: called when more is due than this worker claims at once, every second at most.
        """
        self.tally = Tally()
        self._batch = max(BATCH // connections, SMALLEST_BATCH)
        self._batch_bytes = BATCH_BYTES // connections
        self._stop = stop
        self._progress = progress
        self._session = Session()
        self._attempt_seconds = claims.attempt_seconds()
        self._successes = successes or counts.Successes()
        self._backlog = backlog
        self._backlog_at = -math.inf

    def drain(self, seconds: float = math.inf, *, until: float = math.inf) -> bool:
        """Send until nothing is due, the relay is unusable, `stop` is set, or so much time has passed.

        The batch in hand is sent after so many seconds, and given back at `until` (of the monotonic clock). True if
        time ended it: more may be due. Raises DatabaseError.
        """
        goes_on, last_batch_at = True, min(time.monotonic() + seconds, until)
        with _relaxed_durability():
            while goes_on and not self._stop.is_set():
                goes_on = self._send_batch(until)
                if time.monotonic() >= last_batch_at:
                    break
        return goes_on and not self._stop.is_set()

    def rest(self) -> None:
        """Called while there is nothing to send."""
        self._session.rest()
        self._successes.write_if_due()

    def close(self) -> None:
        self._session.close()
        with contextlib.suppress(DatabaseError, InterfaceError):
            self._successes.write()

    def _send_batch(self, until: float) -> bool:
        """Claim a batch and send it; False if nothing is due or the relay is unusable. What is not sent is released."""
        permit = breaker.admit()
        if permit is None:
            return False
        batch = deque(self._apart(claims.claim(1 if permit.probe else self._batch, size=self._batch_bytes)))
        if not batch:
            return False
        if self._backlog and len(batch) == self._batch and time.monotonic() - self._backlog_at >= BACKLOG_EVERY:
            self._backlog_at = time.monotonic()
            self._backlog()
        usable = ours = True
        try:
            # A lost claim means that the leases have ended, as by a clock that jumped: others send the rest.
            while batch and usable and ours and not self._stop.is_set() and time.monotonic() < until:
                if time.monotonic() + self._attempt_seconds > batch[0].held_until:
                    break  # the next attempt might outlive the lease: release, and claim again
                message = batch.popleft()
                usable, ours = self._send_one(message, permit, following=batch[0] if batch else None)
                if self._progress:
                    self._progress()
        except Exception:  # a mistake, too, must not keep the others waiting until their lease ends
            with contextlib.suppress(DatabaseError, InterfaceError):
                claims.release(batch)
            raise
        claims.release(batch)
        return usable

    def _apart(self, batch: list[Claimed]) -> Iterator[Claimed]:
        """The batch, in which whole messages that another transport was to get are shared out among rows."""
        for message in batch:
            recipients: list[str] = []
            with contextlib.suppress(Exception):  # one that cannot be read fails in its own turn
                recipients = attributes.whole_message(message.attributes, message.recipient)
            if len(recipients) < 2 or not self._session.takes_envelope:
                yield message
            elif shared := claims.share_out(message, recipients):
                yield shared

    def _send_one(self, message: Claimed, permit: breaker.Permit, *, following: Claimed | None) -> tuple[bool, bool]:
        """Send one message and record the outcome. Whether the relay is usable, and whether the claim held."""
        started = time.monotonic()
        try:
            reply = self._session.send(message, following=following)
        except Exception as error:  # noqa: BLE001  (a poison message may raise anything, and must not stop the queue)
            result = outcome.failure(message, error, time.monotonic() - started, permit)
        else:
            result = outcome.success(message, reply, time.monotonic() - started, self._session.refused)
        ours = self._record(result, permit)
        if result.failure is None:
            self.tally.sent += 1
            self.tally.failed += len(result.refused)
            if self._successes.note(result.seconds) or permit.probe:
                self._report_success(permit)
        else:
            said = (message.id, result.decision.outcome.value, result.failure.phase, result.reply)
            logger.info("message %s: %s in phase %s: %s", *said)
            self.tally.failed += result.decision.outcome is Outcome.FAIL
            self.tally.retry += result.decision.outcome is not Outcome.FAIL
            if result.relay_answered:
                breaker.report_answer(permit)
        return not result.blames_relay, ours

    def _report_success(self, permit: breaker.Permit) -> None:
        """A probe's reopens the relay. Any other is noted now and then, and need not be."""
        try:
            breaker.report_success(permit)
        except (DatabaseError, InterfaceError):
            if permit.probe:
                raise

    def _record(self, result: Result, permit: breaker.Permit) -> bool:
        """Record an outcome before anything else is sent, however long the database is away.

        False if the claim was lost.
        """
        deadline = None
        message = result.message
        pauses = itertools.chain(DATABASE_BACKOFF, itertools.repeat(DATABASE_BACKOFF[-1]))
        while True:
            try:
                if not (ours := result.record(permit)):
                    logger.warning("the claim of message %s was lost before its outcome was recorded", message.id)
                return ours
            except DataError:
                if result == (plain := result.in_ascii()):
                    raise
                result = plain
            except (OperationalError, InterfaceError, InternalError) as error:  # the last: it may be read-only
                if self._stop.is_set():
                    deadline = deadline or time.monotonic() + LAST_WORD_SECONDS
                    if time.monotonic() > deadline:
                        logger.critical("the outcome of message %s could not be recorded: %s", message.id, error)
                        raise
                logger.error("an outcome cannot be recorded, sending is suspended: %s", error)
                connection.close()
                time.sleep(next(pauses))


@contextlib.contextmanager
def _relaxed_durability() -> Iterator[None]:
    """Let outcomes on SQLite be recorded before they are on the disk; on PostgreSQL the statements say so themselves.

    A "sent" that a power cut takes back is a duplicate with the same Message-ID, never a loss.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    _set_synchronous("NORMAL")
    try:
        yield
    finally:
        with contextlib.suppress(DatabaseError, InterfaceError):
            _set_synchronous("FULL")


def _set_synchronous(level: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA synchronous={level}")


def deliver_due(
    *, connections: int = 1, stop: threading.Event | None = None, progress: Progress | None = None
) -> Tally:
    """Deliver what is due over so many connections, then end. Raises what ended one of them, mostly DatabaseError."""
    stop = stop or threading.Event()
    breaker.notice_configuration()
    claims.unstrand()
    successes = counts.Successes()
    workers = [Worker(stop, progress, connections=connections, successes=successes) for _ in range(connections)]

    def run(worker: Worker) -> Tally:
        try:
            worker.drain()
        finally:
            worker.close()
            connection.close()  # this thread's own
        return worker.tally

    with ThreadPoolExecutor(connections, thread_name_prefix="deliver") as threads:
        tallies = [done.result() for done in [threads.submit(run, worker) for worker in workers]]
    return Tally(
        sent=sum(tally.sent for tally in tallies),
        retry=sum(tally.retry for tally in tallies),
        failed=sum(tally.failed for tally in tallies),
    )
