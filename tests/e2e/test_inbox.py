"""The inbox in a real browser: readable by everybody, at every width, and nothing in it comes from elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives
from playwright.sync_api import BrowserContext, Page, expect

from flasky.inbox import EmailBackend
from tests.browser import Trap
from tests.e2e import axe

pytestmark = [pytest.mark.service("chromium"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def backend(tmp_path: Path, settings: Any, use_transport: Callable[..., None]) -> EmailBackend:
    settings.DEBUG, settings.MAIL_BACKEND = True, "inbox"
    use_transport("flasky.inbox.EmailBackend", folder=str(tmp_path))
    return EmailBackend(folder=str(tmp_path))


def mail(subject: str, html: str = "<h1>Hello</h1>") -> EmailMultiAlternatives:
    message = EmailMultiAlternatives(subject, "word " * 500, "a@example.com", ["b@example.com"])
    message.attach_alternative(html, "text/html")
    message.attach("report.pdf", b"%PDF", "application/pdf")
    return message


def room(page: Page) -> bool:
    wide, narrow = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    return bool(wide == narrow)


@pytest.mark.parametrize(
    "context",
    [
        {
            "java_script_enabled": True,
            "color_scheme": scheme,
            "locale": locale,
            "viewport": {"width": width, "height": 844},
        }
        for scheme in ("light", "dark")
        for locale in ("en-GB", "zh-CN")
        for width in (390, 1280)
    ],
    indirect=True,
    ids=str,
)
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    context: BrowserContext, live_server: Any, backend: EmailBackend
) -> None:
    page = context.new_page()
    page.goto(f"{live_server.url}/inbox/")
    assert axe.violations(page) == []
    backend.send_messages([mail("A subject " + "W" * 200), mail("")])
    expect(page.locator(".mails li")).to_have_count(2)
    assert axe.violations(page) == []
    assert room(page)
    page.locator(".mails a").last.click()
    page.locator("summary").click()
    assert axe.violations(page) == []
    assert room(page)


@pytest.mark.parametrize("context", [{"java_script_enabled": True}], indirect=True, ids=["js"])
def test_a_new_mail_comes_in_without_moving_the_focus(page: Page, live_server: Any, backend: EmailBackend) -> None:
    backend.send_messages([mail("first")])
    page.goto(f"{live_server.url}/inbox/")
    page.get_by_role("link", name="first").focus()
    backend.send_messages([mail("second")])
    expect(page.get_by_role("link", name="second")).to_be_visible()
    expect(page.get_by_role("link", name="first")).to_be_focused()
    expect(page).to_have_title("Inbox (2) · Flasky")


@pytest.mark.parametrize("context", [{"java_script_enabled": True}], indirect=True, ids=["js"])
def test_nothing_in_a_mail_loads_or_runs(page: Page, live_server: Any, backend: EmailBackend, trap: Trap) -> None:
    html = (
        f'<p>shown</p><img src="{trap.url}/a"><script src="{trap.url}/b"></script><iframe src="{trap.url}/c"></iframe>'
    )
    backend.send_messages([mail("hostile", html)])
    page.goto(f"{live_server.url}/inbox/")
    page.get_by_role("link", name="hostile").click()
    expect(page.frame_locator("iframe").get_by_text("shown")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert (trap.asked, trap.connected) == ([], 0)
