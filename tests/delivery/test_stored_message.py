"""Stored bytes through every kind of Django email backend: they arrive as they were stored."""

import io
from collections.abc import Callable
from contextlib import closing
from email import message_from_bytes, policy
from email.message import EmailMessage as ParsedMessage
from email.message import MIMEPart
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import django
import pytest
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives

from notify import outbox
from notify.delivery.claims import Claimed
from notify.delivery.session import Session
from notify.delivery.stored_message import StoredMessage
from notify.models import Message
from tests.relays import Relay


def claimed() -> Claimed:
    """The last row of a mail with all there may be to a mail: that of the Bcc; the only one without an envelope."""
    message = EmailMultiAlternatives(
        "Grüße an alle " + "x" * 80,
        "Text: Grüße\n.dot\n",
        "Jörg <me@example.com>",
        ["Ann <a@example.com>"],
        cc=["c@example.com"],
        bcc=["bcc@example.com"],
        reply_to=["r@example.com"],
        headers={"X-Custom": "yes"},
    )
    message.attach_alternative("<p>Grüße</p>", "text/html")
    message.attach("a.bin", bytes(range(256)), "application/octet-stream")
    return claimed_row(outbox.rows_of(message)[-1])


def claimed_row(row: Message) -> Claimed:
    mime = bytes(row.body.mime)
    return Claimed(1, row.sender, row.recipient, mime, 0, "token", False, 1e9, row.body.attributes)


def parsed(raw: bytes) -> ParsedMessage:
    return message_from_bytes(raw, policy=policy.default)  # type: ignore[return-value]


def same(first: bytes, second: bytes) -> bool:
    return first.replace(b"\r\n", b"\n").rstrip() == second.replace(b"\r\n", b"\n").rstrip()


def test_locmem_gets_the_stored_message(use_transport: Callable[..., None]) -> None:
    use_transport("django.core.mail.backends.locmem.EmailBackend")
    message = claimed()
    with closing(Session()) as session:
        session.send(message)
    [taken] = mail.outbox
    assert taken.recipients() == ["a@example.com", "c@example.com", "bcc@example.com"]
    assert (taken.to, taken.cc, taken.bcc) == (["Ann <a@example.com>"], ["c@example.com"], ["bcc@example.com"])
    assert (taken.from_email, taken.reply_to) == ("Jörg <me@example.com>", ["r@example.com"])
    assert same(taken.message().as_bytes(), message.mime)


