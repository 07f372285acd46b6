"""An outbox for a test: a migrated database of its own, read and written in SQL, and workers on it."""

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from tests.site import ROOT, environment, manage
from tests.waiting import until

POSTGRESQL = "postgres://postgres@127.0.0.1:5432"
COLUMNS = (
    "message_id, sender, recipient, subject, body_id, state, created_at, due_at, expires_at, "
    "attempts, claim, reply, diagnosis, uncertain"
)


class Outbox:
    """`url` is the DATABASE_URL; `options` are the workers' variables."""

    def __init__(self, url: str, **options: object) -> None:
        self.url = url
        self.options: dict[str, object] = {
            "DATABASE_URL": url,
            "NOTIFY_DISPATCH": "worker",
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_TIMEOUT": 2,
            **options,
        }
        self._workers: list[subprocess.Popen[str]] = []

    @property
    def is_postgresql(self) -> bool:
        return self.url.startswith("postgres")

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement, with ? for values."""
        if self.is_postgresql:
            with psycopg.connect(self.url, autocommit=True) as connection:
                cursor: Any = connection.execute(statement.replace("?", "%s").encode(), values)
                return list(cursor.fetchall()) if cursor.description else []
        with sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=20) as connection:
            rows = connection.execute(statement, values).fetchall()
        connection.close()
        return rows

    def queue(self, count: int = 1, *, size: int = 200, sender: str = "flasky@example.com", prefix: str = "m") -> None:
        """Messages that are due, in order: <m0@example.com> to r0@example.com, and so on."""
        now = datetime.now(UTC) - timedelta(seconds=60)
        for first in range(0, count, 500):
            rows, bodies = [], []
            for number in range(first, min(first + 500, count)):
                moment = now + timedelta(microseconds=number)
                name = f"<{prefix}{number}@example.com>"
                mime = f"Message-ID: {name}\r\nDate: {moment:%c}\r\nSubject: {number}\r\n\r\n".encode()
                mime += (b"x" * 70 + b"\r\n") * (size // 72)
                times = [self.time(each) for each in (moment, moment, moment + timedelta(days=5))]
                bodies.append(mime)
                rows.append([name, sender, f"r{number}@example.com", str(number), None, "queued", *times])
            keys = self.sql(
                f"INSERT INTO notify_body (mime) VALUES {', '.join(['(?)'] * len(bodies))} RETURNING id", *bodies
            )
            for row, [key] in zip(rows, sorted(keys), strict=True):
                row[4] = key
            marks = "(?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', '', '', false)"
            values = [value for row in rows for value in row]
            self.sql(f"INSERT INTO notify_message ({COLUMNS}) VALUES {', '.join([marks] * len(rows))}", *values)

    def messages(self, columns: str = "state") -> list[Any]:
        """A column of all messages, or tuples of several, in order."""
        rows = self.sql(f"SELECT {columns} FROM notify_message ORDER BY id")
        return [row[0] for row in rows] if "," not in columns else rows

    def unfinished(self) -> int:
        """How many wait, or are in a worker's hands."""
        [[number]] = self.sql("SELECT count(*) FROM notify_message WHERE state IN ('queued', 'sending')")
        return int(number)

    def attempts(self, columns: str) -> list[tuple[Any, ...]]:
        return self.sql(f"SELECT {columns} FROM notify_attempt ORDER BY id")

    def relay(self) -> tuple[str, str]:
        """Its state and the reason, under the configuration that was used last."""
        [row, *_] = self.sql("SELECT state, reason FROM notify_relay ORDER BY (workers IS NOT NULL) DESC, id DESC")
        return row[0], row[1]

    def make_due(self) -> None:
        """Time passes: every lease, retry and probe is due."""
        past = self.time(datetime.now(UTC) - timedelta(seconds=5))
        self.sql("UPDATE notify_message SET due_at = ? WHERE state IN ('queued', 'sending')", past)
        self.sql("UPDATE notify_relay SET next_probe = ? WHERE next_probe IS NOT NULL", past)

    def deliver(self, *arguments: str, **options: object) -> str:
        """`manage.py deliver` to its end; its last line."""
        done = manage("deliver", *arguments, **{**self.options, **options})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[str]:
        """A worker in the background."""
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "deliver", *arguments],
            cwd=ROOT,
            env=environment(**{**self.options, **options}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._workers.append(worker)
        return worker

    def wait_for(self, column: str, value: object, seconds: float = 30) -> None:
        """Until every message has this value in the column."""
        until(
            lambda: set(self.messages(column)) == {value},
            seconds,
            said=lambda: f"{column}: {self.messages(column)[:10]}",
        )

    def close(self) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.communicate()

    def time(self, moment: datetime) -> Any:
        """As a value for `sql`."""
        return moment if self.is_postgresql else moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def create_postgresql(name: str, template: str = "template1") -> str:
    """A fresh database; its URL."""
    with psycopg.connect(f"{POSTGRESQL}/postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
    return f"{POSTGRESQL}/{name}"


def drop_postgresql(name: str) -> None:
    with psycopg.connect(f"{POSTGRESQL}/postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def migrate(url: str) -> None:
    done = manage("migrate", "--verbosity", "0", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
