"""Previews: every mail has one, in every language and colour, and nothing is written for it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import OperationalError

from notify import conf
from notify.admin.display import FRAME_POLICY
from notify.models import Event, Message
from notify.rendering import previews
from notify.visitors.models import Visitor
from tests.desk import OPERATE, VIEW, login

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = [ROOT / "notify" / "templates", ROOT / "templates"]
PAGES = "/admin/notify/message/previews/"
TEMPLATES = sorted(previews.registered())


@pytest.fixture
def own_preview() -> Iterator[None]:
    """One that a project brings."""

    @previews.preview("mail/of_a_project", subject="Order")
    def order() -> dict[str, Any]:
        return {}

    yield
    del previews._registered["mail/of_a_project"]


def test_every_mail_has_a_preview() -> None:
    texts, htmls = (
        {
            path.relative_to(folder).with_suffix("").as_posix()
            for folder in FOLDERS
            for path in folder.rglob(f"mail/*.{kind}")
        }
        for kind in ("txt", "html")
    )
    assert texts & htmls - {"notify/mail/base"} == set(previews.registered())


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_preview_has_subject_text_and_html_and_fits(template: str, language: str) -> None:
    shown = previews.render(previews.registered()[template], language)
    assert shown.subject.startswith("[Flasky] ")
    assert len(shown.text) > 50
    assert f'<html lang="{language}"' in shown.html
    assert 1000 < shown.size < previews.GMAIL_CLIPS


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_our_own_mails_give_no_cause_to_complain(template: str, language: str) -> None:
    assert previews.render(previews.registered()[template], language).complaints == []


@pytest.mark.parametrize(
    ("html", "text", "complaint"),
    [
        ('<a href="/x">', "t", "A link is not absolute, so it does not work in a mail: /x"),
        ('<a href="">', "t", 'A link is not absolute, so it does not work in a mail: ""'),
        (
            '<a href="//flasky.example.com/">',
            "t",
            "A link is not absolute, so it does not work in a mail: //flasky.exam",
        ),
        (
            "",
            "https://other.example/x",
            "A link leads to another host than FLASKY_URL (flasky.example.com): https://oth",
        ),
        (
            "",
            "https://[host]/x",
            "A link leads to another host than FLASKY_URL (flasky.example.com): https://[host]/x",
        ),
        ('<img src="x.png">', "t", "A picture has no alt text: x.png"),
        ("", " \n", "There is no text part, which spam filters penalize."),
        ('<p style="width: 700px">', "t", "Something is 700 px wide; more than 600 px is cut or scrolls on a phone."),
        ('<table width="640">', "t", "Something is 640 px wide; more than 600 px is cut or scrolls on a phone."),
        ("x" * 90_001, "t", "The HTML has 90001 bytes: with more than 104448 Gmail would hide the rest."),
        ("x" * 104_449, "t", "The HTML has 104449 bytes: Gmail hides what comes after 104448."),
    ],
)
def test_what_mail_programs_object_to_is_said(settings: Any, html: str, text: str, complaint: str) -> None:
    settings.FLASKY_URL = "https://flasky.example.com"
    [said] = previews.Rendered("s", text, html, len(html)).complaints
    assert said.startswith(complaint)


def test_another_project_is_told_the_name_of_its_own_setting(settings: Any) -> None:
    del settings.FLASKY_ADMIN
    settings.NOTIFY_SITE_URL = "https://shop.example"
    [said] = previews.Rendered("s", "https://other.example/FLASKY_URL", "", 0).complaints
    assert said == (
        "A link leads to another host than NOTIFY_SITE_URL (shop.example): https://other.example/FLASKY_URL"
    )


def test_what_mail_programs_do_not_object_to_is_not_said(settings: Any) -> None:
    settings.FLASKY_URL = "https://flasky.example.com"
    html = '<a href="https://flasky.example.com/x"><a href="mailto:a@b.c"><img alt=""><p style="max-width:900px">'
    assert previews.Rendered("s", "https://flasky.example.com/", html, 100).complaints == []


QUERY = '<meta name="color-scheme" content="light dark"><style>@media all and (prefers-color-scheme: dark) {}</style>'


def test_a_scheme_is_shown_by_deciding_the_media_queries() -> None:
    dark, light = (previews.in_scheme(QUERY, scheme) for scheme in ("dark", "light"))
    assert dark == '<meta name="color-scheme" content="dark"><style>@media all and (min-width: 0) {}</style>'
    assert light == '<meta name="color-scheme" content="light"><style>@media all and (max-width: 0) {}</style>'


@pytest.mark.django_db
@pytest.mark.parametrize("template", TEMPLATES)
def test_the_pages_show_it_and_write_nothing(template: str) -> None:
    viewer = login(*VIEW)
    index = viewer.get(PAGES).content.decode()
    assert f'href="{PAGES}{template}/"' in index
    page = viewer.get(f"{PAGES}{template}/?language=zh-hans&scheme=dark&width=narrow").content.decode()
    assert "message-frame-narrow message-frame-dark" in page
    assert re.search(r"<iframe[^>]*\ssandbox\s", page)
    assert "KB of HTML" in page
    assert 'name="language"' not in page  # no button
    frame = viewer.get(f"{PAGES}{template}/frame/?language=zh-hans&scheme=dark")
    assert '<html lang="zh-hans"' in frame.content.decode()
    assert "prefers-color-scheme" not in frame.content.decode()
    assert frame["Content-Security-Policy"] == FRAME_POLICY
    assert frame["X-Frame-Options"] == "SAMEORIGIN"
    assert [model.objects.count() for model in (Visitor, Event, Message)] == [0, 0, 0]


@pytest.mark.django_db
def test_wrong_choices_are_the_first_ones_and_unknown_templates_are_not_found() -> None:
    viewer = login(*VIEW)
    assert viewer.get(f"{PAGES}notify/mail/test/?language=xx&scheme=../&width=").status_code == 200
    for path in ("mail/none/", "mail/none/frame/", "../settings/"):
        assert viewer.get(PAGES + path).status_code == 404
    assert login("view_visitor").get(PAGES).status_code == 403
    assert login("view_visitor").get(f"{PAGES}notify/mail/test/frame/").status_code == 403


@pytest.mark.django_db
def test_an_operator_sends_one_to_themselves_through_the_outbox() -> None:
    operator = login(*OPERATE, email="boss@example.com")
    answer = operator.post(f"{PAGES}mail/new_visitor/send/", {"language": "zh-hans"}, follow=True)
    message = Message.objects.get()
    words = "The mail to boss@example.com is in the outbox."
    assert f'<a href="/admin/notify/message/{message.pk}/change/">{words}</a>' in answer.content.decode()
    assert (message.recipient, message.state) == ("boss@example.com", "queued")
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (str(message.pk), "Preview sent: mail/new_visitor")


@pytest.mark.django_db
def test_one_that_cannot_be_written_down_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr("notify.admin.audit.of_messages", full)
    answer = login(*OPERATE).post(f"{PAGES}mail/new_visitor/send/", follow=True)
    assert "database or disk is full" in answer.content.decode()
    assert not Message.objects.exists()


@pytest.mark.django_db
def test_nobody_else_sends_one(settings: Any) -> None:
    path = f"{PAGES}mail/new_visitor/send/"
    settings.FLASKY_ADMIN = []
    assert login(*VIEW).post(path).status_code == 403
    assert login(*OPERATE).get(path).status_code == 405
    said = login(*OPERATE, email="").post(path, follow=True).content.decode()
    assert "There is no recipient: your account has no address, and FLASKY_ADMIN is not set." in said
    assert not Message.objects.exists()


@pytest.mark.django_db
def test_a_preview_that_raises_is_shown_as_its_error(own_preview: None) -> None:
    operator = login(*OPERATE, email="boss@example.com")
    index = operator.get(PAGES).content.decode()
    assert index.count("<strong>Error</strong>") == len(conf.preview_languages())
    assert "1 problem" not in index
    page = operator.get(f"{PAGES}mail/of_a_project/").content.decode()
    assert "This preview could not be built: TemplateDoesNotExist: mail/of_a_project.txt" in page
    assert operator.get(f"{PAGES}mail/of_a_project/frame/").status_code == 200
    sent = operator.post(f"{PAGES}mail/of_a_project/send/", follow=True).content.decode()
    assert "TemplateDoesNotExist: mail/of_a_project.txt" in sent
    assert not Message.objects.exists()


def test_a_project_registers_its_own(own_preview: None) -> None:
    assert previews.registered()["mail/of_a_project"].subject == "Order"
