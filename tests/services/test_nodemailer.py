"""Through nodemailer's smtp-server: mails arrive byte by byte as they were handed over, and refusals are heard."""

import base64
import smtplib
from collections.abc import Callable
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives

from notify.outbox import rows_of
from notify.smtp.backend import EmailBackend
from notify.smtp.diagnosis.rules import diagnose
from notify.smtp.failure import from_exception
from notify.smtp.seven_bit import seven_bit
from tests.services.nodemailer import Nodemailer
from tests.site import Browser, Site
from tests.smtp.conftest import Make, make_backend
from tests.smtp.test_connection import Mail

__all__ = ["make_backend"]  # the fixture

pytestmark = pytest.mark.service("smtp-server")
MakeRelay = Callable[..., Nodemailer]
HEAD = b"From: a@example.com\r\nSubject: x\r\n\r\n"
USERS = {"ann@example.com": "päss word"}
LOGIN = {"username": "ann@example.com", "password": "päss word"}


@pytest.fixture
def make_trusted(
    make_nodemailer: MakeRelay, make_backend: Make, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Nodemailer, EmailBackend]]:
    """A relay, and a backend that trusts its certificate: `make_trusted({"use_tls": True}, size=1000)`."""

    def make(client: dict[str, Any], **options: Any) -> tuple[Nodemailer, EmailBackend]:
        relay = make_nodemailer(**options)
        monkeypatch.setenv("SSL_CERT_FILE", str(relay.authority))
        return relay, make_backend(relay.port, host="localhost", **{"timeout": 20, **client})

    return make


def stored_mail() -> bytes:
    """What the outbox would keep of a mail in several scripts."""
    built = EmailMultiAlternatives(
        "Grüße 你好", "Zoë, Δ und 漢字\n.\n..\n", "Ämt <a@example.com>", ["名 <b@example.com>"]
    )
    built.attach_alternative("<p>Zoë, Δ und 漢字</p>", "text/html")
    built.attach("fäß.bin", bytes(range(256)) * 20, "application/octet-stream")
    return bytes(rows_of(built)[0].body.mime)


BODIES = {
    "empty": b"",
    "one dot": b".\r\n",
    "dots": b".\r\n..\r\n...\r\n.a\r\n. \r\nb.\r\n.",
    "an end that is none": b"text\r\n.\r\n\r\nQUIT\r\nMAIL FROM:<x@example.com>\r\n",
    "eight bits": "Zoë, Δ, 漢字 \U0001f600\r\n".encode(),
    "bytes that are no text": bytes(set(range(256)) - {10, 13}) + b"\r\n",
    "long line": b"x" * 20_000 + b"\r\n",
    "no line end": b"the end",
    "blank lines": b"\r\n\r\n\r\n",
    "5 MB": (b"." + b"0123456789" * 7 + b"\r\n") * 72_000,
}


@pytest.mark.parametrize(
    ("client", "server"),
    [
        ({}, {}),
        ({}, {"hidePIPELINING": True}),
        ({"use_tls": True}, {}),
        ({"use_ssl": True}, {"secure": True}),
        ({"use_tls": True, **LOGIN}, {"users": USERS}),
    ],
    ids=["plain", "step by step", "STARTTLS", "TLS", "login"],
)
def test_every_mail_arrives_byte_by_byte(
    make_trusted: Callable[..., Any], client: dict[str, Any], server: dict[str, Any]
) -> None:
    relay, backend = make_trusted(client, **server)
    sent = [HEAD + body for body in BODIES.values()] + [stored_mail()]
    with backend:
        assert backend.send_messages([Mail(data=data) for data in sent]) == len(sent)
    taken = relay.mails(len(sent))
    for data, mail in zip(sent, taken, strict=True):
        # SMTP ends a message with a line end, and adds it where there is none (RFC 5321 4.1.1.4).
        assert mail.content == (data if data.endswith(b"\r\n") else data + b"\r\n")
        assert (mail.facts["sender"], mail.facts["recipients"]) == ("flasky@example.com", ["ann@example.com"])
        assert mail.facts["bodyType"] == ("7bit" if data.isascii() else "8bitmime")
        assert mail.facts["secure"] == bool(client)
        assert mail.facts["user"] == client.get("username", "")
    assert taken[0].facts["hello"] == "me.test"


def test_a_relay_that_takes_no_eight_bits_gets_seven(make_trusted: Callable[..., Any]) -> None:
    relay, backend = make_trusted({}, hide8BITMIME=True)
    stored = stored_mail()
    backend.send_messages([Mail(data=stored)])
    [mail] = relay.mails(1)
    assert mail.facts["bodyType"] == "7bit"
    assert mail.content == seven_bit(stored)
    assert mail.content.isascii()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_each_way_to_log_in(make_trusted: Callable[..., Any], mechanism: str) -> None:
    relay, backend = make_trusted({"use_tls": True, **LOGIN}, users=USERS, authMethods=[mechanism])
    backend.send_messages([Mail()])
    assert relay.mails(1)[0].facts["user"] == "ann@example.com"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_wrong_password_is_refused(make_trusted: Callable[..., Any], mechanism: str) -> None:
    _, backend = make_trusted({"use_tls": True, **LOGIN, "password": "no"}, users=USERS, authMethods=[mechanism])
    assert _problem(backend) == ("auth", 535, "bad-credentials")


