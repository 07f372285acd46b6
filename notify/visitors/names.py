"""What a name may be: the form in which it is stored, and what is refused, in forms and models alike."""

import re
import unicodedata

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

MAX_LENGTH = 64  # characters, after folding
MAX_TYPED = 16 * MAX_LENGTH  # characters, before folding, which takes quadratic time for marks
MAX_MARKS = 4  # combining marks in a row; no living script needs more

_BLANKS = re.compile(r"[^\S\n\r\x0b\x0c\x1c-\x1f\x85\u2028\u2029]+")  # not line breaks and other controls

# Invisible: controls, bidi and format characters, surrogates, private use, unassigned, line separators …
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# … and letters, marks and signs that are blank or replace lost text.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc\ufffd\U00016fe4\U0001d159")

_JOINERS = "\u200c\u200d"  # ZWNJ and ZWJ: part of the spelling in Persian or Malayalam, invisible in Latin or Chinese
_JOINING = re.compile("[\u0600-\u109f\u1780-\u18af\u1a20-\u1cff\ua800-\uabff\U00010a00-\U00011fff]")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # a variant of the preceding character
_SELECTABLE = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_MONGOLIAN_SELECTORS = re.compile("[\u180b-\u180d\u180f]")
_VIRAMA = 9  # canonical combining class


def take(typed: str) -> str:
    """The name to store for what a visitor typed. Raises ValidationError, in words for the visitor."""
    if len(typed) > MAX_TYPED:
        raise _too_long()
    name = fold(typed)
    validate(name)
    return name


def fold(name: str) -> str:
    """The form in which names are stored and compared: NFC, stripped, runs of blanks collapsed to one space.

    Line breaks and other controls inside are kept, for `validate` to refuse.
    """
    return _BLANKS.sub(" ", unicodedata.normalize("NFC", name)).strip()


def validate(name: str) -> None:
    """Raise ValidationError, in words for the visitor, if a folded name is not acceptable."""
    if not name:
        raise ValidationError(_("Please type a name."), code="required")
    if len(name) > MAX_LENGTH:
        raise _too_long()
    if any(each in _BLANK or (_category(each) in _UNSEEN and each not in _JOINERS) for each in name):
        raise ValidationError(
            _("That name contains characters that cannot be displayed. Please type it with letters."), code="forbidden"
        )
    if not _marks_belong(name):
        raise ValidationError(
            _("That name contains marks that do not belong to a letter. Please type it again."), code="marks"
        )
    if "://" in name or "www." in name.casefold():
        raise ValidationError(_("A name cannot be a link. Please type just the name."), code="link")
    if not any(_category(character)[0] == "L" for character in name):
        raise ValidationError(_("Please type a name with at least one letter."), code="no_letter")


def printable(typed: str) -> str:
    """Any input, made fit for a page: without controls and lone surrogates, which HTML and UTF-8 cannot represent."""
    return "".join(character for character in typed if unicodedata.category(character) not in ("Cc", "Cs"))


def _too_long() -> ValidationError:
    return ValidationError(
        _("That name is too long: at most %(limit)d characters, please."),
        code="too_long",
        params={"limit": MAX_LENGTH},
    )


def _category(character: str) -> str:
    category = unicodedata.category(character)
    # Ideographs newer than this Python's Unicode data: rare, and mostly from people's names.
    if category == "Cn" and 0x20000 <= ord(character) < 0x3FFFE and ord(character) & 0xFFFE != 0xFFFE:
        return "Lo"
    return category


def _marks_belong(name: str) -> bool:
    """Whether marks follow a letter, at most MAX_MARKS in a row, and joiners and selectors have an effect."""
    marks = 0
    for before, character, after in zip(" " + name, name, name[1:] + " ", strict=False):
        kind = _category(character)
        if character in _JOINERS:
            if not _joins(before, after):
                return False
        elif _SELECTORS.match(character) or _MONGOLIAN_SELECTORS.match(character):
            if not _selects(before, character):
                return False
        elif kind[0] == "M" and before == " ":
            return False
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if marks > MAX_MARKS:
            return False
    return True


def _joins(before: str, after: str) -> bool:
    if unicodedata.combining(before) == _VIRAMA:
        return True  # also at the end of a word: the older spelling of Malayalam's chillu letters
    if _JOINING.match(before) and _JOINING.match(after):
        return True
    return (_category(before) in ("So", "Sk") or before == "\ufe0f") and _category(after) == "So"  # emoji


def _selects(before: str, selector: str) -> bool:
    if _MONGOLIAN_SELECTORS.match(selector):
        return "\u1820" <= before <= "\u18aa"
    return bool(_SELECTABLE.match(before)) or (selector == "\ufe0f" and _category(before) == "So")
