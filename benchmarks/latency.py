"""How long a mail is under way: from the commit of a name until the relay has the mail, one at a time."""

import random
import statistics
import time

from benchmarks.stage import Contestant, Relay, Saver, Stage, percentile, table

NAMES = 30  # in a round
CONTESTANTS = [Contestant("thread", {"NOTIFY_DISPATCH": "thread"}), Contestant("worker", {"NOTIFY_DISPATCH": "worker"})]


def run(stage: Stage, rounds: int) -> None:
    waits: dict[str, list[float]] = {each.name: [] for each in CONTESTANTS}
    for _ in range(rounds):
        for each in CONTESTANTS:
            waits[each.name] += _measure(stage, each)
    rows = [
        [name, f"{statistics.median(each):.0f}", f"{percentile(each, 99):.0f}", f"{max(each):.0f}"]
        for name, each in waits.items()
    ]
    table(
        f"latency, {stage.vendor}: commit to the relay, {rounds * NAMES} names, milliseconds",
        ["NOTIFY_DISPATCH", "p50", "p99", "max"],
        rows,
        "p50 <= 50 with thread; with worker <= 100 on PostgreSQL and <= 1,100 on SQLite",
    )


def _measure(stage: Stage, contestant: Contestant) -> list[float]:
    with stage.database() as database, Relay(stage.folder) as relay:
        variables = {**contestant.variables, "DATABASE_URL": database, "MAIL_PORT": relay.port, "NOTIFY_INTERVAL": 0}
        worker = None
        if contestant.name == "worker":
            worker = stage.start("manage.py", "deliver", "--watch", **variables)
        try:
            with Saver(stage, **variables) as saver:
                committed = [_save_one(saver, relay) for _ in range(NAMES + 1)][
                    1:
                ]  # the first one meets cold processes
            taken = relay.taken()[1:]
        finally:
            if worker:
                worker.terminate()
                worker.communicate()
    # One at a time: the n-th mail is that of the n-th name.
    return [(took - at) * 1000 for at, took in zip(committed, taken, strict=True)]


def _save_one(saver: Saver, relay: Relay) -> float:
    """Save a name at any moment, wait for its mail, and return when it was committed."""
    time.sleep(random.uniform(0.05, 0.35))  # not in step with a worker that polls
    before, deadline = len(relay.taken()), time.monotonic() + 30
    [(_, committed)] = saver.save(1)
    while len(relay.taken()) == before:
        assert time.monotonic() < deadline, "no mail came within 30 s"
        time.sleep(0.002)
    return committed
