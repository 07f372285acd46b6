"""Stored bytes through every kind of Django email backend: they arrive as they were stored."""

import io
from collections.abc import Callable
from contextlib import closing
from email import message_from_bytes, policy
from email.message import EmailMessage as ParsedMessage
from pathlib import Path
from typing import Any

import django
import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives

from notify import outbox
from notify.delivery.claims import Claimed
from notify.delivery.session import Session
from notify.delivery.stored_message import StoredMessage
from tests.relays import Relay


def claimed(recipient: str = "bcc@example.com") -> Claimed:
    """One envelope of a mail with all there may be to a mail."""
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
    [row] = [row for row in outbox.rows_of(message) if row.recipient == recipient]
    return Claimed(1, row.sender, row.recipient, bytes(row.body.mime), 0, "token", False, 1e9)


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
    assert taken.recipients() == ["bcc@example.com"]
    assert taken.from_email == "me@example.com"
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


def test_backends_that_read_fields_find_them() -> None:
    """As those for the interfaces of mail providers do."""
    message = StoredMessage(claimed())
    assert message.subject == "Grüße an alle " + "x" * 80
    assert message.body.splitlines() == ["Text: Grüße", ".dot"]
    [alternative] = message.alternatives
    assert (alternative[0].strip(), alternative[1]) == ("<p>Grüße</p>", "text/html")
    assert message.extra_headers["X-Custom"] == "yes"
    assert "Subject" not in message.extra_headers
    [attachment] = message.attachments
    assert attachment.get_filename() == "a.bin"
    assert attachment.get_content() == bytes(range(256))
    assert (message.to, message.cc, message.bcc) == (["bcc@example.com"], [], [])


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
