"""No header line is over 998 octets, those that can be are folded at 78, and every header says what it said."""

import email
import email.message
import email.policy
import re
from email.header import decode_header, make_header
from typing import Any

import pytest
from django.core.mail import EmailMessage
from hypothesis import given
from hypothesis import strategies as st

from notify.outbox import rows_of
from notify.smtp.folding import LIMIT, LINE
from tests.smtp.conftest import Make
from tests.smtp.scripted import Scripted


def wire(**given: Any) -> bytes:
    """The stored bytes of a message; `attach` holds the arguments of attach()."""
    attach = given.pop("attach", None)
    plain = {"subject": "x", "body": "Text", "from_email": "me@example.com", "to": ["a@example.com"]}
    message = EmailMessage(**(plain | given))
    if attach:
        message.attach(*attach)
    return bytes(rows_of(message)[0].body.mime)


def longest(data: bytes) -> int:
    return max(map(len, data.split(b"\r\n")))


def parsed(data: bytes) -> Any:
    return email.message_from_bytes(data, policy=email.policy.default)


def header(data: bytes, name: str) -> str:
    """As it stands there, unfolded."""
    return str(email.message_from_bytes(data, policy=email.policy.compat32)[name]).replace("\r\n", "")


REFERENCES = " ".join(f"<{number:08d}.abcdefgh@mail.example.com>" for number in range(200))


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({"headers": {"References": REFERENCES}}, LINE),
        ({"headers": {"In-Reply-To": REFERENCES}}, LINE),
        ({"headers": {"X-Tags": "abc " * 400}}, LINE),
        ({"headers": {"X-Tags": "abc\t" * 400}}, LINE),
        ({"headers": {"X-Tags": "a" + " " * 1500 + "b"}}, LINE),
        ({"headers": {"X-Word": "y" * 1500}}, LINE),
        ({"headers": {"X-Word": "語" * 600}}, LINE),
        ({"headers": {"DKIM-Signature": "v=1; a=rsa-sha256; b=" + "Q" * 1200}}, LINE),
        ({"to": [f"Person {number} <person{number}@example.com>" for number in range(500)]}, LINE),
        ({"cc": [f"Zoë no {number} <zoe{number}@example.com>" for number in range(300)]}, LINE),
        ({"reply_to": [f"person{number}@example.com" for number in range(300)]}, LINE),
        ({"from_email": f'"{"n" * 1200}" <me@example.com>'}, LINE),
        ({"subject": "x" * 1500}, LINE),
        ({"subject": "word " * 400}, LINE),
        ({"subject": "語" * 600}, LINE),
        ({"subject": "Grüße an alle " * 100}, LINE),
        ({"attach": ("a" * 1200 + ".txt", "x", "text/plain")}, LINE),
        ({"attach": ("語" * 400 + ".txt", "x", "text/plain")}, LINE),
        ({"attach": ("a b" * 40 + ".txt", "x", "text/plain")}, LINE),
        ({"subject": "x" * 75}, LINE),
        ({"subject": f"x {'y' * 80} {'z' * 80}"}, LINE),
        # What cannot be folded is as long as it is.
        ({"headers": {"X-Word": "y" * 90}}, 98),
        ({"headers": {"In-Reply-To": f"<{'m' * 200}@example.com>"}}, 227),
        # nullmailer#92, upyo#40
        ({"headers": {"List-Unsubscribe": f"<https://example.com/u/{'t' * 967}>"}}, LIMIT),
    ],
    ids=str,
)
def test_lines_are_as_short_as_they_can_be(given: dict[str, Any], limit: int) -> None:
    assert longest(wire(**given)) <= limit


