"""However a server's process ends, the mail in hand is finished and recorded, once. The relay takes three seconds."""

import contextlib
import os
import signal
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.scripted import Hang, ScriptedRelay
from tests.site import Browser, Site
from tests.waiting import until

MakeSite = Callable[..., Site]

MANAGE = (sys.executable, "manage.py")
GUNICORN = ("gunicorn", "flasky.wsgi", "--bind", "127.0.0.1:{port}", "--no-control-socket")
UVICORN = ("uvicorn", "flasky.asgi:application", "--port", "{port}")
SERVERS = {
    "gunicorn": (*GUNICORN,),
    "gunicorn, gthread": (*GUNICORN, "--threads", "4"),
    "gunicorn, gevent": (*GUNICORN, "--worker-class", "gevent"),
    "gunicorn --preload": (*GUNICORN, "--preload", "--workers", "2"),
    "gunicorn --preload, gevent": (*GUNICORN, "--preload", "--worker-class", "gevent", "--config", "{gevent}"),
    "uvicorn": UVICORN,
    "uvicorn --workers": (*UVICORN, "--workers", "2"),
    "daphne": ("daphne", "--port", "{port}", "flasky.asgi:application"),
    "runserver --noreload": (*MANAGE, "runserver", "--noreload", "127.0.0.1:{port}"),
    "runserver": (*MANAGE, "runserver", "127.0.0.1:{port}"),
}


def server(name: str) -> object:
    """A parameter: skipped by name where the server is not on this machine."""
    needs = [word for word in ("gunicorn", "uvicorn", "daphne", "gevent") if word in name]
    return pytest.param(SERVERS[name], id=name, marks=[pytest.mark.service(*needs)] if needs else [])


@pytest.fixture
def relay() -> Iterator[ScriptedRelay]:
    with ScriptedRelay({"dot": Hang(3)}) as slow:
        yield slow


@pytest.fixture
def site(make_site: MakeSite, relay: ScriptedRelay, tmp_path: Path) -> Site:
    # What is imported before the workers are forked must be patched before, or Django's connections are shared.
    (tmp_path / "patched.py").write_text("from gevent import monkey\nmonkey.patch_all()\n")
    return make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=relay.port, MAIL_TIMEOUT=20)


def start_a_mail(site: Site, relay: ScriptedRelay) -> None:
    """A visitor posts a name, and the relay has heard the whole mail about it."""
    assert "Hello, Zoë! Pleased to meet you!" in Browser(site).post("Zoë")
    relay.wait_to_hear("(dot)")


def states(site: Site) -> list[str]:
    path = str(site.variables["DATABASE_URL"]).removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [state for (state,) in connection.execute("SELECT state FROM notify_message")]


def assert_sent_once(site: Site, relay: ScriptedRelay) -> None:
    """Accepted and recorded by now, or as soon as a separate worker process has done so; and not sent again."""
    until(lambda: states(site) == ["sent"], said=site.output)
    assert site.manage("deliver").stdout.splitlines()[-1] == "sent 0, retry 0, failed 0, waiting 0"
    assert len(relay.taken) == 1


@pytest.mark.parametrize("whom", ["leader", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("command", [server(name) for name in SERVERS])
def test_a_signal_ends_the_process_after_the_mail_in_hand(
    command: tuple[str, ...], number: signal.Signals, whom: str, site: Site, relay: ScriptedRelay, tmp_path: Path
) -> None:
    site.start(*(word.replace("{gevent}", str(tmp_path / "patched.py")) for word in command))
    start_a_mail(site, relay)
    assert states(site) == ["sending"]
    site.end(number, group=whom == "group")
    assert_sent_once(site, relay)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("command", [server("gunicorn"), server("uvicorn"), server("runserver --noreload")])
def test_a_second_signal_does_not_cut_it_off(
    command: tuple[str, ...], number: signal.Signals, site: Site, relay: ScriptedRelay
) -> None:
    site.start(*command)
    start_a_mail(site, relay)
    site.send_signal(number)
    time.sleep(0.5)
    site.end(number, group=True)
    assert_sent_once(site, relay)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_deliver_watch_ends_after_the_mail_in_hand(number: signal.Signals, site: Site, relay: ScriptedRelay) -> None:
    site.variables["NOTIFY_DISPATCH"] = "worker"
    site.start()
    with site.running(*MANAGE, "deliver", "--watch") as worker:
        start_a_mail(site, relay)
        worker.send_signal(number)
        assert worker.wait(20) == 0
        assert states(site) == ["sent"]
    assert_sent_once(site, relay)


@pytest.mark.parametrize("command", [server("gunicorn"), server("gunicorn, gevent"), server("gunicorn --preload")])
def test_a_reload_replaces_the_worker_after_the_mail_in_hand(
    command: tuple[str, ...], site: Site, relay: ScriptedRelay
) -> None:
    site.start(*command)
    start_a_mail(site, relay)
    old = set(site.children())
    site.send_signal(signal.SIGHUP, group=False)
    until(lambda: not old & set(site.children()))
    assert_sent_once(site, relay)


@pytest.mark.service("gunicorn")
@pytest.mark.parametrize("words", [(), ("--threads", "4")], ids=["sync", "gthread"])
def test_a_recycled_worker_ends_after_the_mail_in_hand(
    words: tuple[str, ...], site: Site, relay: ScriptedRelay
) -> None:
    site.start(*GUNICORN, "--max-requests", "5", *words)
    old = set(site.children())
    start_a_mail(site, relay)
    for _ in range(5):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{site.url}livez", timeout=10):
            pass
    until(lambda: not old & set(site.children()))
    assert_sent_once(site, relay)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            (*UVICORN, "--reload", "--reload-dir", "{folder}"), marks=pytest.mark.service("uvicorn"), id="uvicorn"
        ),
        pytest.param(SERVERS["runserver"], id="runserver"),
    ],
)
def test_a_changed_file_reloads_the_server_after_the_mail_in_hand(
    command: tuple[str, ...], site: Site, relay: ScriptedRelay, tmp_path: Path
) -> None:
    file = tmp_path / "changing_settings.py"
    file.write_text("from flasky.settings import *\n")
    site.variables |= {"PYTHONPATH": f"{tmp_path}{os.pathsep}.", "DJANGO_SETTINGS_MODULE": "changing_settings"}
    site.start(*(word.replace("{folder}", str(tmp_path)) for word in command))
    start_a_mail(site, relay)
    time.sleep(1.1)  # Django's reloader looks once a second, and notices what changes after its first look
    file.write_text("from flasky.settings import *\n\n")
    until(lambda: "reloading" in site.output().lower())
    assert_sent_once(site, relay)
    assert "Hello, Ann! Pleased to meet you!" in Browser(site.wait_until_it_answers()).post("Ann")
    relay.wait_until("taken", 2)
