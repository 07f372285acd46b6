"""What the experiments share: databases of their own, the relay, the environment of a process, and the tables.

Everything lives under a temporary directory, listens on loopback, and is gone when the `with` block ends.
"""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import sink
from tests.faults.outbox import create_postgresql, drop_postgresql
from tests.site import ROOT, environment

Variables = dict[str, object]


@dataclass(frozen=True, eq=False)
class Contestant:
    """A row of a table, and what makes it so."""

    name: str
    variables: Variables = field(default_factory=dict)


NO_MAIL = Contestant("no mail", {"BENCH_MAIL": "none"})
MAILER = Contestant("django-mailer", {"BENCH_MAIL": "mailer"})
POST_OFFICE = Contestant("django-post_office", {"BENCH_MAIL": "post_office"})


class Stage:
    """`with Stage("sqlite") as stage`: fresh databases of that vendor, and processes on them."""

    def __init__(self, vendor: str) -> None:
        self.vendor = vendor

    def __enter__(self) -> "Stage":
        self._numbers, self._template = itertools.count(), ""
        with contextlib.ExitStack() as exits:
            self.folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="flasky-bench-")))
            self._template = exits.enter_context(self.database())
            self.run("manage.py", "migrate", "--verbosity", "0", DATABASE_URL=self._template)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._exits.close()

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a migrated, empty database that goes when the block ends."""
        name = f"flasky_bench_{os.getpid()}_{next(self._numbers)}"
        if self.vendor == "postgresql":
            try:
                yield create_postgresql(name, self._template.rpartition("/")[2] or "template1")
            finally:
                drop_postgresql(name)
        else:
            path = self.folder / f"{name}.sqlite3"
            if self._template:
                shutil.copy(self._template.removeprefix("sqlite:///"), path)
            yield f"sqlite:///{path}"

    def variables(self, **variables: object) -> Variables:
        """What a process is run with, besides Flasky's defaults. Nobody delivers unless it is told to."""
        return {
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "NOTIFY_DISPATCH": "worker",
            "MAIL_SERVER": "127.0.0.1",
            "TMPDIR": self.folder,  # post_office locks a file there
            **variables,
        }

    def start(self, *command: str, **variables: object) -> subprocess.Popen[str]:
        """A Python process in the background that is talked to by lines."""
        with (self.folder / "stderr").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=environment(**self.variables(**variables)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def finish(self, process: subprocess.Popen[str]) -> None:
        """Wait for its end, which must be a good one."""
        process.communicate()
        log = (self.folder / "stderr").read_text()
        assert process.returncode == 0, f"{process.args} ended with {process.returncode}:\n{log[-3000:]}"

    def run(self, *command: str, **variables: object) -> None:
        """A Python process to its end."""
        self.finish(self.start(*command, **variables))


class Saver:
    """`with Saver(stage, …) as saver`: a process that saves new names when it is asked to."""

    def __init__(self, stage: Stage, **variables: object) -> None:
        self._stage, self._variables = stage, variables

    def __enter__(self) -> "Saver":
        self._process = self._stage.start("-m", "benchmarks.inside", "save", **self._variables)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def save(self, count: int) -> list[tuple[float, float]]:
        """For each name the microseconds it took, and time.monotonic() when it was committed."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self._stage.finish(self._process)
        return [(took, at) for took, at in json.loads(answer)]

    def freeze(self) -> None:
        """Not even a thread of it runs."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


class Relay:
    """`with Relay(folder) as relay`: tests.faults.sink in a process, each reply `delay` milliseconds late."""

    def __init__(self, folder: Path, delay: int = 0) -> None:
        self._log, self._delay = folder / f"relay-{time.monotonic_ns()}", delay

    def __enter__(self) -> "Relay":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stage", str(self._log), str(self._delay)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def taken(self) -> list[float]:
        """time.monotonic() of each mail that it has in whole, in order."""
        return [float(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []


class Clock(sink.Sink):
    """Notes when it takes a mail, and nothing of it."""

    def _take(self, content: bytes) -> None:
        self._file.write(b"%.6f\n" % time.monotonic())


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], target: str = "") -> None:
    """Print it, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    print(f"\n{title}")
    for row in (header, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  " + "  ".join([row[0].ljust(widths[0]), *cells[1:]]))
    print(f"  target: {target}" if target else "", flush=True)


if __name__ == "__main__":
    asyncio.run(sink.main(Clock))
