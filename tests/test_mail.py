"""Building mails and sending them; notify_admins from the call to the mail."""

import re
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from django.template import TemplateDoesNotExist
from django.utils import timezone, translation

from notify import mail
from notify.events.digest import notify_due
from notify.models import Event, Message
from notify.rendering.message import _with_escaped_attributes, build
from notify.visitors.models import Visitor
from tests.samples import parsed

pytestmark = pytest.mark.django_db


def stored() -> list[EmailMessage]:
    return [parsed(row) for row in Message.objects.order_by("id")]


def test_send_mail_works_as_the_tutorial_showed_it() -> None:
    visitor = Visitor(pk=1, name="Ann", created_at=timezone.now())
    assert mail.send_mail("to@example.com", "Hello", "mail/new_visitor", visitor=visitor) == 1
    [message] = stored()
    assert message["Subject"] == "[Flasky] Hello"
    assert message["To"] == "to@example.com"
    assert message["From"] == "Flasky Admin <flasky@example.com>"
    assert "Ann" in message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "Ann" in message.get_body(("html",)).get_content()  # type: ignore[union-attr]


def test_the_same_mail_sent_twice_is_two_mails() -> None:
    mail.send_mail("to@example.com", "Hello", "notify/mail/test")
    mail.send_mail("to@example.com", "Hello", "notify/mail/test")
    assert len({message["Message-ID"] for message in stored()}) == 2


def test_send_mail_takes_several_addresses() -> None:
    mail.send_mail(["a@example.com", "b@example.com"], "Hello", "notify/mail/test")
    assert [row.recipient for row in Message.objects.order_by("id")] == ["a@example.com", "b@example.com"]


def test_an_apostrophe_reads_as_one_in_the_text() -> None:
    Visitor.objects.create(name="O'Brien")
    notify_due()
    [message] = stored()
    assert "O'Brien" in message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert ">O'Brien<" in message.get_body(("html",)).get_content()  # type: ignore[union-attr]


