"""Every page of the admin, in both languages, light and dark, wide and narrow: accessible, and never too wide."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import EmailMultiAlternatives
from django.test import Client
from django.utils import timezone
from playwright.sync_api import BrowserContext, Page, expect

from notify.admin import audit
from notify.delivery import counts
from notify.events.digest import notify_due
from notify.models import Attempt, Event, Message, Relay
from notify.visitors.models import Visitor
from tests.e2e import axe

pytestmark = [pytest.mark.service("chromium"), pytest.mark.django_db(transaction=True)]

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 760}
LOOKS = {
    "English-light-1280": {"locale": "en-GB", "color_scheme": "light", "viewport": WIDE},
    "English-dark-390": {"locale": "en-GB", "color_scheme": "dark", "viewport": NARROW},
    "Chinese-light-390": {"locale": "zh-CN", "color_scheme": "light", "viewport": NARROW},
    "Chinese-dark-1280": {"locale": "zh-CN", "color_scheme": "dark", "viewport": WIDE},
}
in_every_look = pytest.mark.parametrize(
    "context", [{"java_script_enabled": True, **look} for look in LOOKS.values()], indirect=True, ids=list(LOOKS)
)
LONG = "customer.with.a.rather.long.name@customers.of.an.example.example.com"


def scene() -> dict[str, str]:
    """An outbox in which much has happened; the paths of all pages by what they show."""
    now = timezone.now()
    for name in ("Ada Lovelace", "李小龙"):
        Visitor.objects.create(name=name)
        notify_due()
    mail = EmailMultiAlternatives("Your order, with a subject that is longer than most", "Hello", to=[LONG])
    mail.attach_alternative("<p>Hello</p>", "text/html")
    mail.send()
    sent, queued, failed = Message.objects.order_by("pk")
    Message.objects.filter(pk=sent.pk).update(state="sent", sent_at=now, attempts=2, reply="250 2.0.0 queued as 4F1X")
    tried = {"seconds": 0.1, "phase": "recipient", "code": 451, "text": "4.7.1 Later", "diagnosis": "greylisted"}
    Attempt.objects.create(message=sent, decision="retry", **tried)
    gone = {"diagnosis": "no-such-recipient", "reply": "550 5.1.1 " + "x" * 100, "due_at": now}
    Message.objects.filter(pk=failed.pk).update(state="failed", attempts=1, sensitive=True, **gone)
    Relay.current()
    Relay.objects.update(state="held", reason="535 5.7.8 No", diagnosis="bad-credentials", next_probe=now)
    counts.add("sent", count=7, seconds=1, now=now - timedelta(hours=3))
    counts.add("fail", count=1, seconds=1, now=now)
    request = type("Request", (), {"user": get_user_model().objects.get()})
    audit.of_relay(request, audit.PAUSED, "the provider moves")
    audit.of_messages(request, [failed], audit.RETRIED)
    messages, event, visitor = "notify/message", Event.objects.latest("pk"), Visitor.objects.latest("pk")
    user = get_user_model().objects.get()
    return {
        "index": "",
        "app": "notify/",
        "dashboard": "notify/relay/",
        "audit log": f"notify/relay/{audit.relay().pk}/history/",
        "messages": f"{messages}/",
        "no message": f"{messages}/?q=nothing",
        "failed": f"{messages}/{failed.pk}/change/",
        "queued": f"{messages}/{queued.pk}/change/",
        "sent": f"{messages}/{sent.pk}/change/",
        "audit log of a message": f"{messages}/{failed.pk}/history/",
        "previews": f"{messages}/previews/",
        "preview": f"{messages}/previews/mail/new_visitor/",
        "events": "notify/event/",
        "event": f"notify/event/{event.pk}/change/",
        "visitors": "visitors/visitor/",
        "visitor": f"visitors/visitor/{visitor.pk}/change/",
        "new visitor": "visitors/visitor/add/",
        "users": "auth/user/",
        "user": f"auth/user/{user.pk}/change/",
        "groups": "auth/group/",
        "password": "password_change/",
    }


@pytest.fixture
def operator(context: BrowserContext, live_server: Any, admin_client: Client) -> Page:
    cookie = admin_client.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    return context.new_page()


def too_wide(page: Page) -> int:
    """How many pixels stand out of the window."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wide


