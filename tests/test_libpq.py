"""Statements past psycopg's cursor: what is theirs alone, and what a pool or a failure does to them. PostgreSQL's."""

import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from notify import libpq, spin
from notify.models import Relay
from notify.statement import Statement

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="DATABASE_URL is not PostgreSQL's"),
]
commits = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[False, True], ids=["asleep", "spinning"], autouse=True)
def spins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spin, "_allowed", request.param)


def statement(text: str, **options: Any) -> Statement:
    return Statement("test_statement", postgresql=text, **options)


def setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        return str(cursor.fetchone()[0])


@commits
@pytest.mark.parametrize("in_a_transaction", [False, True])
def test_its_settings_hold_for_it_alone(in_a_transaction: bool) -> None:
    asked = statement("SELECT current_setting('enable_seqscan')", settings={"enable_seqscan": "off"}, returns=(str,))
    before = setting("enable_seqscan")
    assert asked.fetch() == [("off",)]
    if in_a_transaction:
        with transaction.atomic():
            assert asked.fetch() == [("off",)]
    assert setting("enable_seqscan") == before == "on"


@commits
@pytest.mark.parametrize("own", [None, {"enable_seqscan": "off"}])
def test_a_session_that_a_pool_swapped_costs_nothing_but_the_preparing(own: Any) -> None:
    answer = statement("SELECT ?::int", settings=own, returns=(int,))
    assert answer.fetch(1) == [(1,)]
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    assert [answer.fetch(2), answer.fetch(3)] == [[(2,)], [(3,)]]


@commits
def test_a_name_that_somebody_else_prepared_is_not_used() -> None:
    ours = statement("SELECT 'ours'::text", returns=(str,))
    name = ours._query._name.decode()
    with connection.cursor() as cursor:
        cursor.execute(f"PREPARE {name} AS SELECT 'theirs'::text")
        try:
            assert ours.fetch() == [("ours",)]
        finally:
            cursor.execute(f"DEALLOCATE {name}")


@commits
@pytest.mark.parametrize("own", [None, {"enable_seqscan": "off"}])
def test_a_connection_that_was_cut_is_an_operational_error_and_the_next_one_works(own: Any) -> None:
    answer = statement("SELECT ?::int", settings=own, returns=(int,))
    answer.fetch(1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [process] = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [process])
    other.close()
    with pytest.raises(OperationalError, match=r"terminating connection|closed") as caught:
        answer.fetch(2)
    assert "pipeline" not in str(caught.value)
    connection.close()
    assert answer.fetch(3) == [(3,)]


@commits
@pytest.mark.parametrize("own", [None, {"enable_seqscan": "off"}])
def test_a_commit_that_fails_is_told_and_leaves_the_connection_usable(own: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        cursor.execute("INSERT INTO late VALUES (1)")
    again = statement("INSERT INTO late VALUES (1) RETURNING id", settings=own, returns=(int,))
    with pytest.raises(IntegrityError):
        again.fetch()
    assert Relay.current()


@commits
def test_a_closed_connection_is_forgotten() -> None:
    answer = statement("SELECT 1", returns=(int,))
    answer.fetch()
    assert isinstance(answer._query._prepared, weakref.WeakKeyDictionary)
    assert len(answer._query._prepared) == 1
    connection.close()
    assert len(answer._query._prepared) == 0


@commits
def test_it_spins_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    spun: list[int] = []
    monkeypatch.setattr(spin.Spin, "wait", lambda self, fd: bool(spun.append(fd)))
    assert statement("SELECT 1", returns=(int,)).fetch() == [(1,)]
    assert bool(spun) is spin.is_allowed()


@commits
@pytest.mark.parametrize("own", [None, {"enable_seqscan": "off"}])
def test_an_answer_may_take_longer_than_any_spin(own: Any) -> None:
    assert statement("SELECT ?::int FROM pg_sleep(0.02)", settings=own, returns=(int,)).fetch(1) == [(1,)]


@commits
def test_who_is_interrupted_leaves_no_connection_with_an_answer_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(pgconn: Any, event: int) -> None:
        raise KeyboardInterrupt

    slow = statement("SELECT ?::int FROM pg_sleep(0.02)", settings={"enable_seqscan": "off"}, returns=(int,))
    with monkeypatch.context() as patch:
        patch.setattr(libpq, "_wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            slow.fetch(1)
    assert connection.connection.closed
    connection.close()
    assert slow.fetch(2) == [(2,)]


class Lost:
    """A connection that libpq gives up by itself: after the error there is nothing more, not even a Sync."""

    status = 1  # CONNECTION_BAD
    error = SimpleNamespace(status=7)  # PGRES_FATAL_ERROR

    def __init__(self, *results: Any) -> None:
        self._results = [*results]

    def get_result(self) -> Any:
        return self._results.pop(0) if self._results else None

    def __getattr__(self, name: str) -> Any:
        return lambda *values: 0


@pytest.mark.parametrize("own", [{}, {"enable_seqscan": "off"}])
def test_a_connection_that_libpq_gives_up_by_itself_is_not_waited_for(
    own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spin, "_allowed", True)  # else one call of libpq's does it all
    query = libpq.Query("test_lost", "SELECT 1", own)
    assert query._run(Lost(Lost.error), [], is_prepared=True) is Lost.error
    with pytest.raises(connection.Database.OperationalError, match="lost"):  # type: ignore[attr-defined]
        query._run(Lost(), [], is_prepared=True)
