"""Wake-ups between processes on PostgreSQL, by LISTEN and NOTIFY. A lost one costs latency only: workers also poll."""

import logging
import math
import threading
import time
from collections.abc import Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections

logger = logging.getLogger(__name__)

CHANNEL = "notify_due"
QUIET_SECONDS = 0.02  # after a notification of this process, in which it sends no other: they cost each commit 0.1 ms
AGAIN_SECONDS = 0.03  # after a notification that was heard: then workers look once more, for what came in that quiet
LOOK_SECONDS = 1.0  # how long it may take to notice that the worker is to end
RETRY_SECONDS = 5.0  # from a lost connection to the next
PROOF_SECONDS = 2.0  # a notification through a pool arrives within it, or never
_DEAF = "wake-ups do not arrive %s: looking for work several times a second instead"
_sent_at = -math.inf


def send() -> None:
    """Wake the workers that listen, on all machines. Raises DatabaseError.

    By the driver's cursor, which takes half the time of Django's: the visitor waits for it. Of many commits within
    QUIET_SECONDS only the first sends a notification.
    """
    global _sent_at
    now = time.monotonic()
    if now - _sent_at < QUIET_SECONDS:
        return
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    with database.wrap_database_errors:
        database.connection.cursor().execute(f"NOTIFY {CHANNEL}")
    _sent_at = now


class Listener:
    """Sets `wakes` at each wake-up, in a thread with its own session. `hears`: whether wake-ups arrive now.

    Behind a pool in transaction mode they do not arrive, and psycopg2 cannot wait for them; that is logged once, and
    the thread ends.
    """

    def __init__(self, *, stop: threading.Event, wakes: Sequence[threading.Event]) -> None:
        self.hears = False
        self._stop = stop
        self._wakes = wakes
        threading.Thread(target=self._run, name="listen", daemon=True).start()

    def _run(self) -> None:
        while not self._stop.is_set():
            session: Any = connections.create_connection(DEFAULT_DB_ALIAS)
            try:
                session.ensure_connection()
                if not hasattr(session.connection, "execute"):
                    logger.warning(_DEAF, "with psycopg2")
                    return
                if not self._listen(session.connection):
                    logger.warning(_DEAF, "through this pool of PostgreSQL sessions")
                    return
            except (DatabaseError, InterfaceError, session.Database.Error) as error:
                logger.info("no wake-ups for now: %s", str(error).strip())
            finally:
                self.hears = False
                session.close()
            self._stop.wait(RETRY_SECONDS)

    def _listen(self, session: Any) -> bool:
        """Until the worker is to end; False at once where nothing would arrive. Raises psycopg.Error."""
        session.execute(f"LISTEN {CHANNEL}")
        [pid] = session.execute("SELECT pg_backend_pid()").fetchone()
        if pid != session.info.backend_pid and not self._is_proven(session):
            session.execute("UNLISTEN *")
            return False
        self.hears = True
        self._wake()  # for what was committed before
        again = False
        while not self._stop.is_set():
            heard = any(True for _ in session.notifies(timeout=AGAIN_SECONDS if again else LOOK_SECONDS, stop_after=1))
            if heard or again:
                self._wake()
            again = heard
        return True

    def _is_proven(self, session: Any) -> bool:
        """Whether a notification of another session arrives here: a pool is in between."""
        other: Any = connections.create_connection(DEFAULT_DB_ALIAS)
        try:
            other.ensure_connection()
            other.connection.execute(f"NOTIFY {CHANNEL}")
        finally:
            other.close()
        return any(True for _ in session.notifies(timeout=PROOF_SECONDS, stop_after=1))

    def _wake(self) -> None:
        for wake in self._wakes:
            wake.set()
