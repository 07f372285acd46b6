"""What is stored of a mail, and that it is stored with the rest of the transaction or not at all."""

import re
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.errors import HeaderParseError
from typing import Any

import django
import pytest
from django.conf import settings as flasky
from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.models import User
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection, mail_admins, send_mail
from django.core.mail.backends.smtp import EmailBackend as DjangoSMTPBackend
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy

from notify import dispatch, outbox
from notify.models import GIVE_UP_AFTER, Body, Message
from notify.smtp.secret import Secret
from tests.relays import Relay

pytestmark = pytest.mark.django_db


def test_every_envelope_recipient_gets_a_row_and_all_share_a_body() -> None:
    EmailMessage(
        "Hi", "Text", "Me <me@example.com>", ["a@example.com"], bcc=["c@example.com"], cc=["b@example.com"]
    ).send()
    rows = Message.objects.order_by("id")
    assert [row.recipient for row in rows] == ["a@example.com", "b@example.com", "c@example.com"]
    assert {row.sender for row in rows} == {"me@example.com"}
    assert Body.objects.get() == rows[0].body == rows[1].body == rows[2].body
    assert b"c@example.com" not in bytes(rows[0].body.mime)
    assert rows[0].expires_at - rows[0].created_at == GIVE_UP_AFTER


def test_a_large_mail_to_many_is_stored_once(django_assert_num_queries: Any) -> None:
    message = EmailMessage("Hi", "Text", "me@example.com", [f"r{number}@example.com" for number in range(50)])
    message.attach("film.bin", bytes(5 * 1024 * 1024), "application/octet-stream")
    with django_assert_num_queries(4):  # a savepoint, the body, the messages, the end of the savepoint
        message.send()
    assert Message.objects.count() == 50
    size = len(bytes(Body.objects.get().mime))
    assert 5 * 1024 * 1024 < size < 8 * 1024 * 1024


def test_message_id_and_date_are_fixed_when_the_message_is_stored() -> None:
    EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"]).send()
    row = Message.objects.get()
    parsed = message_from_bytes(bytes(row.body.mime), policy=policy.default)
    assert parsed["Message-ID"] == row.message_id
    assert row.message_id.endswith("@example.com>")
    assert abs((parsed["Date"].datetime - row.created_at).total_seconds()) <= 1


def test_the_same_message_object_sent_twice_is_two_messages() -> None:
    message = EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"])
    message.send()
    message.send()
    assert len({row.message_id for row in Message.objects.all()}) == 2


def test_headers_of_the_caller_stay() -> None:
    headers = {"message-id": "<mine@example.com>", "X-Kept": "yes"}
    EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"], headers=headers).send()
    row = Message.objects.get()
    assert row.message_id == "<mine@example.com>"
    assert bytes(row.body.mime).lower().count(b"message-id:") == 1
    assert b"X-Kept: yes" in bytes(row.body.mime)


@pytest.mark.parametrize("body", ["a\rb\nc\r\nd", "x" * 3000, "語" * 1500, ".\n..\n.dot"])
def test_stored_bytes_are_fit_for_the_wire(body: str) -> None:
    message = EmailMultiAlternatives("語" * 60, body, "me@example.com", ["a@example.com"])
    message.attach_alternative(f"<p>{body}</p>", "text/html")
    message.attach("notes.txt", body.encode(), "application/octet-stream")
    message.send()
    wire = bytes(Message.objects.get().body.mime)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", wire)
    assert max(map(len, wire.split(b"\r\n"))) <= 998
    assert message_from_bytes(wire, policy=policy.default)["Subject"] == "語" * 60


def test_a_long_encoded_subject_begins_on_the_line_of_its_name() -> None:
    EmailMessage("語" * 60, "Text", "me@example.com", ["a@example.com"]).send()
    assert re.search(rb"\r\nSubject: =\?utf-8", bytes(Message.objects.get().body.mime))


def test_a_mail_without_recipients_is_no_mail() -> None:
    assert EmailMessage("Hi", "Text", "me@example.com", []).send() == 0
    assert not Message.objects.exists()


