"""Preview of the mail about a new visitor."""

from typing import Any

from django.utils.text import format_lazy

from notify.models import Event
from notify.previews import NOON, preview
from notify.visitors import signals
from notify.visitors.models import Visitor

NAME = "Zoë O’Brien"


@preview("mail/new_visitor", subject=format_lazy("{}: {}", signals.SUBJECT, NAME))
def new_visitor() -> dict[str, Any]:
    visitor = Visitor(pk=1, name=NAME, created_at=NOON)
    return {"visitor": visitor, "event": Event(url=signals.url_of(visitor), created_at=NOON), "now": NOON}
