"""Workers are killed at random moments while mails stream; nothing is lost, and hardly anything comes twice."""

import os
import random
import time
from collections import Counter

import pytest

from tests.faults.conftest import Sink
from tests.faults.outbox import Outbox

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "200"))
WAITING = 1000
CONNECTIONS = (1, 1, 2, 2)  # of each worker; one alone waits otherwise than several


def test_kills_lose_nothing_and_double_at_most_one_mail_per_connection(outbox: Outbox, sink: Sink) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    kills, queued = 0, 0
    while kills < KILLS // 2:  # half on each database
        # As many as keep all of them busy until they die, and no more in a thousandth round than in the first.
        missing = max(WAITING - outbox.unfinished(), 0)
        outbox.queue(missing, prefix=f"round{kills}.")
        queued += missing
        workers = [outbox.start("--watch", "--connections", str(number), MAIL_PORT=sink.port) for number in CONNECTIONS]
        before = sink.count()
        deadline = time.monotonic() + 20
        while sink.count() == before and time.monotonic() < deadline:
            time.sleep(0.01)
        for worker in workers:
            time.sleep(chance.uniform(0, 0.06))
            worker.kill()
            worker.communicate()
            kills += 1
        outbox.make_due()  # the leases of the dead run out
    outbox.deliver("--connections", "4", MAIL_PORT=sink.port, seconds=60 + queued / 100)

    taken = sink.taken()
    copies = Counter(message_id for _, message_id, _ in taken)
    doubles = sum(copies.values()) - len(copies)
    print(f"seed {seed}: {kills} kills, {queued} mails, {queued - len(copies)} lost, {doubles} doubled")
    assert set(outbox.messages()) == {"sent"}
    assert len(copies) == queued
    assert len(set(taken)) == queued, "a copy differs in recipient, Message-ID or Date"
    assert doubles <= kills // len(CONNECTIONS) * sum(CONNECTIONS)
