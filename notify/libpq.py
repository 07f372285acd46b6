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
        self.settings = f"SELECT {calls}" if calls else ""  # as a statement of its own
        self._spin = spin.Spin()
        # By the driver's connection, whether it is prepared there, or cannot be.
        self._prepared: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()

    def ask(self, driver: Any, values: Sequence[str | int]) -> Any:
        """The result, as libpq has it. `driver`: psycopg's connection. Raises psycopg's errors."""
        libpq = driver.pgconn
        texts = [str(value).encode() for value in values]
        # Not in a transaction: a name that turns out to be somebody else's would end it.
        is_prepared = self._prepared.get(driver) if libpq.transaction_status == _IDLE else False
        if is_prepared is None:
            is_prepared = self._prepared[driver] = libpq.prepare(self._name, self._text).status in _DONE
        result = self._run(libpq, texts, is_prepared=is_prepared)
        if result.status in _DONE:
            return result
        error = _error_from(result)
        if not (is_prepared and error.sqlstate in _NOT_OURS):
            raise error
        self._prepared[driver] = False
        result = self._run(libpq, texts, is_prepared=False)
        if result.status not in _DONE:
            raise _error_from(result)
        return result

    def _run(self, libpq: Any, values: list[bytes], *, is_prepared: bool) -> Any:
        if self.settings:
            return self._run_under_settings(libpq, values, is_prepared=is_prepared)
        if not spin.is_allowed():  # to send and to sleep in one call takes less time
            if is_prepared:
                return libpq.exec_prepared(self._name, values, None, _BINARY)
            return libpq.exec_params(self._text, values, None, None, _BINARY)
        self._send(libpq, values, is_prepared=is_prepared)
        _flush(libpq)
        return _first_failure(list(iter(partial(self._next_result, libpq), None)))

    def _run_under_settings(self, libpq: Any, values: list[bytes], *, is_prepared: bool) -> Any:
        """In one round trip: what is sent before a Sync is one transaction, and the settings end with it."""
        libpq.enter_pipeline_mode()
        try:
            libpq.send_query_params(self.settings.encode(), None)
            self._send(libpq, values, is_prepared=is_prepared)
            libpq.pipeline_sync()
            return _first_failure(list(self._results_before_sync(libpq)))
        finally:
            if libpq.status == _CONNECTED:
                libpq.exit_pipeline_mode()

    def _send(self, libpq: Any, values: list[bytes], *, is_prepared: bool) -> None:
        if is_prepared:
            libpq.send_query_prepared(self._name, values, None, _BINARY)
        else:
            libpq.send_query_params(self._text, values, None, None, _BINARY)

    def _results_before_sync(self, libpq: Any) -> Iterator[Any]:
        _flush(libpq)
        while True:
            result = self._next_result(libpq)
            if result is None:
                continue
            if result.status == _PIPELINE_SYNC:
                return
            yield result

    def _next_result(self, libpq: Any) -> Any:
        """None at the end of a statement's. Waited for at the socket, not within libpq: other threads may go on."""
        while libpq.is_busy():
            if not self._spin.wait(libpq.socket):
                _wait(libpq, select.POLLIN)
            libpq.consume_input()
        return libpq.get_result()


def _first_failure(results: Sequence[Any]) -> Any:
    """Or the last: a commit may fail after the statement went well."""
    return next((result for result in results if result.status not in _DONE), results[-1])


def _flush(libpq: Any) -> None:
    while libpq.flush():
        _wait(libpq, select.POLLOUT)


def _wait(libpq: Any, event: int) -> None:
    poller = select.poll()
    poller.register(libpq.socket, event)
    poller.poll()


def _error_from(result: Any) -> Any:
    driver: Any = connections[DEFAULT_DB_ALIAS].Database  # type: ignore[attr-defined]  # the module
    error = driver.errors.error_from_result(result)
    # What libpq says itself has no SQLSTATE: the server is gone.
    return error if error.sqlstate else driver.OperationalError(str(error))
