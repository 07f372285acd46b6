"""Celery workers on two "hosts" are killed at random moments while mails stream: nothing is lost.

Most kills hit one process of a pool, which its parent replaces; the others a whole worker, which is started again.
"""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Sink
from tests.faults.outbox import Outbox
from tests.services.celery import Celery, celery

pytestmark = [pytest.mark.slow, pytest.mark.service("rabbitmq")]

KILLS = int(os.environ.get("KILLS", "200")) // 4
WAITING = 500
HOSTS = ("one", "two")
PROCESSES = 2  # of each pool


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Celery]:
    with celery(tmp_path) as made:
        yield made


def children(process: "subprocess.Popen[bytes]") -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("outbox", [pytest.param("postgresql", marks=pytest.mark.service("postgresql"))], indirect=True)
def test_kills_of_celery_workers_lose_nothing(outbox: Outbox, workers: Celery, sink: Sink) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    variables = {**outbox.options, "MAIL_PORT": sink.port}

    def start(host: str) -> "subprocess.Popen[bytes]":
        return workers.start("worker", f"-c{PROCESSES}", f"-n{host}@%h", "--loglevel=ERROR", **variables)

    running = {host: start(host) for host in HOSTS}
    kills, queued, whole = 0, 0, 0
    while kills < KILLS:
        # Those in the hands of the dead come due when their leases end.
        [[queued_now]] = outbox.sql("SELECT count(*) FROM notify_message WHERE state = 'queued'")
        missing = max(WAITING - queued_now, 0)
        outbox.queue(missing, prefix=f"round{kills}.")
        queued += missing
        before = sink.count()
        deadline = time.monotonic() + 20
        while sink.count() == before and time.monotonic() < deadline:
            workers.wake()
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.1))
        host = chance.choice(HOSTS)
        pool = children(running[host])
        if pool and chance.random() < 0.8:
            os.kill(chance.choice(pool), signal.SIGKILL)
        else:
            os.killpg(running[host].pid, signal.SIGKILL)
            running[host].wait(20)
            running[host] = start(host)
            whole += 1
        kills += 1
    for process in running.values():
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
    outbox.make_due()
    outbox.deliver("--connections", "4", MAIL_PORT=sink.port, seconds=60 + queued / 100)

    taken = sink.taken()
    copies = Counter(message_id for _, message_id, _ in taken)
    doubles = sum(copies.values()) - len(copies)
    print(
        f"seed {seed}: {kills} kills ({whole} of whole workers), {queued} mails, "
        f"{queued - len(copies)} lost, {doubles} doubled"
    )
    assert set(outbox.messages()) == {"sent"}
    assert len(copies) == queued
    assert len(set(taken)) == queued, "a copy differs in recipient, Message-ID or Date"
    assert doubles <= kills * PROCESSES