def test_a_rollback_leaves_no_mail() -> None:
    with transaction.atomic():
        EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"]).send()
        transaction.set_rollback(True)
    assert not Message.objects.exists()


def test_delivery_is_woken_after_the_commit_only(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: object
) -> None:
    woken: list[bool] = []
    monkeypatch.setattr(dispatch, "wake", lambda: woken.append(True))
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"]).send()
        assert not woken
    assert woken


@pytest.mark.parametrize("subject", ["a\nBcc: x@example.com", "a\rb"])
def test_a_line_break_in_a_header_is_refused_by_django_as_ever(subject: str) -> None:
    with pytest.raises(ValueError, match="Header values"):
        EmailMessage(subject, "Text", "me@example.com", ["a@example.com"]).send()


BREAKS = ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("evil", BREAKS)
@pytest.mark.parametrize("tail", ["Bcc: v@example.com", "Bcc : v@example.com", "{0}<b>body</b>", "no header"])
def test_an_exotic_line_break_in_a_header_begins_no_line(evil: str, tail: str) -> None:
    text = f"Hi{evil}{tail.format(evil)}"
    EmailMessage(text, "Text", "me@example.com", ["a@example.com"], headers={"X-Custom": text}).send()
    assert_clean_headers()


@pytest.mark.parametrize("evil", BREAKS)
@pytest.mark.parametrize("quoted", [True, False])
def test_an_exotic_line_break_in_a_name_begins_no_line(evil: str, quoted: bool) -> None:
    name = f'"Hi{evil}Bcc: v@example.com"' if quoted else f"Hi{evil}there"
    message = EmailMessage("Hi", "Text", f"{name} <me@example.com>", [f"{name} <a@example.com>"])
    try:
        message.send()
    except (ValueError, HeaderParseError):  # some Pythons take some of them for the line breaks they refuse
        assert not Message.objects.exists()
        return
    row = Message.objects.get()
    assert (row.sender, row.recipient) == ("me@example.com", "a@example.com")
    assert_clean_headers()


def assert_clean_headers() -> None:
    [row] = Message.objects.all()
    headers = bytes(row.body.mime).partition(b"\r\n\r\n")[0].split(b"\r\n")
    known = b"(content-type|mime-version|content-transfer-encoding|subject|from|to|x-custom|message-id|date): "
    assert [line for line in headers if not re.match(b"(?i)[ \t]|" + known, line)] == []
    assert bytes(row.body.mime).partition(b"\r\n\r\n")[2].strip() == b"Text"


def test_a_subject_with_nul_can_be_kept_by_every_database() -> None:
    EmailMessage("H\0i", "Text", "me@example.com", ["a@example.com"]).send()
    assert Message.objects.get().subject == "Hi"


def test_a_lazy_subject_is_taken() -> None:
    EmailMessage(gettext_lazy("name"), "Text", "me@example.com", ["a@example.com"]).send()  # type: ignore[arg-type]
    assert Message.objects.get().subject == "name"


def test_an_address_named_twice_is_one_envelope() -> None:
    EmailMessage("Hi", "Text", "me@example.com", ["a@example.com", "Ann <a@example.com>"], bcc=["a@example.com"]).send()
    assert Message.objects.get().recipient == "a@example.com"


@pytest.mark.parametrize(
    ("mailbox", "bare"),
    [
        ("ann@example.com", "ann@example.com"),
        (" ann@example.com ", "ann@example.com"),
        ("Ann <ann@example.com>", "ann@example.com"),
        ('"Doe, Ann" <ann@example.com>', "ann@example.com"),
        ('"<x@y>" <ann@example.com>', "ann@example.com"),
        ("v@example.com <ann@example.com>", "ann@example.com"),
        ("Ann <>", "Ann <>"),
        ("a@example.com, b@example.com", "a@example.com, b@example.com"),
    ],
)
def test_the_address_of_a_mailbox_is_what_stands_in_its_angles(mailbox: str, bare: str) -> None:
    assert outbox.bare_address(mailbox) == bare


