"""A statement on its way to PostgreSQL, past psycopg's cursor: prepared once for each connection, where that holds."""

import itertools
import re
import select
import weakref
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from notify import spin

_DONE = (1, 2)  # PGRES_COMMAND_OK, PGRES_TUPLES_OK
_PIPELINE_SYNC = 10
_IDLE = 0  # PQTRANS_IDLE
_CONNECTED = 0  # CONNECTION_OK
_BINARY = 1  # the format of results
# invalid_sql_statement_name, duplicate_prepared_statement: a pool between us and PostgreSQL mixes the sessions up.
_NOT_OURS = ("26000", "42P05")


def speaks(driver: Any) -> bool:
    """Not psycopg2; and not where a transaction is to be begun, which psycopg does with the first statement it sees."""
    return hasattr(driver, "pgconn") and (driver.autocommit or driver.pgconn.transaction_status != _IDLE)


class Query:
    """`text` has `?` for each value; `settings` are for this statement or the transaction it is run in."""

    def __init__(self, name: str, text: str, settings: Mapping[str, str]) -> None:
        numbers = itertools.count(1)
        # With a mark of the text: behind a pool a session may know the name from another release.
        self._name = f"{name}_{zlib.crc32(text.encode()):08x}".encode()
        self._text = re.sub(r"\?", lambda _: f"${next(numbers)}", text).encode()
        calls = ", ".join(f"set_config('{setting}', '{value}', true)" for setting, value in settings.items())
        self.settings_sql = f"SELECT {calls}" if calls else ""
        self._spin = spin.Spin()
        # By the driver's connection, whether it is prepared there, or cannot be.
        self._prepared: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()

    def ask(self, driver: Any, values: Sequence[str | int]) -> Any:
        """The result, as libpq has it. `driver`: psycopg's connection. Raises psycopg's errors."""
        pgconn = driver.pgconn
        texts = [str(value).encode() for value in values]
        # Not in a transaction: a name that turns out to be somebody else's would end it.
        is_prepared = self._prepared.get(driver) if pgconn.transaction_status == _IDLE else False
        if is_prepared is None:
            is_prepared = self._prepared[driver] = pgconn.prepare(self._name, self._text).status in _DONE
        result = self._run(pgconn, texts, is_prepared=is_prepared)
        if result.status in _DONE:
            return result
        error = _error_from(result)
        if not (is_prepared and error.sqlstate in _NOT_OURS):
            raise error
        self._prepared[driver] = False
        result = self._run(pgconn, texts, is_prepared=False)
        if result.status not in _DONE:
            raise _error_from(result)
        return result

    def _run(self, pgconn: Any, values: list[bytes], *, is_prepared: bool) -> Any:
        run = self._run_under_settings if self.settings_sql else self._run_plainly
        try:
            return run(pgconn, values, is_prepared=is_prepared)
        except BaseException:  # also what a signal's handler raises
            pgconn.finish()  # an answer may be under way: whoever came next would take it for theirs
            raise

    def _run_plainly(self, pgconn: Any, values: list[bytes], *, is_prepared: bool) -> Any:
        if not spin.is_allowed():  # to send and to sleep in one call takes less time
            if is_prepared:
                return pgconn.exec_prepared(self._name, values, None, _BINARY)
            return pgconn.exec_params(self._text, values, None, None, _BINARY)
        self._send(pgconn, values, is_prepared=is_prepared)
        _flush(pgconn)
        return _first_failure(list(iter(partial(self._next_result, pgconn), None)))

    def _run_under_settings(self, pgconn: Any, values: list[bytes], *, is_prepared: bool) -> Any:
        """In one round trip: what is sent before a Sync is one transaction, and the settings end with it."""
        pgconn.enter_pipeline_mode()
        pgconn.send_query_params(self.settings_sql.encode(), None)
        self._send(pgconn, values, is_prepared=is_prepared)
        pgconn.pipeline_sync()
        results = list(self._results_before_sync(pgconn))
        if pgconn.status == _CONNECTED:
            pgconn.exit_pipeline_mode()
        return _first_failure(results)

    def _send(self, pgconn: Any, values: list[bytes], *, is_prepared: bool) -> None:
        if is_prepared:
            pgconn.send_query_prepared(self._name, values, None, _BINARY)
        else:
            pgconn.send_query_params(self._text, values, None, None, _BINARY)

    def _results_before_sync(self, pgconn: Any) -> Iterator[Any]:
        """Or before the end of the connection, which libpq may declare on its own: no Sync comes then."""
        _flush(pgconn)
        while True:
            result = self._next_result(pgconn)
            if result is not None and result.status != _PIPELINE_SYNC:
                yield result
            elif result is not None or pgconn.status != _CONNECTED:
                return

    def _next_result(self, pgconn: Any) -> Any:
        """None at the end of a statement's. Waited for at the socket, not within libpq: other threads may go on."""
        while pgconn.is_busy():
            if not self._spin.wait(pgconn.socket):
                _wait(pgconn, select.POLLIN)
            pgconn.consume_input()
        return pgconn.get_result()


def _first_failure(results: Sequence[Any]) -> Any:
    """Or the last: a commit may fail after the statement went well."""
    if not results:
        raise _driver().OperationalError("the connection is lost")
    return next((result for result in results if result.status not in _DONE), results[-1])


def _flush(pgconn: Any) -> None:
    while pgconn.flush():
        _wait(pgconn, select.POLLOUT)


def _wait(pgconn: Any, event: int) -> None:
    poller = select.poll()
    poller.register(pgconn.socket, event)
    poller.poll()


def _error_from(result: Any) -> Any:
    error = _driver().errors.error_from_result(result)
    # What libpq says itself has no SQLSTATE: the server is gone.
    return error if error.sqlstate else _driver().OperationalError(str(error))


def _driver() -> Any:
    """The module: it is not installed where PostgreSQL is not used."""
    return connections[DEFAULT_DB_ALIAS].Database  # type: ignore[attr-defined]
