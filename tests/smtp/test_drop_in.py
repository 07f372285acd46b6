"""Django's own backend and ours, side by side: what Django's tests ask of the one holds for the other.

Where ours goes further on purpose (SMTPUTF8, half a delivery, goodbyes that fail) stands at the end.
"""

import contextlib
import smtplib
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import django
import pytest
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend as DjangoBackend
from django.utils.functional import lazystr

from notify.smtp.backend import EmailBackend as OurBackend
from tests.relays import Relay
from tests.smtp.scripted import Scripted

SINCE_6_1 = pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS came with Django 6.1")
BEFORE_6_1 = pytest.mark.skipif(django.VERSION >= (6, 1), reason="Django 6.1 deprecates EMAIL_* settings")
Backend = type[DjangoBackend]
Make = Callable[..., DjangoBackend]
PLAIN = {"host": "127.0.0.1", "username": "", "password": "", "use_tls": False, "use_ssl": False}


@pytest.fixture(params=[DjangoBackend, OurBackend], ids=["Django's", "ours"])
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture
def make(backend: Backend, relay: Relay) -> Iterator[Make]:
    """`make(**options)`: for the relay, made as Django makes them; closed at the end."""
    alias = {"alias": "default"} if django.VERSION >= (6, 1) else {}
    made: list[DjangoBackend] = []

    def one(**options: Any) -> DjangoBackend:
        made.append(backend(**{**PLAIN, "port": relay.port, **alias, **options}))
        return made[-1]

    yield one
    for instance in made:
        with contextlib.suppress(OSError):
            instance.close()


def message(**fields: Any) -> EmailMessage:
    plain = {"subject": "Hi", "body": "Text\n", "from_email": "a@example.com", "to": ["b@example.com"]}
    return EmailMessage(**(plain | fields))


# --- Sending


def test_a_message_arrives(make: Make, relay: Relay) -> None:
    assert make().send_messages([message(subject="Chère maman", body="Je t'aime très fort\n")]) == 1
    got = relay.envelopes[0].message
    assert (got["Subject"], got["From"], got["To"]) == ("Chère maman", "a@example.com", "b@example.com")
    assert got.get_content().replace("\r\n", "\n") == "Je t'aime très fort\n"
    assert got["Message-ID"]
    assert got["Date"]


@pytest.mark.parametrize("kind", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_many_messages_arrive_in_order(make: Make, relay: Relay, kind: Callable[[Any], Any]) -> None:
    assert make().send_messages(kind([message(subject=str(number)) for number in range(3)])) == 3
    assert [envelope.message["Subject"] for envelope in relay.envelopes] == ["0", "1", "2"]


def test_alternatives_and_attachments_arrive(make: Make, relay: Relay) -> None:
    built = EmailMultiAlternatives("Hi", "Text", "a@example.com", ["b@example.com"])
    built.attach_alternative("<p>Text</p>", "text/html")
    built.attach("naïve.bin", b"\0\r\n\xff", "application/octet-stream")
    make().send_messages([built])
    [attached] = relay.envelopes[0].message.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("naïve.bin", b"\0\r\n\xff")


def test_only_the_envelope_has_blind_copies(make: Make, relay: Relay) -> None:
    make().send_messages([message(cc=["C <c@example.com>"], bcc=["d@example.com"])])
    assert relay.envelopes[0].recipients == ["b@example.com", "c@example.com", "d@example.com"]
    assert b"d@example.com" not in relay.envelopes[0].content


def test_headers_given_by_hand_stand_and_the_envelope_is_the_messages(make: Make, relay: Relay) -> None:
    headers = {"From": "Shown <shown@example.com>", "To": "list@example.com", "Message-ID": "<x@y>"}
    make().send_messages([message(headers=headers)])
    [got] = relay.envelopes
    assert (got.sender, got.recipients) == ("a@example.com", ["b@example.com"])
    assert (got.message["From"], got.message["Message-ID"]) == ("Shown <shown@example.com>", "<x@y>")


def test_every_line_ends_with_crlf(make: Make) -> None:
    with Scripted() as relay:
        make(port=relay.port).send_messages([message(body="a\nb\r\nc\n")])
    rest = relay.bodies[0].replace(b"\r\n", b"")
    assert not set(rest) & set(b"\r\n")


@pytest.mark.parametrize(
    ("given", "envelope"),
    [
        ("ann@example.com", "ann@example.com"),
        ("Ann <ann@example.com>", "ann@example.com"),
        ("lists@discussão.example.org", "lists@xn--discusso-xza.example.org"),
        ("To <to@漢字.example.com>", "to@xn--p8s937b.example.com"),
        ('"faß" <to@xn--10cl1a0b660p.example.com>', "to@xn--10cl1a0b660p.example.com"),
        ('"ශ්රී" <cc@xn--nxasmm1c.example.com>', "cc@xn--nxasmm1c.example.com"),
        ("webmaster", "webmaster"),
        (lazystr("tester"), "tester"),
    ],
)
def test_the_envelope_has_bare_addresses_with_ascii_domains(make: Make, given: Any, envelope: str) -> None:
    with Scripted(extensions=()) as relay:
        make(port=relay.port).send_messages([message(from_email=given, to=[given], bcc=[given])])
    asked = [line.partition(" SIZE")[0].upper() for line in relay.lines if ":<" in line]
    assert asked == [f"MAIL FROM:<{envelope}>".upper(), *[f"RCPT TO:<{envelope}>".upper()] * 2]


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
    ],
)
def test_an_address_that_is_none_is_a_value_error(make: Make, address: str) -> None:
    # Django 5.2 lets some of them through to the server, and knows them from 6.0 on.
    instance = make()
    if type(instance) is DjangoBackend and django.VERSION < (6, 0):
        pytest.skip("Django 5.2 has another way to read addresses")
    if type(instance) is DjangoBackend and address == "to@":
        pytest.skip("some Pythons' own parser stumbles over it, and Django's backend with it")
    instance.connection = mock.Mock()
    with pytest.raises(ValueError, match="Invalid address"):
        instance.send_messages([message(bcc=[address])])


