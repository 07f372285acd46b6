"""The operator's desk in a real browser: an outage from first to last, and pages that everybody can read."""

import re
import sqlite3
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as site_settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import BrowserContext, Page, expect

from notify.delivery import counts
from notify.models import Event, Relay, Window
from tests.delivery.test_claims import queue
from tests.e2e import axe
from tests.relays import Relay as MailServer
from tests.site import Browser, Site

pytestmark = pytest.mark.service("chromium")

OVERVIEW = "admin/notify/relay/"
PASSWORD = "a long password of no use elsewhere"


def log_in(page: Page, site: Site) -> None:
    made = site.manage(
        *("createsuperuser", "--noinput", "--username", "ann", "--email", "ann@example.com"),
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
    )
    assert made.returncode == 0, made.stderr
    page.goto(f"{site.url}{OVERVIEW}")
    page.get_by_label("Username").fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{site.url}{OVERVIEW}")


def comes(page: Page, words: str, seconds: float = 20) -> None:
    """The page says so, after as many reloads as it takes."""
    deadline = time.monotonic() + seconds
    while words not in page.get_by_role("main").inner_text():
        assert time.monotonic() < deadline, page.get_by_role("main").inner_text()
        time.sleep(0.2)
        page.reload()


def failed_tries(site: Site) -> int:
    path = str(site.variables["DATABASE_URL"]).removeprefix("sqlite:///")
    connection = sqlite3.connect(path, timeout=20)
    [(failures,)] = connection.execute("SELECT failures FROM notify_relay").fetchall()
    connection.close()
    return int(failures)


@pytest.fixture
def site(make_site: Callable[..., Site], free_port: int) -> Site:
    """The site, with a relay on `free_port` whenever a test starts one there."""
    return make_site(
        MAIL_SERVER="127.0.0.1", MAIL_PORT=free_port, MAIL_TIMEOUT=5, FLASKY_ADMIN="admin@example.com"
    ).start()


