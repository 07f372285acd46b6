"""A message's state as a badge."""

from django.utils.html import format_html
from django.utils.translation import gettext as _

from notify.models import Message


def state_badge(message: Message) -> str:
    """The state on its colour, which is never alone in saying it; and whether the outcome of a send is unknown."""
    badge = format_html(
        '<span class="message-state message-state-{}">{}</span>', message.state, message.get_state_display()
    )
    if not message.uncertain:
        return badge
    return format_html('{} <span class="message-uncertain">{}</span>', badge, _("outcome unknown"))
