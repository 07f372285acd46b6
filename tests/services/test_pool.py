"""Delivery through a pool that mixes the sessions of PostgreSQL up."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Sink
from tests.faults.outbox import Outbox, create_postgresql, drop_postgresql, migrate
from tests.services.pgbouncer import pgbouncer

pytestmark = [pytest.mark.service("postgresql"), pytest.mark.service("pgbouncer")]
RELAXED = ("enable_seqscan", "enable_bitmapscan", "synchronous_commit")


@pytest.fixture
def outbox(open_folder: Path) -> Iterator[Outbox]:
    """An empty one, behind a pool of three sessions."""
    name = f"flasky_pool_{os.getpid()}"
    url = create_postgresql(name)
    migrate(url)
    with pgbouncer(open_folder, sessions=3) as port:
        made = Outbox(url.replace(":5432/", f":{port}/"))
        yield made
        made.close()
    drop_postgresql(name)


def test_more_connections_than_sessions_send_each_message_once_and_leave_no_setting_behind(
    outbox: Outbox, tmp_path: Path
) -> None:
    outbox.queue(500)
    with Sink(tmp_path / "taken.tsv") as sink:
        last_line = outbox.deliver("--connections", "8", MAIL_PORT=sink.port, MAIL_TIMEOUT=30)
        taken = [recipient for recipient, _, _ in sink.taken()]
    assert last_line == "sent 500, retry 0, failed 0, waiting 0"
    assert sorted(taken) == sorted(f"r{number}@example.com" for number in range(500))
    for _ in range(6):  # whichever session it is
        assert [outbox.sql(f"SHOW {name}")[0][0] for name in RELAXED] == ["on", "on", "on"]