def test_console_prints_the_stored_message(
    use_transport: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_transport("django.core.mail.backends.console.EmailBackend")
    message = claimed()
    with closing(Session()) as session:
        session.send(message)
    printed = capsys.readouterr().out
    assert parsed(message.mime)["Message-ID"] in printed
    assert "Text: Grüße" in printed
    assert "X-Custom: yes" in printed


def test_filebased_writes_the_stored_message(use_transport: Callable[..., None], tmp_path: Path) -> None:
    use_transport("django.core.mail.backends.filebased.EmailBackend", file_path=str(tmp_path))
    message = claimed()
    with closing(Session()) as session:
        session.send(message)
    [file] = tmp_path.iterdir()
    assert same(file.read_bytes().rsplit(b"-" * 79, 1)[0], message.mime)


def test_djangos_own_smtp_backend_sends_the_stored_bytes_to_the_one_recipient(
    use_transport: Callable[..., None], relay: Relay
) -> None:
    use_transport("django.core.mail.backends.smtp.EmailBackend", host="127.0.0.1", port=relay.port, timeout=5)
    message = claimed()
    with closing(Session()) as session:
        session.send(message)
    [envelope] = relay.wait_for(1)
    assert (envelope.sender, envelope.recipients) == ("me@example.com", ["bcc@example.com"])
    assert same(envelope.content, message.mime)
    assert envelope.content.count(b"\r\n") == envelope.content.count(b"\n")


def test_our_own_backend_sends_the_stored_bytes_and_keeps_the_answer(
    use_transport: Callable[..., None], relay: Relay
) -> None:
    use_transport("notify.smtp.backend.EmailBackend", host="127.0.0.1", port=relay.port, timeout=5)
    message = claimed()
    with closing(Session()) as session:
        assert session.send(message) == "250 2.0.0 Ok: queued"
    [envelope] = relay.wait_for(1)
    assert envelope.content == message.mime


PARTS: dict[str, Callable[[EmailMultiAlternatives], object]] = {
    "text": lambda message: None,
    "HTML": lambda message: message.attach_alternative("<p>Grüße</p>", "text/html"),
    "a calendar": lambda message: (
        message.attach_alternative("<p>Come</p>", "text/html"),
        message.attach_alternative("BEGIN:VCALENDAR\nEND:VCALENDAR\n", "text/calendar; method=REQUEST"),
    ),
    "a watch's HTML": lambda message: (
        message.attach_alternative("<p>Come</p>", "text/html"),
        message.attach_alternative("<p>Wow</p>", "text/x-amp-html"),
    ),
    "a file": lambda message: message.attach("naïve.bin", bytes(range(256)), "application/octet-stream"),
    "HTML and files": lambda message: (
        message.attach_alternative("<p>Grüße</p>", "text/html"),
        message.attach("a.txt", "line\nGrüße\n", "text/plain"),
        message.attach("b.html", "<p>a file</p>\n", "text/html"),
    ),
    "HTML only": lambda message: setattr(message, "content_subtype", "html"),
    "no text": lambda message: setattr(message, "body", ""),
    "no text, and a file": lambda message: (
        setattr(message, "body", ""),
        message.attach("a.txt", "line\n", "text/plain"),
    ),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("stored_for", ["SMTP", "an API"])
def test_backends_that_read_fields_find_what_the_caller_built(
    part: str, stored_for: str, use_transport: Callable[..., None]
) -> None:
    """As those for the APIs of mail providers do, also when the mail was stored while SMTP was the transport."""
    built = EmailMultiAlternatives(
        "Grüße an alle " + "x" * 80,
        "Text: Grüße\n.dot\n",
        '"Doe, Jörg" <me@bücher.example>',
        ["Ann <a@example.com>"],
        reply_to=["R <r@example.com>"],
        headers={"X-Custom": "yes"},
    )
    PARTS[part](built)
    if stored_for == "an API":
        use_transport("anymail.backends.test.EmailBackend")
    [row] = outbox.rows_of(built)
    message = StoredMessage(claimed_row(row), envelope=False)
    assert (message.subject, message.content_subtype) == (built.subject, built.content_subtype)
    assert message.body == built.body or (django.VERSION >= (6, 0) and message.body == built.body + "\n")
    assert [(each.content.rstrip(), each.mimetype) for each in message.alternatives] == [
        (each.content.rstrip(), each.mimetype) for each in built.alternatives
    ]
    assert message.attachments == built.attachments
    assert message.extra_headers["X-Custom"] == "yes"
    assert message.extra_headers["Message-ID"] == row.message_id
    assert not {"Subject", "From", "To", "Reply-To", "Content-Type"} & set(message.extra_headers)
    assert (message.to, message.cc, message.bcc, message.reply_to) == (built.to, [], [], ["R <r@example.com>"])
    name, sender = parseaddr(message.from_email)
    assert (name, sender.replace("xn--bcher-kva", "bücher")) == ("Doe, Jörg", "me@bücher.example")
    assert message.recipients() == ["a@example.com"]


def test_a_row_of_one_recipient_names_no_other_to_a_backend_without_an_envelope() -> None:
    message = EmailMultiAlternatives(
        "Hi",
        "Text",
        "me@example.com",
        ["Ann <a@example.com>", "b@example.com"],
        cc=["Zoë <c@例え.jp>"],
        bcc=["d@x.org"],
    )
    found = [StoredMessage(claimed_row(row), envelope=False) for row in outbox.rows_of(message)]
    assert [each.to for each in found] == [
        ["Ann <a@example.com>"],
        ["b@example.com"],
        ["Zoë <c@xn--r8jz45g.jp>"],
        ["d@x.org"],
    ]
    assert {(*each.cc, *each.bcc) for each in found} == {()}


def test_a_from_header_that_is_not_the_sender_stays_a_header(use_transport: Callable[..., None]) -> None:
    """Django ticket 9214: `from_email` is for the envelope then."""
    message = EmailMultiAlternatives(
        "Hi", "Text", "bounces@x.org", ["a@example.com"], headers={"From": "Ann <a@x.org>"}
    )
    before = StoredMessage(claimed_row(outbox.rows_of(message)[0]), envelope=False)
    use_transport("anymail.backends.test.EmailBackend")
    after = StoredMessage(claimed_row(outbox.rows_of(message)[0]), envelope=False)
    for stored in (before, after):
        assert (stored.from_email, stored.extra_headers["From"]) == ("bounces@x.org", "Ann <a@x.org>")


def test_an_inline_picture_keeps_its_id() -> None:
    message = EmailMultiAlternatives("Hi", "Text", "me@example.com", ["a@example.com"])
    message.attach_alternative('<img src="cid:logo@x">', "text/html")
    if django.VERSION >= (6, 0):
        picture: Any = MIMEPart()
        picture.set_content(b"GIF89a", "image", "gif", cid="<logo@x>", disposition="inline", filename="logo.gif")
    else:
        message.mixed_subtype = "related"
        picture = MIMEImage(b"GIF89a", "gif")
        picture.add_header("Content-ID", "<logo@x>")
        picture.add_header("Content-Disposition", "inline", filename="logo.gif")
    message.attach(picture)
    stored = StoredMessage(claimed_row(outbox.rows_of(message)[0]), envelope=False)
    [found] = stored.attachments
    assert isinstance(found, MIMEPart if django.VERSION >= (6, 0) else MIMEBase)
    assert (found["Content-ID"], found.get_filename()) == ("<logo@x>", "logo.gif")
    assert found.get_payload(decode=True) == b"GIF89a"
    assert [each.mimetype for each in stored.alternatives] == ["text/html"]


@pytest.mark.parametrize("name", ["fwd.eml", None])
def test_an_attached_message_is_given_as_its_bytes(name: str | None) -> None:
    inner = EmailMessage("Inner " + "語" * 60, "Grüße", "x@example.com", ["y@example.com"])
    message = EmailMultiAlternatives("Hi", "Text", "me@example.com", ["a@example.com"])
    message.attach(name, inner, "message/rfc822")
    stored = StoredMessage(claimed_row(outbox.rows_of(message)[0]), envelope=False)
    [(filename, content, mimetype)] = stored.attachments
    assert (filename, mimetype) == (name, "message/rfc822")
    assert parsed(content)["Subject"] == "Inner " + "語" * 60
    assert content in stored.wire_bytes


def test_pictures_beside_the_html_are_attachments_and_a_charset_that_there_is_not_is_read_as_utf_8() -> None:
    raw = (
        b"From: me@example.com\r\nTo: a@example.com\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/alternative; boundary=x\r\n\r\n"
        b"--x\r\nContent-Type: multipart/related; boundary=y\r\n\r\n"
        b"--y\r\nContent-Type: text/html\r\n\r\n<img src=cid:p>\r\n"
        b"--y\r\nContent-Type: image/png\r\nContent-ID: <p>\r\n\r\nPNG\r\n--y--\r\n"
        b"--x\r\nContent-Type: text/calendar; charset=no-such\r\n\r\nBEGIN\r\n--x--\r\n"
    )
    stored = StoredMessage(Claimed(1, "me@example.com", "a@example.com", raw, 0, "t", False, 1e9), envelope=False)
    assert stored.body == ""
    assert stored.alternatives == [("<img src=cid:p>", "text/html"), ("BEGIN", "text/calendar")]
    assert [part["Content-ID"] for part in stored.attachments] == ["<p>"]


def test_a_backend_that_changes_the_headers_sends_what_it_changed() -> None:
    """As Anymail's for Amazon SES does, to say tags."""
    stored = StoredMessage(claimed())
    message = stored.message()
    message["X-Tag"] = "news"
    assert same(message.as_bytes(), stored.wire_bytes.replace(b"\r\n\r\n", b"\r\nX-Tag: news\r\n\r\n", 1))


@pytest.mark.parametrize("linesep", [None, "\r\n", "\n"])
def test_the_bytes_have_the_line_ends_that_are_asked_for(linesep: str | None) -> None:
    message = claimed()
    chosen: dict[str, Any] = {"policy": policy.default.clone(linesep=linesep)} if linesep else {}
    wire = StoredMessage(message).message().as_bytes(**chosen)
    assert wire == (message.mime.replace(b"\r\n", b"\n") if linesep == "\n" else message.mime)


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 5.2 has its own way to write messages")
def test_the_standard_librarys_generator_writes_the_stored_message() -> None:
    from email.generator import BytesGenerator

    message = claimed()
    written = io.BytesIO()
    BytesGenerator(written, policy=policy.SMTP).flatten(StoredMessage(message).message())
    assert parsed(written.getvalue())["Message-ID"] == parsed(message.mime)["Message-ID"]
