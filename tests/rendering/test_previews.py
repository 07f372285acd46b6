"""Previews: every mail has one, in every language and colour, and nothing is written for it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

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
    assert not shown.clipped


def test_a_mail_beyond_gmails_limit_is_called_so() -> None:
    assert previews.Rendered("s", "t", "h", previews.GMAIL_CLIPS + 1).clipped


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
    assert "boss@example.com is in the outbox" in answer.content.decode()
    message = Message.objects.get()
    assert (message.recipient, message.state) == ("boss@example.com", "queued")
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (str(message.pk), "Sent the preview of mail/new_visitor.")


@pytest.mark.django_db
def test_nobody_else_sends_one() -> None:
    path = f"{PAGES}mail/new_visitor/send/"
    assert login(*VIEW).post(path).status_code == 403
    assert login(*OPERATE).get(path).status_code == 405
    assert "no email address" in login(*OPERATE, email="").post(path, follow=True).content.decode()
    assert not Message.objects.exists()


def test_a_project_registers_its_own(own_preview: None) -> None:
    assert previews.registered()["mail/of_a_project"].subject == "Order"
