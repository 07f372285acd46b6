"""A statement that every mail costs: straight on the database's driver, past the ORM and Django's cursor."""

import contextlib
import itertools
import re
import select
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter, methodcaller
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction

_DONE = (1, 2)  # PGRES_COMMAND_OK, PGRES_TUPLES_OK
_PIPELINE_SYNC = 10
_IDLE = 0  # PQTRANS_IDLE
_CONNECTED = 0  # CONNECTION_OK
_BINARY = 1  # the format of results
# invalid_sql_statement_name, duplicate_prepared_statement: a pool between us and PostgreSQL mixes the sessions up.
_NOT_OURS = ("26000", "42P05")
_READERS: dict[type, Callable[[bytes], Any]] = {
    int: partial(int.from_bytes, byteorder="big", signed=True),
    str: bytes.decode,
    bytes: bytes,
    bool: b"\1".__eq__,
}
Value = str | int  # what a statement is given
# SQLite has one writer at a time, and lets the others sleep for milliseconds: threads of one process need not.
_in_turn = threading.Lock()
_TURN_SECONDS = 1.0  # after which SQLite is asked all the same: it knows best who waits for whom


class Statement:
    """One statement, with `?` for its values and no NULL among its results; `sqlite` where that has other words.

    On PostgreSQL it is prepared once for each connection, where that holds. It takes a third of the time that Django's
    cursor takes on PostgreSQL, and two thirds on SQLite. `settings`: PostgreSQL's, for this statement or the
    transaction it is run in. `returns`: the types of its columns, where it has results. Values have no NUL.
    """

    def __init__(
        self,
        name: str,
        *,
        postgresql: str,
        sqlite: str = "",
        settings: Mapping[str, str] | None = None,
        returns: Sequence[type] = (),
    ) -> None:
        numbers = itertools.count(1)
        # With a mark of the text: behind a pool a session may know the name from another release.
        self._name = f"{name}_{zlib.crc32(postgresql.encode()):08x}".encode()
        self._sqlite = sqlite or postgresql
        self._only_reads = self._sqlite.lstrip().startswith("SELECT")
        self._numbered = re.sub(r"\?", lambda _: f"${next(numbers)}", postgresql).encode()
        self._for_cursors = postgresql.replace("?", "%s")
        calls = ", ".join(f"set_config('{setting}', '{value}', true)" for setting, value in (settings or {}).items())
        self._settings = f"SELECT {calls}" if calls else ""
        self._readers = [_READERS[kind] for kind in returns]
        # By the driver's connection, whether it is prepared there, or cannot be.
        self._prepared: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()

    def execute(self, *values: Value) -> int:
        """Run it; returns the number of rows it changed. Raises Django's DatabaseError."""
        return int(self._ask(values, attrgetter("rowcount"), attrgetter("command_tuples")) or 0)

    def fetch(self, *values: Value) -> list[tuple[Any, ...]]:
        """Run it; returns its rows, without an order. SQLite has 0 and 1 for bool. Raises Django's DatabaseError."""
        return list(self._ask(values, methodcaller("fetchall"), self._rows))

    def _ask(self, values: Sequence[Value], of_cursor: Callable[[Any], Any], of_result: Callable[[Any], Any]) -> Any:
        """What is read off the driver's cursor, or off libpq's result."""
        database = connections[DEFAULT_DB_ALIAS]
        if database.connection is None:
            database.ensure_connection()
        with database.wrap_database_errors:
            driver = database.connection
            if database.vendor == "sqlite":
                with self._turn():
                    return of_cursor(driver.execute(self._sqlite, values))
            if _speaks_libpq(driver):
                return of_result(self._on_psycopg(driver, values))
        with transaction.atomic(), database.cursor() as cursor:
            if self._settings:
                cursor.execute(self._settings)
            cursor.execute(self._for_cursors, values)
            return of_cursor(cursor)

    def _rows(self, result: Any) -> list[tuple[Any, ...]]:
        columns, cell = list(enumerate(self._readers)), result.get_value
        return [tuple(read(cell(row, column)) for column, read in columns) for row in range(result.ntuples)]

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        taken = not self._only_reads and _in_turn.acquire(timeout=_TURN_SECONDS)
        try:
            yield
        finally:
            if taken:
                _in_turn.release()

    def _on_psycopg(self, driver: Any, values: Sequence[Value]) -> Any:
        """The result, as libpq has it."""
        texts = [str(value).encode() for value in values]
        run = self._run_under_settings if self._settings else self._run
        # Not in a transaction: a name that turns out to be somebody else's would end it.
        is_idle = driver.pgconn.transaction_status == _IDLE
        is_prepared = self._prepared.get(driver) if is_idle else False
        if is_prepared is None:
            is_prepared = self._prepared[driver] = driver.pgconn.prepare(self._name, self._numbered).status in _DONE
        result = run(driver.pgconn, texts, is_prepared=is_prepared)
        if result.status in _DONE:
            return result
        error = _error_from(result)
        if not (is_prepared and error.sqlstate in _NOT_OURS):
            raise error
        self._prepared[driver] = False
        result = run(driver.pgconn, texts, is_prepared=False)
        if result.status not in _DONE:
            raise _error_from(result)
        return result

    def _run(self, libpq: Any, values: list[bytes], *, is_prepared: bool) -> Any:
        if is_prepared:
            return libpq.exec_prepared(self._name, values, None, _BINARY)
        return libpq.exec_params(self._numbered, values, None, None, _BINARY)

    def _run_under_settings(self, libpq: Any, values: list[bytes], *, is_prepared: bool) -> Any:
        """In one round trip: what is sent before a Sync is one transaction, and the settings end with it."""
        libpq.enter_pipeline_mode()
        try:
            libpq.send_query_params(self._settings.encode(), None)
            if is_prepared:
                libpq.send_query_prepared(self._name, values, None, _BINARY)
            else:
                libpq.send_query_params(self._numbered, values, None, None, _BINARY)
            libpq.pipeline_sync()
            results = list(_results(libpq))
        finally:
            if libpq.status == _CONNECTED:
                libpq.exit_pipeline_mode()
        return next((result for result in results if result.status not in _DONE), results[-1])


def _speaks_libpq(driver: Any) -> bool:
    """Not psycopg2; and not where a transaction is to be begun, which psycopg does with the first statement it sees."""
    return hasattr(driver, "pgconn") and (driver.autocommit or driver.pgconn.transaction_status != _IDLE)


def _results(libpq: Any) -> Iterator[Any]:
    """What the statements of the pipeline, and the Sync, came to. Waited for at the socket: other threads may go on."""
    while libpq.flush():
        _wait(libpq, select.POLLOUT)
    while True:
        while libpq.is_busy():
            _wait(libpq, select.POLLIN)
            libpq.consume_input()
        result = libpq.get_result()
        if result is None:
            continue
        if result.status == _PIPELINE_SYNC:
            return
        yield result


def _wait(libpq: Any, event: int) -> None:
    poller = select.poll()
    poller.register(libpq.socket, event)
    poller.poll()


def _error_from(result: Any) -> Any:
    driver: Any = connections[DEFAULT_DB_ALIAS].Database  # type: ignore[attr-defined]  # the module
    error = driver.errors.error_from_result(result)
    # What libpq says itself has no SQLSTATE: the server is gone.
    return error if error.sqlstate else driver.OperationalError(str(error))
