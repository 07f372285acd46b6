"""TLS: asked for means had, and the certificate is the relay's own."""

import contextlib
import datetime
import os
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from notify.delivery.retry import decide
from notify.models import Outcome
from notify.smtp.diagnosis.causes import CAUSES
from notify.smtp.diagnosis.rules import diagnose
from notify.smtp.failure import from_exception
from tests.smtp.conftest import CANARY, Make
from tests.smtp.scripted import HANG, Proxy, Scripted
from tests.smtp.test_connection import Mail

Tls = Callable[..., ssl.SSLContext]
MODES = pytest.mark.parametrize("mode", ["use_tls", "use_ssl"])


def secured(mode: str, context: ssl.SSLContext, **options: Any) -> Scripted:
    offered = ("AUTH PLAIN",) if mode == "use_ssl" else ("AUTH PLAIN", "STARTTLS")
    return Scripted(extensions=offered, tls=context, wrapped=mode == "use_ssl", **options)


def problem(make: Make, relay: Scripted, **options: Any) -> tuple[BaseException, str]:
    """The exception of opening, and the id of its diagnosis."""
    with pytest.raises(OSError) as caught:  # noqa: PT011
        make(relay.port, host="localhost", username="ann", password=CANARY, **options).open()
    facts = from_exception(caught.value)
    assert facts.phase == "tls"
    assert not any(line.startswith("AUTH") for line in relay.lines)
    found = diagnose(facts)
    return caught.value, found.id if found else ""


@MODES
@pytest.mark.usefixtures("trusted")
def test_a_message_goes_through_tls(make_backend: Make, server_tls: Tls, mode: str) -> None:
    heard = []
    with secured(mode, server_tls("localhost")) as relay:
        backend = make_backend(relay.port, host="localhost", username="ann", password=CANARY, **{mode: True})
        backend.observer = lambda phase, detail, ms: heard.append((phase, detail))
        backend.open()
        assert backend.send_messages([Mail(data=b"x" * 100_000)]) == 1
        backend.close()
    assert relay.bodies == [b"x" * 100_000 + b"\r\n"]
    phases = [phase for phase, _ in heard]
    assert phases.index("tls") < phases.index("auth")
    assert dict(heard)["tls"].startswith("TLSv1.")
    assert "certificate of localhost until" in dict(heard)["tls"]
    assert phases.count("ehlo") == (2 if mode == "use_tls" else 1)


@MODES
def test_an_unknown_authority_is_refused(make_backend: Make, server_tls: Tls, mode: str) -> None:
    with secured(mode, server_tls("localhost")) as relay:
        error, id = problem(make_backend, relay, **{mode: True})
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert id in ("certificate-unknown-issuer", "certificate-self-signed")


@MODES
@pytest.mark.usefixtures("trusted")
def test_another_name_is_refused(make_backend: Make, server_tls: Tls, mode: str) -> None:
    with secured(mode, server_tls("relay.test")) as relay:
        assert problem(make_backend, relay, **{mode: True})[1] == "certificate-wrong-name"


@pytest.mark.usefixtures("trusted")
def test_an_expired_certificate_is_refused(make_backend: Make, server_tls: Tls) -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    with secured("use_ssl", server_tls("localhost", not_after=yesterday)) as relay:
        assert problem(make_backend, relay, use_ssl=True)[1] == "certificate-expired"