@in_every_look
def test_every_page_is_accessible_and_fits(operator: Page, live_server: Any) -> None:
    found = []
    for name, path in scene().items():
        operator.goto(f"{live_server.url}/admin/{path}")
        for summary in operator.locator("#content summary").all():
            summary.click()
        found += [f"{name}: {line}" for line in axe.violations(operator)]
        if pixels := too_wide(operator):
            found.append(f"{name}: {pixels} px too wide")
    assert found == []


@in_every_look
def test_pages_that_ask_and_the_login_are_accessible_and_fit(
    operator: Page, live_server: Any, context: BrowserContext
) -> None:
    pages = scene()
    operator.goto(f"{live_server.url}/admin/{pages['sent']}")
    operator.locator("button[value=resend]").click()
    operator.locator("#to").fill("nonsense")
    operator.locator("#content input[type=submit]").click()
    expect(operator.get_by_role("alert")).to_be_visible()
    assert (axe.violations(operator), too_wide(operator)) == ([], 0)
    context.clear_cookies()
    operator.goto(f"{live_server.url}/admin/login/")
    assert (axe.violations(operator), too_wide(operator)) == ([], 0)


@in_every_look
def test_the_list_shows_every_column_within_the_window(operator: Page, live_server: Any) -> None:
    operator.goto(f"{live_server.url}/admin/{scene()['messages']}")
    row = operator.locator("#result_list tbody tr").first
    room = operator.locator(".results").bounding_box()
    assert room
    for column in ("badge", "recipient", "subject", "cause", "age", "tries"):
        box = row.locator(f".field-{column}").bounding_box()
        assert box, column
        assert box["width"] > 10, column
        assert box["x"] >= room["x"], column
        assert box["x"] + box["width"] <= room["x"] + room["width"] + 1, column


@pytest.mark.parametrize("context", [{"java_script_enabled": True, "viewport": WIDE}], indirect=True, ids=["1280"])
def test_the_list_of_events_leaves_room_for_their_summaries(operator: Page, live_server: Any) -> None:
    operator.goto(f"{live_server.url}/admin/{scene()['events']}")
    row, room = operator.locator("#result_list tbody tr").last, operator.locator(".results").bounding_box()
    summary, mail = row.locator(".field-summary").bounding_box(), row.locator(".field-notified_by").bounding_box()
    assert room
    assert summary
    assert mail
    assert mail["x"] + mail["width"] <= room["x"] + room["width"] + 1
    assert summary["height"] < 60  # px: of two lines at most


@pytest.mark.parametrize("context", [{"java_script_enabled": True, "viewport": NARROW}], indirect=True, ids=["390"])
def test_previews_scroll_by_keyboard(operator: Page, live_server: Any) -> None:
    operator.goto(f"{live_server.url}/admin/notify/message/previews/notify/mail/digest/")
    stage = operator.locator(".message-stage")
    stage.focus()
    for _ in range(5):
        operator.keyboard.press("ArrowRight")
    operator.wait_for_timeout(500)
    assert stage.evaluate("stage => stage.scrollLeft") > 50
    operator.wait_for_load_state("networkidle")
    operator.keyboard.press("Tab")
    frame = operator.frames[1]
    assert frame.evaluate("document.activeElement.tabIndex") == 0
    operator.keyboard.press("PageDown")
    operator.wait_for_timeout(500)
    assert frame.evaluate("scrollY") > 50


@pytest.mark.parametrize("context", [{"locale": "en-GB", "timezone_id": "Asia/Tokyo"}], indirect=True, ids=["plain"])
def test_times_are_relative_and_exact_on_hover_with_their_zone(operator: Page, live_server: Any) -> None:
    for name, path in scene().items():
        operator.goto(f"{live_server.url}/admin/{path}")
        for time in operator.locator("#content time[title]").all():
            assert (time.get_attribute("title") or "").endswith(" UTC"), name
            assert not any(character == ":" for character in time.inner_text()), name
