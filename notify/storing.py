"""Stores rows where the caller's transaction cannot: in an event loop, and for reports that outlive a rollback."""

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import InterfaceError, OperationalError, connection

from notify import dispatch

logger = logging.getLogger(__name__)

Write = Callable[[], object]

KEPT = 100  # reports that wait for another transaction to end
RETRIES = (0.1, 1, 5, 20)  # seconds before a report is tried again where the database is unavailable


def store(write: Write) -> None:
    """Write in the caller's transaction; in an event loop, where Django allows no query, in a thread.

    Raises what `write` raises. The caller waits for the thread: for an INSERT, not for a mail server.
    """
    if not _in_event_loop() or connection.in_atomic_block:
        write()
        return

    def run() -> None:
        try:
            write()
        finally:
            connection.close()  # this thread's own

    with ThreadPoolExecutor(1, thread_name_prefix="store") as thread:
        thread.submit(run).result()


def store_apart(write: Write) -> None:
    """Write so that a rollback of the caller's transaction does not take it back. Raises as `store`, outside of one.

    Within a transaction a thread writes, and the caller does not wait: SQLite lets others write only when it is over.
    Under a test runner all is written in the transaction of the test.
    """
    if not connection.in_atomic_block or dispatch.is_testing() or not _reports.add(write):
        store(write)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Reports:
    """Reports to be written outside the caller's transaction, in order, by a thread that ends when all are written."""

    def __init__(self) -> None:
        self._waiting: deque[Write] = deque()
        self._lock = threading.Lock()
        self._is_running = False

    def add(self, write: Write) -> bool:
        """False where there are too many, or no thread can be started."""
        with self._lock:
            if len(self._waiting) >= KEPT:
                return False
            self._waiting.append(write)
            if not self._is_running:
                thread = threading.Thread(target=self._run, name="store-reports", daemon=False)
                try:
                    thread.start()
                except RuntimeError:
                    self._waiting.pop()
                    return False
                self._is_running = True
                dispatch.finish_with(thread)
        return True

    def _run(self) -> None:
        while write := self._next():
            _insist(write)
        connection.close()

    def _next(self) -> Write | None:
        with self._lock:
            self._is_running = bool(self._waiting)
            return self._waiting.popleft() if self._waiting else None


def _insist(write: Write) -> None:
    for pause in (*RETRIES, None):
        try:
            write()
            return
        except Exception as error:  # noqa: BLE001  (the thread has other reports to write)
            if pause is None or not isinstance(error, OperationalError | InterfaceError):
                logger.warning("the report of an error could not be stored: %s", error)
                return
            connection.close()
            time.sleep(pause)


_reports = _Reports()
# A child does not have its parent's thread, which writes what is waiting.
os.register_at_fork(after_in_child=_reports.__init__)  # type: ignore[misc]
