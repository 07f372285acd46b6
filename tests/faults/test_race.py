"""Many workers on one outbox: every message is sent once."""

import pytest

from tests.faults.conftest import Sink
from tests.faults.outbox import Outbox

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("outbox", "rows", "workers"),
    [pytest.param("postgresql", 20_000, 8, marks=pytest.mark.service("postgresql")), ("sqlite", 2_000, 4)],
    indirect=["outbox"],
)
def test_no_message_is_sent_twice_by_workers_that_race(outbox: Outbox, sink: Sink, rows: int, workers: int) -> None:
    outbox.queue(rows)
    racing = [outbox.start("--connections", "2", MAIL_PORT=sink.port, MAIL_TIMEOUT=30) for _ in range(workers)]
    ends = [worker.communicate(timeout=240)[0].strip().splitlines()[-1] for worker in racing]
    assert set(outbox.messages()) == {"sent"}
    ids = [message_id for _, message_id, _ in sink.taken()]
    assert len(ids) == len(set(ids)) == rows
    assert sum(int(line.split()[1].rstrip(",")) for line in ends) == rows
