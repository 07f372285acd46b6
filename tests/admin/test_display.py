"""What a stored mail says, read from bytes nobody vouches for."""

from email.message import EmailMessage

import pytest

from notify.admin import display

PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de")


def mail() -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Grüße an alle"
    message["From"] = "Jörg <joerg@example.com>"
    message.set_content("Grüße\n")
    message.add_alternative('<p>Grüße</p><img src="cid:logo@x"><img src="cid:gone@x">', subtype="html")
    html = message.get_payload()[1]  # type: ignore[index]
    html.add_related(PIXEL, "image", "png", cid="<logo@x>")  # type: ignore[union-attr]
    message.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="bill.pdf")
    return message


def test_headers_are_decoded_and_parts_are_found() -> None:
    read = display.read(mail().as_bytes())
    assert ("Subject", "Grüße an alle") in read.headers
    assert ("From", "Jörg <joerg@example.com>") in read.headers
    assert read.text == "Grüße\n"
    assert read.html is not None
    assert "<p>Grüße</p>" in read.html
    assert read.attachments == [display.Attachment("bill.pdf", "application/pdf", 5)]


def test_pictures_of_the_mail_stand_in_its_html_and_others_do_not() -> None:
    html = display.read(mail().as_bytes()).html or ""
    assert '<img src="data:image/png;base64,iVBORw0K' in html
    assert '<img src="cid:gone@x">' in html


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00",
        b"Subject: =?utf-8?b?////?=\r\nFrom: <@@,;:\r\nTo: \r\n\r\nHi",
        b"Content-Type: text/plain; charset=unheard-of\r\n\r\nHi",
        b"Content-Type: multipart/mixed\r\n\r\nno boundary",
        b"Content-Type: text/html; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!",
        b"Content-Disposition: attachment; filename*=utf-8''%ff%00\r\nContent-Type: x/y\r\n\r\nHi",
        b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\ncut he',
    ],
    ids=repr,
)
def test_nothing_that_a_mail_holds_makes_it_raise(raw: bytes) -> None:
    read = display.read(raw)
    assert isinstance(read.headers, list)


def test_an_unknown_charset_is_read_as_far_as_it_goes() -> None:
    assert display.read(b"Content-Type: text/plain; charset=unheard-of\r\n\r\nHi").text == "Hi"


def part(kind: str, body: str = "x", **headers: str) -> str:
    lines = [f"Content-Type: {kind}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", body])


def parts(kind: str, *inner: str, boundary: str = "b") -> str:
    joined = "".join(f"--{boundary}\r\n{each}\r\n" for each in inner)
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'
    return f"{head}preamble\r\n{joined}--{boundary}--\r\nepilogue\r\n"


def test_a_part_ends_before_the_line_break_of_its_delimiter() -> None:
    read = display.read(parts("mixed", part("text/plain", "a\r\n--bb\r\n"), part("text/html", "<p>")).encode())
    assert (read.text, read.html) == ("a\n--bb\n", "<p>")


def test_the_root_of_related_parts_is_the_one_that_start_names() -> None:
    inner = [part("text/html", "aside"), part("text/html", "root", Content_ID="<r@x>")]
    related = parts("related", *inner).replace('boundary="b"', 'boundary="b"; start="<r@x>"')
    assert display.read(related.encode()).html == "root"
    assert display.read(parts("related", *inner).encode()).html == "aside"


def test_an_attached_text_is_not_what_the_mail_says() -> None:
    attached = part("text/plain", "log", Content_Disposition="attachment; filename=a.log")
    read = display.read(parts("mixed", attached, part("text/plain", "said")).encode())
    assert read.text == "said"
    assert read.attachments == [display.Attachment("a.log", "text/plain", 3)]


def test_a_mail_within_a_mail_is_an_attachment() -> None:
    read = display.read(parts("mixed", part("text/plain"), part("message/rfc822", part("text/html", "<p>"))).encode())
    assert read.html is None
    assert [each.type for each in read.attachments] == ["message/rfc822"]


def test_a_calendar_among_the_alternatives_is_shown_as_it_stands() -> None:
    invitation = part("text/calendar; method=REQUEST", "BEGIN:VCALENDAR\r\nEND:VCALENDAR")
    read = display.read(parts("alternative", part("text/plain", "Come"), part("text/html", "<p>"), invitation).encode())
    assert (read.text, read.html) == ("Come", "<p>")
    words = "BEGIN:VCALENDAR\nEND:VCALENDAR"
    assert read.attachments == [display.Attachment("", "text/calendar", len(words) + 1, words)]


