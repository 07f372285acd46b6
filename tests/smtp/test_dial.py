"""The way to a relay: addresses are not looked up; through proxies names are theirs to resolve, and troubles theirs."""

import base64
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.mail.utils import CachedDnsName
from django.views.debug import ExceptionReporter

from notify.delivery import transport
from notify.delivery.session import Session
from notify.smtp import dial
from notify.smtp.diagnosis.rules import diagnose
from notify.smtp.failure import from_exception
from tests.smtp.conftest import CANARY, Make
from tests.smtp.scripted import Proxy, Scripted
from tests.smtp.test_connection import Mail
from tests.waiting import until

SCHEMES = pytest.mark.parametrize("scheme", ["socks5", "socks5h", "http"])
USER, PASSWORD = "u@ser", "p:a/s s%"
ESCAPED = "u%40ser:p%3Aa%2Fs%20s%25"


def login_of(scheme: str) -> str:
    plain = f"{USER}:{PASSWORD}"
    return base64.b64encode(plain.encode()).decode() if scheme == "http" else plain


def problem(make: Make, proxy: str, **options: Any) -> tuple[str, str]:
    """The words of the failure and the id of its diagnosis; it is always the proxy's."""
    with pytest.raises(OSError) as caught:  # noqa: PT011
        make(25, host="relay.test", proxy=proxy, **{"timeout": 5, **options}).open()
    facts = from_exception(caught.value)
    assert facts.phase == "proxy"
    found = diagnose(facts)
    return facts.text, found.id if found else ""


@SCHEMES
def test_the_proxy_resolves_the_name(make_backend: Make, scheme: str) -> None:
    with Scripted() as relay, Proxy(relay.port) as proxy:
        backend = make_backend(2525, host="relay.test", proxy=f"{scheme}://127.0.0.1:{proxy.port}")
        assert backend.send_messages([Mail()]) == 1
    assert proxy.asked == ["relay.test:2525"]
    assert len(relay.bodies) == 1


@SCHEMES
def test_user_and_password_are_percent_decoded(make_backend: Make, scheme: str) -> None:
    with Scripted() as relay, Proxy(relay.port, login=login_of(scheme)) as proxy:
        url = f"{scheme}://{ESCAPED}@127.0.0.1:{proxy.port}"
        assert make_backend(25, host="relay.test", proxy=url).send_messages([Mail()]) == 1
    assert proxy.logins == [login_of(scheme)]


@SCHEMES
@pytest.mark.parametrize("mode", ["use_tls", "use_ssl"])
@pytest.mark.usefixtures("trusted")
def test_tls_through_a_proxy_checks_the_name_of_the_relay(
    make_backend: Make, server_tls: Callable[..., ssl.SSLContext], scheme: str, mode: str
) -> None:
    options = {"extensions": ("STARTTLS",), "wrapped": mode == "use_ssl"}
    with Scripted(tls=server_tls("relay.test"), **options) as relay, Proxy(relay.port) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        assert make_backend(25, host="relay.test", proxy=url, **{mode: True}).send_messages([Mail()]) == 1
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            make_backend(25, host="other.test", proxy=url, **{mode: True}).open()
    found = diagnose(from_exception(caught.value))
    assert found
    assert found.id == "certificate-wrong-name"


def test_a_greeting_in_one_packet_with_the_reply_to_connect_is_heard(make_backend: Make) -> None:
    with Scripted() as relay, Proxy(relay.port, together=True) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        assert make_backend(25, host="relay.test", proxy=url).send_messages([Mail()]) == 1


@SCHEMES
def test_a_wrong_password_is_said_without_the_password(make_backend: Make, scheme: str) -> None:
    with Proxy(1, login="somebody:else") as proxy:
        text, id = problem(make_backend, f"{scheme}://u:{CANARY}@127.0.0.1:{proxy.port}")
    assert id == "proxy-login"
    assert f"127.0.0.1:{proxy.port}" in text
    assert CANARY not in text


def test_a_password_beyond_ascii_is_for_http_proxies_only(make_backend: Make) -> None:
    encoded = base64.b64encode("u:пароль".encode()).decode()
    with Scripted() as relay, Proxy(relay.port, login=encoded) as proxy:
        place = f"u:%D0%BF%D0%B0%D1%80%D0%BE%D0%BB%D1%8C@127.0.0.1:{proxy.port}"
        assert make_backend(25, host="relay.test", proxy=f"http://{place}").open()
        assert "can only be ASCII" in problem(make_backend, f"socks5://{place}")[0]


def test_a_proxy_that_wants_a_login_and_gets_none(make_backend: Make) -> None:
    with Proxy(1, login="u:p") as proxy:
        assert problem(make_backend, f"socks5://127.0.0.1:{proxy.port}")[1] == "proxy-login"


@pytest.mark.parametrize(
    ("scheme", "refuse", "words"),
    [
        ("socks5", 3, "cannot reach relay.test:25: Network unreachable (SOCKS reply 0x03)"),
        ("socks5", 4, "cannot reach relay.test:25: Host unreachable (SOCKS reply 0x04)"),
        ("http", "HTTP/1.1 502 Bad Gateway", "HTTP/1.1 502 Bad Gateway; asked for relay.test:25"),
    ],
)
def test_a_relay_that_the_proxy_cannot_reach_is_told_apart(
    make_backend: Make, scheme: str, refuse: int | str, words: str
) -> None:
    with Proxy(1, refuse=refuse) as proxy:
        text, id = problem(make_backend, f"{scheme}://127.0.0.1:{proxy.port}")
    assert id == "proxy-cannot-reach"
    assert words in text


