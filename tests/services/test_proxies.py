"""Through proxies from Debian, as people run them: Dante, microsocks, tinyproxy."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMessage

from notify.smtp.backend import EmailBackend
from notify.smtp.diagnosis.rules import diagnose
from notify.smtp.failure import from_exception
from tests.relays import Relay
from tests.services.nodemailer import Nodemailer
from tests.services.proxies import dante, microsocks, tinyproxy
from tests.site import manage
from tests.smtp.conftest import Make, make_backend

__all__ = ["make_backend"]  # the fixture

MAIL = EmailMessage("Hi", "Text", "a@example.com", ["b@example.com"])


@pytest.fixture
def through(make_backend: Make) -> Callable[..., EmailBackend]:
    """`through("socks5://…", port, **options)`: a backend for localhost:port by that proxy."""
    return lambda proxy, port, **options: make_backend(
        port, **{"host": "localhost", "proxy": proxy, "timeout": 10, **options}
    )


@pytest.mark.service("microsocks")
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_mail_goes_through_microsocks(through: Callable[..., EmailBackend], relay: Relay, scheme: str) -> None:
    with microsocks("-u", "u@ser", "-P", "p:a/s") as port:
        through(f"{scheme}://u%40ser:p%3Aa%2Fs@127.0.0.1:{port}", relay.port).send_messages([MAIL])
    assert relay.envelopes[0].recipients == ["b@example.com"]


@pytest.mark.service("microsocks")
def test_microsocks_refusals_are_told_apart(through: Callable[..., EmailBackend], free_port: int) -> None:
    with microsocks("-u", "user", "-P", "right") as port:
        assert cause(through(f"socks5://user:wrong@127.0.0.1:{port}", free_port)) == "proxy-login"
        assert cause(through(f"socks5://user:right@127.0.0.1:{port}", free_port)) == "proxy-cannot-reach"


@pytest.mark.service("tinyproxy")
def test_a_mail_goes_through_tinyproxy(through: Callable[..., EmailBackend], relay: Relay, tmp_path: Path) -> None:
    with tinyproxy(tmp_path) as port:
        through(f"http://user:right@127.0.0.1:{port}", relay.port).send_messages([MAIL])
        assert relay.envelopes[0].recipients == ["b@example.com"]
        assert cause(through(f"http://user:wrong@127.0.0.1:{port}", relay.port)) == "proxy-login"
        assert cause(through(f"http://127.0.0.1:{port}", relay.port)) == "proxy-login"
    assert len(relay.envelopes) == 1


@pytest.mark.service("danted")
class TestDante:
    @pytest.fixture
    def proxy(self, tmp_path: Path) -> Iterator[str]:
        with dante(tmp_path) as port:
            yield f"127.0.0.1:{port}"

    @pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
    def test_the_proxy_resolves_the_name(
        self,
        through: Callable[..., EmailBackend],
        relay: Relay,
        proxy: str,
        scheme: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        resolve = socket.getaddrinfo

        def blind(host: Any, *args: Any, **options: Any) -> Any:
            assert host in ("127.0.0.1", b"127.0.0.1"), f"{host} was resolved here"
            return resolve(host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", blind)
        through(f"{scheme}://{proxy}", relay.port).send_messages([MAIL])
        assert relay.envelopes[0].recipients == ["b@example.com"]

    @pytest.mark.service("smtp-server")
    @pytest.mark.parametrize("mode", ["use_tls", "use_ssl"])
    def test_the_certificate_is_checked_against_the_relays_name(
        self,
        through: Callable[..., EmailBackend],
        make_nodemailer: Callable[..., Nodemailer],
        proxy: str,
        mode: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        relay = make_nodemailer(secure=mode == "use_ssl", certificate={"names": ("localhost",)})
        monkeypatch.setenv("SSL_CERT_FILE", str(relay.authority))
        through(f"socks5://{proxy}", relay.port, **{mode: True}).send_messages([MAIL])
        [mail] = relay.mails(1)
        assert mail.facts["secure"]
        # The same relay by another name, and the proxy's own address, which the certificate does not hold.
        other = through(f"socks5://{proxy}", relay.port, host="127.0.0.1", **{mode: True})
        assert cause(other, phase="tls") == "certificate-wrong-name"
        relay.mails(1)

    def test_a_relay_that_it_cannot_reach_is_told_apart(
        self, through: Callable[..., EmailBackend], proxy: str, free_port: int
    ) -> None:
        assert cause(through(f"socks5://{proxy}", free_port)) == "proxy-cannot-reach"

    def test_a_proxy_that_forbids_it_is_not_bypassed(
        self, through: Callable[..., EmailBackend], relay: Relay, tmp_path: Path
    ) -> None:
        with dante(tmp_path, verdict="block") as port:
            assert cause(through(f"socks5://127.0.0.1:{port}", relay.port)) == "proxy-unusable"
        assert relay.envelopes == []


@pytest.mark.parametrize(
    ("variables", "arrives"),
    [
        ({"ALL_PROXY": "socks5://{dead}"}, False),
        ({"ALL_PROXY": "socks5://{dead}", "NO_PROXY": "example.com,localhost"}, True),
        ({"ALL_PROXY": "socks5://{dead}", "NO_PROXY": "*"}, True),
        ({"ALL_PROXY": "socks5://{dead}", "NO_PROXY": "example.com"}, False),
        ({"MAIL_PROXY": "socks5h://{dead}", "NO_PROXY": "localhost"}, False),
        ({"MAIL_PROXY": "http://{dead}"}, False),
        ({"MAIL_PROXY": "direct", "ALL_PROXY": "socks5://{dead}"}, True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_dead_proxy_is_never_bypassed_unless_it_is_told_so(
    relay: Relay, free_port: int, variables: dict[str, str], arrives: bool
) -> None:
    environment = {name: value.format(dead=f"127.0.0.1:{free_port}") for name, value in variables.items()}
    done = manage("sendtestmail", MAIL_SERVER="localhost", MAIL_PORT=relay.port, **environment)
    assert done.returncode == (0 if arrives else 1), done.stdout + done.stderr
    assert ("FAIL proxy" in done.stdout) == (not arrives)
    assert len(relay.envelopes) == int(arrives)


@pytest.mark.service("danted", "microsocks")
def test_the_proxy_of_the_environment_is_used(relay: Relay, tmp_path: Path) -> None:
    proxies: list[AbstractContextManager[int]] = [dante(tmp_path), microsocks()]
    for number, proxy in enumerate(proxies, 1):
        with proxy as port:
            variables = {"ALL_PROXY": f"socks5h://127.0.0.1:{port}", "NO_PROXY": "example.com"}
            done = manage("sendtestmail", MAIL_SERVER="localhost", MAIL_PORT=relay.port, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"PASS proxy connected to localhost:{relay.port}" in done.stdout
        assert len(relay.envelopes) == number


def cause(broken: EmailBackend, *, phase: str = "proxy") -> str:
    """The id of the diagnosis of a connection that fails in the phase."""
    with pytest.raises(OSError) as caught:  # noqa: PT011
        broken.open()
    facts = from_exception(caught.value)
    assert facts.phase == phase
    found = diagnose(facts)
    return found.id if found else ""