def test_what_an_attached_mail_says_is_shown() -> None:
    mail = "Received: x\r\nFrom: =?utf-8?q?J=C3=B6rg?= <j@x.example>\r\nSubject: Bill\r\n"
    deeper = part("message/rfc822", "Subject: deep\r\n\r\ndeeper")
    inner = mail + parts("mixed", part("text/plain", "said"), deeper, boundary="inner")
    read = display.read(parts("mixed", part("text/plain"), part("message/rfc822", inner)).encode())
    [attached] = read.attachments
    assert attached.text == "From: Jörg <j@x.example>\nSubject: Bill\n\nsaid"


def test_of_a_long_attached_text_the_beginning_is_shown() -> None:
    read = display.read(parts("mixed", part("text/plain"), part("text/calendar", "x" * 100_000)).encode())
    assert len(read.attachments[0].text) == display.ATTACHED


@pytest.mark.parametrize("asked", ["logo@x.example", "logo%40x.example", "lo%67o%40x.example"])
def test_a_picture_is_found_by_its_id_percent_encoded_or_not(asked: str) -> None:
    """RFC 2392 2."""
    picture = part("image/png", "PNG", Content_ID="<logo@x.example>")
    read = display.read(parts("related", part("text/html", f'<img src="cid:{asked}">'), picture).encode())
    assert read.html == '<img src="data:image/png;base64,UE5H">'


def test_a_picture_whose_id_has_a_percent_sign_is_found() -> None:
    picture = part("image/png", "PNG", Content_ID="<a%40b>")
    read = display.read(
        parts("related", part("text/html", '<img src="cid:a%40b"><img src="cid:a%2540b">'), picture).encode()
    )
    assert read.html == '<img src="data:image/png;base64,UE5H">' * 2


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a \\"b\\".pdf"', 'a "b".pdf'),
        ("attachment; filename*=utf-8''%E6%9D%8E.pdf", "李.pdf"),
        ("attachment; filename*0=a; filename*1=b.pdf", "ab.pdf"),
        ("attachment; filename*0*=gb2312''%C0; filename*1*=%EE.pdf", "李.pdf"),
        ('attachment; filename="=?utf-8?q?=E6=9D=8E?=.pdf"', "李.pdf"),
        ("attachment; filename*=unicode_escape''%5Cud800.pdf", "\\ud800.pdf"),
        ("attachment", ""),
    ],
)
def test_a_files_name_is_put_together_and_decoded(disposition: str, name: str) -> None:
    read = display.read(part("application/pdf", "x", Content_Disposition=disposition).encode())
    assert [each.name for each in read.attachments] == [name]


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?utf-8?b?IQ==?= da", "Grüße! da"),
        ("=?gb2312?B?wO4=?=", "李"),
        ("=?iso-8859-1*de?Q?Gr=FC=DFe_da?=", "Grüße da"),
        ("=?hex?q?6869?= =?x?=", "6869=?x?="),
        ("one\r\n two", "one two"),
        ("Grüße", "Grüße"),
    ],
)
def test_a_header_is_shown_as_people_read_it(subject: str, shown: str) -> None:
    assert display.read(f"Subject: {subject}\r\n\r\n".encode()).headers == [("Subject", shown)]


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("ISO-8859-1", b"\xfc", "ü"),
        ("windows-1252", b"\x80", "€"),
        ("GB2312", b"\xc0\xee", "李"),
        ("Shift_JIS", b"\x93\xfa", "日"),
        ("utf-16le", b"a\0\0\xd8", "a\ufffd"),
        ("us-ascii", "ü".encode(), "ü"),
        ('"utf-8"', "ü".encode(), "ü"),
        ("koi8-u", b"\xc1", "а"),
    ],
)
def test_text_is_decoded_by_its_charset(charset: str, body: bytes, text: str) -> None:
    raw = f"Content-Type: text/plain; charset={charset}\r\n\r\n".encode() + body
    assert display.read(raw).text == text


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        ("BASE64", "SGk=", "Hi"),
        ("base64", "S G\r\nk", "Hi"),
        ("base64", "SGk!*IQ", "Hi"),
        ("quoted-printable", "H=69=\r\n!=ZZ", "Hi!=ZZ"),
        ("x-unknown", "Hi", "Hi"),
    ],
)
def test_a_body_is_decoded_as_far_as_it_can_be(encoding: str, body: str, text: str) -> None:
    read = display.read(part("text/plain", body, Content_Transfer_Encoding=encoding).encode())
    assert (read.text or "").startswith(text)


def test_the_frames_policy_allows_nothing_but_styles_and_pictures_of_its_own() -> None:
    rules = dict(rule.strip().partition(" ")[::2] for rule in display.FRAME_POLICY.split(";"))
    assert rules == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'self'",
        "sandbox": "",
    }