@pytest.mark.parametrize(
    "several",
    ["a@example.com, b@example.com", "Ann <a@example.com>, Bob <b@example.com>", "Doe, Ann <ann@example.com>"],
)
@pytest.mark.parametrize("field", ["to", "cc", "bcc"])
def test_several_recipients_in_one_text_are_refused_as_django_does(several: str, field: str) -> None:
    message = EmailMessage("Hi", "Text", "me@example.com", **{field: [several]})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="more than one recipient"):
        message.send()
    assert not Message.objects.exists()


def test_a_comma_in_a_name_makes_no_second_recipient() -> None:
    EmailMessage("Hi", "Text", "me@example.com", ['"Doe, Ann" <ann@example.com>']).send()
    assert Message.objects.get().recipient == "ann@example.com"


def test_names_and_domains_beyond_ascii_are_encoded_in_the_headers_and_kept_in_the_row() -> None:
    EmailMessage("Grüße", "Text", "Jörg <me@bücher.example>", ["Zoë <a@例え.jp>"]).send()
    row = Message.objects.get()
    assert (row.sender, row.recipient) == ("me@bücher.example", "a@例え.jp")
    assert row.message_id.endswith("@xn--bcher-kva.example>")
    parsed = message_from_bytes(bytes(row.body.mime), policy=policy.default)
    assert parsed["From"] == "Jörg <me@xn--bcher-kva.example>"
    assert parsed["To"].addresses[0].display_name == "Zoë"
    assert parsed["Subject"] == "Grüße"
    assert bytes(row.body.mime).partition(b"\r\n\r\n")[0].isascii()


def test_attachments_arrive_as_they_were() -> None:
    content = bytes(range(256)) * 9
    message = EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"])
    message.attach("naïve.bin", content, "application/octet-stream")
    message.attach("notes.txt", "line\nGrüße\n", "text/plain")
    message.send()
    parsed = message_from_bytes(bytes(Message.objects.get().body.mime), policy=policy.default)
    binary, text = parsed.iter_attachments()  # type: ignore[attr-defined]
    assert (binary.get_filename(), binary.get_content()) == ("naïve.bin", content)
    assert text.get_content().splitlines() == ["line", "Grüße"]


def test_several_messages_are_stored_all_or_none() -> None:
    good = EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"])
    bad = EmailMessage("Hi\r\nBcc: v@example.com", "Text", "me@example.com", ["a@example.com"])
    with pytest.raises(ValueError, match="Header values"):
        outbox.EmailBackend().send_messages([good, bad])
    assert not Message.objects.exists()
    assert outbox.EmailBackend().send_messages([good, good]) == 2
    assert Message.objects.count() == 2


def test_a_mail_is_stored_without_touching_the_callers_message() -> None:
    message = EmailMessage("Hi\x0bthere", "Text", "me@example.com", ["a@example.com"], headers={"X-Kept": "yes"})
    message.send()
    assert message.subject == "Hi\x0bthere"
    assert message.extra_headers == {"X-Kept": "yes"}


# What Django's SMTP backend refuses, on one of the versions at least, and what it takes.
ADDRESSES = [
    "<b>me</b>",
    "undisclosed-recipients:;",
    "Friends: a@example.com;",
    "Friends: a@example.com, b@example.com;",
    "a@example.com\nBcc: v@example.com",
    "Ann\r\nBcc: v@example.com <a@example.com>",
    "a@example.com\n",
    "jörg@example.com",
    "Jörg <jörg@bücher.example>",
    "a@",
    "@example.com",
    "a@b@example.com",
    "a b@example.com",
    "a@exa mple.com",
    "Ann <>",
    "Ann",
    "Ann <a@example.com> x",
    "Doe, Ann <a@example.com>",
    "Ann.B <a@example.com>",
    "a..b@example.com",
    "a@" + "x" * 70 + ".example",
    "webmaster",
    '"Doe, Ann" <a@example.com>',
    "ann@bücher.example",
    gettext_lazy("name"),
]


