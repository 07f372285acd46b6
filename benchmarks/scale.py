"""More than one machine: figures measured here, and a model of many machines that is fed with them.

`python -m benchmarks.scale measure` needs PostgreSQL, and RabbitMQ for Celery's wake-ups; it prints what this machine
does. `python -m benchmarks.scale model` computes 100 sites and 1,000 worker processes with 50 million events a day: on
paper (the share of each resource that is used) and by a discrete-event model (how long each step waits). A day's events
come unevenly: PEAK times the mean. Nothing is asserted; `model` prints the table of docs/scaling.md.
"""

import argparse
import heapq
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.outbox import Outbox, create_postgresql, drop_postgresql, migrate
from tests.faults.scripted import ScriptedRelay
from tests.servers import is_here
from tests.services.celery import celery
from tests.site import ROOT, environment, manage

EVENTS_A_DAY = 50_000_000
PEAK = 5
SITES = 100
WORKERS = 1000  # processes
SECONDS = 3.0  # of the model


@dataclass(frozen=True)
class Figures:
    """Seconds that a session of PostgreSQL is on a processor for a step, as `measure` finds them; two are not."""

    event: float = 0.00055  # an event, with its transaction
    message: float = 0.0010  # body, row, mark of the event, window: a single mail
    claim: float = 0.0041  # a batch of 100
    settle: float = 0.00016
    look: float = 0.00016  # a worker that finds nothing
    wake: float = 0.00003  # NOTIFY
    hot: float = 0.0004  # a row that all processes write
    purge: float = 0.00005  # a row
    commit: float = 0.0010  # by the clock: until a commit is on the disk, while its rows stay locked
    smtp: float = 0.020  # by the clock: the relay's replies to a mail


FIGURES = Figures()


# --- measured -----------------------------------------------------------------------------------------------------

STEPS = """
import time
from django.db import connection, transaction
from notify import clock, mail
from notify.dispatch import listener
from notify.delivery import breaker, claims, counts
from notify.events.digest import notify_due
from notify.models import Event, HourlyCount, Message
from notify.operations import actions

connection.ensure_connection()
session = f"/proc/{connection.connection.info.backend_pid}/schedstat"

def on_processor():
    with open(session) as file:
        return int(file.read().split()[0]) / 1e9

def each(count, step):
    began = on_processor()
    for number in range(count):
        step(number)
    return f"{(on_processor() - began) / count * 1000:.3f} ms"

def event(number):
    with transaction.atomic():
        mail.notify_admins("bench", "New", "notify/mail/test", key=str(number), summary="x", url="https://x.example")

print("event", each(500, event))
Event.objects.all().delete()
print("message", each(300, lambda n: mail.send_mail("a@example.com", "Test", "notify/mail/test")))
held = []
print("claim", each(3, lambda n: held.extend(claims.claim(100))))
print("settle", each(300, lambda n: claims.mark_sent(held[n], reply="250 Ok")))
print("look", each(500, lambda n: Message.objects.due().exists()))
print("wake", each(500, lambda n: listener.send()))
print("hot", each(500, lambda n: counts.add("sent", count=1, seconds=1)))
began = on_processor()
removed = actions.purge(days=0)["messages"]
print("purge", f"{(on_processor() - began) / removed * 1000:.3f} ms")
"""
SEND = """
import time
from notify.mail import send_mail
for _ in range({count}):
    send_mail("a@example.com", f"{{time.time()}}", "notify/mail/test")
    time.sleep({pause})
"""


