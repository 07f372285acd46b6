"""Claiming and settling: order, leases, fences, and the plan of the claim."""

import os
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from notify.delivery import claims
from notify.models import GIVE_UP_AFTER, Body, Message

pytestmark = pytest.mark.django_db


def queue(count: int = 1, *, mime: bytes = b"Subject: x\r\n\r\n", **columns: Any) -> list[Message]:
    """Due messages, each with a body of its own."""
    now = timezone.now() - timedelta(minutes=1)
    bodies = Body.objects.bulk_create([Body(mime=mime) for _ in range(count)])
    rows = [
        Message(
            **{
                "message_id": f"<{number}@example.com>",
                "sender": "me@example.com",
                "recipient": "you@example.com",
                "body": body,
                "created_at": now,
                "due_at": now,
                "expires_at": now + GIVE_UP_AFTER,
                **columns,
            }
        )
        for number, body in enumerate(bodies)
    ]
    return Message.objects.bulk_create(rows)


def test_a_claim_takes_the_longest_due_first_whatever_their_numbers() -> None:
    rows = queue(5)
    for place, row in enumerate([rows[3], rows[0], rows[4], rows[1], rows[2]]):
        Message.objects.filter(pk=row.pk).update(due_at=timezone.now() - timedelta(seconds=100 - place))
    assert [claimed.id for claimed in claims.claim(4)] == [rows[3].pk, rows[0].pk, rows[4].pk, rows[1].pk]


def test_a_claim_takes_only_what_is_due_and_unfinished() -> None:
    queue(due_at=timezone.now() + timedelta(seconds=30))
    for state in ("sent", "failed", "cancelled"):
        queue(state=state)
    [due] = queue()
    assert [claimed.id for claimed in claims.claim(10)] == [due.pk]


def test_a_batch_of_large_bodies_ends_early_and_is_never_empty() -> None:
    rows = [queue(mime=b"x" * size)[0].pk for size in (2000, 10, 501, 501, 10)]
    assert [[claimed.id for claimed in claims.claim(10, size=1000)] for _ in range(4)] == [
        rows[:1],
        rows[1:4],
        rows[4:],
        [],
    ]


def test_what_is_claimed_is_not_claimed_again_before_its_lease_ends() -> None:
    queue(2)
    assert len(claims.claim(10)) == 2
    assert claims.claim(10) == []
    lease = Message.objects.first().due_at - timezone.now()  # type: ignore[union-attr]
    assert timedelta(seconds=claims.lease_seconds() - 5) < lease <= timedelta(seconds=claims.lease_seconds() + 1)


@pytest.mark.parametrize(("of_site", "of_transport"), [(30, None), (30, 5), (10, 60)])
def test_a_lease_is_longer_than_an_attempt(settings: Any, of_site: int, of_transport: int | None) -> None:
    settings.MAIL_TIMEOUT = of_site
    settings.NOTIFY_TRANSPORT = {"BACKEND": "x", "OPTIONS": {"timeout": of_transport}}
    assert claims.lease_seconds() - 15 == claims.attempt_seconds() == max(of_site, of_transport or 0)


def test_a_dead_workers_messages_come_due_when_the_lease_ends_and_its_token_is_worthless_then() -> None:
    queue()
    [dead] = claims.claim(1)
    Message.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    [living] = claims.claim(1)
    assert living.token != dead.token
    assert not claims.mark_sent(dead, reply="250 Ok")
    assert not claims.mark_failed(dead, reply="550", diagnosis="", uncertain=False)
    claims.release([dead])
    assert Message.objects.get().state == "sending"
    assert claims.mark_sent(living, reply="250 2.0.0 Ok")
    row = Message.objects.get()
    assert (row.state, row.reply, row.claim, row.attempts) == ("sent", "250 2.0.0 Ok", "", 1)
    assert row.sent_at


def test_a_released_message_keeps_its_place_in_the_queue() -> None:
    rows = queue(3)
    first, *rest = claims.claim(2)
    claims.release([first, *rest])
    assert [claimed.id for claimed in claims.claim(3)] == [row.pk for row in rows]


def test_a_retry_waits_by_the_databases_clock() -> None:
    queue()
    [claimed] = claims.claim(1)
    claims.mark_retry(claimed, delay=120, reply="451 Later", diagnosis="", uncertain=True)
    row = Message.objects.get()
    assert (row.state, row.attempts, row.uncertain) == ("queued", 1, True)
    assert 110 < (row.due_at - timezone.now()).total_seconds() <= 121


