"""A drop-in for Django's SMTP backend: what Django's own tests ask of it, and where ours goes further."""

import logging
import smtplib
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import django
import pytest
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.utils.functional import lazystr

from notify.smtp.backend import EmailBackend
from notify.smtp.failure import from_exception
from tests.relays import Relay
from tests.smtp.conftest import CANARY, Make
from tests.smtp.scripted import HANG, Scripted
from tests.smtp.test_connection import Mail

SINCE_6_1 = pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS came with Django 6.1")
BEFORE_6_1 = pytest.mark.skipif(django.VERSION >= (6, 1), reason="Django 6.1 deprecates EMAIL_* settings")


def message(**fields: Any) -> EmailMessage:
    plain = {"subject": "Hi", "body": "Text", "from_email": "a@example.com", "to": ["b@example.com"]}
    return EmailMessage(**(plain | fields))


def test_it_sends_what_django_builds(make_backend: Make, relay: Relay) -> None:
    built = EmailMultiAlternatives("Grüße", "Text\n.\nnicht das Ende\n", "Ann <a@example.com>", ["Bob <b@example.com>"])
    built.attach_alternative("<p>Text</p>", "text/html")
    assert make_backend(relay.port).send_messages([built, message()]) == 2
    first, second = relay.envelopes
    assert (first.sender, first.recipients) == ("a@example.com", ["b@example.com"])
    assert first.message["Subject"] == "Grüße"
    assert [part.get_content_type() for part in first.message.iter_parts()] == ["text/plain", "text/html"]
    text = first.message.get_body(("plain",))
    assert text
    assert text.get_content().replace("\r\n", "\n") == "Text\n.\nnicht das Ende\n"
    assert second.message["To"] == "b@example.com"


def test_all_kinds_of_recipients_are_in_the_envelope(make_backend: Make, relay: Relay) -> None:
    make_backend(relay.port).send_messages([message(cc=["c@example.com"], bcc=["d@example.com"])])
    assert relay.envelopes[0].recipients == ["b@example.com", "c@example.com", "d@example.com"]
    assert b"d@example.com" not in relay.envelopes[0].content


def test_line_ends_are_crlf_and_nothing_else(make_backend: Make) -> None:
    with Scripted() as relay:
        make_backend(relay.port).send_messages([message(body="a\nb\rc\r\nd")])
    rest = relay.bodies[0].replace(b"\r\n", b"")
    assert b"\r" not in rest
    assert b"\n" not in rest


def test_bytes_that_a_message_brings_along_are_sent_as_they_are(make_backend: Make) -> None:
    with Scripted() as relay:
        make_backend(relay.port).send_messages([Mail(data=b"X: y\r\n\r\nz\r\n")])
    assert relay.bodies == [b"X: y\r\n\r\nz\r\n"]


def test_a_connection_is_opened_once_and_closed_by_whoever_opened_it(make_backend: Make) -> None:
    with Scripted() as relay:
        backend = make_backend(relay.port)
        backend.send_messages([Mail(), Mail()])
        assert backend.connection is None
        with backend as same:
            assert same.open() is False
            backend.send_messages([Mail()])
            assert backend.connection
        assert backend.connection is None
        backend.close()
    assert relay.connections == 2
    assert relay.verbs.count("QUIT") == 2


def test_nothing_to_send_opens_nothing(make_backend: Make) -> None:
    backend = make_backend(1)
    assert backend.send_messages([]) == 0


def test_a_message_for_nobody_is_not_sent(make_backend: Make) -> None:
    with Scripted() as relay:
        assert make_backend(relay.port).send_messages([message(to=[])]) == 0
    assert "MAIL" not in relay.verbs


def test_a_connection_that_failed_is_closed(make_backend: Make) -> None:
    with Scripted() as relay:
        backend = make_backend(relay.port, username="ann", password="secret")
        for _ in range(2):
            with pytest.raises(smtplib.SMTPNotSupportedError):
                backend.open()
            assert backend.connection is None
        assert relay.connections == 2


@pytest.mark.parametrize("given", ["open", "send"])
def test_failing_silently_raises_nothing(make_backend: Make, free_port: int, given: str) -> None:
    backend = make_backend(free_port, fail_silently=True)
    if given == "open":
        assert backend.open() is None
    assert backend.send_messages([message()]) == 0


@pytest.mark.parametrize(
    "replies", [{"MAIL": "550 No"}, {"RCPT": ["250 Ok", "550 No"]}, {".": "554 No"}, {".": HANG}], ids=str
)
def test_failing_silently_is_never_a_success(make_backend: Make, replies: Any) -> None:
    with Scripted(replies) as relay:
        backend = make_backend(relay.port, fail_silently=True, timeout=0.3 if HANG in replies.values() else 5)
        assert backend.send_messages([Mail("a@example.com", "b@example.com")]) == 0


@pytest.mark.parametrize(
    "address",
    [
        "to@other.com@example.com",
        "to@other.com <to@example.com>",
        "to@example.com, other@example.com",
        "@",
        "to@",
        "@example.com",
        '"evil@example.com\r\nto"@example.com',
        "to\nevil@example.com",
        "to@example.com>\r\nDATA",
    ],
)
def test_no_invalid_address_reaches_the_wire(make_backend: Make, address: str) -> None:
    with Scripted() as relay:
        backend = make_backend(relay.port)
        backend.open()
        with pytest.raises(ValueError, match="Invalid address"):
            backend.send_messages([message(bcc=[address])])
    assert relay.verbs == ["EHLO"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ann@example.com", "ann@example.com"),
        ("Ann Example <ann@example.com>", "ann@example.com"),
        ('"Ann, of <x@y>" <ann@example.com>', "ann@example.com"),
        ("to@漢字.example.com", "to@xn--p8s937b.example.com"),
        ("faß <to@xn--fa-hia.example.com>", "to@xn--fa-hia.example.com"),  # IDNA 2008 stays
        ("webmaster", "webmaster"),
        (lazystr("tester"), "tester"),
        ('"a b"@example.com', '"a b"@example.com'),
    ],
)
def test_addresses_are_bare_and_their_domains_ascii(make_backend: Make, address: Any, expected: str) -> None:
    with Scripted() as relay:
        make_backend(relay.port).send_messages([Mail(address, sender=address)])
    assert relay.lines[1:3] == [f"MAIL FROM:<{expected}>", f"RCPT TO:<{expected}>"]


