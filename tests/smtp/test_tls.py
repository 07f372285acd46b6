"""TLS: asked for means had, and the certificate is the relay's own."""

import datetime
import smtplib
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from notify.smtp.diagnosis import diagnose
from notify.smtp.failure import from_exception
from tests.smtp.conftest import CANARY, Make
from tests.smtp.scripted import HANG, Scripted
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
