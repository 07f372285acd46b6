"""Alerts by Apprise to real HTTP servers on loopback, and what an operator hears when mail breaks and is mended."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from notify.models import Alert
from notify.operations import channels
from tests.faults.outbox import create_postgresql, drop_postgresql, migrate
from tests.receivers import Receiver
from tests.relays import Relay
from tests.site import Browser, Site, manage
from tests.waiting import until

TOKEN = "abcdefghijklmnopqrstuvwxyz"
REQUESTS = int(os.environ.get("REQUESTS", "200"))  # to a broken view


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


def addresses(receiver: Receiver) -> str:
    host = f"127.0.0.1:{receiver.port}"
    return f"json://ann:k4n4r!en@{host}/hook ntfy://{host}/topic, mmost://{host}/{TOKEN}"


def test_three_services_get_the_alert_in_their_own_format(receiver: Receiver, settings: Any) -> None:
    settings.NOTIFY_ALERT_URLS = addresses(receiver)
    chosen = channels.configured()
    assert [channel.name for channel in chosen] == ["JSON 127.0.0.1", "ntfy 127.0.0.1", "Mattermost 127.0.0.1"]
    said = channels.send(chosen, "It broke & <b>", "Cause\n\nFix", kind="failure")
    assert list(said.values()) == ["", "", ""]
    by_path = {request.path: request.json for request in receiver.requests}
    assert (by_path["/hook"]["title"], by_path["/hook"]["message"]) == ("It broke & <b>", "Cause\n\nFix")
    assert by_path["/hook"]["type"] == "failure"
    assert by_path["/"]["topic"] == "topic"
    assert (by_path["/"]["title"], by_path["/"]["message"]) == ("It broke & <b>", "Cause\n\nFix")
    assert by_path[f"/hooks/{TOKEN}"]["text"].split() == ["It", "broke", "&", "<b>", "Cause", "Fix"]


def test_a_service_that_refuses_is_named_with_its_reason_and_no_secret(receiver: Receiver, settings: Any) -> None:
    settings.NOTIFY_ALERT_URLS = addresses(receiver)
    receiver.status = 403
    said = channels.send(channels.configured(), "Title", "Text", kind="failure")
    assert all("403" in words for words in said.values()), said
    assert not re.search(f"k4n4r|{TOKEN[:10]}", str(said))


def test_services_that_do_not_answer_cost_the_deadline_once(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NOTIFY_ALERT_URLS = addresses(receiver)
    receiver.pause = 30
    chosen = channels.configured()
    assert all(channel.is_understood for channel in chosen)  # which takes its time, the first time
    monkeypatch.setattr(channels, "DEADLINE", 2.0)
    begun = time.monotonic()
    said = channels.send(chosen, "Title", "Text", kind="failure")
    assert time.monotonic() - begun < 4
    assert set(said.values()) == {"No answer within 2 s."}


LATE = """import threading, time
from notify.operations import channels

def send():
    threading.main_thread().join()
    time.sleep(0.5)  # what Python does at its end comes before it waits for threads such as this one
    print(channels.send(channels.configured(), "Title", "Text", kind="failure"))