def test_a_message_past_its_time_is_marked_as_expired() -> None:
    queue(expires_at=timezone.now() - timedelta(seconds=1))
    assert claims.claim(1)[0].expired


def test_what_the_driver_says_of_a_success_that_cannot_be_recorded_is_an_error_of_django(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Delivery waits for a database that raises one, and sends nothing else meanwhile."""
    queue()
    [message] = claims.claim(1)
    broken = {vendor: text.replace("notify_message", "nothing") for vendor, text in claims._SENT.items()}
    monkeypatch.setattr(claims, "_SENT", broken)
    with pytest.raises(DatabaseError, match="nothing"), transaction.atomic():
        claims.mark_sent(message, reply="250 Ok")


RELAXED = ("synchronous_commit", "enable_seqscan", "enable_bitmapscan")


def settings_of_the_session() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(f'current_setting({name!r})' for name in RELAXED)}")
        return list(cursor.fetchone())


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite's outcomes are relaxed by delivery")
def test_neither_a_claim_nor_an_outcome_leaves_a_setting_behind() -> None:
    before = settings_of_the_session()
    assert before == ["on", "on", "on"]
    queue(2)
    first, second = claims.claim(2)
    assert settings_of_the_session() == before
    assert claims.mark_sent(first, reply="250 Ok")
    assert settings_of_the_session() == before
    with transaction.atomic():
        assert claims.mark_sent(second, reply="250 Ok")
        # To be seen only within a transaction, which delivery never has open: it waits for no disk.
        assert settings_of_the_session() == ["off", "on", "on"]
    assert settings_of_the_session() == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite's parameters are always bound by the library")
def test_a_claim_and_an_outcome_can_be_prepared_by_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    queue()
    connection.ensure_connection()
    from django.db.backends.postgresql.base import ServerBindingCursor  # needs psycopg

    # As Django's options server_side_binding and prepare_threshold.
    monkeypatch.setattr(connection.connection, "cursor_factory", ServerBindingCursor)
    monkeypatch.setattr(connection.connection, "prepare_threshold", 0)
    [claimed] = claims.claim(1)
    assert claims.mark_sent(claimed, reply="250 Ok")


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL has such settings")
def test_a_claim_waits_for_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    queue()
    probe = claims._CLAIM["postgresql"].replace("message.id, message.sender,", "message.id, {},")
    probe = probe.format("current_setting('synchronous_commit')")
    monkeypatch.setattr(claims, "_CLAIM", {"postgresql": probe})
    assert [claimed.sender for claimed in claims.claim(1)] == ["off"]


def plan_of_the_claim() -> str:
    explain = {"postgresql": "EXPLAIN ", "sqlite": "EXPLAIN QUERY PLAN "}[connection.vendor]
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(claims._CLAIM_SETTINGS)
        cursor.execute(explain + claims._CLAIM[connection.vendor], [20, "token", 60, 10**6])
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


@pytest.mark.parametrize("counted", [True, False])
def test_the_claim_walks_the_partial_index_past_a_long_history(counted: bool) -> None:
    queue(3_000, state="sent")
    queue(50)
    if counted:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE notify_message")
    plan = plan_of_the_claim()
    assert "message_unfinished" in plan
    assert "Seq Scan on notify_message" not in plan
    assert len(claims.claim(20)) == 20


@pytest.mark.parametrize("waiting", [0, 5000])
def test_the_claim_reads_no_more_of_what_waits_than_it_takes(waiting: int) -> None:
    queue(waiting, mime=os.urandom(1500))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # as if nobody had ever counted it
            cursor.execute("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname LIKE 'notify_message%%'")
    plan = plan_of_the_claim()
    if connection.vendor == "postgresql":  # which, of a table it never counted, thinks that sorting it costs nothing
        assert "Index Scan using message_unfinished" in plan
        assert "Sort Key: notify_message" not in plan
    else:
        assert "USING INDEX message_unfinished (due_at<?)" in plan
        assert "TEMP B-TREE" not in plan


def test_a_message_that_is_to_wait_longer_than_any_schedule_is_pulled_in() -> None:
    queue(due_at=timezone.now() + timedelta(days=1))
    queue(due_at=timezone.now() + timedelta(minutes=34))
    assert claims.unstrand() == 1
    assert len(claims.claim(5)) == 1


def test_a_lease_of_whatever_length_is_no_such_wait(settings: Any) -> None:
    settings.MAIL_TIMEOUT = 3600
    queue()
    assert len(claims.claim(1)) == 1
    assert claims.unstrand() == 0
