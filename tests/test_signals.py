"""Which visitors are told of, however they came to be."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.test import Client

from notify.digest import Sweep
from notify.models import Event, Message, Visitor

pytestmark = pytest.mark.django_db


def test_a_visitor_made_in_the_shell_is_told_of() -> None:
    Visitor.objects.create(name="Ann")
    assert Message.objects.get().subject == "[Flasky] New visitor"


def test_a_visitor_added_in_the_admin_is_told_of(admin_client: Client) -> None:
    assert admin_client.post("/admin/notify/visitor/add/", {"name": " Ann "}).status_code == 302
    assert Visitor.objects.get().name == "Ann"
    assert Message.objects.count() == 1


def test_a_changed_visitor_is_not_news() -> None:
    visitor = Visitor.objects.create(name="Ann")
    visitor.name = "Anna"
    visitor.save()
    assert Message.objects.count() == 1


def test_fixtures_are_not_told_of_now_or_later(tmp_path: Path) -> None:
    fixture = tmp_path / "visitors.json"
    fixture.write_text(json.dumps([{"model": "notify.visitor", "pk": 7, "fields": {"name": "Ann"}}]))
    call_command("loaddata", str(fixture), verbosity=0)
    Sweep().run()
    assert Visitor.objects.get(pk=7).announced
    assert not Message.objects.exists()
    assert not Event.objects.exists()


def test_visitors_made_without_signals_are_found() -> None:
    Visitor.objects.bulk_create([Visitor(name=f"Visitor {number}") for number in range(3)])
    assert not Message.objects.exists()
    Sweep().run()
    Sweep().run()
    assert Event.objects.count() == 3
    assert not Event.objects.waiting().exists()
    assert Message.objects.get().subject == "[Flasky] 3 × New visitor: Visitor 2, Visitor 1, Visitor 0"


def test_visitors_from_before_there_was_an_administrator_are_not_told_of(settings: Any) -> None:
    administrators, settings.FLASKY_ADMIN = settings.FLASKY_ADMIN, []
    Visitor.objects.create(name="Ann")
    Visitor.objects.bulk_create([Visitor(name="Bob")])
    Sweep().run()
    settings.FLASKY_ADMIN = administrators
    Sweep().run()
    assert not Message.objects.exists()
    Visitor.objects.create(name="Cid")
    assert Message.objects.get().subject == "[Flasky] New visitor"
    assert set(Event.objects.exclude(message_id="").values_list("summary", flat=True)) == {"Cid"}


def test_what_was_typed_past_the_form_is_one_line_in_a_digest() -> None:
    Visitor.objects.bulk_create([Visitor(name="Ann\r\nBcc: v@example.com")])
    Sweep().run()
    assert Event.objects.get().summary == "Ann Bcc: v@example.com"


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "a\nb\u202e", "\u3164", "http://x", "\x00"])
def test_a_bad_name_is_refused_by_the_model_too(name: str) -> None:
    with pytest.raises(ValidationError):
        Visitor.objects.create(name=name)
    assert not Message.objects.exists()


def test_a_mail_that_cannot_be_stored_takes_the_visitor_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def fail(*args: object, **kwargs: object) -> None:
        raise OperationalError("disk full")

    monkeypatch.setattr(Message.objects, "bulk_create", fail)
    with pytest.raises(OperationalError):
        Visitor.objects.create(name="Ann")
    assert not Visitor.objects.exists()
    assert not Event.objects.exists()