@pytest.fixture(scope="module")
def django_backend() -> Iterator[DjangoSMTPBackend]:
    """Django's own backend, open to a mail server that takes everything."""
    alias = {"alias": "default"} if django.VERSION >= (6, 1) else {}
    plain: dict[str, Any] = {"host": "127.0.0.1", "username": "", "password": "", "use_tls": False, "use_ssl": False}
    with Relay() as server, DjangoSMTPBackend(port=server.port, **plain, **alias) as backend:
        yield backend


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("field", ["from_email", "to", "bcc", "reply_to", "From"])
def test_what_django_refuses_to_send_is_refused_when_it_is_called(
    address: Any, field: str, django_backend: DjangoSMTPBackend
) -> None:
    fields: dict[str, Any] = {"from_email": "me@example.com", "to": ["a@example.com"]}
    if field == "From":
        fields["headers"] = {"From": address}
    else:
        fields[field] = address if field == "from_email" else [address]
    expected = raised(lambda: django_backend.send_messages([EmailMessage("Hi", "Text", **fields)]))
    assert raised(lambda: EmailMessage("Hi", "Text", **fields).send()) == expected
    assert Message.objects.exists() == (expected is None)


def test_it_is_refused_for_every_transport(use_transport: Callable[..., None]) -> None:
    use_transport("django.core.mail.backends.locmem.EmailBackend")
    with pytest.raises(ValueError, match="nvalid address"):
        EmailMessage("Hi", "Text", "me@example.com", ["undisclosed-recipients:;"]).send()
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": "a\nb"},
        {"headers": {"X-A": "a\r\nBcc: v@example.com"}},
        {"headers": {"X-A": "\ud800"}},
        {"headers": {"X A": "1"}},
        {"headers": {"Bcc": "v@example.com"}},
        {"reply_to": ["a\nb@example.com"]},
        {"body": "\ud800"},
        {"body": None},
        {"subject": None},
    ],
)
def test_what_django_refuses_to_write_is_refused_when_it_is_called(
    fields: dict[str, Any], django_backend: DjangoSMTPBackend
) -> None:
    message = {"subject": "Hi", "body": "Text", "from_email": "me@example.com", "to": ["a@example.com"]} | fields
    expected = raised(lambda: django_backend.send_messages([EmailMessage(**message)]))
    assert raised(lambda: EmailMessage(**message).send()) == expected
    assert Message.objects.exists() == (expected is None)


def raised(action: Callable[[], object]) -> type[Exception] | None:
    try:
        action()
    except Exception as error:
        return type(error)
    return None


def test_fail_silently_swallows_no_mistake_of_the_caller() -> None:
    """Nor does Django's SMTP backend: what it swallows is what the mail server does."""
    with pytest.raises(ValueError, match="nvalid address"):
        outbox.EmailBackend(fail_silently=True).send_messages(
            [EmailMessage("Hi", "Text", "undisclosed-recipients:;", ["a@example.com"])]
        )


@pytest.mark.parametrize("error", [OperationalError("the connection is lost"), InterfaceError("already closed")])
def test_a_database_that_is_away_is_no_error_for_reports_of_errors_and_where_it_is_to_be_silent(
    error: Exception,
) -> None:
    def fail(*args: Any) -> Any:
        raise error

    subject = f"{flasky.EMAIL_SUBJECT_PREFIX}ERROR: Broken"
    report = EmailMessage(subject, "", flasky.SERVER_EMAIL, ["admin@example.com"])
    mail = EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"])
    with connection.execute_wrapper(fail):
        assert outbox.EmailBackend().send_messages([report]) == 0
        assert outbox.EmailBackend(fail_silently=True).send_messages([mail]) == 0
        with pytest.raises(type(error)):
            outbox.EmailBackend().send_messages([mail])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"host": "other.example"}, "host"),
        ({"username": "ann", "password": "x"}, "password, username"),
        ({"use_tls": True, "host": None}, "use_tls"),
        ({"file_path": "/tmp"}, "file_path"),
    ],
)
def test_options_that_would_not_be_heeded_are_an_error_that_says_what_to_do(
    options: dict[str, Any], named: str, use_transport: Callable[..., None]
) -> None:
    use_transport("notify.smtp.backend.EmailBackend", host="smtp.example", username="me", password=Secret("pw"))
    with pytest.raises(TypeError) as caught:
        outbox.EmailBackend(**options)
    assert str(caught.value) == (
        f"The outbox sends mail through NOTIFY_TRANSPORT and cannot use {named} for a single mail: set it there, or "
        "name the backend that is to send this mail without the outbox, as in "
        "get_connection('django.core.mail.backends.smtp.EmailBackend', …)"
    )


