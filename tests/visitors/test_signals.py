"""Which visitors administrators are notified of, however they came to be."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client

from notify.events import record
from notify.events.digest import notify_due
from notify.models import Event, Message
from notify.visitors import signals
from notify.visitors.models import Visitor

pytestmark = pytest.mark.django_db


def test_administrators_are_notified_of_a_visitor_made_in_the_shell() -> None:
    visitor = Visitor.objects.create(name="Ann")
    event = Event.objects.get()
    assert (event.topic, event.key, event.subject, event.summary) == (
        "new_visitor",
        str(visitor.pk),
        "New visitor",
        "Ann",
    )
    assert (
        event.url == f"http://flasky.example.com/admin/visitors/visitor/{visitor.pk}/change/" == signals.url_of(visitor)
    )
    assert (event.template, record.load_context(event.context)) == ("mail/new_visitor", {"visitor": visitor})
    assert notify_due() == 1
    assert Message.objects.get().subject == "[Flasky] New visitor: Ann"


def test_administrators_are_notified_of_a_visitor_added_in_the_admin(admin_client: Client) -> None:
    assert admin_client.post("/admin/visitors/visitor/add/", {"name": " Ann "}).status_code == 302
    assert Visitor.objects.get().name == "Ann"
    assert notify_due() == 1


def test_a_changed_visitor_is_not_news() -> None:
    visitor = Visitor.objects.create(name="Ann")
    visitor.name = "Anna"
    visitor.save()
    assert notify_due() == 1
    visitor.save()
    assert notify_due() == 0


def test_nobody_is_notified_of_fixtures_now_or_later(tmp_path: Path) -> None:
    fixture = tmp_path / "visitors.json"
    fixture.write_text(json.dumps([{"model": "visitors.visitor", "pk": 7, "fields": {"name": "Ann"}}]))
    call_command("loaddata", str(fixture), verbosity=0)
    assert notify_due() == 0
    assert Visitor.objects.get(pk=7).name == "Ann"
    assert not Message.objects.exists()
    assert not Event.objects.exists()


def test_bulk_create_sends_no_signals_as_everywhere_in_django_and_notify_admins_does_it_by_hand() -> None:
    visitors = Visitor.objects.bulk_create([Visitor(name=f"Visitor {number}") for number in range(6)])
    assert notify_due() == 0
    for visitor in visitors:
        signals.notify_of_new_visitor(Visitor, visitor, created=True, raw=False)
    assert notify_due() == 5
    assert Event.objects.waiting().get().summary == "Visitor 5"


def test_nobody_is_notified_of_visitors_from_before_there_was_an_administrator(settings: Any) -> None:
    administrators, settings.FLASKY_ADMIN = settings.FLASKY_ADMIN, []
    Visitor.objects.create(name="Ann")
    notify_due()
    settings.FLASKY_ADMIN = administrators
    notify_due()
    assert not Message.objects.exists()
    Visitor.objects.create(name="Cid")
    assert notify_due() == 1
    assert Message.objects.get().subject == "[Flasky] New visitor: Cid"
    assert set(Event.objects.exclude(message_id="").values_list("summary", flat=True)) == {"Cid"}


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "a\nb\u202e", "\u3164", "http://x", "\x00"])
def test_a_bad_name_is_refused_by_the_model_too(name: str) -> None:
    with pytest.raises(ValidationError):
        Visitor.objects.create(name=name)
    assert not Event.objects.exists()


def test_an_event_that_cannot_be_stored_takes_the_visitor_with_it() -> None:
    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if "notify_event" in sql:
            raise OperationalError("disk full")
        return execute(sql, *rest)

    with connection.execute_wrapper(fail), pytest.raises(OperationalError):
        Visitor.objects.create(name="Ann")
    assert not Visitor.objects.exists()
    assert not Event.objects.exists()
