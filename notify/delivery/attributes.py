"""What a message has beside its bytes, as JSON text kept with its body: for backends that read fields, not MIME.

A mail provider's API takes recipients, display names, templates and tags as fields; Anymail is the best known of the
backends that speak to one. Where such a backend is the transport, all fields are kept, and one row stands for the
whole message; where it is SMTP, only Anymail's attributes are, in case the transport is changed.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any

from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.utils import timezone
from django.utils.functional import Promise

# https://anymail.dev/en/stable/sending/anymail_additions/
ANYMAIL = (
    "envelope_sender",
    "esp_extra",
    "merge_data",
    "merge_global_data",
    "merge_headers",
    "merge_metadata",
    "metadata",
    "send_at",
    "tags",
    "template_id",
    "track_clicks",
    "track_opens",
)
_MOMENT = "$datetime"
# Rewritten for each message, and again when one is sent again: their values are those of the bytes.
_OF_THE_BYTES = ("message-id", "date")


def dump(message: EmailMessage, recipients: Sequence[str], *, whole: bool) -> str:
    """JSON text, "" where there is nothing to keep. Raises TypeError for an attribute that JSON cannot hold.

    `whole`: one row stands for the message and all its `recipients` (bare addresses), so its fields are kept, too.
    """
    kept: dict[str, Any] = {}
    if found := _given(message, others=whole):
        kept["attributes"] = found
    if whole:
        kept["recipients"] = list(recipients)
        kept["fields"] = _fields(message)
    return json.dumps(kept) if kept else ""


def load(text: str) -> dict[str, Any]:
    """What `dump` kept: `attributes` always; `recipients` and `fields` where it was of a whole message."""
    kept: dict[str, Any] = json.loads(text) if text else {}
    kept.setdefault("attributes", {})
    moment = kept["attributes"].get("send_at")
    if isinstance(moment, dict) and _MOMENT in moment:
        kept["attributes"]["send_at"] = datetime.fromisoformat(moment[_MOMENT])
    return kept


def whole_message(text: str, recipient: str) -> list[str]:
    """All recipients, where the row with this `recipient` stands for a whole message; [] where it is for one."""
    if not text:
        return []
    recipients: list[str] = json.loads(text).get("recipients", [])
    return recipients if len(recipients) == 1 or recipient not in recipients else []


def of_one(text: str) -> str:
    """What `dump` kept, for a row that is for one recipient of a whole message."""
    found = json.loads(text).get("attributes") if text else None
    return json.dumps({"attributes": found}) if found else ""


def in_words(recipients: Sequence[str]) -> str:
    """The recipients of a whole message in the one field that a row has for them, cut at its 320 characters."""
    text = ", ".join(recipients)
    return text if len(text) <= 320 else text[:319] + "…"


def _given(message: EmailMessage, *, others: bool) -> dict[str, Any]:
    """Anymail's attributes; with `others` also those of other backends, as far as JSON can hold them."""
    found = {}
    for name in ANYMAIL:
        if hasattr(message, name) and not isinstance(getattr(message, name), type):  # Anymail's UNSET is a class
            found[name] = _kept(getattr(message, name), name)
    if others:
        for name in vars(message).keys() - set(ANYMAIL) - _of_django():
            if not name.startswith(("_", "anymail_")):  # the latter are written by Anymail, for the sender to read
                with contextlib.suppress(TypeError, ValueError, RecursionError):  # a subclass may keep anything
                    found[name] = _plain(vars(message)[name])
    return found


def _kept(value: Any, name: str) -> Any:
    if name == "send_at" and isinstance(value, date):
        # As Anymail reads it when it is called: without a zone it is in the current one, a day begins at midnight.
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
        return {_MOMENT: (timezone.make_aware(moment) if timezone.is_naive(moment) else moment).isoformat()}
    try:
        return _plain(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"The message's {name} cannot be kept until it is sent: {error}. "
            "Use strings, numbers, booleans, None, and lists and dicts of these."
        ) from error


def _plain(value: Any) -> Any:
    """The value as JSON gives it back: tuples as lists, translations as text."""

    def plain(each: Any) -> Any:
        if isinstance(each, Promise):
            return str(each)
        if isinstance(each, Mapping):
            return dict(each)
        raise TypeError(f"a {type(each).__name__} is not JSON")

    return json.loads(json.dumps(value, default=plain, allow_nan=False))


def _fields(message: EmailMessage) -> dict[str, Any]:
    """Django's own, as the caller wrote them, but for the attachments, which the bytes have."""
    headers = {
        name: None if name.lower() in _OF_THE_BYTES else str(value) for name, value in message.extra_headers.items()
    }
    fields: dict[str, Any] = {
        "subject": str(message.subject),
        "body": str(message.body),
        "content_subtype": message.content_subtype,
        "from_email": str(message.from_email),
        "extra_headers": headers,
    }
    for name in ("to", "cc", "bcc", "reply_to"):
        fields[name] = [str(address) for address in getattr(message, name)]
    alternatives = [(content, mimetype) for content, mimetype in getattr(message, "alternatives", [])]
    if all(isinstance(content, (str, Promise)) for content, _ in alternatives):
        fields["alternatives"] = [(str(content), mimetype) for content, mimetype in alternatives]
    return fields


@cache
def _of_django() -> frozenset[str]:
    of_classes = {"content_subtype", "mixed_subtype", "alternative_subtype", "encoding"}
    return frozenset(vars(EmailMultiAlternatives(from_email="a@example.com"))) | of_classes
