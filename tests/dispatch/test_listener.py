"""Wake-ups between processes, as far as they need no PostgreSQL; the rest is tested with a real worker."""

import contextlib
import threading
import time
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from django.db import DatabaseError, connections

from notify.dispatch import listener


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    database = MagicMock(wrap_database_errors=contextlib.nullcontext())
    monkeypatch.setattr(listener, "connections", {"default": database})
    monkeypatch.setattr(listener, "_sent_at", 0.0)
    return database


def at(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener.time, "monotonic", lambda: 1000 + seconds)


def test_of_many_commits_at_a_time_the_first_sends_the_notification(
    database: MagicMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    for seconds in (0, 0.001, 0.019, 0.021, 0.04, 0.042):
        at(seconds, monkeypatch)
        listener.send()
        sent.append(database.connection.cursor().execute.call_count)
    assert sent == [1, 1, 1, 2, 2, 3]


def test_one_that_could_not_be_sent_is_not_relied_on(database: MagicMock, monkeypatch: pytest.MonkeyPatch) -> None:
    at(0, monkeypatch)
    execute = database.connection.cursor().execute
    execute.side_effect = DatabaseError
    with pytest.raises(DatabaseError):
        listener.send()
    execute.side_effect = None
    listener.send()
    assert execute.call_count == 2


def test_workers_look_once_more_after_all_that_a_sender_leaves_unsaid() -> None:
    assert listener.QUIET_SECONDS < listener.AGAIN_SECONDS


def test_with_psycopg2_it_says_that_wake_ups_do_not_arrive(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver = SimpleNamespace(Error=RuntimeError)
    session = SimpleNamespace(connection=object(), Database=driver, ensure_connection=lambda: None, close=lambda: None)
    monkeypatch.setattr(connections, "create_connection", lambda alias: session)
    hearer = listener.Listener(stop=threading.Event(), wakes=[])
    deadline = time.monotonic() + 5
    while not caplog.messages and time.monotonic() < deadline:
        time.sleep(0.01)
    assert caplog.messages == ["wake-ups do not arrive with psycopg2: looking for work several times a second instead"]
    assert not hearer.hears
