"""How a name is shown in a mail: in its own direction, and never as a link."""

import re
import unicodedata

from django import template

register = template.Library()

# A dot between non-blanks is what mail programs take for a web address. The zero-width space after it shows as nothing.
_LINKABLE_DOT = re.compile(r"(?<=\S)\.(?=\S)")
_RIGHT_TO_LEFT = {"R", "AL", "AN"}


@register.filter
def shown_name(name: str) -> str:
    """For text and HTML: inside isolates (U+2068 … U+2069) where its script could reorder what stands beside it.

    Characters, not <wbr> and <bdi>: Gmail and Outlook drop those.
    """
    shown = _LINKABLE_DOT.sub(".\u200b", str(name))
    if any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in shown):
        return f"\u2068{shown}\u2069"
    return shown
