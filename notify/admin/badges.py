"""A message's state as a badge, and whether the outcome of a send is unknown: in lists and in templates."""

from django.utils.html import format_html
from django.utils.translation import gettext as _

from notify.models import Message


def state_badge(message: Message) -> str:
    """The state on its colour, which is never alone in saying it."""
    return format_html(
        '<span class="message-state message-state-{}">{}</span>', message.state, message.get_state_display()
    )


def uncertain_badge(message: Message) -> str:
    """A mark where the answer to a send was never heard, else ""."""
    return format_html('<span class="message-uncertain">{}</span>', _("outcome unknown")) if message.uncertain else ""
