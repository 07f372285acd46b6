"""Celery workers and beat as processes; each test has its own queue on the broker of this machine."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from celery import Celery as Application
from kombu import Connection, Exchange, Queue

from tests.servers import PORTS
from tests.site import ROOT, environment


class Celery:
    """`start("worker")` runs `celery -A flasky worker`; `variables` are what a site needs to wake it."""

    def __init__(self, folder: Path, broker: str = f"amqp://guest:guest@127.0.0.1:{PORTS['rabbitmq']}//") -> None:
        self.queue = f"flasky-test-{uuid.uuid4()}"
        self.variables: dict[str, object] = {
            "NOTIFY_DISPATCH": "celery",
            "CELERY_BROKER_URL": broker,
            "DJANGO_SETTINGS_MODULE": "tests.celery_settings",
            "TEST_QUEUE": self.queue,
        }
        self._broker = broker
        self._log = folder / "celery.log"
        self._running: list[subprocess.Popen[bytes]] = []
        self._application = Application(broker=broker)

    def start(self, *words: str, **variables: object) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "flasky", *words],
                cwd=ROOT,
                env=environment(**{**self.variables, **variables}),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def wake(self) -> None:
        """What a site sends to the queue after a commit."""
        arguments: dict[str, object] = {"x-max-length": 10, "x-overflow": "drop-head"}
        if self.variables.get("CELERY_QUEUE_TYPE") == "quorum":
            arguments["x-queue-type"] = "quorum"
        exchange = Exchange(self.queue, type="topic")
        queue = Queue(self.queue, exchange, routing_key=self.queue, queue_arguments=arguments)
        self._application.send_task("notify.tasks.deliver", queue=queue, ignore_result=True, retry=False)

    def waiting(self) -> int:
        """How many wake-ups the broker keeps."""
        with Connection(self._broker) as connection:
            return int(connection.channel().queue_declare(self.queue, passive=True).message_count)

    def output(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def close(self) -> None:
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
        self._application.close()
        with Connection(self._broker) as connection, contextlib.suppress(Exception):
            Queue(self.queue, channel=connection.channel()).delete()
        print(self.output()[-8000:])


@contextlib.contextmanager
def celery(folder: Path) -> Iterator[Celery]:
    made = Celery(folder)
    try:
        yield made
    finally:
        made.close()