@pytest.mark.parametrize("evil", ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028"])
def test_no_character_of_a_subject_begins_a_new_header(evil: str) -> None:
    mail.send_mail("to@example.com", f"Hello{evil}Bcc: victim@example.com", "notify/mail/test")
    [message] = stored()
    assert message["Bcc"] is None
    assert message["Subject"] == "[Flasky] Hello Bcc: victim@example.com"


def test_the_subject_has_the_prefix_of_the_settings(settings: Any) -> None:
    settings.FLASKY_MAIL_SUBJECT_PREFIX = "[Site]"
    mail.send_mail("to@example.com", "Hello", "notify/mail/test")
    assert stored()[0]["Subject"] == "[Site] Hello"


def test_a_mail_is_in_the_sites_language_whatever_the_visitors(settings: Any) -> None:
    settings.LANGUAGE_CODE = "zh-hans"
    with translation.override("en"):
        message = build("to@example.com", "Hello", "notify/mail/test", {})
        assert translation.get_language() == "en"
    assert 'lang="zh-hans"' in str(message.alternatives[0][0])
    settings.LANGUAGE_CODE = "en"
    with translation.override("zh-hans"):
        message = build("to@example.com", "Hello", "notify/mail/test", {})
    assert 'lang="en"' in str(message.alternatives[0][0])
    assert "This site can send mail." in str(message.body)


def test_a_template_gets_subject_site_and_time_and_what_the_caller_gives() -> None:
    message = build("to@example.com", "Hello", "notify/mail/test", {"relay": "smtp.example.com:25"})
    assert "smtp.example.com:25" in str(message.body)
    assert "http://flasky.example.com" in str(message.body)
    assert "<title>[Flasky] Hello</title>" in str(message.alternatives[0][0])


@pytest.mark.parametrize("evil", ["\n", "\r\n", "\x0b", "\x1c", "\u2028"])
def test_what_happened_is_told_in_one_line(evil: str) -> None:
    mail.notify_admins(
        "order",
        f"New{evil}order",
        "notify/mail/digest",
        key="1",
        summary=f"Order 1{evil}Bcc: v@example.com",
        url="https://x.example/",
    )
    notify_due()
    assert Event.objects.get().summary == "Order 1 Bcc: v@example.com"
    assert stored()[0]["Subject"] == "[Flasky] New order: Order 1 Bcc: v@example.\u200bcom"
    assert stored()[0]["Bcc"] is None


def test_a_missing_template_is_the_callers_to_know() -> None:
    with pytest.raises(TemplateDoesNotExist):
        mail.send_mail("to@example.com", "Hello", "mail/none")


def tell(key: str = "1", template: str = "notify/mail/digest", **context: Any) -> None:
    mail.notify_admins(
        "order", "New order", template, key=key, summary=f"Order {key}", url="https://x.example/", **context
    )


def test_notify_admins_sends_all_addresses_one_mail(settings: Any) -> None:
    settings.FLASKY_ADMIN = ["a@example.com", "b@example.com"]
    tell()
    notify_due()
    assert {message["To"] for message in stored()} == {"a@example.com, b@example.com"}
    event = Event.objects.get()
    assert event.notified_at
    assert {row.message_id for row in Message.objects.all()} == {event.message_id}


def test_the_same_topic_and_key_are_notified_once() -> None:
    tell()
    tell()
    notify_due()
    tell()
    notify_due()
    assert (Event.objects.count(), Message.objects.count()) == (1, 1)


def test_a_template_that_fails_loses_neither_event_nor_caller(caplog: pytest.LogCaptureFixture) -> None:
    tell(template="mail/none")
    assert notify_due() == 0
    assert Event.objects.waiting().count() == 1
    assert "could not be built" in caplog.text
    assert [notify_due(timezone.now() + timedelta(seconds=31 * turn)) for turn in (1, 2)] == [0, 1]
    assert not Event.objects.waiting().exists()


def test_text_lines_fit_seventy_two_columns() -> None:
    Visitor.objects.create(name="Ann")
    notify_due()
    text = stored()[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert all(len(line) <= 72 for line in text.splitlines() if "://" not in line)
    assert "-- " in text.splitlines()


@pytest.fixture
def html_template(settings: Any, tmp_path: Path) -> Callable[[str], str]:
    """Make a template of `page` and return what is sent of it."""
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]

    def sent(page: str) -> str:
        (tmp_path / "own.txt").write_text("x")
        (tmp_path / "own.html").write_text(page)
        return str(build("to@example.com", "Hello", "own", {}).alternatives[0][0])

    return sent


def test_styles_are_written_into_the_elements(html_template: Callable[[str], str]) -> None:
    page = html_template("<style>b { color: red } @media print { b { color: black } }</style><b>x</b><i>y</i>")
    assert '<b style="color: red;">x</b><i>y</i>' in page
    assert re.search(r"<style>@media print \{ b \{ color: black;? \} \}\s*</style>", page)


def test_a_template_without_styles_of_its_own_is_sent_as_it_is(html_template: Callable[[str], str]) -> None:
    page = '<p style="color:red">O&#x27;Brien<p>and <b>more'
    assert html_template(page) == page


@pytest.mark.parametrize("page", ["<style>p{color:red}</style><p style='color'>x", "<style>" + "<div>" * 50_000])
def test_styles_that_cannot_be_inlined_lose_no_mail(html_template: Callable[[str], str], page: str) -> None:
    assert html_template(page) == page


def test_no_stylesheet_is_fetched(html_template: Callable[[str], str], free_port: int, tmp_path: Path) -> None:
    (tmp_path / "own.css").write_text("b { color: red }")
    for link in (f"http://127.0.0.1:{free_port}/x.css", f"file://{tmp_path}/own.css", f"{tmp_path}/own.css"):
        page = html_template(f'<link rel="stylesheet" href="{link}"><style>i{{color:red}}</style><b>x</b><i>y</i>')
        assert '<b>x</b><i style="color: red;">y</i>' in page


def test_no_attribute_holds_what_looks_like_a_tag() -> None:
    mail.send_mail("to@example.com", '<img src=x onerror=alert(1)> "b" & c', "notify/mail/test")
    page = stored()[-1].get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert "style=" in page  # the styles were inlined
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 2  # in the title, and in the label
    assert "<img" not in page
    assert not re.findall(r'="[^"<>]*[<>]', page)
    assert "&quot;b&quot; &amp; c" in page


def test_attributes_keep_what_else_they_hold() -> None:
    page = '<a href="?a=1&amp;b=2" title="x > y < z"\nclass="c">1 &lt; 2</a><br/><!-- <i x="<b>"> --><p hidden="">'
    assert _with_escaped_attributes(page) == (
        '<a href="?a=1&amp;b=2" title="x &gt; y &lt; z"\nclass="c">1 &lt; 2</a><br/>'
        '<!-- <i x="&lt;b&gt;"> --><p hidden="">'
    )


def test_a_mail_speaks_the_sites_time_zone_whatever_zone_the_request_uses(settings: Any) -> None:
    settings.TIME_ZONE, settings.FLASKY_ADMIN = "Asia/Tokyo", ["admin@example.com"]
    with timezone.override("America/Los_Angeles"):
        mail.send_mail("ann@example.com", "Test", "notify/mail/test")
        mail.notify_admins("order", "Order", "notify/mail/test", key="1", summary="One", url="")
        notify_due()
    messages = stored()
    assert len(messages) == 2
    for message in messages:
        date: Any = message["Date"]
        assert str(date).endswith("+0900")
        assert re.search(r"\d\d:\d\d JST", message.get_body(("plain",)).get_content())  # type: ignore[union-attr]