def test_options_that_are_the_transports_own_are_heeded(use_transport: Callable[..., None]) -> None:
    use_transport("notify.smtp.backend.EmailBackend", host="smtp.example", username="me", password=Secret("pw"))
    outbox.EmailBackend(host="smtp.example", username="me", password="pw", timeout=None, fail_silently=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_a_login_for_one_mail_is_not_ignored_silently() -> None:
    with pytest.raises(TypeError, match="cannot use password, username for a single mail"):
        send_mail("Hi", "Text", "me@example.com", ["a@example.com"], auth_user="ann", auth_password="x")
    with pytest.raises(TypeError, match="cannot use host for a single mail"):
        get_connection(host="other.example")
    assert not Message.objects.exists()


def test_without_an_envelope_one_row_is_the_whole_message(use_transport: Callable[..., None]) -> None:
    """Handed a row per recipient, a backend that knows no envelope would send to all of them once per row."""
    use_transport("django.core.mail.backends.locmem.EmailBackend")
    EmailMessage("Hi", "Text", "me@example.com", ["A <a@example.com>", "a@example.com"], bcc=["b@example.com"]).send()
    row = Message.objects.get()
    assert row.recipient == "a@example.com, b@example.com"
    assert b"b@example.com" not in bytes(row.body.mime)


def test_very_many_recipients_fit_into_the_one_row(use_transport: Callable[..., None]) -> None:
    use_transport("django.core.mail.backends.locmem.EmailBackend")
    EmailMessage("Hi", "Text", "me@example.com", [f"recipient-{n}@example.com" for n in range(50)]).send()
    row = Message.objects.get()
    assert (len(row.recipient), row.recipient[-1]) == (320, "…")


def test_a_transport_that_cannot_be_imported_does_not_keep_mail_from_being_stored(
    use_transport: Callable[..., None],
) -> None:
    use_transport("no.such.EmailBackend")
    EmailMessage("Hi", "Text", "me@example.com", ["a@example.com", "b@example.com"]).send()
    assert Message.objects.count() == 2


def test_what_cannot_be_kept_for_the_transport_is_refused_and_nothing_is_stored() -> None:
    good, bad = (EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"]) for _ in range(2))
    bad.metadata = {"when": timezone.now()}  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="The message's metadata cannot be kept until it is sent: a datetime is not"):
        outbox.EmailBackend().send_messages([good, bad])
    assert not Message.objects.exists()


def test_password_resets_go_through_the_outbox(rf: object) -> None:
    User.objects.create_user("ann", "ann@example.com", "secret-secret")
    form = PasswordResetForm({"email": "ann@example.com"})
    assert form.is_valid()
    form.save(domain_override="flasky.example.com", use_https=True, email_template_name="notify/mail/test.txt")
    assert Message.objects.get().recipient == "ann@example.com"


@pytest.mark.urls("tests.auth_urls")
def test_password_resets_are_sensitive_out_of_the_box() -> None:
    User.objects.create_user("ann", "ann@example.com", "secret-secret")
    form = PasswordResetForm({"email": "ann@example.com"})
    assert form.is_valid()
    form.save(domain_override="flasky.example.com", use_https=True)
    row = Message.objects.get()
    assert b"https://flasky.example.com/people/reset/" in bytes(row.body.mime)
    assert row.sensitive


def test_a_link_with_a_token_is_sensitive_in_the_html_alone_too() -> None:
    token = default_token_generator.make_token(User.objects.create_user("ann", "ann@example.com", "secret-secret"))
    message = EmailMultiAlternatives("Hi", "See the other part", "me@example.com", ["ann@example.com"])
    message.attach_alternative(f'<a href="https://x.example/set?token={token}&amp;next=/">Go</a>', "text/html")
    message.send()
    assert Message.objects.get().sensitive


@pytest.mark.parametrize(
    "link",
    [
        "https://x.example/accounts/password/reset/key/1-cq5ysb-4e0d8f4e7b0c4a52a1f35dd7a4f1c2ab/",  # allauth
        "https://x.example/accounts/confirm-email/MQ:1uKx3b:9sVbNqk3kQm0vZJ1nW2hQm4v7yX0cR5tL8pD6fG1aBc/",  # allauth
        "https://x.example/login/?sesame=AAAAAfeRJbvvnaTumBwQg",
        "https://x.example/accounts/check_token/ann/kY3vN8pQx2LwZt5RmC7hDgJ4bS9fVaUe/",  # healthchecks
        "https://x.example/magic/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        "https://x.example/in/0123456789abcdef0123456789abcdef",
    ],
)
def test_sign_in_links_of_other_packages_are_sensitive(link: str) -> None:
    assert outbox.is_sensitive(EmailMessage("Hi", f"Sign in: {link}\n"))


@pytest.mark.parametrize(
    "link",
    [
        "https://x.example/how-to-install-django-on-debian-13-step-by-step/",
        "https://x.example/How_To_Install_Django_On_Debian/",
        "https://x.example/orders/6f1c2a3b-0d4e-4f5a-8b6c-7d8e9f0a1b2c/",
        "https://x.example/admin/notify/event/?message_id=%3C176424.7.12345678901234567890123%40x.example%3E",
    ],
)
def test_ordinary_links_are_not_sensitive(link: str) -> None:
    assert not outbox.is_sensitive(EmailMessage("Hi", link))


def test_a_project_chooses_what_is_sensitive(settings: Any) -> None:
    plain, reset = EmailMessage("Hi", "Text"), EmailMessage("Hi", f"https://x.example/in/{'0123456789abcdef' * 2}")
    settings.NOTIFY_SENSITIVE = "all"
    assert (outbox.is_sensitive(plain), outbox.is_sensitive(reset)) == (True, True)
    settings.NOTIFY_SENSITIVE = lambda message: message.subject == "Code"
    assert (outbox.is_sensitive(EmailMessage("Code", "493 211")), outbox.is_sensitive(reset)) == (True, False)


@pytest.mark.parametrize("sender", ["me@example.com\n", "Me\r\nBcc: x@example.com <me@example.com>"])
def test_a_sender_with_a_line_break_is_refused(sender: str) -> None:
    with pytest.raises(ValueError, match=r"newlines|Invalid address|linefeed|line break"):
        EmailMessage("Hi", "Text", sender, ["a@example.com"]).send()
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "text", ["Text", "https://x.example/order/d0abcd-1234/", f"/{'a' * 6}-{'0' * 40}/", f"{'a' * 6}-{'0' * 32}"]
)
def test_other_mails_are_not(text: str) -> None:
    EmailMessage("Hi", text, "me@example.com", ["a@example.com"]).send()
    assert not Message.objects.get().sensitive


@pytest.mark.parametrize(
    ("name", "value", "sensitive"),
    [("X-Flasky-Sensitive", "yes", True), ("x-flasky-sensitive", " YES ", True), ("X-Flasky-Sensitive", "no", False)],
)
def test_a_mail_may_say_itself_that_it_is_sensitive(name: str, value: str, sensitive: bool) -> None:
    headers = {name: value, "References": "<root@example.com>", "Message-ID": "<own@example.com>"}
    EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"], headers=headers).send()
    row = Message.objects.get()
    assert row.sensitive is sensitive
    assert b"sensitive" not in bytes(row.body.mime).lower()
    parsed = message_from_bytes(bytes(row.body.mime), policy=policy.default)
    assert (row.message_id, parsed["References"]) == ("<own@example.com>", "<root@example.com>")


def test_error_mails_to_the_administrators_go_through_the_outbox(settings: Any) -> None:
    settings.ADMINS = ["ops@example.com"] if django.VERSION >= (6, 0) else [("ops@example.com", "ops@example.com")]
    mail_admins("Trouble", "Text")
    row = Message.objects.get()
    assert (row.recipient, row.sender, row.subject) == ("ops@example.com", "flasky@example.com", "[Flasky] Trouble")
