"""The mails as they are read: text and HTML say the same, in lines that fit, and names stay names."""

import html
import re
import unicodedata
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from hypothesis import given
from hypothesis import strategies as st

from notify import outbox
from notify.models import Event
from notify.rendering.message import unlinked
from notify.templatetags.mails import COLUMNS, fold, short_link, shown_name
from notify.visitors import names
from tests.samples import FIRST, digest_mail, every_mail, html_of, visitor_mail

MARKS = re.compile("[\u200b\u2068\u2069]")  # what is put into names: a break for links, and isolates
ORDINARY = [
    "O'Brien",
    "李小龙",
    "D’Artagnan",
    "Zoë",
    "J. R. R. Tolkien",
    "R2-D2",
    "محمد عبد الله",
    "<b>x</b>",
    "A & B",
    "x" * 64,
]


ALL = every_mail()
each_mail = pytest.mark.parametrize("message", ALL.values(), ids=ALL.keys())


class _Reader(HTMLParser):
    """The words of an HTML mail's body, without its preheader."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._unread: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("style", "title") or "display: none" in (dict(attrs).get("style") or ""):
            self._unread.append(tag)
        if tag in ("p", "tr", "br", "h1"):
            self.text += "\n"

    def handle_endtag(self, tag: str) -> None:
        if self._unread and self._unread[-1] == tag:
            self._unread.pop()

    def handle_data(self, data: str) -> None:
        if not self._unread:
            self.text += data


def words_of_html(message: EmailMultiAlternatives) -> list[str]:
    reader = _Reader()
    reader.feed(html_of(message))
    return reader.text.split()


@each_mail
def test_text_and_html_say_the_same(message: EmailMultiAlternatives) -> None:
    text = re.sub(r"^(-- |Open .*:)$", lambda line: line[0].strip("-: "), str(message.body), flags=re.MULTILINE)
    words = words_of_html(message)
    shown = [(short_link(word) if "://" in word else word, "://" in word) for word in text.split()]
    # An event's own link in a digest is its name in HTML.
    assert [word for word, is_link in shown if word in words or not is_link] == words
    for link in re.findall(r"^http\S+$", text, re.MULTILINE):
        assert f'href="{html.escape(link)}"' in html_of(message)


@pytest.mark.parametrize("name", [*ORDINARY, "J.R.R. Tolkien"])
def test_both_parts_name_exactly_the_name(name: str) -> None:
    for message in (visitor_mail(name), digest_mail(name)):
        parsed: EmailMessage = message_from_bytes(message.message().as_bytes(), policy=policy.default)  # type: ignore[assignment]
        text = parsed.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        page = parsed.get_body(("html",)).get_content()  # type: ignore[union-attr]
        assert name in MARKS.sub("", text)
        assert name in [html.unescape(MARKS.sub("", shown)) for shown in re.findall(r"(?<=>)[^<]+", page)]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://flasky.example.com", "flasky.example.com"),
        ("https://flasky.example.com/", "flasky.example.com"),
        ("http://127.0.0.1:8000/admin/notify/event/?message_id=%3C1%3E", "127.0.0.1:8000/admin/notify/event"),
        ("https://flasky.example.com/admin/visitors/visitor/7/change/", "flasky.example.com/admin/visitors/visit…"),
        ("order 7", "order 7"),
        ("https://[host]/path", "[host]/path"),
    ],
)
def test_a_link_is_shown_short(url: str, shown: str) -> None:
    assert short_link(url) == shown


def test_html_in_a_name_stays_text() -> None:
    message = visitor_mail("<b>x</b>")
    assert "<b>x</b>" in str(message.body)
    assert "<b>" not in html_of(message)
    assert html_of(message).count("&lt;b&gt;x&lt;/b&gt;") == 4  # title, label, preheader, heading


@each_mail
def test_the_text_fits_seventy_two_columns_and_is_signed(message: EmailMultiAlternatives) -> None:
    lines = str(message.body).splitlines()
    assert not [line for line in lines if columns(line) > COLUMNS and "://" not in line]
    assert not [line for line in lines if line != line.rstrip() and line != "-- "]
    assert "\n\n\n" not in str(message.body)
    signature = lines[lines.index("-- ") + 1 :]
    assert signature[-1] == "http://flasky.example.com"
    assert signature[0].startswith("You received this because ")


def test_a_test_says_that_it_is_one_and_not_that_its_reader_stands_in_the_settings() -> None:
    for body in (str(ALL["test"].body), html_of(ALL["test"])):
        assert "FLASKY_ADMIN" not in body
        assert "someone is testing" in " ".join(body.split())


def test_long_words_of_others_are_folded() -> None:
    event = Event(summary="An order of many things, " * 8, created_at=FIRST, subject="x")
    message = digest_mail(events=[event], heading="有一件非常非常长的事情要告诉大家，" * 5)
    assert all(columns(line) <= COLUMNS for line in str(message.body).splitlines() if "://" not in line)


def columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


@given(st.text(st.sampled_from("ab ，。（「」）李é\n0.")))
def test_folding_changes_nothing_but_blanks(text: str) -> None:
    folded = fold(text * 20)
    assert "".join(folded.split()) == "".join((text * 20).split())
    for line in folded.splitlines():
        assert columns(line) <= COLUMNS or not re.search("[ 李][^，。）」]", line.strip())


def test_lines_break_where_chinese_lines_do() -> None:
    text = "一二三四五六七八九十" * 3 + "一二三四五，六"
    assert fold(text) == "一二三四五六七八九十" * 3 + "一二三四五，\n六"
    assert fold("x" + text) == "x" + "一二三四五六七八九十" * 3 + "一二三四\n五，六"
    assert fold(text, 100) == text


def test_times_are_told_in_the_sites_zone(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    message = visitor_mail("Ann")
    assert "14 March 2026, 09:26 CST" in str(message.body)
    assert html_of(message).count("14 March 2026, 09:26 CST") == 2  # the preheader's and the text's


def test_a_digest_says_how_many_more_there_are() -> None:
    message = digest_mail("Ann", "Bob", more=3)
    assert str(message.body).startswith("5 × New visitor\n")
    assert "and 3 more" in str(message.body)
    assert "more" not in str(digest_mail("Ann", "Bob").body)


@each_mail
def test_html_is_what_mail_programs_can_show(message: EmailMultiAlternatives) -> None:
    page = html_of(message)
    assert len(page.encode()) < 30_000
    assert page.count("<style>") == 1
    assert re.search(r"<style>@media \(prefers-color-scheme: dark\)[^@]*</style>", page)
    assert page.index("</style>") < page.index('<meta charset="utf-8">') < 1000  # browsers look at 1024 bytes
    assert not re.search(r"<(td|p|h1|a)\b(?![^>]* style=)", page)
    assert 'role="article" aria-roledescription="email"' in page
    assert page.count("<table") == len(re.findall('<table[^>]* role="presentation"', page))
    for wanted in (
        "color-scheme",
        "supported-color-schemes",
        "x-apple-disable-message-reformatting",
        "format-detection",
    ):
        assert f'<meta name="{wanted}"' in page
    for forbidden in ("<img", "<script", "@import", "url("):
        assert forbidden not in page
    assert not re.search(r"\{[{%]|[}%]\}", page)


def test_dots_are_broken_only_where_a_link_would_be_made() -> None:
    assert shown_name("evil.example.com") == "evil.\u200bexample.\u200bcom"
    for name in ("J. R. R. Tolkien", "King, Jr.", "R2-D2."):
        assert shown_name(name) == name


def test_only_names_that_could_reorder_the_line_are_isolated() -> None:
    assert shown_name("שרה") == "\u2068שרה\u2069"
    assert shown_name("Ann ١") == "\u2068Ann ١\u2069"
    assert shown_name("Zoë 李") == "Zoë 李"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_shown_name_is_the_name_again_without_its_marks(name: str) -> None:
    name = MARKS.sub("", name)
    assert MARKS.sub("", shown_name(name)) == name


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=70))
def test_whatever_name_is_taken_the_parsed_mail_names_it(typed: str) -> None:
    try:
        name = names.take(typed)
    except ValidationError:
        return
    raw = bytes(outbox.rows_of(visitor_mail(name))[0].body.mime)
    assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    parsed: EmailMessage = message_from_bytes(raw, policy=policy.default)  # type: ignore[assignment]
    subject = f"[Flasky] New visitor: {unlinked(name)}"
    assert parsed["Subject"] == (subject if len(subject) <= 76 else subject[:75].rstrip(" ,") + "…")
    assert parsed["To"] == "a@example.com"
    text = parsed.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert MARKS.sub("", text).splitlines()[2] == name
