"""Written in seven bits a mail says what it said in eight."""

import email
import email.policy
from email.message import EmailMessage as ParsedMessage
from typing import Any

import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives
from hypothesis import given
from hypothesis import strategies as st

from notify.outbox import rows_of
from notify.smtp.seven_bit import seven_bit


def parts(data: bytes) -> list[tuple[str, str | None, Any]]:
    """What readers see of it: type, file name, content, part by part."""
    parsed: Any = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(parsed, ParsedMessage)
    leaves = [part for part in parsed.walk() if not part.is_multipart()]
    return [(part.get_content_type(), part.get_filename(), part.get_content()) for part in leaves]


@pytest.fixture
def mail() -> EmailMultiAlternatives:
    built = EmailMultiAlternatives("Grüße", "Grüße\n.\nvon Zoë\n", "Ann <a@example.com>", ["Bob <b@example.com>"])
    built.attach_alternative(f"<p>{'漢字' * 50}</p>", "text/html")
    built.attach("fäß.txt", "ünï\n", "text/plain")
    built.attach("x.bin", b"\0\xff\xfe", "application/octet-stream")
    forwarded = EmailMessage("inner ü", "bödy\n", "x@example.com", ["y@example.com"])
    built.attach("a.eml", forwarded.message(), "message/rfc822")
    return built


def test_a_stored_mail_says_the_same_in_seven_bits(mail: EmailMultiAlternatives) -> None:
    [row] = rows_of(mail)
    eight = bytes(row.body.mime)
    assert not eight.isascii()
    seven = seven_bit(eight)
    assert seven.isascii()
    assert max(map(len, seven.split(b"\r\n"))) <= 998
    assert parts(seven) == parts(eight)
    assert seven.split(b"\r\n\r\n")[0] == eight.split(b"\r\n\r\n")[0]  # the headers, byte by byte
    assert b"8bit" not in seven


def test_what_is_in_seven_bits_already_stays_as_it_is() -> None:
    data = b"Subject: a\r\n  folded   line\r\nX: y\r\n\r\n.\r\n\r\nEnd  \r\n"
    assert seven_bit(data) == data


def test_people_can_still_read_a_text_that_is_mostly_ascii() -> None:
    data = "Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA name with an é, and so on.\r\n".encode()
    assert seven_bit(data).endswith(b"quoted-printable\r\n\r\nA name with an =C3=A9, and so on.\r\n")


def test_a_header_in_raw_utf8_is_encoded() -> None:
    assert seven_bit("Subject: Grüße\r\n\r\nText\r\n".encode()).isascii()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")) | st.text("aß漢=. \n\t")


@given(TEXT)
def test_every_text_says_the_same_in_seven_bits(text: str) -> None:
    head = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    eight = (head + text.replace("\n", "\r\n")).encode()
    seven = seven_bit(eight)
    assert seven.isascii()
    body = email.message_from_bytes(seven).get_payload(decode=True)
    assert isinstance(body, bytes)
    assert body.decode() == text.replace("\n", "\r\n")
