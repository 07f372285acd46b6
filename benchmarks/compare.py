"""Delivery side by side with its peers, in one run: `make bench`. Prints a table; says nothing of good or bad.

Every figure is one whole worker process over 5,000 queued mails of 2 KB, on a fresh database, into a fast local sink.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.outbox import Outbox, create_postgresql, drop_postgresql, migrate
from tests.site import ROOT, environment

COUNT = int(os.environ.get("COUNT", "5000"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
PEER_PYTHON = ROOT / "var" / "bench-venv" / "bin" / "python"
PEER_COMMANDS = {"post_office": "send_queued_mail", "mailer": "send_mail"}


@dataclass
class Run:
    """Seconds of one process: by the clock, and of processor time."""

    wall: float
    cpu: float


class Sink:
    """The relay, with a delay per reply in milliseconds."""

    def __init__(self, folder: Path, delay: int) -> None:
        self._log = folder / "taken"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.sink", str(self._log), str(delay)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def taken(self) -> int:
        return self._log.read_bytes().count(b"\n") if self._log.exists() else 0

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def run(command: list[str], variables: dict[str, str]) -> Run:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def ours(database: str, sink: Sink, connections: int, count: int) -> Run:
    migrate(database)
    Outbox(database).queue(count, size=2048)
    command = [sys.executable, "manage.py", "deliver", "--connections", str(connections)]
    variables = environment(
        DATABASE_URL=database, MAIL_SERVER="127.0.0.1", MAIL_PORT=sink.port, NOTIFY_DISPATCH="worker", MAIL_TIMEOUT=30
    )
    return run(command, variables)


def peer(name: str, database: str, sink: Sink, count: int) -> Run:
    variables = environment(DATABASE_URL=database, MAIL_PORT=sink.port) | {
        "DJANGO_SETTINGS_MODULE": "benchmarks.peers",
        "PYTHONPATH": str(ROOT),
    }
    run([str(PEER_PYTHON), "-m", "django", "migrate", "-v0"], variables)
    run([str(PEER_PYTHON), "-m", "benchmarks.peers", name, str(count)], variables)
    return run([str(PEER_PYTHON), "-m", "django", PEER_COMMANDS[name]], variables)


def measure(vendor: str, what: str, delay: int, connections: int, count: int) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        name = f"flasky_bench_{os.getpid()}"
        database = create_postgresql(name) if vendor == "postgresql" else f"sqlite:///{folder}/bench.sqlite3"
        sink = Sink(Path(folder), delay)
        try:
            result = ours(database, sink, connections, count) if what == "flasky" else peer(what, database, sink, count)
            assert sink.taken() == count, f"{what} sent {sink.taken()} of {count}"
        finally:
            sink.close()
            if vendor == "postgresql":
                drop_postgresql(name)
    return result


def compare(vendor: str, delay: int, connections: int, peers: list[str], count: int) -> None:
    runs: dict[str, list[Run]] = {}
    for _ in range(ROUNDS):
        for what in ["flasky", *peers]:  # interleaved: the machine's mood is everybody's
            runs.setdefault(what, []).append(measure(vendor, what, delay, connections, count))
    idle = statistics.median(measure(vendor, "flasky", delay, connections, 0).cpu for _ in range(ROUNDS))
    own = statistics.median(each.wall for each in runs["flasky"])
    print(f"\n{vendor}, {count} mails, {delay} ms per reply, {connections} connection(s), median of {ROUNDS}")
    for what, results in runs.items():
        wall = statistics.median(each.wall for each in results)
        cpu = statistics.median(each.cpu for each in results)
        line = f"  {what:<12} {wall:8.2f} s  {count / wall:7.0f} mails/s  {cpu / count * 1000:6.3f} ms CPU per mail"
        if what == "flasky":
            line += f"  ({(cpu - idle) / count * 1000:.3f} without the start of the process)"
        print(f"{line}  {wall / own:5.1f} x", flush=True)


def main() -> None:
    if not PEER_PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEER_PYTHON.parent.parent)], check=True)
        install = [str(PEER_PYTHON), "-m", "pip", "install", "--quiet", "--require-hashes", "-r"]
        subprocess.run([*install, "benchmarks/requirements.txt"], cwd=ROOT, check=True)
    for vendor in os.environ.get("DATABASES", "sqlite,postgresql").split(","):
        compare(vendor, 0, 1, ["post_office", "mailer"], COUNT)
        compare(vendor, 5, 16, ["post_office"], COUNT)


if __name__ == "__main__":
    main()
