"""Template filters for mails: times, lines, names and links."""

import re
import unicodedata
from datetime import datetime

from django import template
from django.utils.formats import date_format
from django.utils.translation import pgettext

from notify import clock
from notify.rendering.message import unlinked

register = template.Library()

_RIGHT_TO_LEFT = {"R", "AL", "AN"}
LINK_LENGTH = 40
COLUMNS = 72  # RFC 3676 4.2 recommends fewer than 78, and quoting adds some


@register.filter
def moment(time: object) -> str:
    """Date, hour and minute in the site's time zone, in the current language's format; "" if it is not a datetime."""
    if not isinstance(time, datetime):
        return ""
    # Translators: a date format of Django's, see its documentation of the template filter `date`.
    return date_format(clock.site_time(time), pgettext("format of a moment", "j F Y, H:i T"))


@register.filter
def shown_name(name: str) -> str:
    """For text and HTML: never a link, and inside isolates (U+2068 … U+2069) where its script could reorder its
    surroundings. Characters, not <wbr> and <bdi>: Gmail and Outlook drop those.
    """
    shown = unlinked(str(name))
    if any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in shown):
        return f"\u2068{shown}\u2069"
    return shown


@register.filter
def short_link(url: str) -> str:
    """How a link is shown in HTML: host and path, cut at LINK_LENGTH characters."""
    shown = re.sub(r"(?s)\A\w+://|[?#].*", "", str(url)).rstrip("/") or str(url)
    return shown if len(shown) <= LINK_LENGTH else shown[: LINK_LENGTH - 1] + "…"


@register.filter
def fold(text: str, keep: int = 0) -> str:
    """Text in lines of at most COLUMNS, ideographs counting as two. Text of at most `keep` characters stays one line.

    Broken at blanks and beside ideographs; a word that is longer, a link say, stays whole.
    """
    if len(text) <= keep:
        return text
    lines, line = [], ""
    for piece in _pieces(text):
        if line.strip() and _width(line + piece.rstrip()) > COLUMNS:
            lines.append(line.rstrip())
            line = ""
        line += piece
    return "\n".join([*lines, line.rstrip()])


def _pieces(text: str) -> list[str]:
    """The text, split wherever a line may break: not before closing punctuation or after opening punctuation."""
    pieces = [""]
    for character in " ".join(text.split()):
        last = pieces[-1][-1:]
        kind = unicodedata.category(character)
        between_words = last == " "
        beside_ideograph = last and (_width(last) == 2 or _width(character) == 2)
        closes = kind in ("Pe", "Pf", "Po") or character == " "
        if between_words or (beside_ideograph and not closes and unicodedata.category(last) not in ("Ps", "Pi")):
            pieces.append("")
        pieces[-1] += character
    return pieces


def _width(text: str) -> int:
    """Columns on a terminal (Unicode Standard Annex 11)."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
