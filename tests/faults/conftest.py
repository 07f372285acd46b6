"""Outboxes on both databases, and relays that misbehave."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.outbox import Outbox, create_postgresql, drop_postgresql, migrate
from tests.site import ROOT


class Sink:
    """tests.faults.sink as a process; `taken()` is what it took: (recipient, Message-ID, Date) each."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._counted = self._bytes_read = 0

    def taken(self) -> list[tuple[str, ...]]:
        return [tuple(line.split("\t")) for line in self._log.read_text().splitlines()] if self._log.exists() else []

    def count(self) -> int:
        """How many mails it took; looks only at what is new, so that one may ask often."""
        if self._log.exists():
            with self._log.open("rb") as log:
                log.seek(self._bytes_read)
                new = log.read()
            self._bytes_read += len(new)
            self._counted += new.count(b"\n")
        return self._counted

    def __enter__(self) -> "Sink":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.sink", str(self._log)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()


BOTH = [pytest.param("sqlite"), pytest.param("postgresql", marks=pytest.mark.service("postgresql"))]


@pytest.fixture(scope="session")
def postgresql_template() -> Iterator[str]:
    name = f"flasky_template_{os.getpid()}"
    migrate(create_postgresql(name))
    yield name
    drop_postgresql(name)


@pytest.fixture(params=BOTH)
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    """A migrated, empty outbox; the test runs once on each database."""
    if request.param == "sqlite":
        path = tmp_path / "outbox.sqlite3"
        shutil.copy(request.getfixturevalue("migrated_database"), path)
        made = Outbox(f"sqlite:///{path}")
        yield made
        made.close()
        return
    name = f"flasky_{os.getpid()}"
    made = Outbox(create_postgresql(name, request.getfixturevalue("postgresql_template")))
    yield made
    made.close()
    drop_postgresql(name)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    """A fast SMTP server in its own process."""
    with Sink(tmp_path / "taken.tsv") as server:
        yield server
