"""Visitors, events and messages lead to each other, and only those who may view the other end get a link."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client, RequestFactory
from django.utils import timezone

from notify.admin import events
from notify.events.digest import notify_due
from notify.models import Event, Message
from notify.visitors.models import Visitor

pytestmark = pytest.mark.django_db


def links(client: Client, path: str) -> set[str]:
    """What the page's own content links to in the app."""
    answer = client.get(path)
    assert answer.status_code == 200
    [content] = re.findall(r'<div id="content".*<!-- END Content -->', answer.content.decode(), re.DOTALL)
    return {
        link.replace("%3C", "<").replace("%40", "@").replace("%3E", ">")
        for link in re.findall(r'href="([^"]+)"', content)
    }


def page(row: Any) -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"


@pytest.fixture
def told(settings: Any) -> tuple[Visitor, Event, list[Message]]:
    settings.FLASKY_ADMIN = ["ann@example.com", "bob@example.com"]
    visitor = Visitor.objects.create(name="Zoë")
    notify_due()
    return visitor, Event.objects.get(), list(Message.objects.order_by("pk"))


@pytest.fixture
def viewer(client: Client) -> Any:
    def log_in(*codenames: str) -> Client:
        user = User.objects.create_user("ann", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)
        return client

    return log_in


def test_a_visitor_leads_to_the_event_and_to_every_message(admin_client: Client, told: Any) -> None:
    visitor, event, messages = told
    assert {page(event), *map(page, messages)} <= links(admin_client, page(visitor))
    assert "ann@example.com: queued" in admin_client.get(page(visitor)).content.decode()


def test_an_event_leads_to_its_visitor_and_to_every_message(admin_client: Client, told: Any) -> None:
    visitor, event, messages = told
    found = links(admin_client, page(event))
    assert {page(visitor), *map(page, messages)} <= found
    by_mail = f"/admin/notify/message/?message_id={event.message_id}"
    assert by_mail in found
    assert by_mail in links(admin_client, "/admin/notify/event/")


def test_the_link_to_a_mail_lists_its_messages(admin_client: Client, told: Any) -> None:
    Event.objects.update(message_id=told[1].message_id)
    answer = admin_client.get("/admin/notify/message/", {"message_id": told[1].message_id})
    assert answer.context["cl"].result_count == 2


def test_who_may_not_view_the_other_end_gets_words_and_no_link(viewer: Any, told: Any) -> None:
    visitor, event, _ = told
    client = viewer("view_visitor", "view_event")
    for path in (page(visitor), page(event), "/admin/notify/event/"):
        assert not [link for link in links(client, path) if "/message/" in link], path
    assert "ann@example.com: queued" in client.get(page(visitor)).content.decode()
    assert page(event) in links(client, page(visitor))
    assert page(visitor) in links(client, page(event))


def test_a_visitor_nobody_was_told_of_says_so(admin_client: Client, settings: Any) -> None:
    settings.FLASKY_ADMIN = []
    visitor = Visitor.objects.create(name="Zoë")
    assert "no recipient" in admin_client.get(page(visitor)).content.decode()
    Event.objects.update(notified_at=None)
    assert "waiting for a digest" in admin_client.get(page(visitor)).content.decode()
    Event.objects.all().delete()
    assert "none" in admin_client.get(page(visitor)).content.decode()


def test_an_event_outlives_its_visitor(admin_client: Client, told: Any) -> None:
    Visitor.objects.all().delete()
    assert "Zoë" in admin_client.get(page(told[1])).content.decode()


def test_links_in_mails_of_earlier_versions_still_lead_to_the_visitor(admin_client: Client, told: Any) -> None:
    old = f"/admin/notify/visitor/{told[0].pk}/change/?_changelist_filters=q%3Dzo"
    answer = admin_client.get(old)
    assert answer.status_code == 302
    assert answer["Location"] == page(told[0]) + "?_changelist_filters=q%3Dzo"


def test_an_event_of_another_kind_has_no_visitor(admin_client: Client, told: Any) -> None:
    event = Event.objects.create(topic="order", key=str(told[0].pk), subject="New", summary="Order", url="")
    assert page(told[0]) not in links(admin_client, page(event))


@pytest.mark.parametrize("key", ["", "x", "²", "9" * 200])
def test_an_event_with_a_strange_key_has_a_page(admin_client: Client, key: str) -> None:
    event = Event.objects.create(topic="new_visitor", key=key, subject="New", summary="<b>", url="")
    assert "<b>" not in admin_client.get(page(event)).content.decode()


def test_a_visitor_is_still_added_and_renamed_by_hand(admin_client: Client) -> None:
    assert admin_client.post("/admin/visitors/visitor/add/", {"name": "Ann"}).status_code == 302
    visitor = Visitor.objects.get()
    assert admin_client.post(page(visitor), {"name": "Anna"}).status_code == 302
    visitor.refresh_from_db()
    assert visitor.name == "Anna"


@pytest.mark.parametrize(("count", "links"), [(0, 0), (1, 1), (20, 20), (21, 21), (50, 21)])
def test_a_message_leads_to_its_events_and_a_long_digest_to_their_list(
    admin_user: User, count: int, links: int, rf: RequestFactory
) -> None:
    request = rf.get("/")
    request.user = admin_user
    Event.objects.bulk_create(
        Event(topic="t", key=str(n), subject="s", summary="<i>", message_id="<d@x>", notified_at=timezone.now())
        for n in range(count)
    )
    html = events.events_of(request, "<d@x>")
    assert html.count("<a ") == links
    assert ("?message_id=%3Cd%40x%3E" in html) == (count > 20)
    assert "<i>" not in html
    assert events.events_of(request, "") == ""
