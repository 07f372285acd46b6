"""Celery's tasks: how long they are, how they end, what they keep, and how they share a backlog."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from tests import servers
from tests.faults.outbox import Outbox
from tests.faults.scripted import Hang, ScriptedRelay
from tests.services.celery import Celery, celery
from tests.site import Browser, Site
from tests.waiting import until

pytestmark = [pytest.mark.service("postgresql"), pytest.mark.service("rabbitmq")]


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Celery]:
    with celery(tmp_path) as made:
        yield made


def variables(outbox: Outbox, relay: ScriptedRelay) -> dict[str, object]:
    return {**outbox.options, "MAIL_PORT": relay.port, "MAIL_TIMEOUT": 30, "NOTIFY_DISPATCH": "celery"}


def start(workers: Celery, outbox: Outbox, relay: ScriptedRelay) -> subprocess.Popen[bytes]:
    """A worker of one process, ready for tasks."""
    before = workers.output().count("ready.")
    process = workers.start("worker", "--concurrency=1", "--loglevel=INFO", **variables(outbox, relay))
    until(lambda: workers.output().count("ready.") > before)
    return process


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGQUIT, False), (signal.SIGTERM, True)],
    ids=["SIGTERM", "SIGINT", "SIGQUIT", "SIGTERM-to-all"],
)
def test_a_worker_that_is_ended_with_a_mail_in_hand_records_it_once(
    number: signal.Signals, whole_group: bool, workers: Celery, outbox: Outbox
) -> None:
    with ScriptedRelay({"dot": Hang(3)}) as relay:
        outbox.queue(3)
        process = start(workers, outbox, relay)
        workers.wake()
        until(lambda: any(line.upper().startswith("DATA") for line in relay.heard))
        started = time.monotonic()
        (os.killpg if whole_group else os.kill)(process.pid, number)
        process.wait(30)
        assert time.monotonic() - started < 10
        until(lambda: "sending" not in outbox.messages(), seconds=15)
        assert sorted(outbox.messages()) == ["queued", "queued", "sent"]
        assert len(relay.taken) == 1


def test_a_worker_that_is_ended_leaves_a_long_queue_to_others(workers: Celery, outbox: Outbox) -> None:
    with ScriptedRelay({"dot": Hang(0.02)}) as relay:
        outbox.queue(3000)
        process = start(workers, outbox, relay)
        workers.wake()
        until(lambda: len(relay.taken) > 20)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert time.monotonic() - started < 5
        until(lambda: "sending" not in outbox.messages(), seconds=15)
        assert outbox.messages().count("sent") == len(relay.taken)


def test_a_backlog_is_shared_by_the_idle_after_one_wake_up(workers: Celery, outbox: Outbox) -> None:
    with ScriptedRelay({"dot": Hang(0.02)}) as relay:
        for _ in range(3):
            start(workers, outbox, relay)
        outbox.queue(600)
        workers.wake()
        until(lambda: len(relay.connects) == 3, seconds=15)
        outbox.wait_for("state", "sent", seconds=60)
        assert len(relay.taken) == 600


def test_wake_ups_do_not_pile_up_while_no_worker_runs(workers: Celery, outbox: Outbox) -> None:
    with ScriptedRelay() as relay:
        process = start(workers, outbox, relay)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    for _ in range(100):
        workers.wake()
    time.sleep(1)
    assert workers.waiting() == 10


def test_connections_are_kept_between_tasks(workers: Celery, outbox: Outbox) -> None:
    def pids() -> list[int]:
        """The worker's sessions of PostgreSQL."""
        rows = outbox.sql(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return sorted(pid for [pid] in rows)

    with ScriptedRelay() as relay:
        start(workers, outbox, relay)
        outbox.queue(1, prefix="first")
        workers.wake()
        outbox.wait_for("state", "sent")
        before = pids()
        for number in range(20):
            outbox.queue(1, prefix=f"next{number}.")
            workers.wake()
            until(lambda: outbox.unfinished() == 0)
        until(lambda: workers.output().count("succeeded") == 21)
        assert len(relay.connects) == 1
        assert pids() == before
        assert len(before) == 1


POST = """from notify.mail import notify_admins
for number in range(%d):
    notify_admins("order", "New order", "notify/mail/test", key=f"%s{number}", summary="Order", url="https://x.example")"""


@pytest.mark.service("faketime")
def test_a_beat_whose_clock_is_behind_is_obeyed(workers: Celery, outbox: Outbox, tmp_path: Path) -> None:
    with ScriptedRelay() as relay:
        start(workers, outbox, relay)
        outbox.queue(1)
        behind = {**variables(outbox, relay), "LD_PRELOAD": servers.faketime(), "FAKETIME": "-10s"}
        workers.start("beat", "--schedule", str(tmp_path / "beat"), "--pidfile=", **behind)
        outbox.wait_for("state", "sent", seconds=30)
        assert "Discarding revoked task" not in workers.output()


def test_without_beat_overdue_events_are_reported_and_the_next_post_has_them_notified(
    workers: Celery, outbox: Outbox, make_site: Callable[..., Site]
) -> None:
    with ScriptedRelay() as relay:
        own = {"NOTIFY_BURST": 1, "NOTIFY_INTERVAL": 4, "NOTIFY_READY_SECONDS": 2, "NOTIFY_METRICS_TOKEN": "t"}
        site = make_site(**{**variables(outbox, relay), **workers.variables, **own}).start()
        process = workers.start("worker", "--concurrency=1", **{**variables(outbox, relay), **own})
        assert site.manage("shell", "-v0", "-c", POST % (20, "a")).returncode == 0
        until(lambda: len(relay.taken) == 1)
        time.sleep(8)  # the interval ends while no process looks for queued events
        assert len(relay.taken) == 1
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{site.url}mailz")
        asked = urllib.request.Request(f"{site.url}metrics", headers={"Authorization": "Bearer t"})
        assert b"notify_events_overdue 19.0" in urllib.request.urlopen(asked).read()
        site.manage("shell", "-v0", "-c", POST % (1, "b"))
        until(lambda: len(relay.taken) == 2)
        subject = str(message_from_bytes(relay.taken[1][1], policy=policy.default)["Subject"])
        assert subject.startswith("[Flasky] 20 × New order: ")
        assert process.poll() is None


def test_a_silent_broker_costs_one_post_a_second_and_the_next_nothing(
    outbox: Outbox, make_site: Callable[..., Site]
) -> None:
    with ScriptedRelay() as relay, socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        broker = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}//"
        site = make_site(**{**variables(outbox, relay), "CELERY_BROKER_URL": broker}).start()
        browser = Browser(site)
        seconds = []
        for name in ("Ann", "Bob", "Cid", "Dan"):
            started = time.monotonic()
            assert "Pleased to meet you!" in browser.post(name)
            seconds.append(time.monotonic() - started)
        assert 0.9 < seconds[0] < 5
        assert max(seconds[1:]) < 0.9


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_quorum_queue_serves_as_well(kind: str, workers: Celery, outbox: Outbox) -> None:
    workers.variables["CELERY_QUEUE_TYPE"] = kind
    with ScriptedRelay() as relay:
        start(workers, outbox, relay)
        outbox.queue(3)
        workers.wake()
        outbox.wait_for("state", "sent")
        assert len(relay.taken) == 3
