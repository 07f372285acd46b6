"""Through proxies from Debian, as people run them."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.mail import EmailMessage

from notify.smtp.backend import EmailBackend
from notify.smtp.diagnosis import diagnose
from notify.smtp.failure import from_exception
from tests.relays import Relay

MAIL = EmailMessage("Hi", "Text", "a@example.com", ["b@example.com"])
Run = Callable[..., None]


@pytest.fixture
def run(free_port: int) -> Iterator[Run]:
    """Start a program and wait until it listens on `free_port`."""
    with contextlib.ExitStack() as stack:

        def start(*command: str) -> None:
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            stack.callback(process.terminate)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", free_port)) == 0:
                        return
                time.sleep(0.02)
            raise AssertionError(f"{command[0]} does not listen")

        yield start


def backend(relay_port: int, proxy: str, host: str = "localhost") -> EmailBackend:
    return EmailBackend(
        alias="transport", host=host, port=relay_port, username="", password="", use_tls=False, use_ssl=False,
        timeout=10, proxy=proxy, local_hostname="me.test",
    )  # fmt: skip


@pytest.mark.service("microsocks")
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_mail_goes_through_microsocks(run: Run, relay: Relay, free_port: int, scheme: str) -> None:
    run("microsocks", "-i", "127.0.0.1", "-p", str(free_port), "-u", "u@ser", "-P", "p:a/s")
    backend(relay.port, f"{scheme}://u%40ser:p%3Aa%2Fs@127.0.0.1:{free_port}").send_messages([MAIL])
    assert relay.envelopes[0].recipients == ["b@example.com"]


@pytest.mark.service("microsocks")
def test_microsocks_refusals_are_told_apart(run: Run, free_port: int) -> None:
    run("microsocks", "-i", "127.0.0.1", "-p", str(free_port), "-u", "user", "-P", "right")
    assert _cause(backend(1, f"socks5://user:wrong@127.0.0.1:{free_port}")) == "proxy-login"
    assert _cause(backend(1, f"socks5://user:right@127.0.0.1:{free_port}")) == "proxy-cannot-reach"


@pytest.mark.service("tinyproxy")
def test_a_mail_goes_through_tinyproxy(run: Run, relay: Relay, free_port: int, tmp_path: Path) -> None:
    config = tmp_path / "tinyproxy.conf"
    config.write_text(f"Port {free_port}\nListen 127.0.0.1\nTimeout 30\nMaxClients 10\nBasicAuth user right\n")
    run(shutil.which("tinyproxy") or "", "-d", "-c", str(config))
    backend(relay.port, f"http://user:right@127.0.0.1:{free_port}").send_messages([MAIL])
    assert relay.envelopes[0].recipients == ["b@example.com"]
    assert _cause(backend(relay.port, f"http://user:wrong@127.0.0.1:{free_port}")) in ("proxy-login", "proxy-unusable")
    assert len(relay.envelopes) == 1


def _cause(broken: EmailBackend) -> str:
    with pytest.raises(OSError) as caught:  # noqa: PT011
        broken.open()
    facts = from_exception(caught.value)
    assert facts.phase == "proxy"
    found = diagnose(facts)
    return found.id if found else ""
