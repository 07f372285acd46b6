"""How a name is shown in a mail: in its own direction, and never as a link."""

import unicodedata

from django import template

from notify.rendering.message import unlinked

register = template.Library()

_RIGHT_TO_LEFT = {"R", "AL", "AN"}


@register.filter
def shown_name(name: str) -> str:
    """For text and HTML: inside isolates (U+2068 … U+2069) where its script could reorder what stands beside it.

    Characters, not <wbr> and <bdi>: Gmail and Outlook drop those.
    """
    shown = unlinked(str(name))
    if any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in shown):
        return f"\u2068{shown}\u2069"
    return shown
