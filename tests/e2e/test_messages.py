"""Messages and previews in a real browser: a hostile mail does nothing, and everybody can read the pages."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import BrowserContext, Page, expect

from notify.models import Attempt, Event, Message
from tests.browser import Trap
from tests.desk import OPERATE, VIEW, login, store
from tests.e2e.axe import violations

pytestmark = [pytest.mark.service("chromium"), pytest.mark.django_db(transaction=True)]
with_javascript = pytest.mark.parametrize("context", [{"java_script_enabled": True}], indirect=True, ids=["js"])


@pytest.fixture(autouse=True)
def _nobody_is_told(settings: Any) -> None:
    settings.FLASKY_ADMIN = []


def enter(context: BrowserContext, client: Client, url: str) -> Page:
    """A page of somebody who has logged in already."""
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": url}])
    return context.new_page()


HOSTILE = """<!doctype html><html><head>
<meta http-equiv="refresh" content="0; url={trap}/refresh">
<link rel="preconnect" href="{trap}"><link rel="dns-prefetch" href="{trap}"><link rel="prefetch" href="{trap}/prefetch">
<link rel="stylesheet" href="{trap}/link.css"><link rel="icon" href="{trap}/icon">
<base href="{trap}/base/">
<style>@import url("{trap}/import.css"); @font-face {{ font-family: x; src: url("{trap}/font"); }}
body {{ background: url("{trap}/background"); font-family: x; color: rgb(1, 2, 3); }}</style>
<script src="{trap}/script.js"></script>
<script>alert(1); top.location = "{trap}/script-navigates"; fetch("{trap}/fetch");</script>
</head><body onload="alert(2)" background="{trap}/old-background">
<p id="text">Buy now</p>
<img src="{trap}/picture.png" onerror="alert(3)"><img srcset="{trap}/set.png 1x"><img src="picture-by-base.png">
<svg onload="alert(4)"><image href="{trap}/svg-image"/><script>alert(5)</script></svg>
<iframe src="{trap}/iframe"></iframe><iframe srcdoc="<script>alert(6)</script>"></iframe>
<object data="{trap}/object"></object><embed src="{trap}/embed">
<video src="{trap}/video" poster="{trap}/poster" autoplay></video><audio src="{trap}/audio" autoplay></audio>
<form action="{trap}/form" method="post"><input name="q" value="secret"><button id="submit">Send</button></form>
<div style="background-image: url({trap}/inline-style)">styled</div>
<p><a id="top" target="_top" href="{trap}/top">top</a> <a id="plain" href="{trap}/plain">plain</a>
<a id="self" target="_self" href="{trap}/self">self</a>
<a id="blank" target="_blank" href="{trap}/blank" ping="{trap}/ping">blank</a>
<a id="code" href="javascript:alert(7)">code</a></p>
<input autofocus onfocus="alert(8)">
</body></html>"""


@with_javascript
def test_a_hostile_mail_does_nothing_in_its_frame(context: BrowserContext, live_server: Any, trap: Trap) -> None:
    row = store(html=HOSTILE.format(trap=trap.url), text="text")
    page = enter(context, login(*VIEW), live_server.url)
    dialogs: list[str] = []
    asked: list[str] = []
    pages: list[Page] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    context.on("request", lambda request: asked.append(request.url))
    context.on("page", lambda opened: pages.append(opened))
    url = f"{live_server.url}/admin/notify/message/{row.pk}/change/"
    page.goto(url)
    frame = page.frame_locator("iframe.message-frame")
    expect(frame.locator("#text")).to_have_text("Buy now")
    for link in ("top", "plain", "blank", "code"):
        frame.locator(f"#{link}").click(no_wait_after=True)
        page.wait_for_timeout(300)
    expect(frame.locator("#text")).to_have_text("Buy now")  # nothing led away, and no refresh did
    frame.locator("#self").click(no_wait_after=True)
    page.wait_for_timeout(1000)
    assert page.url == url
    assert (dialogs, pages) == ([], [])
    assert (trap.asked, trap.connected) == ([], 0)
    assert [each for each in asked if not each.startswith((live_server.url, trap.url))] == []


@with_javascript
def test_the_trap_catches_what_a_page_without_a_policy_does(page: Page, trap: Trap) -> None:
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.set_content(f'<img src="{trap.url}/picture.png"><link rel="preconnect" href="{trap.url}">')
    page.wait_for_timeout(1000)
    assert "/picture.png" in trap.asked


@with_javascript
def test_the_mails_own_styles_and_pictures_are_shown(context: BrowserContext, live_server: Any) -> None:
    row = store(html='<p id="text" style="color: rgb(1, 2, 3)">Hi</p>')
    page = enter(context, login(*VIEW), live_server.url)
    page.goto(f"{live_server.url}/admin/notify/message/{row.pk}/change/")
    expect(page.frame_locator("iframe.message-frame").locator("#text")).to_have_css("color", "rgb(1, 2, 3)")


def history() -> Message:
    """Some messages, and one that has seen a lot; that one is returned."""
    now = timezone.now()
    for number, state in enumerate(["queued", "sent", "sent", "cancelled", "sending"]):
        said = f"[Flasky] New visitor {number}"
        store(
            said=said, state=state, recipient=f"ann{number}@example.com", created_at=now - timedelta(hours=9 * number)
        )
    row = store(
        said="[Flasky] New visitor",
        state="failed",
        attempts=3,
        uncertain=True,
        reply="550 5.7.1 Relay access denied",
        diagnosis="relay-denied",
    )
    for phase, cause, code, text, decision in (
        ("connect", "refused", None, "ConnectionRefusedError: [Errno 111] Connection refused", "down"),
        ("end", "outcome-unknown", None, "TimeoutError: the relay did not answer", "retry"),
        ("recipient", "relay-denied", 550, "5.7.1 Relay access denied", "fail"),
    ):
        Attempt.objects.create(
            message=row, seconds=1.25, phase=phase, code=code, text=text, diagnosis=cause, decision=decision
        )
    Event.objects.create(topic="new_visitor", key="1", subject="s", summary="Zoë", message_id=row.message_id)
    return row


@pytest.mark.parametrize(
    "context",
    [{"java_script_enabled": True, "color_scheme": scheme} for scheme in ("light", "dark")],
    indirect=True,
    ids=["light", "dark"],
)
def test_axe_finds_nothing_serious(context: BrowserContext, live_server: Any) -> None:
    row = history()
    page = enter(context, login(*OPERATE), live_server.url)
    serious = {}
    for path in ("", "?state=failed", f"{row.pk}/change/", "previews/", "previews/notify/mail/digest/"):
        page.goto(f"{live_server.url}/admin/notify/message/{path}")
        found = violations(page)
        serious[path] = [line for line in found if line.startswith(("serious", "critical"))]
    assert not any(serious.values()), serious


@with_javascript
def test_an_operator_retries_all_that_failed_from_the_list(context: BrowserContext, live_server: Any) -> None:
    history()
    store(state="failed")
    page = enter(context, login(*OPERATE), live_server.url)
    page.goto(f"{live_server.url}/admin/notify/message/?state=failed")
    page.get_by_role("checkbox", name="Select all").check()
    page.get_by_label("Action").first.select_option("Retry now")
    page.locator("button[name=index]").first.click()
    expect(page.get_by_role("list").filter(has_text="Retry now: 2 messages.")).to_be_visible()
    assert Message.objects.filter(state="failed").count() == 0


@with_javascript
def test_a_preview_is_dark_where_it_is_asked_to_be(context: BrowserContext, live_server: Any) -> None:
    page = enter(context, login(*VIEW), live_server.url)
    colours = {}
    for scheme in ("light", "dark"):
        page.goto(f"{live_server.url}/admin/notify/message/previews/notify/mail/test/?scheme={scheme}")
        sheet = page.frame_locator("iframe.message-frame").locator(".sheet")
        colours[scheme] = sheet.evaluate("element => getComputedStyle(element).backgroundColor")
    assert colours["light"] == "rgb(255, 255, 255)"
    assert colours["dark"] != colours["light"]