@pytest.mark.parametrize("field", [{"from_email": "a@example.com\nBcc: x@y"}, {"subject": "a\nBcc: x@y"}])
def test_a_line_break_in_a_header_is_a_value_error(make: Make, relay: Relay, field: dict[str, str]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (of Django's or of the library's)
        make().send_messages([message(**field)])
    assert relay.envelopes == []


# --- Connections


def test_open_and_close(make: Make) -> None:
    instance = make()
    assert instance.connection is None
    assert instance.open() is True
    assert instance.connection
    assert instance.open() is False
    instance.close()
    assert instance.connection is None
    instance.close()
    assert instance.open() is True
    instance.close()


def test_an_open_connection_is_any_object(make: Make) -> None:
    instance = make()
    instance.connection = mock.Mock(spec=object())
    assert instance.open() is False
    instance.connection = None


def test_closing_what_was_never_opened(make: Make) -> None:
    make().close()


def test_a_block_opens_and_closes(make: Make) -> None:
    instance = make()
    with mock.patch.object(instance, "open") as opened, mock.patch.object(instance, "close") as closed:
        with instance as entered:
            assert entered is instance
            opened.assert_called_once()
            closed.assert_not_called()
        closed.assert_called_once()


def test_a_block_that_cannot_open_closes_and_raises(make: Make, free_port: int) -> None:
    instance = make(port=free_port)
    with pytest.raises(ConnectionError), instance:
        raise AssertionError("not reached")
    assert instance.connection is None


def test_send_messages_closes_only_what_it_opened(make: Make, relay: Relay) -> None:
    instance = make()
    instance.send_messages([message()])
    assert instance.connection is None
    with instance:
        kept = instance.connection
        instance.send_messages([message()])
        assert instance.connection is kept
    assert len(relay.envelopes) == 2


def test_send_messages_closes_what_it_opened_also_when_a_message_fails(make: Make) -> None:
    with Scripted({"MAIL": "550 No"}) as relay:
        instance = make(port=relay.port)
        with pytest.raises(smtplib.SMTPSenderRefused):
            instance.send_messages([message()])
        assert instance.connection is None


@pytest.mark.parametrize("messages", [[], ()])
def test_no_messages_open_nothing(make: Make, messages: Any) -> None:
    instance = make()
    with mock.patch.object(instance, "open") as opened:
        assert instance.send_messages(messages) == 0
    opened.assert_not_called()


def test_a_message_without_recipients_is_not_sent_nor_counted(make: Make, relay: Relay) -> None:
    assert make().send_messages([message(to=[]), message()]) == 1
    assert len(relay.envelopes) == 1


def test_nothing_is_sent_when_open_failed_silently(make: Make) -> None:
    instance = make()
    instance.connection = mock.Mock()
    with mock.patch.object(instance, "open", return_value=None):
        assert instance.send_messages([message()]) == 0
    instance.connection.sendmail.assert_not_called()


def test_one_instance_serves_several_threads(make: Make, relay: Relay) -> None:
    instance = make()
    threads = [threading.Thread(target=instance.send_messages, args=[[message()]]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(relay.envelopes) == 5
    assert isinstance(instance._lock, type(threading.RLock()))  # type: ignore[attr-defined]


# --- Failing


def test_a_server_that_is_not_there(make: Make, free_port: int) -> None:
    instance = make(port=free_port)
    instance.close()
    with pytest.raises(ConnectionError):
        instance.open()
    instance.fail_silently = True
    assert instance.open() is None
    assert instance.send_messages([message()]) == 0


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ({"greeting": "554 No"}, smtplib.SMTPConnectError),
        ({"MAIL": "550 No"}, smtplib.SMTPSenderRefused),
        ({"RCPT": "550 No"}, smtplib.SMTPRecipientsRefused),
        ({"DATA": "554 No"}, smtplib.SMTPDataError),
        ({".": "554 No"}, smtplib.SMTPDataError),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("silently", [False, True])
def test_each_refusal_has_its_exception_or_none(
    make: Make, replies: dict[str, str], kind: type[Exception], silently: bool
) -> None:
    with Scripted(replies) as relay:
        instance = make(port=relay.port, fail_silently=silently)
        if silently:
            assert instance.send_messages([message()]) == 0
        else:
            with pytest.raises(kind):
                instance.send_messages([message()])


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"username": "u", "password": "p"}, smtplib.SMTPException, "SMTP AUTH extension not supported by server."),
        ({"use_tls": True}, smtplib.SMTPException, "STARTTLS extension not supported by server."),
        ({"use_ssl": True}, ssl.SSLError, "(?i)version|record"),
    ],
    ids=["login", "STARTTLS", "TLS"],
)
def test_what_the_server_lacks(make: Make, options: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words), make(**options):
        raise AssertionError("not reached")
    silent = make(**options, fail_silently=True)
    assert silent.open() is None
    assert silent.connection is None


