"""The worked example of docs/adopt.md, as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db.models.signals import post_save
from django.dispatch import receiver

from notify.events.digest import notify_due
from notify.mail import notify_admins
from notify.models import Event, Message

DOC = Path(__file__).resolve().parent.parent / "docs" / "adopt.md"


@pytest.mark.django_db
def test_a_model_of_any_app_is_announced_in_three_lines(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mail").mkdir()
    for kind in ("txt", "html"):
        (tmp_path / "mail" / f"order.{kind}").write_text("{{ order.name }} {{ event.url }}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path, *settings.TEMPLATES[0]["DIRS"]]}]
    monkeypatch.setattr(Group, "get_absolute_url", lambda self: f"/{self.pk}/", raising=False)
    [example] = re.findall(r"```python\n(from notify\.mail.*?)```", DOC.read_text(), re.DOTALL)
    names: dict[str, Any] = {
        "receiver": receiver,
        "post_save": post_save,
        "notify_admins": notify_admins,
        "Order": Group,
    }
    exec(example, names)
    try:
        order = Group.objects.create(name="Four chairs")
        order.save()
    finally:
        post_save.disconnect(names["tell_of_order"], sender=Group)
    assert Event.objects.get().summary == f"Order {order.pk}"
    assert notify_due() == 1
    message = Message.objects.get()
    assert message.subject == "[Flasky] New order"
    assert b"Four chairs https://shop.example/" in bytes(message.body.mime)