threading.Thread(target=send).start()"""


def test_a_command_whose_main_thread_is_over_still_reports(receiver: Receiver) -> None:
    done = manage("shell", "-v0", "-c", LATE, NOTIFY_ALERT_URLS=addresses(receiver), NOTIFY_DISPATCH="worker")
    assert re.fullmatch(r"\{('\w+': '', ){2}'\w+': ''\}\n", done.stdout), done
    assert len(receiver.requests) == 3


def test_where_there_is_no_room_for_a_thread_there_is_no_answer(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    settings.NOTIFY_ALERT_URLS = addresses(receiver)
    chosen = channels.configured()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert set(channels.send(chosen, "Title", "Text", kind="failure").values()) == {"No answer within 20 s."}


@pytest.mark.django_db
def test_a_test_alert_goes_to_each_address_and_shows_as_the_last(
    receiver: Receiver, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.NOTIFY_ALERT_URLS = addresses(receiver)
    call_command("outbox", "alert", "--test")
    assert len(receiver.requests) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "alerts are sent to  JSON 127.0.0.1, ntfy 127.0.0.1, Mattermost 127.0.0.1"
    assert re.fullmatch(r"last alert  \S+ \[Flasky\] Test", lines[1])
    assert lines[2:] == ["  JSON 127.0.0.1  sent", "  ntfy 127.0.0.1  sent", "  Mattermost 127.0.0.1  sent"]
    receiver.status = 500
    with pytest.raises(CommandError, match="Not every channel accepted the alert") as raised:
        call_command("outbox", "alert", "--test")
    assert raised.value.returncode == 1
    assert "  JSON 127.0.0.1  not accepted: " in capsys.readouterr().out
    assert Alert.objects.count() == 2


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service("postgresql"))])
def url(request: pytest.FixtureRequest, migrated_database: Path, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        (tmp_path / "shared.sqlite3").write_bytes(migrated_database.read_bytes())
        yield f"sqlite:///{tmp_path}/shared.sqlite3"
        return
    name = f"flasky_alerts_{time.time_ns()}"
    made = create_postgresql(name)
    migrate(made)
    yield made
    drop_postgresql(name)


def test_two_sites_and_two_workers_report_trouble_once_and_its_end_once_though_one_is_killed(
    url: str, make_site: Callable[..., Site], free_port: int, receiver: Receiver
) -> None:
    with Receiver() as heart, contextlib.ExitStack() as running:
        variables = {
            "DATABASE_URL": url,
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_PORT": free_port,
            "MAIL_TIMEOUT": 3,
            "NOTIFY_INTERVAL": 0,
            "NOTIFY_ALERT_AFTER": 3,
            "NOTIFY_ALERT_URLS": f"json://127.0.0.1:{receiver.port}/hook",
            "NOTIFY_HEARTBEAT_URL": f"http://127.0.0.1:{heart.port}/ping/0123",
        }
        sites = [make_site(**variables).start() for _ in range(2)]
        watch = [sys.executable, "manage.py", "deliver", "--watch"]
        workers: list[subprocess.Popen[bytes]] = [
            running.enter_context(site.running(*watch)) for site in (sites[0], sites[0])
        ]
        heart.wait_for(1)
        for number in range(4):
            Browser(sites[number % 2]).post(f"Visitor {number}")
        [alert] = receiver.wait_for(1)
        assert alert.json["title"] == "[Flasky] Delivery is interrupted; retrying automatically."
        assert alert.json["message"].endswith("4 mails are queued.\n\nhttp://127.0.0.1:8000/admin/notify/relay/")
        # A process killed before it recorded that its report was accepted delays the next one by its lease.
        until(lambda: "JSON 127.0.0.1  sent\n" in sites[1].manage("outbox", "status").stdout)
        workers[0].send_signal(signal.SIGKILL)
        receiver.stays_at(1, 8)
        with Relay(free_port) as relay:
            assert sites[1].manage("outbox", "probe").returncode == 0
            relay.wait_for(4)
            _, end = receiver.wait_for(2)
            assert end.json["title"] == "[Flasky] Mail works again."
            assert end.json["message"].startswith("4 queued mails were delivered.\n\nMail had not worked since ")
            receiver.stays_at(2, 8)
            relay.stays_at(4)
        assert [request.path for request in heart.requests] == ["/ping/0123"] * len(heart.requests)
        assert len(heart.requests) <= 3  # within two minutes, of four processes
        status = sites[0].manage("outbox", "status").stdout
        assert "[Flasky] Mail works again.\n  JSON 127.0.0.1  sent\n" in status


def test_a_broken_view_under_many_requests_sends_few_mails_with_exact_counts(
    make_site: Callable[..., Site], relay: Relay
) -> None:
    site = make_site(
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=relay.port,
        NOTIFY_INTERVAL=15,
        DJANGO_SETTINGS_MODULE="tests.broken_settings",
    ).start()

    def ask(number: int) -> int:
        try:
            with urlopen(f"{site.url}broken/?number={number}", timeout=60) as answer:
                return int(answer.status)
        except OSError as error:
            return int(getattr(error, "code", 0))

    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(REQUESTS))) == [500] * REQUESTS
    seconds = time.monotonic() - begun
    events = "from notify.models import Event; print(Event.objects.count(), Event.objects.waiting().count())"
    until(lambda: site.manage("shell", "-v0", "-c", events).stdout.startswith(f"{REQUESTS} 0"), seconds=60)
    time.sleep(2)
    subjects = [str(envelope.message["Subject"]) for envelope in relay.envelopes]
    counts = [
        int(found[1]) if (found := re.match(r"\[Flasky\] (\d+) × LookupError in ", each)) else 1 for each in subjects
    ]
    intervals = int(seconds // 15) + 1
    print(f"{len(counts)} mails for {REQUESTS} errors within {seconds:.0f} s: {counts}")
    assert sum(counts) == REQUESTS
    assert len(counts) <= 2 * intervals + 1  # of each interval a single mail and a digest
    reports = "from notify.models import Event; from notify.events.record import load_context\n"
    reports += "print(sum('raise LookupError' in load_context(each.context)['report'] for each in Event.objects.all()))"
    assert site.manage("shell", "-v0", "-c", reports).stdout.strip() == str(REQUESTS)