@pytest.mark.parametrize(("scheme", "refuse"), [("socks5", 2), ("http", "HTTP/1.1 403 Forbidden")])
def test_a_proxy_that_refuses_is_not_bypassed(make_backend: Make, scheme: str, refuse: int | str) -> None:
    with Scripted() as relay, Proxy(relay.port, refuse=refuse) as proxy:
        assert problem(make_backend, f"{scheme}://127.0.0.1:{proxy.port}")
        assert relay.connections == 0


@SCHEMES
def test_a_proxy_that_is_down_is_named(make_backend: Make, scheme: str, free_port: int) -> None:
    text, id = problem(make_backend, f"{scheme}://127.0.0.1:{free_port}")
    assert id == "proxy-unusable"
    assert text.startswith(f"ProxyFailed: proxy 127.0.0.1:{free_port}: ")


@SCHEMES
def test_a_proxy_that_says_nothing_costs_no_more_than_the_deadline(make_backend: Make, scheme: str) -> None:
    started = time.monotonic()
    with Proxy(1, mute=True) as proxy:
        assert problem(make_backend, f"{scheme}://127.0.0.1:{proxy.port}", timeout=0.3)[1] == "proxy-unusable"
    assert time.monotonic() - started < 10


@SCHEMES
def test_something_else_than_a_proxy_is_named(make_backend: Make, scheme: str) -> None:
    with Scripted() as relay:
        problem(make_backend, f"{scheme}://127.0.0.1:{relay.port}", timeout=1)


@SCHEMES
def test_a_proxy_without_an_address_is_named(make_backend: Make, scheme: str) -> None:
    assert "proxy.invalid" in problem(make_backend, f"{scheme}://proxy.invalid:1080")[0]


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://u:{CANARY}@h:1",
        f"socks5://u:{CANARY}@h:port",
        f"http://u:{CANARY}@:1",
        f"http://u:{CANARY}#@h:1",
        f"socks5://u:[{CANARY}@h:1",
    ],
)
def test_an_address_that_is_none_is_refused_without_being_shown(
    make_backend: Make, use_transport: Callable[..., None], url: str
) -> None:
    words = "not the address of a proxy: write socks5://, socks5h:// or http://host:port"
    assert problem(make_backend, url)[0] == f"ProxyFailed: {words}"
    use_transport("notify.smtp.backend.EmailBackend", host="relay.test", proxy=url)
    assert CANARY not in transport.describe()
    assert any(CANARY in secret for secret in transport.secrets())


@SCHEMES
def test_no_error_page_shows_the_password_of_the_proxy(make_backend: Make, scheme: str, free_port: int) -> None:
    backend = make_backend(25, host="relay.test", proxy=f"{scheme}://u:{CANARY}@127.0.0.1:{free_port}")
    try:
        backend.open()
    except OSError:
        page = ExceptionReporter(None, *sys.exc_info()).get_traceback_html()
    assert "ProxyFailed" in page
    assert CANARY not in page


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "2001:db8::25"])
def test_an_address_is_not_looked_up_and_takes_no_thread(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "bounded", None)
    assert [address[4][0] for address in dial.resolve(host, 25, dial.Deadline(1))] == [host]


@pytest.fixture
def fresh_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: nobody has asked for this machine's name."""
    monkeypatch.setattr(dial, "_own_names", [])
    monkeypatch.setattr(dial, "DNS_NAME", CachedDnsName())
    monkeypatch.setattr(socket, "gethostname", lambda: "short")


@pytest.mark.usefixtures("fresh_name")
def test_the_own_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(["machine.example"])
    monkeypatch.setattr(socket, "getfqdn", lambda: next(names))
    assert [dial.own_name() for _ in range(3)] == ["machine.example"] * 3


@pytest.mark.usefixtures("fresh_name")
def test_an_own_name_that_is_not_found_in_time_is_said_as_soon_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """smtpdfix#198, aiosmtpd#178: the look-up took 20 s, the lease ran out, and three copies were sent."""
    gate = threading.Event()
    monkeypatch.setattr(dial, "OWN_NAME_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getfqdn", lambda: gate.wait(30) and "machine.example")
    assert dial.own_name() == "short"
    monkeypatch.setattr(dial, "OWN_NAME_SECONDS", 5)
    started = time.monotonic()
    assert dial.own_name() == "short"
    assert time.monotonic() - started < 4  # it is not waited for again
    gate.set()
    until(lambda: dial.own_name() == "machine.example")


@pytest.mark.usefixtures("fresh_name")
@pytest.mark.parametrize(
    ("full", "short", "said"),
    [("a..b\xe4", "short", "short"), ("x" * 70 + "\xe4", "rechner-\xe4", "localhost"), ("", "short", "short")],
)
def test_a_name_that_is_none_is_not_said(monkeypatch: pytest.MonkeyPatch, full: str, short: str, said: str) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: full)
    monkeypatch.setattr(socket, "gethostname", lambda: short)
    assert dial.own_name() == said


@pytest.mark.usefixtures("fresh_name")
def test_the_own_name_is_found_before_a_session_has_anything_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: "machine.example")
    Session()
    monkeypatch.setattr(socket, "getfqdn", None)
    assert dial.own_name() == "machine.example"
