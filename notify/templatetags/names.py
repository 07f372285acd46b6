"""How a name is shown in a mail: in its own direction, and never as a link."""

import re
import unicodedata

from django import template
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

# A dot between non-blanks is what mail programs take for a web address. The break after it shows as nothing.
_LINKABLE_DOT = re.compile(r"(?<=\S)\.(?=\S)")
_RIGHT_TO_LEFT = {"R", "AL", "AN"}


@register.filter
def plain_name(name: str) -> str:
    """For text: inside isolates (U+2068 … U+2069) where its script could reorder what stands beside it."""
    shown = _LINKABLE_DOT.sub(".\u200b", str(name))
    if any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in shown):
        return f"\u2068{shown}\u2069"
    return shown


@register.filter
def html_name(name: str) -> SafeString:
    """For HTML: escaped, in <bdi>."""
    safe = _LINKABLE_DOT.sub(".<wbr>", str(conditional_escape(name)))
    return mark_safe(f"<bdi>{safe}</bdi>")  # noqa: S308  (escaped in the line above)