def test_a_refused_login(make: Make) -> None:
    with Scripted({"AUTH": "535 5.7.8 No"}, extensions=("AUTH PLAIN",)) as relay:
        with pytest.raises(smtplib.SMTPAuthenticationError, match=r"535.*5\.7\.8 No"):
            make(port=relay.port, username="u", password="p").open()
        assert make(port=relay.port, username="u", password="p", fail_silently=True).open() is None


@pytest.mark.parametrize(("username", "password"), [("", ""), ("u", ""), ("", "p"), (None, None)])
def test_without_user_and_password_nobody_logs_in(make: Make, username: Any, password: Any) -> None:
    with Scripted(extensions=("AUTH PLAIN",)) as relay:
        assert make(port=relay.port, username=username, password=password).open()
    assert "AUTH" not in relay.verbs


# --- Options


def test_options_are_attributes(make: Make) -> None:
    given = {"username": "u", "password": "p", "timeout": 9, "ssl_keyfile": "k", "ssl_certfile": "c", "use_tls": True}
    instance = make(host="mail.example.com", port=5322, fail_silently=True, **given)
    found = {name: getattr(instance, name) for name in given}
    assert (instance.host, instance.port, instance.fail_silently, found) == ("mail.example.com", 5322, True, given)


def test_what_is_not_given_is_off(make: Make, settings: Any) -> None:
    if django.VERSION < (6, 1):
        settings.EMAIL_TIMEOUT = None
    instance = make()
    assert (instance.use_tls, instance.use_ssl, instance.fail_silently) == (False, False, False)
    assert (instance.timeout, instance.ssl_certfile, instance.ssl_keyfile) == (None, None, None)


