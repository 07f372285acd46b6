"""The mails as they are read: text and HTML say the same, in lines that fit, and names stay names."""

import html
import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from hypothesis import given
from hypothesis import strategies as st

from notify import mail, names, outbox
from notify.models import Event, Visitor
from notify.templatetags.names import html_name, plain_name

FIRST = datetime(2026, 3, 14, 1, 26, 53, tzinfo=UTC)
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


def visitor_mail(name: str) -> EmailMultiAlternatives:
    visitor = Visitor(pk=7, name=name, created_at=FIRST)
    return mail.build(
        "a@example.com", "New visitor", "mail/new_visitor", {"visitor": visitor, "event": mail.event_of(visitor)}
    )


def digest_mail(*people: str, more: int = 0, **context: Any) -> EmailMultiAlternatives:
    events = [
        mail.event_of(Visitor(pk=9 - number, name=name, created_at=FIRST - timedelta(seconds=number)))
        for number, name in enumerate(people)
    ]
    context = {
        "heading": "New visitor",
        "events": events,
        "count": len(events) + more,
        "more": more,
        "list_url": "https://flasky.example.com/admin/notify/event/?message_id=%3C1%40example.com%3E",
        **context,
    }
    return mail.build("a@example.com", "x", "mail/digest", context)


def trial_mail(relay: str = "smtp.163.com:465, TLS") -> EmailMultiAlternatives:
    return mail.build("a@example.com", "Test", "mail/test", {"relay": relay})


ALL = {
    "new_visitor": visitor_mail("Ann"),
    "digest": digest_mail("Ann", "Bob", more=20),
    "digest of one": digest_mail("Ann"),
    "test": trial_mail(),
    "test without a relay": trial_mail(""),
}
every_mail = pytest.mark.parametrize("message", ALL.values(), ids=ALL.keys())


def html_of(message: EmailMultiAlternatives) -> str:
    content = message.alternatives[0][0]
    assert isinstance(content, str)
    return content


class _Reader(HTMLParser):
    """The words of an HTML mail's body, without its preheader."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._unread: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("style", "title") or (tag == "div" and "display:none" in (dict(attrs).get("style") or "")):
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


@every_mail
def test_text_and_html_say_the_same(message: EmailMultiAlternatives) -> None:
    text = re.sub(r"^(-- |Open .*:)$", lambda line: line[0].strip("-: "), str(message.body), flags=re.MULTILINE)
    words = words_of_html(message)
    assert [word for word in text.split() if word in words or "://" not in word] == words
    for link in re.findall(r"^http\S+$", text, re.MULTILINE):
        assert f'href="{html.escape(link)}"' in html_of(message)


@pytest.mark.parametrize("name", [*ORDINARY, "J.R.R. Tolkien"])
def test_both_parts_name_exactly_the_name(name: str) -> None:
    for message in (visitor_mail(name), digest_mail(name)):
        parsed: EmailMessage = message_from_bytes(message.message().as_bytes(), policy=policy.default)  # type: ignore[assignment]
        text = parsed.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        page = parsed.get_body(("html",)).get_content()  # type: ignore[union-attr]
        assert name in (text if name in ORDINARY else text.replace("\u200b", ""))
        assert name in [html.unescape(shown.replace("<wbr>", "")) for shown in re.findall(r"<bdi>(.*?)</bdi>", page)]


def test_html_in_a_name_stays_text() -> None:
    message = visitor_mail("<b>x</b>")
    assert "<b>x</b>" in str(message.body)
    assert "<b>" not in html_of(message)
    assert html_of(message).count("&lt;b&gt;x&lt;/b&gt;") == 2


@every_mail
def test_the_text_fits_seventy_two_columns_and_is_signed(message: EmailMultiAlternatives) -> None:
    lines = str(message.body).splitlines()
    assert not [line for line in lines if len(line) > 72 and "://" not in line]
    assert not [line for line in lines if line != line.rstrip() and line != "-- "]
    assert "\n\n\n" not in str(message.body)
    signature = lines[lines.index("-- ") + 1 :]
    assert signature == [
        "You get this because your address stands in FLASKY_ADMIN of this site:",
        "http://flasky.example.com",
    ]


def test_long_words_of_others_are_folded() -> None:
    event = Event(summary="An order of many things, " * 8, created_at=FIRST, subject="x")
    message = digest_mail(events=[event], heading="Something with a very long heading that goes on " * 3)
    assert all(len(line) <= 72 for line in str(message.body).splitlines() if "://" not in line)


def test_times_are_told_in_the_sites_zone(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    message = visitor_mail("Ann")
    assert "2026-03-14 09:26:53 CST" in str(message.body)
    assert html_of(message).count("2026-03-14 09:26:53 CST") == 2  # the preheader's and the text's


def test_a_digest_says_how_many_more_there_are() -> None:
    message = digest_mail("Ann", "Bob", more=3)
    assert str(message.body).startswith("5 × New visitor\n")
    assert "and 3 more" in str(message.body)
    assert "more" not in str(digest_mail("Ann", "Bob").body)


@every_mail
def test_html_is_what_mail_programs_can_show(message: EmailMultiAlternatives) -> None:
    page = html_of(message)
    assert len(page.encode()) < 30_000
    assert page.count("<style>") == 1
    assert 'role="article" aria-roledescription="email"' in page
    assert page.count("<table") == page.count('<table role="presentation"')
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
    assert plain_name("evil.example.com") == "evil.\u200bexample.\u200bcom"
    assert html_name("evil.example.com") == "<bdi>evil.<wbr>example.<wbr>com</bdi>"
    for name in ("J. R. R. Tolkien", "King, Jr.", "R2-D2."):
        assert plain_name(name) == name


def test_only_names_that_could_reorder_the_line_are_isolated() -> None:
    assert plain_name("שרה") == "\u2068שרה\u2069"
    assert plain_name("Ann ١") == "\u2068Ann ١\u2069"
    assert plain_name("Zoë 李") == "Zoë 李"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_shown_name_is_the_name_again_without_its_marks(name: str) -> None:
    for mark in "\u200b\u2068\u2069":
        name = name.replace(mark, "")
    assert re.sub("[\u200b\u2068\u2069]", "", plain_name(name)) == name
    assert html.unescape(html_name(name).removeprefix("<bdi>").removesuffix("</bdi>").replace("<wbr>", "")) == name


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=70))
def test_whatever_name_is_taken_the_parsed_mail_names_it(typed: str) -> None:
    try:
        name = names.take(typed)
    except ValidationError:
        return
    raw = bytes(outbox.rows_of(visitor_mail(name))[0].mime)
    assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    parsed: EmailMessage = message_from_bytes(raw, policy=policy.default)  # type: ignore[assignment]
    assert parsed["Subject"] == "[Flasky] New visitor"
    assert parsed["To"] == "a@example.com"
    text = parsed.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert re.sub("[\u200b\u2068\u2069]", "", text).splitlines()[2] == name