@pytest.mark.parametrize("length", [10, 50, 57, 58, 60, 66, 67, 68, 900, 971, 972, 973, 990, 1500, 5000])
def test_a_link_arrives_whole_however_long(length: int) -> None:
    link = f"<https://example.com/{'t' * length}>"
    data = wire(headers={"List-Unsubscribe": f"<mailto:out@example.com>, {link}", "List-Id": "<x.example.com>"})
    assert longest(data) <= LIMIT
    links = header(data, "List-Unsubscribe").split(", ")
    assert "".join(links[1].split()) == link  # blanks within are ignored: RFC 2369 section 2
    assert len(link) >= LIMIT or links[1] == link


@pytest.mark.parametrize("name", ["In-Reply-To", "References", "Message-ID", "X-Mailer-Data"])
def test_what_programs_read_is_not_encoded(name: str) -> None:
    value = f"<{'m' * 200}@example.com>"
    assert header(wire(headers={name: value}), name) == value


@pytest.mark.parametrize("length", [5, 70, 80, 300, 1500])
@pytest.mark.parametrize("letter", ["x", "語", "ü ", "a b ", "é", '"', "\\"])
def test_a_subject_and_a_file_name_say_what_they_said(letter: str, length: int) -> None:
    text = f"a{letter * length}b"
    data = wire(subject=text, attach=(f"{text}.txt", "x", "text/plain"))
    assert longest(data) <= LINE
    assert parsed(data)["Subject"] == text
    [attachment] = parsed(data).iter_attachments()
    assert attachment.get_filename() == f"{text}.txt"


def test_a_long_subject_begins_on_the_line_of_its_name() -> None:
    assert re.search(rb"\r\nSubject: =\?utf-8", wire(subject="x" * 1500))


def test_names_of_any_length_stay_with_their_addresses() -> None:
    names = ["n" * 1200, "Zoë " * 300, "O'Hara, " * 200]
    data = wire(to=[f'"{name}" <a{number}@example.com>' for number, name in enumerate(names)])
    assert longest(data) <= LIMIT
    found = parsed(data)["To"].addresses
    assert [address.addr_spec for address in found] == ["a0@example.com", "a1@example.com", "a2@example.com"]
    read = str(make_header(decode_header(header(data, "To"))))
    assert all(name.strip() in read for name in names)


def test_an_attached_message_has_no_long_lines_either() -> None:
    inner = EmailMessage("i" * 1500, "Inner", "x@example.com", ["y@example.com"], headers={"References": REFERENCES})
    data = wire(attach=("a.eml", inner.message(), "message/rfc822"))
    assert longest(data) <= LINE
    [attachment] = parsed(data).iter_attachments()
    assert attachment.get_content()["Subject"] == "i" * 1500


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"Message-ID": f"<{'m' * 1100}@example.com>"}},
        {"headers": {"References": f"<a@b> <{'m' * 1100}@example.com>"}},
        {"attach": ("x", b"x", f"application/{'z' * 1100}")},
    ],
    ids=["Message-ID", "References", "Content-Type"],
)
def test_what_no_folding_shortens_is_an_error_at_the_call(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"the header \S+ holds a word too long for a line of 998 octets"):
        wire(**given)


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1) | st.text(
    'aü語 =?_"\\;,<>@', min_size=1
)


@given(TEXT, st.integers(1, 300))
def test_every_text_comes_back(text: str, times: int) -> None:
    text = " ".join((text * times).split()) or "x"
    data = wire(subject=text, headers={"X-Text": text})
    assert longest(data) <= LIMIT
    for name in ("Subject", "X-Text"):
        assert "".join(str(make_header(decode_header(header(data, name)))).split()) == "".join(plain(text).split())


def plain(text: str) -> str:
    """As a reader sees it who takes what looks like an encoded word for one."""
    return str(make_header(decode_header(text))) if text.isascii() and "=?" in text else text


def test_the_backend_folds_what_was_not_stored(make_backend: Make) -> None:
    mail = EmailMessage("x" * 1500, "Text", "me@example.com", ["a@example.com"], headers={"References": REFERENCES})
    with Scripted() as relay:
        assert make_backend(relay.port).send_messages([mail]) == 1
    assert longest(relay.bodies[0]) <= LINE
