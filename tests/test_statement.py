"""Statements past Django's cursor: what they return, and what a failure does to them."""

import threading
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from notify import libpq, statement
from notify.models import Relay
from notify.statement import Statement

pytestmark = pytest.mark.django_db
commits = pytest.mark.django_db(transaction=True)


def both(text: str, **options: Any) -> Statement:
    return Statement("test_statement", postgresql=text, **options)


def test_rows_come_as_the_types_that_were_named() -> None:
    row = both(
        "SELECT -7, 'Zoë', CAST('abc' AS varchar(9)), 1 = 1, 1 = ?" + "::int" * (connection.vendor == "postgresql"),
        returns=(int, str, str, bool, bool),
    )
    assert row.fetch(2) == [(-7, "Zoë", "abc", True, False)]


def test_bytes_come_as_they_are() -> None:
    raw = Statement("test_raw", postgresql=r"SELECT '\x00ff0a'::bytea", sqlite="SELECT x'00ff0a'", returns=(bytes,))
    assert raw.fetch() == [(b"\x00\xff\n",)]


def test_it_tells_how_many_rows_it_changed() -> None:
    Relay.current()
    rename = both("UPDATE notify_relay SET reason = ? WHERE state = ?")
    assert (rename.execute("a", "open"), rename.execute("b", "held")) == (1, 0)
    assert Relay.current().reason == "a"


@commits
@pytest.mark.parametrize("in_a_transaction", [False, True])
def test_a_failure_is_djangos_and_leaves_the_connection_usable(in_a_transaction: bool) -> None:
    wrong = both("SELECT no_such_column FROM notify_relay", settings={"enable_seqscan": "off"}, returns=(int,))
    for _ in range(2):
        if in_a_transaction:
            with pytest.raises(DatabaseError), transaction.atomic():
                wrong.fetch()
        else:
            with pytest.raises(DatabaseError):
                wrong.fetch()
        assert Relay.current()


@commits
def test_what_is_done_in_a_transaction_goes_with_it() -> None:
    # The transaction's very first statement: Django's BEGIN has not been sent when it comes.
    Relay.current()
    rename = both("UPDATE notify_relay SET reason = ? WHERE id = 1")
    with transaction.atomic():
        rename.execute("gone")
        transaction.set_rollback(True)
    assert Relay.current().reason == ""


@commits
def test_threads_of_one_process_may_use_one_statement() -> None:
    Relay.current()
    count = both("UPDATE notify_relay SET failures = failures + 1 WHERE id = 1")

    def run() -> None:
        for _ in range(20):
            count.execute()
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Relay.current().failures == 80


def test_who_has_waited_long_for_a_turn_asks_sqlite_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "_TURN_SECONDS", 0.01)
    Relay.current()
    with statement._in_turn:
        assert both("UPDATE notify_relay SET reason = ?").execute("x") == 1


def test_who_only_reads_takes_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "_TURN_SECONDS", -1)  # for ever
    with statement._in_turn:
        assert both("SELECT 1", returns=(int,)).fetch() == [(1,)]


@commits
@pytest.mark.parametrize("autocommit", [True, False])
def test_without_autocommit_nothing_is_committed(autocommit: bool) -> None:
    Relay.current()
    transaction.set_autocommit(autocommit)
    try:
        both("UPDATE notify_relay SET reason = ?").execute("leaked")
        if not autocommit:
            transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert Relay.current().reason == ("leaked" if autocommit else "")


@commits
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL has settings")
def test_another_driver_gets_it_by_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libpq, "speaks", lambda driver: False)
    asked = both(
        "SELECT current_setting('enable_seqscan'), ?::int", settings={"enable_seqscan": "off"}, returns=(str, int)
    )
    assert asked.fetch(5) == [("off", 5)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('enable_seqscan')")
        assert cursor.fetchone() == ("on",)
    Relay.current()
    assert both("UPDATE notify_relay SET reason = ?").execute("x") == 1