def test_an_address_beyond_ascii_goes_to_a_relay_that_takes_it(make_trusted: Callable[..., Any]) -> None:
    relay, backend = make_trusted({})
    backend.send_messages([Mail("jürgen@exämple.com", sender="zoë@example.com"), Mail("ann@exämple.com")])
    foreign, plain = relay.mails(2)
    assert (foreign.facts["sender"], foreign.facts["smtpUtf8"]) == ("zoë@example.com", True)
    assert foreign.facts["recipients"][0].startswith("jürgen@")
    assert plain.facts["smtpUtf8"] is False


def test_an_address_beyond_ascii_is_refused_where_the_relay_does_not_take_it(make_trusted: Callable[..., Any]) -> None:
    _, backend = make_trusted({}, hideSMTPUTF8=True)
    assert _problem(backend, Mail("jürgen@example.com")) == ("recipient", 553, "address-not-ascii")


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        ({"use_tls": True}, {"hideSTARTTLS": True}, ("tls", None, "starttls-not-offered")),
        ({"use_ssl": True}, {}, ("tls", None, "tls-on-plain-port")),
        ({"timeout": 1}, {"secure": True}, ("greeting", None, "no-greeting")),
        (LOGIN, {"users": USERS, "hideSTARTTLS": True, "authMethods": ["XOAUTH2"]}, ("auth", None, "oauth-only")),
        (LOGIN, {}, ("auth", None, "auth-not-offered")),
        ({}, {"users": USERS}, ("sender", 530, "not-logged-in")),
        ({}, {"size": 20}, ("data", 552, "too-large")),
        ({}, {"size": 20, "hideSize": True, "rejectOversized": True}, ("end", 552, "too-large")),
        ({}, {"replies": {"flasky@example.com": "553 Mail from must equal authorized user"}},
         ("sender", 553, "sender-not-login")),
        ({}, {"replies": {"ann@example.com": "550 5.1.1 No such user"}}, ("recipient", 550, "no-such-recipient")),
        ({}, {"replies": {"ann@example.com": "450 4.2.0 Greylisted"}}, ("recipient", 450, "greylisted")),
        ({}, {"replies": {"data": "554 DT:SPM 163 smtp8"}}, ("end", 554, "looks-like-spam")),
        ({}, {"replies": {"connect": "421 4.7.0 Try again later"}}, ("greeting", 421, "login-throttled")),
        ({"timeout": 1}, {"delay": 5000}, ("greeting", None, "no-greeting")),
    ],
)  # fmt: skip
def test_what_it_refuses_is_understood(
    make_trusted: Callable[..., Any], client: dict[str, Any], server: dict[str, Any], expected: tuple[str, Any, str]
) -> None:
    _, backend = make_trusted(client, **server)
    assert _problem(backend) == expected


def test_a_refusal_does_not_disturb_what_follows(make_trusted: Callable[..., Any]) -> None:
    relay, backend = make_trusted({}, replies={"nobody@example.com": "550 5.1.1 No such user"})
    with backend:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            backend.send_messages([Mail("nobody@example.com", data=HEAD + b"one\r\n")])
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            backend.send_messages([Mail("nobody@example.com", "ann@example.com", data=HEAD + b"two\r\n")])
        backend.send_messages([Mail(data=HEAD + b"three\r\n")])
    taken = relay.mails(2)
    assert [mail.content for mail in taken] == [HEAD + b"two\r\n", HEAD + b"three\r\n"]
    assert taken[0].facts["recipients"] == ["ann@example.com"]


def test_a_name_in_chinese_goes_from_the_page_to_the_relay(
    make_site: Callable[..., Site], make_nodemailer: MakeRelay
) -> None:
    relay = make_nodemailer()
    Browser(make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=relay.port).start()).post("王小明")
    [mail] = relay.mails(1)
    assert "王小明".encode() in mail.content or base64.b64encode("王小明".encode())[:8] in mail.content


def _problem(backend: EmailBackend, mail: Any = None) -> tuple[str, int | None, str]:
    """Phase, code and diagnosis of what goes wrong in sending a mail."""
    with pytest.raises(OSError) as caught:  # noqa: PT011
        backend.send_messages([mail or Mail(data=HEAD + b"Text\r\n")])
    facts = from_exception(caught.value)
    found = diagnose(facts)
    return facts.phase, facts.code, found.id if found else ""
