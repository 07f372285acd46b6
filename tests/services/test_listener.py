"""`deliver --watch` on PostgreSQL is woken by NOTIFY; behind a pool in transaction mode it polls."""

import time
from pathlib import Path

import pytest

from tests.faults.conftest import Sink
from tests.faults.outbox import Outbox
from tests.services.pgbouncer import pgbouncer
from tests.waiting import until

pytestmark = pytest.mark.service("postgresql")
LISTENS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^(LISTEN|SELECT pg_backend)'"
)
POOLED = (
    "wake-ups do not arrive through this pool of PostgreSQL sessions: looking for work several times a second instead"
)


def latencies(outbox: Outbox, count: int, *, notified: bool, prefix: str = "") -> list[float]:
    """Seconds from a commit until the message is sent, sorted."""
    found = []
    for number in range(count):
        outbox.queue(1, prefix=f"{prefix}m{number}.")
        started = time.monotonic()
        if notified:
            outbox.sql("NOTIFY notify_due")
        while outbox.unfinished():
            time.sleep(0.002)
            assert time.monotonic() - started < 10
        found.append(time.monotonic() - started)
    return sorted(found)


def wait_until_it_listens(outbox: Outbox) -> list[int]:
    until(lambda: outbox.sql(LISTENS))
    time.sleep(1)
    return [pid for [pid] in outbox.sql(LISTENS)]


def test_a_commit_wakes_a_worker_at_once_and_polling_finds_what_no_wake_up_told_of(outbox: Outbox, sink: Sink) -> None:
    outbox.start("--watch", MAIL_PORT=sink.port)
    wait_until_it_listens(outbox)
    told = latencies(outbox, 20, notified=True)
    assert told[10] < 0.3
    assert max(latencies(outbox, 3, notified=False)) < 3


def test_what_is_committed_right_after_a_notification_is_sent_without_another(outbox: Outbox, sink: Sink) -> None:
    outbox.start("--watch", MAIL_PORT=sink.port)
    wait_until_it_listens(outbox)
    found = []
    for number in range(20):
        outbox.sql("NOTIFY notify_due")
        time.sleep(0.015)
        found.append(latencies(outbox, 1, notified=False, prefix=f"n{number}."))
    assert sorted(found)[10][0] < 0.3  # by polling alone it would take half a second


def test_a_listener_that_lost_its_session_listens_again(outbox: Outbox, sink: Sink) -> None:
    outbox.start("--watch", MAIL_PORT=sink.port)
    [pid] = wait_until_it_listens(outbox)
    outbox.sql("SELECT pg_terminate_backend(?)", pid)
    time.sleep(7)
    [again] = wait_until_it_listens(outbox)
    assert again != pid
    assert latencies(outbox, 5, notified=True)[2] < 0.3


@pytest.mark.service("pgbouncer")
def test_behind_a_pool_in_transaction_mode_it_polls_and_says_so_once(
    outbox: Outbox, sink: Sink, open_folder: Path
) -> None:
    with pgbouncer(open_folder, sessions=3) as port:
        pooled = outbox.url.replace(":5432/", f":{port}/")
        worker = outbox.start("--watch", DATABASE_URL=pooled, MAIL_PORT=sink.port)
        time.sleep(8)
        assert latencies(outbox, 10, notified=True)[5] < 0.5
        worker.terminate()
        _, said = worker.communicate(timeout=20)
    assert said.count(POOLED) == 1
