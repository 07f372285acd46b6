"""What a stored mail says, read from bytes nobody vouches for."""

from email.message import EmailMessage

import pytest

from notify import content

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
    read = content.read(mail().as_bytes())
    assert ("Subject", "Grüße an alle") in read.headers
    assert ("From", "Jörg <joerg@example.com>") in read.headers
    assert read.text == "Grüße\n"
    assert read.html is not None
    assert "<p>Grüße</p>" in read.html
    assert read.attachments == [content.Attachment("bill.pdf", "application/pdf", 5)]


def test_pictures_of_the_mail_stand_in_its_html_and_others_do_not() -> None:
    html = content.read(mail().as_bytes()).html or ""
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
    read = content.read(raw)
    assert isinstance(read.headers, list)


def test_an_unknown_charset_is_read_as_far_as_it_goes() -> None:
    assert content.read(b"Content-Type: text/plain; charset=unheard-of\r\n\r\nHi").text == "Hi"


def test_what_connects_before_any_policy_is_unmade_and_other_words_stay() -> None:
    hostile = "<LINK rel=preconnect><li<link>nk rel=x><linked>&lt;</link><IFrame\nsrc=x></iframe><object/>"
    assert content.inert(hostile) == (
        '<base target="_blank">'
        "<x-LINK rel=preconnect><li<x-link>nk rel=x><linked>&lt;</x-link><x-IFrame\nsrc=x></x-iframe><x-object/>"
    )


@pytest.mark.parametrize("before", ["", "<!DOCTYPE html>", "\n<!DOCTYPE html>\n<html lang=en><HEAD x>"])
def test_links_want_a_window_that_the_sandbox_denies_them(before: str) -> None:
    assert content.inert(f"{before}<p>") == f'{before}<base target="_blank"><p>'


def test_no_link_says_where_it_opens_and_each_says_where_it_leads() -> None:
    link = '<A href="/?target=1"target=_self TARGET = "_top">target=2</A>'
    assert content.inert(link).endswith('<A href="/?target=1"x-target=_self x-target = "_top">target=2</A>')


def test_the_frames_policy_allows_nothing_but_styles_and_pictures_of_its_own() -> None:
    rules = dict(rule.strip().partition(" ")[::2] for rule in content.FRAME_POLICY.split(";"))
    assert rules == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'self'",
        "sandbox": "",
    }
