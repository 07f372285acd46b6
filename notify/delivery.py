"""Claims due messages, sends each, and settles each right after the relay's answer. Never a transaction across SMTP."""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, connection

from notify import breaker, claims, counts, retry
from notify.claims import Claimed
from notify.session import Session
from notify.setback import Setback, judge

logger = logging.getLogger(__name__)

BATCH = 100  # messages claimed in one statement, of all connections together
SMALLEST_BATCH = 20
BATCH_BYTES = 8 * 1024 * 1024  # of all connections together: a batch's bodies are what a worker's memory holds
NOTE_SUCCESS_EVERY = 1.0  # seconds
DATABASE_BACKOFF = (0.1, 0.5, 1, 2, 5, 10)  # seconds between tries of a database that does not answer
LAST_WORD_SECONDS = 30  # how long a stopping worker goes on trying to write an outcome down

Progress = Callable[[], None]  # called after every message that was tried


@dataclass
class Tally:
    """What became of the messages that were tried."""

    sent: int = 0
    retry: int = 0
    failed: int = 0

    def add(self, other: "Tally") -> None:
        self.sent += other.sent
        self.retry += other.retry
        self.failed += other.failed


class Worker:
    """One connection to the relay and one to the database. Used by one thread."""

    def __init__(self, stop: threading.Event, progress: Progress | None = None, *, connections: int = 1) -> None:
        self.tally = Tally()
        self._batch = max(BATCH // connections, SMALLEST_BATCH)
        self._batch_bytes = BATCH_BYTES // connections
        self._noted_at = -NOTE_SUCCESS_EVERY
        self._stop = stop
        self._progress = progress
        self._session = Session()
        self._attempt_seconds = settings.MAIL_TIMEOUT
        self._successes = counts.Successes()
        self._tuned: object = None

    def drain(self) -> None:
        """Send until nothing is due, the relay is unusable, or `stop` is set. Raises DatabaseError."""
        self._relax_durability()
        while not self._stop.is_set() and self._send_some():
            pass
        self._successes.write()

    def rest(self) -> None:
        self._session.rest()

    def close(self) -> None:
        self._session.close()

    def _send_some(self) -> bool:
        """Claim a batch and send it, and what comes due meanwhile; False when there is none, or none may be sent."""
        permit = breaker.admit()
        if permit is None:
            return False
        batch = deque(claims.claim(1 if permit.probe else self._batch, size=self._batch_bytes))
        return bool(batch) and self._send_batch(batch, permit)

    def _send_batch(self, batch: deque[Claimed], permit: breaker.Permit) -> bool:
        """Send a claimed batch and empty it; False when the relay turned out unusable. The rest is given back."""
        usable, perhaps_more = True, len(batch) > 1
        try:
            while batch and usable and not self._stop.is_set():
                if perhaps_more and len(batch) == 1:
                    perhaps_more = self._top_up(batch)
                if time.monotonic() + self._attempt_seconds > batch[0].held_until:
                    break  # the next attempt might outlive the lease: give back, and claim anew
                message = batch.popleft()
                usable = self._send_one(message, permit, following=batch[0] if batch else None)
                if self._progress:
                    self._progress()
        except (DatabaseError, InterfaceError):
            with contextlib.suppress(DatabaseError, InterfaceError):
                claims.release(batch)
            raise
        claims.release(batch)
        return usable

    def _top_up(self, batch: deque[Claimed]) -> bool:
        """Claim more while the last one is in hand, whose body takes the next envelope along; False where none is."""
        if not breaker.is_open():
            return False
        more = claims.claim(self._batch, size=self._batch_bytes)
        batch.extend(more)
        return bool(more)

    def _send_one(self, message: Claimed, permit: breaker.Permit, *, following: Claimed | None) -> bool:
        """Send and settle one message; False when it is the relay that failed."""
        started = time.monotonic()
        try:
            reply = self._session.send(message, following=following)
        except Exception as error:  # noqa: BLE001  (a poison message may raise anything, and must not stop the queue)
            seconds = time.monotonic() - started
            return self._settle_failure(judge(message, error, seconds, permit), permit)
        ended = time.monotonic()
        self._insist(lambda: claims.mark_sent(message, reply=reply), message)
        self.tally.sent += 1
        self._successes.note(ended - started)
        if permit.probe or ended - self._noted_at >= NOTE_SUCCESS_EVERY:
            self._report_success(permit)
            self._noted_at = ended
        return True

    def _report_success(self, permit: breaker.Permit) -> None:
        """A probe's success opens the relay; any other is worth a note now and then, and no reason to stop sending."""
        try:
            breaker.report_success(permit)
        except (DatabaseError, InterfaceError):
            if permit.probe:
                raise

    def _settle_failure(self, setback: Setback, permit: breaker.Permit) -> bool:
        message, failure, decision = setback.message, setback.failure, setback.decision
        self._insist(lambda: setback.write(permit), message)
        logger.info("message %s: %s in phase %s: %s", message.id, decision.kind.value, failure.phase, failure.words)
        if setback.relay_answered:
            breaker.report_answer(permit)
        if decision.kind is retry.Kind.FAIL:
            self.tally.failed += 1
        else:
            self.tally.retry += 1
        return not decision.blames_relay

    def _insist(self, settle: Callable[[], bool], message: Claimed) -> None:
        """Write an outcome down before anything else is sent, however long the database is away."""
        deadline, tries = None, 0
        while True:
            try:
                if not settle():
                    logger.warning("message %s was no longer ours when its outcome was known", message.id)
                return
            except (OperationalError, InterfaceError, InternalError) as error:  # the last: it may only be read
                if self._stop.is_set():
                    deadline = deadline or time.monotonic() + LAST_WORD_SECONDS
                    if time.monotonic() > deadline:
                        logger.critical("the outcome of message %s could not be written down: %s", message.id, error)
                        raise
                logger.error("the database does not take an outcome, sending waits: %s", error)
                connection.close()
                time.sleep(DATABASE_BACKOFF[min(tries, len(DATABASE_BACKOFF) - 1)])
                tries += 1

    def _relax_durability(self) -> None:
        """Let settles on SQLite return before they are on the disk; on PostgreSQL each says so itself.

        A "sent" that a power cut takes back is a duplicate with the same Message-ID, never a loss.
        """
        connection.ensure_connection()
        if connection.vendor == "sqlite" and self._tuned is not connection.connection:
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA synchronous=NORMAL")
            self._tuned = connection.connection


def deliver_due(
    *, connections: int = 1, stop: threading.Event | None = None, progress: Progress | None = None
) -> Tally:
    """Deliver what is due over so many connections and end. Raises DatabaseError where the database fails."""
    stop = stop or threading.Event()
    breaker.notice_configuration()
    claims.pull_in()
    workers = [Worker(stop, progress, connections=connections) for _ in range(connections)]
    errors: list[DatabaseError] = []

    def run(worker: Worker) -> None:
        try:
            worker.drain()
        except DatabaseError as error:
            errors.append(error)
        finally:
            worker.close()
            connection.close()  # this thread's own

    threads = [threading.Thread(target=run, args=[worker], name="deliver") for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    total = Tally()
    for worker in workers:
        total.add(worker.tally)
    return total
