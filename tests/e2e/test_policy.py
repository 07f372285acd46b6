"""Django's admin under the Content-Security-Policy: no page of it complains."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

from notify.delivery import breaker
from notify.events.digest import notify_due
from notify.models import Event, Message
from notify.visitors.models import Visitor

pytestmark = [pytest.mark.service("chromium"), pytest.mark.django_db(transaction=True)]

PASSWORD = "a long password of no use elsewhere"


@pytest.fixture
def operator(context: BrowserContext, live_server: Any) -> Page:
    """Logged in as a superuser, on a page that notes what the browser complains of."""
    user = get_user_model().objects.create_superuser("ann", "ann@example.com", PASSWORD)
    client = Client()
    client.force_login(user)
    session = client.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    return context.new_page()


def listen(page: Page) -> list[str]:
    """What the page complains of from now on. Chromium's advice about fields of Django's is no error."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" or "Policy" in message.text:
            complaints.append(f"{page.url}: {message.text}")

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    return complaints


@pytest.mark.parametrize("context", [{"java_script_enabled": True}], indirect=True, ids=["js"])
def test_no_page_of_the_admin_breaks_the_policy(operator: Page, live_server: Any) -> None:
    for name in ("Ann", "Bob"):
        Visitor.objects.create(name=name)
    notify_due()
    group = Group.objects.create(name="operators")
    user, visitor = get_user_model().objects.get(), Visitor.objects.all()[0]
    message, event = Message.objects.all()[0], Event.objects.all()[0]
    breaker.pause("for a test")
    complaints = listen(operator)
    for path in (
        *("", "notify/", "notify/relay/", "visitors/visitor/", "notify/event/", "notify/message/", "auth/user/"),
        *("visitors/visitor/?q=Ann", "notify/message/?state=queued", "visitors/visitor/add/", "auth/user/add/"),
        *(f"visitors/visitor/{visitor.pk}/change/", f"visitors/visitor/{visitor.pk}/delete/"),
        *(f"visitors/visitor/{visitor.pk}/history/", f"notify/event/{event.pk}/change/"),
        *(f"notify/message/{message.pk}/change/", f"auth/user/{user.pk}/change/", f"auth/user/{user.pk}/password/"),
        *(f"auth/group/{group.pk}/change/", "auth/group/add/?_popup=1", "password_change/"),
    ):
        answer = operator.goto(f"{live_server.url}/admin/{path}", wait_until="networkidle")
        assert answer
        assert (path, answer.status) == (path, 200)
        assert "'unsafe" not in answer.headers["content-security-policy"]
    assert complaints == []


@pytest.mark.parametrize("context", [{"java_script_enabled": True}], indirect=True, ids=["js"])
def test_what_the_admin_does_with_scripts_still_works(operator: Page, live_server: Any) -> None:
    for name in ("Ann", "Bob"):
        Visitor.objects.create(name=name)
    complaints = listen(operator)
    operator.goto(f"{live_server.url}/admin/visitors/visitor/")
    operator.locator("#action-toggle").check()
    expect(operator.locator("tr.selected")).to_have_count(2)
    operator.get_by_role("button", name="Toggle theme").first.click()
    operator.locator("select[name=action]").select_option("delete_selected")
    operator.locator(".actions button[name=index]").click()  # "Go", and "Run" from Django 6.1 on
    operator.get_by_role("button", name="Yes, I’m sure").click()
    expect(operator.locator(".messagelist")).to_contain_text("Successfully deleted 2 visitors.")
    operator.locator("#toggle-nav-sidebar").click()
    expect(operator.locator("#nav-sidebar")).not_to_be_visible()
    assert complaints == []


@pytest.mark.parametrize("context", [{"java_script_enabled": True}], indirect=True, ids=["js"])
def test_somebody_logs_in_and_is_refused(page: Page, live_server: Any) -> None:
    get_user_model().objects.create_superuser("ann", "ann@example.com", PASSWORD)
    complaints = listen(page)
    page.goto(f"{live_server.url}/admin/")
    for password, words in (("wrong", "Please enter the correct username and password"), (PASSWORD, "Welcome")):
        page.get_by_label("Username").fill("ann")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("body")).to_contain_text(words)
    assert complaints == []
