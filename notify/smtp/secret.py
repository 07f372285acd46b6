"""Secrets: texts that are used and never shown, and how they are taken out of what others say."""

import base64
import binascii
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, quote_plus

MASK = "***"
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{4,}={0,2}")
_SHORT = 4  # characters; what is shorter stands by chance in much that is none


class Secret(str):
    """A text whose repr is a mask: error pages, logs and tracebacks show the repr of what they find."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


def hush(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret made unreadable: as it is, percent-encoded, and in base64, alone or among others."""
    for secret in secrets:
        if not secret:
            continue
        for form in _forms(secret):
            text = text.replace(form, MASK)
        text = _BASE64.sub(lambda run, secret=secret: MASK if _holds(run[0], secret) else run[0], text)  # type: ignore[misc]
    return text


@lru_cache  # every reply of every relay is looked through
def _forms(secret: str) -> tuple[str, ...]:
    encoded = base64.b64encode(secret.encode("utf-8", "replace")).decode()
    return tuple(dict.fromkeys([secret, quote(secret), quote(secret, safe=""), quote_plus(secret), encoded]))


def _holds(run: str, secret: str) -> bool:
    """Whether the run of characters, or what is left of it without some at its start, is base64 of the secret."""
    plain = secret.encode("utf-8", "replace")
    if len(secret) < _SHORT:
        return False
    for start in range(4):
        letters = run[start:].rstrip("=").translate(str.maketrans("-_", "+/"))
        try:
            decoded = base64.b64decode(letters + "=" * (-len(letters) % 4))
        except binascii.Error:
            continue
        if plain in decoded:
            return True
    return False
