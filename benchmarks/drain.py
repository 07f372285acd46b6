"""How fast what is queued is delivered: 5,000 mails of 2 KB into a local relay, by whole processes to their end.

Of each figure the same processes over an empty queue are taken off, run just before: a start of Python and Django.
"""

import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.stage import MAILER, POST_OFFICE, Contestant, Relay, Stage, table

OURS = Contestant("ours, 1 connection")
TWO_PROCESSES = Contestant("ours, 2 processes")
SIXTEEN = Contestant("ours, 16 connections")
TARGET = "1 connection >= 5 x post_office on SQLite, 3.2 x on PostgreSQL; 2 processes >= 1.5 x 1; CPU <= 0.3 ms"
COMMANDS = {  # one for each process
    OURS: [["manage.py", "deliver", "--connections", "1"]],
    TWO_PROCESSES: [["manage.py", "deliver", "--connections", "1"]] * 2,
    SIXTEEN: [["manage.py", "deliver", "--connections", "16"]],
    POST_OFFICE: [["manage.py", "send_queued_mail"]],
    MAILER: [["manage.py", "send_mail"]],
}
# Our delivery writes outcomes with synchronous=NORMAL whatever the settings say: the peers get the same.
PEERS_ON_SQLITE = "?init_command=PRAGMA%20journal_mode%3DWAL%3B%20PRAGMA%20synchronous%3DNORMAL%3B"


@dataclass(frozen=True)
class Run:
    """Seconds by the clock, and of processor time without the database's."""

    wall: float
    cpu: float


def run(stage: Stage, rounds: int, count: int) -> None:
    _compare(stage, rounds, count, 0, [OURS, TWO_PROCESSES, POST_OFFICE, MAILER])
    _compare(stage, rounds, count, 5, [SIXTEEN, POST_OFFICE])


def _compare(stage: Stage, rounds: int, count: int, delay: int, contestants: Sequence[Contestant]) -> None:
    runs: dict[Contestant, list[Run]] = {each: [] for each in contestants}
    for _ in range(rounds):
        for each in contestants:  # interleaved: the machine's mood is everybody's
            runs[each].append(_measure(stage, each, delay, count))
    walls = {each: statistics.median(one.wall for one in of_each) for each, of_each in runs.items()}
    rows = [
        [
            each.name,
            f"{wall:.2f}",
            f"{count / wall:.0f}",
            f"{statistics.median(one.cpu for one in runs[each]) / count * 1000:.3f}",
            f"{walls[POST_OFFICE] / wall:.1f} x",
            f"{walls[contestants[0]] / wall:.2f} x",
        ]
        for each, wall in walls.items()
    ]
    table(
        f"drain, {stage.vendor}: {count} mails, {delay} ms per reply, median of {rounds}",
        ["", "s", "mails/s", "CPU ms/mail", "post_office", contestants[0].name],
        rows,
        "" if delay else TARGET,
    )


def _measure(stage: Stage, contestant: Contestant, delay: int, count: int) -> Run:
    with stage.database() as database, Relay(stage.folder, delay) as relay:
        if "BENCH_MAIL" in contestant.variables and stage.vendor == "sqlite":
            database += PEERS_ON_SQLITE
        variables = {**contestant.variables, "DATABASE_URL": database, "MAIL_PORT": relay.port}
        empty = _deliver(stage, contestant, variables)
        stage.run("-m", "benchmarks.inside", "queue", str(count), **variables)
        full = _deliver(stage, contestant, variables)
        assert len(relay.taken()) == count, f"{contestant.name} sent {len(relay.taken())} of {count}"
    return Run(full.wall - empty.wall, full.cpu - empty.cpu)


def _deliver(stage: Stage, contestant: Contestant, variables: dict[str, object]) -> Run:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    processes = [stage.start(*command, **variables) for command in COMMANDS[contestant]]
    for process in processes:
        stage.finish(process)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
