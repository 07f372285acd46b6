"""Pages that keep themselves up to date: what is selected, focused or typed stays, and what changes is shown."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as site_settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import BrowserContext, Page, expect

from notify.delivery import breaker
from notify.delivery.retry import Decision
from notify.models import Attempt, Message, Outcome, Relay
from tests.delivery.test_claims import queue
from tests.desk import store

pytestmark = [pytest.mark.service("chromium"), pytest.mark.django_db(transaction=True)]
with_scripts = pytest.mark.parametrize("context", [{"java_script_enabled": True}], indirect=True, ids=["js"])
LIST, DASHBOARD = "admin/notify/message/", "admin/notify/relay/"


@pytest.fixture(autouse=True)
def _no_one_is_notified(settings: Any) -> None:
    settings.FLASKY_ADMIN = []


@pytest.fixture
def operator(context: BrowserContext, live_server: Any, admin_client: Client) -> Iterator[Page]:
    """A logged-in page whose timers run when a test says so; nothing on it complains."""
    cookie = admin_client.cookies[site_settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": site_settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    page = context.new_page()
    page.clock.install()
    complaints: list[str] = []
    # Playwright puts its clock into every frame, and the mail's takes no script.
    page.on("console", lambda said: None if "frame is sandboxed" in said.text else complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    assert complaints == []


def refreshed(page: Page) -> None:
    """Let the time of a refresh pass, and wait until it is done."""
    with page.expect_response(lambda answer: answer.request.headers.get("x-live") == "yes"):
        page.clock.fast_forward(5_000)
    page.wait_for_timeout(100)  # the page takes it over


@with_scripts
def test_the_dashboard_changes_by_itself_and_keeps_focus_and_typed_text(operator: Page, live_server: Any) -> None:
    Relay.current()
    operator.goto(f"{live_server.url}/{DASHBOARD}")
    expect(operator.get_by_role("heading", name="Nothing has been sent yet.")).to_be_visible()
    reason = operator.get_by_label("Reason for the pause")
    reason.fill("the provider")
    operator.get_by_label("Address of the test mail").fill("bob@example.com")
    reason.focus()
    reason.press("End")
    operator.get_by_text("Show as a table").evaluate("summary => { summary.parentElement.open = true; }")
    breaker.report_failure(
        breaker.Permit(),
        Decision(outcome=Outcome.HOLD, delay=900),
        reason="535 5.7.8 Error: authentication failed",
        diagnosis="bad-credentials",
    )
    queue(2)
    refreshed(operator)
    expect(operator.get_by_role("heading", name="Delivery is on hold: action required.")).to_be_visible()
    expect(operator.get_by_role("button", name="Probe now")).to_be_visible()
    expect(operator.get_by_role("link", name="2", exact=True)).to_have_attribute("href", f"/{LIST}?state=waiting")
    operator.keyboard.type(" moves")
    expect(reason).to_have_value("the provider moves")
    expect(operator.get_by_label("Address of the test mail")).to_have_value("bob@example.com")
    assert operator.locator("#desk-table").evaluate("details => details.open")
    operator.get_by_role("button", name="Pause", exact=True).click()
    expect(operator.locator(".messagelist")).to_contain_text("Mail is paused")
    refreshed(operator)
    expect(operator.locator(".messagelist")).to_contain_text("Mail is paused")


@with_scripts
def test_a_selection_stays_with_its_messages_while_their_states_change(operator: Page, live_server: Any) -> None:
    first, second = queue(2, subject="Order")
    operator.goto(f"{live_server.url}/{LIST}")
    box = operator.locator(f"input.action-select[value='{first.pk}']")
    box.check()
    expect(operator.locator(".action-counter")).to_have_text("1 of 2 selected")
    Message.objects.filter(pk=first.pk).update(state="failed", reply="550 No")
    [third] = queue(1, subject="Order")
    refreshed(operator)
    row = operator.locator("tr", has=box)
    expect(row).to_contain_text("failed")
    expect(row).to_have_class("selected")
    expect(box).to_be_checked()
    expect(operator.locator("#live-changed")).to_be_visible()
    expect(operator.locator(f"input.action-select[value='{third.pk}']")).to_have_count(0)
    operator.locator("select[name=action]").select_option("retry")
    operator.locator(".actions button[name=index]").click()
    expect(operator.locator(".messagelist")).to_contain_text("Retry now: 1 message.")
    assert Message.objects.get(pk=first.pk).state == "queued"
    assert Message.objects.get(pk=second.pk).state == "queued"


@with_scripts
def test_new_messages_appear_where_nothing_is_selected_and_can_be_selected(operator: Page, live_server: Any) -> None:
    operator.goto(f"{live_server.url}/{LIST}")
    expect(operator.locator("#changelist-form")).to_contain_text("Each mail that this site sends will appear here")
    queue(2)
    refreshed(operator)
    expect(operator.locator("input.action-select")).to_have_count(2)
    queue(1)
    refreshed(operator)
    operator.locator("#action-toggle").check()
    expect(operator.locator("tr.selected")).to_have_count(3)
    expect(operator.locator(".action-counter")).to_have_text("3 of 3 selected")


@with_scripts
def test_text_that_is_selected_stays_selected(operator: Page, live_server: Any) -> None:
    row = store(state="failed", reply="550 No such user")
    operator.goto(f"{live_server.url}/{LIST}{row.pk}/change/")
    operator.locator(".message-words").first.evaluate("words => getSelection().selectAllChildren(words)")
    Message.objects.update(state="queued", reply="451 Later")
    refreshed(operator)
    assert operator.evaluate("getSelection().toString()") == "550 No such user"
    operator.evaluate("getSelection().removeAllRanges()")
    refreshed(operator)
    expect(operator.get_by_role("heading", name="Why it waits")).to_be_visible()


@with_scripts
def test_a_messages_page_follows_its_delivery(operator: Page, live_server: Any) -> None:
    row = store(due_at=timezone.now() + timedelta(minutes=5), attempts=1, reply="451 4.7.1 Later")
    Attempt.objects.create(message=row, seconds=0.1, phase="recipient", code=451, text="4.7.1 Later", decision="retry")
    operator.goto(f"{live_server.url}/{LIST}{row.pk}/change/")
    expect(operator.get_by_text("It was deferred; retrying automatically.")).to_be_visible()
    Message.objects.update(state="sent", reply="250 2.0.0 queued as 1", attempts=2, sent_at=timezone.now())
    refreshed(operator)
    expect(operator.locator(".message-timeline li")).to_have_count(2)
    expect(operator.locator(".message-accepted")).to_contain_text("Attempt 2")
    expect(operator.locator(".message-accepted")).to_contain_text("250 2.0.0 queued as 1")
    expect(operator.get_by_role("button", name="Send again")).to_be_visible()


@with_scripts
def test_a_hidden_page_asks_for_nothing_and_catches_up_when_it_is_seen(operator: Page, live_server: Any) -> None:
    Relay.current()
    operator.goto(f"{live_server.url}/{DASHBOARD}")
    asked: list[str] = []
    operator.on("request", lambda request: asked.append(request.url) if "x-live" in request.headers else None)
    hide = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    operator.evaluate(hide, True)
    operator.clock.fast_forward(60_000)
    time.sleep(0.5)
    assert asked == []
    with operator.expect_response(lambda answer: answer.request.headers.get("x-live") == "yes"):
        operator.evaluate(hide, False)


@with_scripts
def test_a_page_says_when_the_server_is_away(context: BrowserContext, live_server: Any, admin_client: Client) -> None:
    cookie = admin_client.cookies[site_settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": site_settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    page = context.new_page()
    page.clock.install()
    page.goto(f"{live_server.url}/{DASHBOARD}")
    page.route("**/admin/notify/relay/", lambda route: route.abort())
    page.clock.fast_forward(5_000)
    expect(page.locator("#live-away")).to_have_text("The server does not answer: this page is not up to date.")
    page.unroute_all()
    refreshed(page)
    expect(page.locator("#live-away")).to_be_hidden()


def test_without_scripts_pages_are_as_before(page: Page, live_server: Any, admin_client: Client) -> None:
    cookie = admin_client.cookies[site_settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": site_settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    queue(1)
    for path in (DASHBOARD, LIST, "admin/"):
        page.goto(f"{live_server.url}/{path}")
        for note in ("#live-away", "#live-changed"):
            expect(page.locator(note)).to_be_hidden()