def test_a_subclass_may_have_defaults_of_its_own(backend: Backend, relay: Relay) -> None:
    class Patient(backend):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.setdefault("timeout", 42)
            super().__init__(*args, **kwargs)

    alias = {"alias": "default"} if django.VERSION >= (6, 1) else {}
    with Patient(**PLAIN, port=relay.port, **alias) as instance:
        assert (instance.timeout, instance.connection.timeout) == (42, 42)


def test_both_tls_modes_are_a_mistake(make: Make) -> None:
    mistake = mail.InvalidMailer if django.VERSION >= (6, 1) else ValueError
    words = "'use_ssl' and 'use_tls' OPTIONS are incompatible" if django.VERSION >= (6, 1) else "mutually exclusive"
    with pytest.raises(mistake, match=words):
        make(use_tls=True, use_ssl=True)


@SINCE_6_1
def test_an_alias_is_kept_and_unknown_options_are_refused_with_it(backend: Backend) -> None:
    assert backend(alias="shop", host="h").alias == "shop"
    with pytest.raises(mail.InvalidMailer, match="Unknown options 'oops', 'unknown'"):
        backend(alias="shop", host="h", oops=1, unknown=2)
    with pytest.raises(mail.InvalidMailer, match="OPTIONS must define 'host'"):
        backend(alias="shop")


@SINCE_6_1
@pytest.mark.parametrize(("options", "port"), [({}, 25), ({"use_ssl": True}, 465), ({"use_tls": True}, 587)])
def test_the_port_follows_the_mode(backend: Backend, options: dict[str, bool], port: int) -> None:
    assert backend(alias="shop", host="h", **options).port == port


@BEFORE_6_1
@pytest.mark.parametrize(
    ("setting", "attribute", "value", "other"),
    [
        ("EMAIL_HOST", "host", "mail.example.com", "other.example.net"),
        ("EMAIL_PORT", "port", 822, 5322),
        ("EMAIL_HOST_USER", "username", "somebody", ""),
        ("EMAIL_HOST_PASSWORD", "password", "something", ""),
        ("EMAIL_USE_TLS", "use_tls", True, False),
        ("EMAIL_USE_SSL", "use_ssl", True, False),
        ("EMAIL_SSL_CERTFILE", "ssl_certfile", "foo", "bar"),
        ("EMAIL_SSL_KEYFILE", "ssl_keyfile", "foo", "bar"),
        ("EMAIL_TIMEOUT", "timeout", 10, 15),
    ],
)
def test_settings_are_the_defaults_of_the_options(
    backend: Backend, settings: Any, setting: str, attribute: str, value: Any, other: Any
) -> None:
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    setattr(settings, setting, value)
    assert getattr(backend(), attribute) == value
    assert getattr(backend(**{attribute: other}), attribute) == other


@BEFORE_6_1
def test_options_may_be_given_by_place(backend: Backend) -> None:
    instance = backend("mail.example.com", 822, "u", "p", False)
    assert (instance.host, instance.port, instance.username, instance.password) == ("mail.example.com", 822, "u", "p")


# --- Where ours goes further


def test_ours_sends_to_addresses_beyond_ascii_where_the_server_takes_them() -> None:
    with Scripted(extensions=("SMTPUTF8", "8BITMIME")) as relay:
        ours = OurBackend(**PLAIN, port=relay.port, alias="x")
        assert ours.send_messages([message(to=["nø@example.dk"])]) == 1
    assert "RCPT TO:<nø@example.dk>" in relay.lines


def test_ours_tells_of_a_recipient_that_was_refused_while_others_got_the_mail() -> None:
    with Scripted({"RCPT": ["250 Ok", "550 No"]}) as relay, pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        OurBackend(**PLAIN, port=relay.port, alias="x").send_messages([message(cc=["c@example.com"])])
    assert caught.value.recipients == {"c@example.com": (550, b"No")}
    assert len(relay.bodies) == 1


def test_ours_does_not_fail_in_saying_goodbye() -> None:
    with Scripted({"QUIT": "554 I will miss you"}) as relay:
        ours = OurBackend(**PLAIN, port=relay.port, alias="x")
        assert ours.send_messages([message()]) == 1
