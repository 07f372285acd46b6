"""Mails made to break what shows them: each is read within moments, and every page of it answers.

The pages read a megabyte of a mail, so that is how large these are for `make slow`; `make test` reads the beginnings.
Time is the processor's, and the bound is many times what the slowest takes; what was quadratic took minutes.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest

from notify.admin import display, message_page, sanitizer
from notify.models import Message
from tests.desk import VIEW, login, store

MB = message_page.SHOWN
SECONDS = 20
sizes = pytest.mark.parametrize("size", [MB // 10, pytest.param(MB, marks=pytest.mark.slow)])
MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
PICTURE = b"iVBORw0K" * 50_000


def within_moments(work: Callable[[], Any]) -> Any:
    began = time.process_time()
    done = work()
    assert time.process_time() - began < SECONDS
    return done


def nested(depth: int) -> bytes:
    opened = "".join(
        f"Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n" for level in range(depth)
    )
    return f"{opened}Content-Type: text/plain\r\n\r\nat the bottom".encode()


def related(html: bytes) -> bytes:
    return (
        b"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        + html
        + b"\r\n--b\r\n"
        b"Content-Type: image/png\r\nContent-ID: <a>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + PICTURE
        + b"\r\n--b--"
    )


def text(parameters: bytes, body: bytes = b"Hi", encoding: bytes = b"8bit") -> bytes:
    return b"Content-Type: text/plain; %s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s" % (parameters, encoding, body)


MAILS: dict[str, Callable[[], bytes]] = {
    "2,000 parts within parts": lambda: nested(2000),
    "20,000 parts within parts": lambda: nested(20_000),
    "parts within parts of one name": lambda: (MIXED + b"--b\r\n") * 20_000,
    "mails within mails": lambda: b"Content-Type: message/rfc822\r\n\r\n" * 30_000,
    "mails within mails in a part": lambda: MIXED + b"--b\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * 30_000,
    "100,000 parts": lambda: MIXED + b"--b\r\n\r\nx\r\n" * 100_000,
    "no boundary": lambda: b"Content-Type: multipart/mixed\r\n\r\n" + b"x\r\n" * (MB // 3),
    "an empty boundary": lambda: b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n\r\nx' * 10_000,
    "a boundary without end": lambda: b'Content-Type: multipart/mixed; boundary="' + b"b" * MB,
    "a boundary that nearly comes": lambda: (
        b'Content-Type: multipart/mixed; boundary="' + b"-" * 70 + b'"\r\n\r\n' + b"-" * MB
    ),
    "a boundary before blanks": lambda: MIXED + (b"--b" + b" " * 1000 + b"x\n") * 1000,
    "130,000 addresses": lambda: b"To: " + b"a@b.c, " * 130_000 + b"\r\n\r\nHi",
    "folded addresses": lambda: b"To: " + b"a@b.c,\r\n " * 130_000 + b"\r\n\r\nHi",
    "100,000 parameters": lambda: text(b"a=b; " * 200_000),
    "unclosed quotes": lambda: text(b'a="b; ' * 100_000),
    "continued parameters": lambda: text(b";".join(b"name*%d*=x" % number for number in range(70_000))),
    "100,000 encoded words": lambda: b"Subject: " + b"=?utf-8?q?a?= " * 100_000 + b"\r\n\r\nHi",
    "encoded words of as many charsets": lambda: b"".join(
        b"Subject: " + b"".join(b"=?x%d.%d?q?a?= " % (line, word) for word in range(300)) + b"\r\n"
        for line in range(250)
    ),
    "unfinished encoded words": lambda: (b"Subject: " + b"=?utf-8?q?" * 400 + b"\r\n") * 250 + b"\r\n",
    "160,000 headers": lambda: b"A: b\r\n" * 160_000,
    "a header without a name": lambda: b":" * MB,
    "a header without a value": lambda: b"A" * MB,
    "folds of nothing": lambda: b"A:" + b"\n " * (MB // 2),
    "blanks before a bare return": lambda: b"A: x" + (b"\n" + b" " * 999) * 1000 + b"\rq",
    "nothing but NUL": lambda: b"\0" * MB,
    "NUL in headers": lambda: b"A: \0" * (MB // 4),
    "nothing but line breaks": lambda: b"\r\n" * (MB // 2),
    "garbage in base64": lambda: text(b"", b"!=A" * (MB // 3), b"base64"),
    "padding in base64": lambda: text(b"", b"=" * MB, b"base64"),
    "nothing quoted in quoted-printable": lambda: text(b"", b"=" * MB, b"quoted-printable"),
    "uuencoded": lambda: text(b"", b"begin 644 x\n" + b"M" * MB, b"x-uuencode"),
    "one picture asked for often": lambda: related(b'<img src="cid:a">' * 30_000),
    "one picture asked for in a style": lambda: related(
        b"<style>" + b"a{background:url(cid:a)}" * 20_000 + b"</style>"
    ),
}

CODECS = [
    *(
        "unicode_escape",
        "raw_unicode_escape",
        "utf-7",
        "idna",
        "punycode",
        "rot13",
        "hex",
        "zip",
        "bz2",
        "base64",
        "uu",
    ),
    *("quopri", "undefined", "charmap", "mbcs", "oem", "utf-16", "utf-32", "utf-8-sig", "iso-2022-jp", "hz", "gb18030"),
    *("johab", "cp037", "../../etc/passwd", "%s", "\0", "\u0130"),
]
BODIES = [
    rb"\ud800\U00110000\x",
    b"\xff\xfe\x00\xd8",
    bytes(range(256)) * 400,
    b"+2AA-",
    b"\x1b$B" * 999,
    b"\x836\xc78",
]

PAGES: dict[str, Callable[[], str]] = {
    "<a ": lambda: "<a " * (MB // 3),
    "comments": lambda: "<!--" * (MB // 4),
    "doctypes": lambda: "<!doctype " * (MB // 10),
    "quotes": lambda: '<a b="' * (MB // 6),
    "equals": lambda: "<a " + "=" * MB,
    "blanks": lambda: ("<a x" + " " * 1000) * 1000,
    "attributes": lambda: "<a " + " ".join(f"a{number}=b" for number in range(90_000)) + ">",
    "elements": lambda: "<div>" * (MB // 5),
    "formats": lambda: "".join(f"<font color=c{number}>" for number in range(10_000)) + "<p>x" * 100_000,
    "styles": lambda: "<style>" * (MB // 7),
    "ends of styles": lambda: "<style>" + "</style" * (MB // 8),
    "references": lambda: "&#" + "9" * MB,
    "signs": lambda: "<" * MB,
    "links": lambda: "<a href=x>" * (MB // 10),
    "a long address": lambda: f'<a href="{"x" * MB}">',
    "a long picture": lambda: f'<img src="data:image/png;base64,{"A" * MB}!">',
    "sections": lambda: "<svg><![CDATA[" * (MB // 14),
}


@sizes
@pytest.mark.parametrize("name", MAILS)
def test_a_mail_is_read_in_linear_time(name: str, size: int) -> None:
    raw = MAILS[name]()[:size]
    read = within_moments(lambda: display.read(raw))
    assert len(read.headers) <= display.HEADERS
    assert len(read.attachments) <= display.PARTS
    assert max((len(value) for _, value in read.headers), default=0) <= display.HEADER_LENGTH + 1
    assert len(read.html or "") <= MB + display.INLINED
    str(read).encode()  # no lone surrogate is left
    if read.html:
        assert len(within_moments(lambda: sanitizer.inert(read.html))) <= MB + display.INLINED


@pytest.mark.parametrize("codec", CODECS, ids=ascii)
def test_no_codec_of_a_mail_is_used_but_charsets(codec: str) -> None:
    for body in BODIES:
        name = codec.encode()
        raw = b"Subject: =?%s?q?=5Cud800?= =?%s?b?/////w==?=\r\n" % (name, name) + text(
            b"charset=%s; name*=%s''%%5Cud800%%ff" % (name, name), body
        )
        read = display.read(raw)
        str(read).encode()
        assert "\0" not in str(read)
        assert read.text is not None


def test_what_is_no_charset_is_read_as_utf_8() -> None:
    for codec in ("unicode_escape", "hex", "idna", "utf-7", "unheard-of"):
        assert (
            display.read(text(b"charset=" + codec.encode(), "6869 \\u00fc ü +2AA-".encode())).text
            == "6869 \\u00fc ü +2AA-"
        )


@sizes
@pytest.mark.parametrize("name", PAGES)
def test_html_is_written_anew_in_linear_time(name: str, size: int) -> None:
    page = PAGES[name]()[:size]
    html = within_moments(lambda: sanitizer.inert(page))
    assert len(html) <= 2 * MB


@pytest.mark.django_db
@pytest.mark.parametrize(
    "name",
    [
        "2,000 parts within parts",
        "130,000 addresses",
        *(pytest.param(name, marks=pytest.mark.slow) for name in MAILS),
    ],
)
def test_every_page_of_a_hostile_mail_answers(name: str, settings: Any) -> None:
    settings.FLASKY_ADMIN = []
    row = store(mime=MAILS[name]())
    viewer = login(*VIEW)
    for view in ("change", "html"):
        answer = within_moments(lambda view=view: viewer.get(f"/admin/notify/message/{row.pk}/{view}/"))
        assert answer.status_code == 200, view
        assert len(answer.content) < MB + display.INLINED + 100_000


@pytest.mark.django_db
def test_lone_surrogates_do_not_break_a_page(settings: Any) -> None:
    settings.FLASKY_ADMIN = []
    row = store(mime=b"Subject: =?unicode_escape?q?=5Cud800?=\r\n" + text(b"charset=unicode_escape", rb"\ud800"))
    page = login(*VIEW).get(f"/admin/notify/message/{row.pk}/change/")
    assert page.status_code == 200
    assert "\\ud800" in page.content.decode()
    assert Message.objects.count() == 1
