"""Previews of the app's own mails. `preview` is public: any installed app may have a module `previews` like this."""

from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext_lazy as _

from notify import conf
from notify.events.digest import SHOWN
from notify.models import Event
from notify.rendering.previews import preview

__all__ = ["preview"]

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@preview("notify/mail/digest", subject=_("25 × New sign-up: Ann, 李小龙, …"))
def digest() -> dict[str, Any]:
    names = ["Ann", "李小龙", "محمد", "Zoë O’Brien", "Wolfeschlegelsteinhausenbergerdorff"]
    events = [
        Event(summary=names[number % len(names)], url=f"{conf.site_url()}/", created_at=NOON)
        for number in range(SHOWN, 0, -1)
    ]
    return {
        "heading": _("New sign-up"),
        "events": events,
        "count": SHOWN + 5,
        "more": 5,
        "list_url": f"{conf.site_url()}/",
        "now": NOON,
    }


@preview("notify/mail/test", subject=_("Test"))
def test() -> dict[str, Any]:
    return {"relay": "smtp.example.com:587, STARTTLS, as me@example.com", "now": NOON}


@preview("notify/mail/error", subject="ZeroDivisionError in divide (views.py:12)")
def error() -> dict[str, Any]:
    event = Event(
        subject="ZeroDivisionError in divide (views.py:12)", summary="/divide division by zero", created_at=NOON
    )
    report = "Internal Server Error: /divide\n\nTraceback (most recent call last):\n  …"
    return {"event": event, "subject_line": "ERROR: Internal Server Error: /divide", "report": report, "now": NOON}