def test_the_name_said_in_ehlo(make_backend: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notify.smtp.dial._own_names", [])
    with Scripted() as relay, mock.patch("notify.smtp.dial.DNS_NAME", "this.machine.test"):
        make_backend(relay.port, local_hostname="").send_messages([Mail()])
        make_backend(relay.port, local_hostname="www.example.com").send_messages([Mail()])
    assert [line for line in relay.lines if line.startswith("ehlo")] == [
        "ehlo this.machine.test",
        "ehlo www.example.com",
    ]


def test_tls_and_ssl_exclude_each_other(make_backend: Make) -> None:
    with pytest.raises((ValueError, mail.InvalidMailer) if django.VERSION >= (6, 1) else ValueError):
        make_backend(25, use_tls=True, use_ssl=True)


@SINCE_6_1
def test_mailers_give_their_options(settings: Any, relay: Relay) -> None:
    options = {"host": "127.0.0.1", "port": relay.port, "timeout": 7, "proxy": "", "local_hostname": "me.test"}
    settings.MAILERS = {"default": {"BACKEND": "notify.smtp.backend.EmailBackend", "OPTIONS": options}}
    backend = mail.mailers["default"]
    assert (backend.alias, backend.host, backend.timeout, backend.use_tls) == ("default", "127.0.0.1", 7, False)
    assert message().send() == 1


@SINCE_6_1
def test_an_option_that_does_not_exist_is_refused(settings: Any) -> None:
    options = {"host": "127.0.0.1", "prxy": ""}
    settings.MAILERS = {"default": {"BACKEND": "notify.smtp.backend.EmailBackend", "OPTIONS": options}}
    with pytest.raises(mail.InvalidMailer, match="Unknown options 'prxy'"):
        mail.mailers["default"]


@SINCE_6_1
@pytest.mark.parametrize(("mode", "port"), [({}, 25), ({"use_ssl": True}, 465), ({"use_tls": True}, 587)])
def test_the_port_follows_the_mode(mode: dict[str, bool], port: int) -> None:
    assert EmailBackend(alias="x", host="relay.test", **mode).port == port


@SINCE_6_1
def test_a_host_is_required() -> None:
    with pytest.raises(mail.InvalidMailer, match="OPTIONS must define 'host'"):
        EmailBackend(alias="x")


@BEFORE_6_1
def test_the_old_settings_are_its_defaults(settings: Any) -> None:
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "relay.test", 2525, 9
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "ann", "secret"
    settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = True, False
    backend = EmailBackend()
    assert (backend.host, backend.port, backend.timeout) == ("relay.test", 2525, 9)
    assert (backend.username, backend.password, backend.use_tls) == ("ann", "secret", True)
    assert (EmailBackend(username="").username, EmailBackend(use_tls=False).use_tls) == ("", False)


@BEFORE_6_1
def test_get_connection_makes_one(settings: Any, relay: Relay) -> None:
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", relay.port
    settings.EMAIL_BACKEND = "notify.smtp.backend.EmailBackend"
    assert message().send() == 1


def test_a_message_that_cannot_be_made_into_bytes_is_no_failure_of_the_relay(make_backend: Make) -> None:
    with Scripted() as relay:
        backend = make_backend(relay.port)
        backend.open()
        with pytest.raises(ValueError) as caught:  # noqa: PT011  (a header error of Django's or of the library's)
            backend.send_messages([message(subject="a\r\nBcc: evil@example.com")])
        assert from_exception(caught.value).phase == "prepare"
        assert relay.verbs == ["EHLO"]


@pytest.mark.parametrize("replies", [{"AUTH": f"535 5.7.8 not {CANARY}"}, {"MAIL": "550 No"}, {".": "554 No"}], ids=str)
def test_the_password_is_seen_nowhere(
    make_backend: Make, replies: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []
    caplog.set_level(logging.DEBUG)
    with Scripted(replies, extensions=("AUTH PLAIN", "PIPELINING")) as relay:
        backend = make_backend(relay.port, username="ann", password=CANARY)
        backend.observer = lambda *facts: heard.append(repr(facts))
        with pytest.raises(smtplib.SMTPException) as caught:
            backend.send_messages([Mail()])
        heard += [repr(backend), str(caught.value), repr(caught.value), repr(from_exception(caught.value))]
    heard += [caplog.text, *capfd.readouterr()]
    assert not any(CANARY in text for text in heard)


def test_two_threads_do_not_mix_their_messages(make_backend: Make, relay: Relay) -> None:
    backend = make_backend(relay.port)
    backend.open()
    mails: list[Callable[[], int]] = [
        lambda n=n: backend.send_messages([Mail(data=b"N: %d\r\n\r\nx\r\n" % n)]) for n in range(8)
    ]
    threads = [threading.Thread(target=send) for send in mails]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(envelope.message["N"] for envelope in relay.envelopes) == [str(n) for n in range(8)]