@pytest.mark.usefixtures("trusted")
def test_a_client_certificate_is_shown(
    make_backend: Make, server_tls: Tls, authority: trustme.CA, tmp_path: Any
) -> None:
    own = authority.issue_cert("client.test")
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    context = server_tls("localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    with secured("use_ssl", context) as relay:
        backend = make_backend(
            relay.port,
            host="localhost",
            use_ssl=True,
            ssl_keyfile=str(tmp_path / "key.pem"),
            ssl_certfile=str(tmp_path / "cert.pem"),
        )
        assert backend.send_messages([Mail()]) == 1


def test_a_client_certificate_that_is_not_there_is_the_configuration(make_backend: Make) -> None:
    with Scripted() as relay:
        backend = make_backend(relay.port, use_ssl=True, ssl_certfile="/nowhere/cert.pem")
        with pytest.raises(FileNotFoundError) as caught:
            backend.open()
    assert from_exception(caught.value).phase == "config"


def test_starttls_that_is_not_offered_is_no_reason_to_go_on(make_backend: Make) -> None:
    with Scripted(extensions=("AUTH PLAIN",)) as relay:
        error, id = problem(make_backend, relay, use_tls=True)
    assert isinstance(error, smtplib.SMTPNotSupportedError)
    assert id == "starttls-not-offered"
    assert relay.verbs[:1] == ["EHLO"]
    assert "MAIL" not in relay.verbs


def test_starttls_that_is_refused_is_no_reason_to_go_on(make_backend: Make) -> None:
    with Scripted({"STARTTLS": "454 4.7.0 TLS not available"}, extensions=("STARTTLS", "AUTH PLAIN")) as relay:
        error, _ = problem(make_backend, relay, use_tls=True)
    assert from_exception(error).code == 454


@pytest.mark.usefixtures("trusted")
def test_words_from_before_tls_are_not_believed(make_backend: Make, server_tls: Tls) -> None:
    injected = b"220 go\r\n250-relay.test\r\n250 AUTH PLAIN\r\n"
    context = server_tls("localhost")
    with Scripted({"STARTTLS": injected}, extensions=("STARTTLS",), tls=context) as relay:
        problem(make_backend, relay, use_tls=True)


def test_tls_on_a_port_that_begins_in_clear_is_named(make_backend: Make) -> None:
    with Scripted() as relay:
        assert problem(make_backend, relay, use_ssl=True)[1] == "tls-on-plain-port"


def test_clear_on_a_port_that_begins_in_tls_is_named(make_backend: Make, server_tls: Tls) -> None:
    with secured("use_ssl", server_tls("localhost")) as relay:
        backend = make_backend(relay.port, timeout=1)
        with pytest.raises(OSError) as caught:  # noqa: PT011
            backend.open()
    found = diagnose(from_exception(caught.value))
    assert found
    assert found.id == "no-greeting"


def test_a_handshake_without_end_is_ended(make_backend: Make) -> None:
    with Scripted({"greeting": HANG}) as relay:
        error, id = problem(make_backend, relay, use_ssl=True, timeout=1)
    assert isinstance(error, TimeoutError)
    assert id == "silent"


@MODES
@pytest.mark.usefixtures("trusted")
def test_a_host_name_with_the_dot_of_a_full_name_works(make_backend: Make, server_tls: Tls, mode: str) -> None:
    asked: list[str | None] = []
    context = server_tls("relay.test")
    context.sni_callback = lambda sock, name, _: asked.append(name)
    with secured(mode, context) as relay, Proxy(relay.port) as proxy:
        backend = make_backend(25, host="relay.test.", proxy=f"socks5://127.0.0.1:{proxy.port}", **{mode: True})
        assert backend.send_messages([Mail()]) == 1
    assert asked == ["relay.test"]


@pytest.mark.parametrize("reply", ["454 4.7.0 TLS not available due to local problem", "454 Later"])
def test_starttls_refused_for_now_is_mended_by_time(make_backend: Make, reply: str) -> None:
    with Scripted({"STARTTLS": reply}, extensions=("STARTTLS", "AUTH PLAIN")) as relay:
        error, id = problem(make_backend, relay, use_tls=True)
    assert id == "starttls-not-now"
    assert decide(from_exception(error), CAUSES[id]).outcome is Outcome.DOWN


def drip(client: socket.socket, first: bytes) -> None:
    """A byte of a handshake every 50 ms."""
    with contextlib.suppress(OSError):
        client.sendall(first)
        client.recv(4096)
        for byte in b"\x16\x03\x03\x3f\xff" + bytes(1000):
            client.sendall(bytes([byte]))
            time.sleep(0.05)


@MODES
def test_a_handshake_that_drips_ends_with_the_attempt(make_backend: Make, mode: str) -> None:
    with Scripted({"STARTTLS": "220 go"}, extensions=("STARTTLS",)) as relay:
        if mode == "use_ssl":
            relay.talk = lambda client: drip(client, b"")  # type: ignore[method-assign]
        else:
            relay._tls = Dripping()  # type: ignore[assignment]
        started = time.monotonic()
        error, _ = problem(make_backend, relay, timeout=0.5, **{mode: True})
        assert time.monotonic() - started < 10
    assert isinstance(error, TimeoutError)


class Dripping:
    """In place of a server's TLS."""

    def wrap_socket(self, client: socket.socket, *, server_side: bool) -> Any:
        drip(client, b"")
        return contextlib.closing(client)


def test_the_handshake_of_starttls_has_no_time_of_its_own(make_backend: Make) -> None:
    """What the words before it took is missing afterwards."""

    class Slow(Scripted):
        def _say(self, client: socket.socket, key: str) -> bool:
            if key == "STARTTLS":
                time.sleep(1)
            return super()._say(client, key)

    with Slow(extensions=("STARTTLS",)) as relay:  # says "go on", and nothing after
        started = time.monotonic()
        problem(make_backend, relay, timeout=1.3, use_tls=True)
        assert time.monotonic() - started < 2.2


@pytest.mark.usefixtures("trusted")
def test_reading_certificates_takes_no_longer_than_the_attempt(
    make_backend: Make, tmp_path: Any, free_port: int
) -> None:
    os.mkfifo(tmp_path / "cert.pem")  # as a network drive that does not answer
    started = time.monotonic()
    backend = make_backend(free_port, use_ssl=True, ssl_certfile=str(tmp_path / "cert.pem"), timeout=0.3)
    with pytest.raises(TimeoutError) as caught:
        backend.open()
    os.close(os.open(tmp_path / "cert.pem", os.O_WRONLY))
    assert time.monotonic() - started < 10
    assert from_exception(caught.value).phase == "config"


def test_an_encrypted_key_is_named_and_nobody_is_asked_for_its_password(
    make_backend: Make, authority: trustme.CA, tmp_path: Any, free_port: int
) -> None:
    own = authority.issue_cert("client.test")
    key = load_pem_private_key(own.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (tmp_path / "key.pem").write_bytes(encrypted)
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    files = {"ssl_keyfile": str(tmp_path / "key.pem"), "ssl_certfile": str(tmp_path / "cert.pem")}
    with pytest.raises(ValueError, match="the key of the client certificate is encrypted") as caught:
        make_backend(free_port, use_ssl=True, **files).open()
    assert from_exception(caught.value).phase == "config"