class Sink:
    """tests.faults.sink, whose replies come late."""

    def __init__(self, folder: Path, delay: float) -> None:
        self.log = folder / f"taken{time.monotonic_ns()}"
        command = [sys.executable, "-m", "tests.faults.sink", str(self.log), str(delay)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    def count(self) -> int:
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0


def throughput(outbox: Outbox, folder: Path, processes: int, connections: int, delay: float, seconds: float) -> float:
    """Mails a second of so many worker processes, from a second after the first mail on."""
    sink = Sink(folder, delay)
    outbox.sql("DELETE FROM notify_message")
    # A reply comes late once for each packet: two of them for a mail that is pipelined.
    outbox.queue(int(processes * connections * (seconds + 4) * 1000 / delay))
    workers = [
        outbox.start("--watch", "--connections", str(connections), MAIL_PORT=sink.port, MAIL_TIMEOUT=30)
        for _ in range(processes)
    ]
    while sink.count() < processes * connections * 5:
        time.sleep(0.1)
    time.sleep(1)
    began, before = time.monotonic(), sink.count()
    time.sleep(seconds)
    rate = (sink.count() - before) / (time.monotonic() - began)
    for worker in workers:
        worker.terminate()
        worker.communicate(timeout=60)
    sink.process.kill()
    sink.process.communicate()
    return rate


def latencies(outbox: Outbox, folder: Path, dispatch: str, count: int = 100, pause: float = 0.15) -> list[float]:
    """Seconds from `send_mail` to the relay's 250, sorted."""
    outbox.sql("DELETE FROM notify_message")
    found = []
    with ScriptedRelay() as relay, celery(folder) as workers:
        variables = {**outbox.options, "MAIL_PORT": relay.port, "NOTIFY_DISPATCH": dispatch}
        if dispatch == "celery":
            variables |= workers.variables
            workers.start("worker", "--concurrency=1", "--loglevel=INFO", **variables)
            while "ready." not in workers.output():
                time.sleep(0.1)
        elif dispatch == "worker":
            outbox.start("--watch", MAIL_PORT=relay.port)
            time.sleep(5)
        seen = 0
        code = SEND.format(count=count, pause=pause)
        command = [sys.executable, "manage.py", "shell", "-v0", "-c", code]
        sender = subprocess.Popen(command, cwd=ROOT, env=environment(**variables))
        while sender.poll() is None or seen < len(relay.taken):
            with relay.changed:
                relay.changed.wait(0.1)
            now = time.time()
            for _, content in relay.taken[seen:]:
                subject = next(line for line in content.splitlines() if line.startswith(b"Subject: "))
                found.append(now - float(subject.split()[-1]))
                seen += 1
    outbox.close()
    return sorted(found)[2:]  # the first ones open connections


def measure() -> None:
    name = f"flasky_scale_{os.getpid()}"
    url = create_postgresql(name)
    migrate(url)
    outbox = Outbox(url)
    try:
        with tempfile.TemporaryDirectory() as folder:
            done = manage("shell", "-v0", "-c", STEPS, **{**outbox.options, "FLASKY_ADMIN": "a@example.com"})
            print(done.stdout, done.stderr[-500:])
            for connections in (1, 8):
                rates = [throughput(outbox, Path(folder), number, connections, 20, 8) for number in (1, 2, 4)]
                print(f"mails a second at 20 ms, {connections} connection(s), 1, 2, 4 processes:", *map(round, rates))
            for dispatch in ("thread", "worker", *(["celery"] if is_here("rabbitmq") else [])):
                found = latencies(outbox, Path(folder), dispatch)
                p50, p99 = statistics.median(found), found[int(len(found) * 0.99)]
                print(f"{dispatch}: {len(found)} wake-ups, p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms")
    finally:
        outbox.close()
        drop_postgresql(name)


# --- computed -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A way to run it."""

    name: str
    folded: bool = True  # NOTIFY_INTERVAL > 0: a topic's mails are few, however many events
    topics: int = SITES
    listening: bool = True  # LISTEN and NOTIFY; else each worker looks 15 times a second
    workers: int = WORKERS
    hot_every: float = 10.0  # seconds from one write of a process to the next
    cores: int = 16  # of PostgreSQL
    pooled: bool = True


PLANS = [
    Plan("as delivered"),
    Plan("without LISTEN/NOTIFY", listening=False),
    Plan("without a pool", pooled=False),
    Plan("each event its own mail (interval 0)", folded=False),
    Plan("the same, hot rows every second", folded=False, hot_every=1.0),
    Plan("the same, 64 cores", folded=False, cores=64),
    Plan("the same, 64 cores, one topic", folded=False, cores=64, topics=1),
    Plan("as delivered, 100 worker processes", workers=100),
]


def rates(plan: Plan) -> dict[str, float]:
    """Steps a second at the peak."""
    events = EVENTS_A_DAY / 86400 * PEAK
    mails = plan.topics * 6 / 300 if plan.folded else events  # a burst of 5 and a digest, in 5 minutes
    return {
        "event": events,
        "wake": events if plan.listening else 0,
        "message": mails,
        "claim": min(mails, plan.workers),
        "settle": mails,
        # Woken at each commit, but a loop rests for 30 ms after each look.
        "look": plan.workers * (min(events + 1, 30) if plan.listening else 15),
        "hot": plan.workers * 2 / plan.hot_every if not plan.folded else min(mails, plan.workers * 2 / plan.hot_every),
        "purge": mails + events,
    }


def on_paper(plan: Plan, figures: Figures) -> dict[str, float]:
    """The share of each resource that is used at the peak: 1 is all of it."""
    found = rates(plan)
    work = sum(found[step] * getattr(figures, step) for step in found)
    sessions = 60 if plan.pooled else SITES * 8 + plan.workers * 2
    return {
        "cores": work / plan.cores,
        "one row of all": found["hot"] / 2 * (figures.hot + figures.commit),
        "a topic's window": found["message"] / plan.topics * (figures.message + figures.commit),
        "sessions of 500": sessions / 500,
        "workers": found["settle"] * figures.smtp / plan.workers,
    }


def simulate(plan: Plan, figures: Figures, *, seconds: float = SECONDS, seed: int = 1) -> dict[str, float]:
    """Milliseconds at the 99th percentile that a step of each kind waits for a core, and for the row that it locks."""
    chance = random.Random(seed)
    order = itertools.count()
    cores = [0.0] * plan.cores  # when each is free
    locks: dict[str, float] = {}
    waits: dict[str, list[float]] = {}
    arrivals = [(chance.expovariate(rate), next(order), step) for step, rate in rates(plan).items() if rate]
    heapq.heapify(arrivals)
    every = rates(plan)
    while arrivals and arrivals[0][0] < seconds:
        now, _, step = heapq.heappop(arrivals)
        heapq.heappush(arrivals, (now + chance.expovariate(every[step]), next(order), step))
        row = ""
        if step == "hot":
            row = chance.choice(["the hour's count", "the relay's row"])
        elif step == "message":
            row = f"window {chance.randrange(plan.topics)}"
        free = heapq.heappop(cores)
        begins = max(now, free, locks.get(row, 0.0) if row else 0.0)
        ends = begins + chance.expovariate(1 / getattr(figures, step))
        # A session that waits for a row needs no core: that one is free when its own work is done.
        heapq.heappush(cores, max(now, free) + (ends - begins))
        if row:
            locks[row] = ends + figures.commit
        waits.setdefault(step, []).append(begins - now)
    return {step: sorted(found)[int(len(found) * 0.99)] * 1000 for step, found in waits.items()}


def table(figures: Figures) -> Iterator[str]:
    """In Markdown: what breaks first, and by how much."""
    shares = "cores | one row of all | a topic's window | sessions of 500 | workers"
    yield f"| | {shares} | a post waits (p99) | a mail waits (p99) |"
    yield "|---|---|---|---|---|---|---|---|"
    for plan in PLANS:
        used, waits = on_paper(plan, figures), simulate(plan, figures)
        shares = " | ".join(f"**{share:.0%}**" if share > 0.8 else f"{share:.0%}" for share in used.values())
        yield f"| {plan.name} | {shares} | {_ms(waits.get('event'))} | {_ms(waits.get('message'))} |"


def _ms(wait: float | None) -> str:
    if wait is None:
        return "–"
    return "grows without end" if wait > 1000 else f"{wait:.1f} ms" if wait < 100 else f"{wait:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("what", choices=["measure", "model"])
    for step, value in vars(FIGURES).items():
        parser.add_argument(f"--{step}", type=float, default=value * 1000, help="milliseconds")
    options = parser.parse_args()
    figures = replace(FIGURES, **{step: getattr(options, step) / 1000 for step in vars(FIGURES)})
    run: Callable[[], None] = measure if options.what == "measure" else lambda: print(*table(figures), sep="\n")
    run()


if __name__ == "__main__":
    main()
