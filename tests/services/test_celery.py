"""NOTIFY_DISPATCH=celery: a real broker, a real worker and beat, started as docs/operations.md says."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kombu import Connection, Queue

from tests.relays import Relay
from tests.servers import PORTS
from tests.services.broker import Way
from tests.site import ROOT, Browser, Site, environment

MakeCelery = Callable[..., None]
WAITING = """from notify.models import Event, Message
print(Message.objects.unfinished().count() + Event.objects.waiting().count())"""


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """The way to the broker, open."""
    way = Way(PORTS[request.param])
    way.open()
    yield way
    way.discard()


@pytest.fixture
def site(make_site: Callable[..., Site], way: Way, relay: Relay, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Started; its wake-ups go into a queue of its own."""
    scheme = {"rabbitmq": "amqp://guest:guest@", "redis": "redis://"}[request.node.callspec.params["way"]]
    url, queue = f"{scheme}127.0.0.1:{way.port}/", f"flasky-test-{uuid.uuid4()}"
    yield make_site(
        NOTIFY_DISPATCH="celery",
        CELERY_BROKER_URL=url + "/" * (scheme[0] == "a"),
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=relay.port,
        DJANGO_SETTINGS_MODULE="tests.celery_settings",
        TEST_QUEUE=queue,
    ).start()
    way.close()
    way.open()
    with Connection(url + "/" * (scheme[0] == "a")) as connection, contextlib.suppress(Exception):
        Queue(queue, channel=connection.channel()).delete()


@pytest.fixture
def start_celery(site: Site, tmp_path: Path) -> Iterator[MakeCelery]:
    """`start_celery("worker")`: `celery -A flasky worker`, until the test ends."""
    running: list[subprocess.Popen[bytes]] = []
    log = tmp_path / "celery.log"

    def start(*words: str) -> None:
        with log.open("ab") as output:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "celery", "-A", "flasky", *words],
                    cwd=ROOT,
                    env=environment(**site.variables),
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    yield start
    for process in running:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
    print(log.read_text()[-8000:] if log.exists() else "")


def waiting(site: Site) -> int:
    return int(site.manage("shell", "-v0", "-c", WAITING).stdout)


def post_quickly(site: Site, name: str) -> None:
    started = time.monotonic()
    assert "Pleased to meet you!" in Browser(site).post(name)
    assert time.monotonic() - started < 10  # MAIL_TIMEOUT is 30, and brokers know none


BROKERS = pytest.mark.parametrize(
    "way",
    [
        pytest.param("rabbitmq", marks=pytest.mark.service("rabbitmq")),
        pytest.param("redis", marks=[pytest.mark.service("redis"), pytest.mark.service("redis-py")]),
    ],
    indirect=True,
)


@BROKERS
def test_a_worker_is_woken_by_a_name_and_delivers(site: Site, relay: Relay, start_celery: MakeCelery) -> None:
    start_celery("worker", "--concurrency=1", "--loglevel=INFO")
    post_quickly(site, "Zoë")  # before the worker is up, or after: the broker keeps the wake-up
    [envelope] = relay.wait_for(1, seconds=60)
    assert b"New visitor" in envelope.content
    assert waiting(site) == 0


@BROKERS
def test_what_a_lost_wake_up_left_is_found_by_beat_when_the_broker_is_back(
    site: Site, relay: Relay, way: Way, start_celery: MakeCelery, tmp_path: Path
) -> None:
    start_celery("worker", "--concurrency=1", "--loglevel=INFO")
    post_quickly(site, "Ann")
    relay.wait_for(1, seconds=60)
    assert waiting(site) == 0
    time.sleep(1)  # the task that sent it has looked for more, and ended

    way.close()
    post_quickly(site, "Bob")
    assert "the broker did not accept the wake-up" in site.output()
    relay.stays_at(1)
    assert waiting(site) == 1
    way.open()
    start_celery("beat", "--schedule", str(tmp_path / "beat"), "--pidfile=", "--loglevel=INFO")
    relay.wait_for(2, seconds=60)


@BROKERS
def test_a_silent_broker_does_not_delay_the_form(site: Site, way: Way) -> None:
    way.close()
    with socket.create_server(("127.0.0.1", way.port)):  # takes connections, and says nothing
        post_quickly(site, "Cid")
    assert waiting(site) == 1