def press(page: Page, button: str, then: str | re.Pattern[str]) -> None:
    page.get_by_role("main").get_by_role("button", name=button, exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text(then)


def test_an_operator_sees_an_outage_pauses_and_resumes_and_the_mail_arrives(
    page: Page, site: Site, free_port: int
) -> None:
    log_in(page, site)
    expect(page.get_by_role("heading", name="Nothing has been sent yet.")).to_be_visible()
    visitor = Browser(site)
    with MailServer(free_port) as server:
        visitor.post("Ada")
        server.wait_for(1)
        comes(page, "Mail works.")

    visitor.post("Grace")
    comes(page, "Delivery is interrupted")
    expect(page.get_by_role("main")).to_contain_text("nothing listens on that port, or a firewall blocks it")
    expect(page.get_by_role("main")).to_contain_text("Check MAIL_SERVER and MAIL_PORT")
    expect(page.get_by_role("main")).to_contain_text(re.compile(r"Waiting\s*1"))

    page.get_by_label("Reason for the pause").fill("the provider moves")
    press(page, "Pause", "nothing is sent until it is resumed")
    expect(page.get_by_role("heading", name="Mail is paused.")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("ann: the provider moves")
    expect(page.get_by_role("main").get_by_role("button")).to_have_text(["Resume"])

    with MailServer(free_port) as server:
        server.stays_at(0, 2.5)
        press(page, "Resume", "queued mail is being sent now")
        [envelope] = server.wait_for(1)
        assert "Grace" in str(envelope.message["Subject"]) + envelope.message.as_string()
        comes(page, "queue empty")
        expect(page.get_by_role("heading", name="Mail works.")).to_be_visible()

    page.get_by_role("link", name="Audit log").click()
    expect(page.get_by_role("main")).to_contain_text("the provider moves")
    expect(page.get_by_role("main")).to_contain_text("Mail resumed")


def test_a_probe_ends_an_outage_long_before_its_time_and_a_test_mail_shows_it(
    page: Page, site: Site, free_port: int
) -> None:
    log_in(page, site)
    Browser(site).post("Ada")
    comes(page, "Delivery is interrupted")
    for _ in range(3):  # the next probe of its own accord is then minutes away
        before = failed_tries(site)
        press(
            page,
            "Probe now",
            re.compile("The mail server was tried, and nothing has changed|The mail server is being tried"),
        )
        deadline = time.monotonic() + 20
        while failed_tries(site) == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    with MailServer(free_port) as server:
        press(page, "Probe now", re.compile("The mail server works again|The mail server is being tried"))
        server.wait_for(1)
        comes(page, "Mail works.")
        press(page, "Send a test mail", "The test mail to ann@example.com was sent.")
        assert server.wait_for(2)[1].recipients == ["ann@example.com"]
        page.get_by_role("link", name=re.compile("^ann@example.com: (sent 250 2.0.0 Ok|queued|sending)")).click()
        expect(page).to_have_url(re.compile(r"/admin/notify/message/\d+/change/"))
        comes(page, "250 2.0.0 Ok")


# --- What everybody can read --------------------------------------------------------------------------------------


@pytest.fixture
def operator(context: BrowserContext, live_server: Any, admin_client: Client) -> Page:
    """A page of somebody who is logged in."""
    cookie = admin_client.cookies[site_settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": site_settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    return context.new_page()


def put_into(state: str) -> None:
    """An outbox in which much has happened, and a relay in this state."""
    now = timezone.now()
    for back in range(40):
        counts.add("sent", count=back * 7, seconds=1, now=now - timedelta(hours=back))
    counts.add("retry", count=3, seconds=1, now=now)
    counts.add("fail", count=1, seconds=1, now=now)
    queue(3)
    queue(2, state="failed")
    Window.objects.create(topic="order", opened_at=now)
    Event.objects.create(topic="order", key="1", subject="New", summary="Order 1")
    trouble = {"reason": "535 5.7.8 Error: authentication failed", "diagnosis": "authorization-code"}
    Relay.current()
    Relay.objects.update(
        state=state,
        last_success=now,
        next_probe=now + timedelta(minutes=9) if state in ("down", "held") else None,
        **(trouble if state != "open" else {}),
    )


SCHEMES = [{"java_script_enabled": True, "color_scheme": scheme} for scheme in ("light", "dark")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("context", SCHEMES, indirect=True, ids=["light", "dark"])
@pytest.mark.parametrize("state", ["open", "held", "paused"])
@pytest.mark.parametrize("path", [OVERVIEW, "admin/"])
def test_axe_finds_nothing_serious(operator: Page, live_server: Any, state: str, path: str) -> None:
    put_into(state)
    operator.goto(f"{live_server.url}/{path}")
    for summary in operator.locator("summary").all():
        summary.click()
    found = axe.violations(operator)
    assert not [line for line in found if line.startswith(("serious", "critical"))], found


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "context",
    [{"java_script_enabled": True, "viewport": {"width": width, "height": 800}} for width in (320, 390, 820, 1180)],
    indirect=True,
    ids=str,
)
@pytest.mark.parametrize("path", [OVERVIEW, "admin/"])
def test_nothing_scrolls_sideways(operator: Page, live_server: Any, path: str) -> None:
    put_into("held")
    Relay.objects.update(reason="535 " + "x" * 300)
    operator.goto(f"{live_server.url}/{path}")
    expect(operator.get_by_role("heading", name="action required")).to_be_visible()
    wide, room = operator.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= room


@pytest.mark.django_db(transaction=True)
def test_the_chart_and_the_buttons_need_no_script(operator: Page, live_server: Any) -> None:
    put_into("held")
    operator.goto(f"{live_server.url}/{OVERVIEW}")
    picture = operator.get_by_role("img", name="Attempts to send in each of the last 48 hours")
    expect(picture).to_be_visible()
    expect(picture).to_have_accessible_description(re.compile(r"In total 5,?460 sent"))
    expect(operator.get_by_role("table")).not_to_be_visible()
    operator.get_by_text("Show as a table").click()
    expect(operator.get_by_role("row")).to_have_count(41)
    press(operator, "Pause", "Mail is paused")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("context", [{"java_script_enabled": True}], indirect=True, ids=["js"])
def test_a_strict_content_security_policy_changes_nothing_of_ours(operator: Page, live_server: Any) -> None:
    put_into("held")
    policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'"
    complaints: list[str] = []
    operator.on("console", lambda message: complaints.append(message.text))

    def guard(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": policy})

    operator.route(f"{live_server.url}/{OVERVIEW}", guard)
    operator.goto(f"{live_server.url}/{OVERVIEW}")
    fill = "getComputedStyle(document.querySelector('rect.desk-sent')).fill"
    assert operator.evaluate(fill) == "rgb(47, 143, 115)"
    assert complaints == []
