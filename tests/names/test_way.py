"""Generated names on their whole way, from the page to the mail and back. TYPED=100000 for more than CI tries."""

import html
import os
import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from notify.events.digest import notify_due
from notify.models import Event, Message
from notify.visitors import names
from notify.visitors.models import Visitor
from tests.names.typed import typed

TYPED, PARTS = int(os.environ.get("TYPED", "20000")), 8
SHOWN = re.compile("[\u200b\u2068\u2069]")  # what plain_name adds, and no name holds
pytestmark = pytest.mark.django_db


def body_of(name: str) -> bytes:
    """As a browser writes it, and lone surrogates as no browser would."""
    return urlencode({"name": name.encode("utf-8", "surrogatepass")}).encode()


def kept_as(name: str) -> str | None:
    """What the form shall make of it: the name as it is kept, or None."""
    try:
        return names.take(name.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    except ValidationError:
        return None


def parts(raw: bytes) -> Iterator[str]:
    parsed: EmailMessage = message_from_bytes(raw, policy=policy.default)  # type: ignore[assignment]
    for kind in ("plain", "html"):
        part = parsed.get_body((kind,))
        assert part
        yield part.get_content()


def headers(raw: bytes) -> list[bytes]:
    """Their names, in their order."""
    return re.findall(rb"^[^\s:]+(?=:)", raw.partition(b"\r\n\r\n")[0], re.MULTILINE)


def examine(message: Message, name: str, usual: list[bytes]) -> None:
    raw = bytes(message.body.mime)
    assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n"), ascii(name)
    assert max(map(len, raw.split(b"\r\n"))) <= 998, ascii(name)
    assert headers(raw) == usual, ascii(name)
    assert (message.recipient, message.sender) == ("admin@example.com", "flasky@example.com")
    text, page = parts(raw)
    assert name in SHOWN.sub("", text).splitlines(), ascii(name)
    assert name in [html.unescape(SHOWN.sub("", words)).strip() for words in re.split(r"<[^>]*>", page)], ascii(name)


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_is_typed_is_refused_in_words_or_named_exactly_by_its_mail(
    client: Client, settings: Any, caplog: pytest.LogCaptureFixture, part: int
) -> None:
    caplog.set_level("ERROR", "django.request")  # a refusal is a warning there
    settings.NOTIFY_INTERVAL = 0  # every name has a mail of its own
    client.post("/", {"name": "Ann"})
    notify_due()
    usual, expected = headers(bytes(Message.objects.get().body.mime)), {"Ann"}
    for name in islice(typed(part), TYPED // PARTS):
        kept, body = kept_as(name), body_of(name)
        answer = client.generic("POST", "/", body, "application/x-www-form-urlencoded").status_code
        if kept is None:
            assert answer == (413 if len(body) > settings.MAX_BODY_BYTES else 422), ascii(name)[:200]
        else:
            assert answer == 302, ascii(name)[:200]
            expected.add(kept)
    while notify_due():
        pass
    visitors = dict(Visitor.objects.values_list("pk", "name"))
    assert set(visitors.values()) == expected
    told = {event.message_id: int(event.key) for event in Event.objects.all()}
    seen = set()
    for message in Message.objects.select_related("body").iterator():
        visitor = told[message.message_id]
        examine(message, visitors[visitor], usual)
        seen.add(visitor)
    assert seen == set(visitors)
    print(f"{TYPED // PARTS} typed, {len(visitors)} names kept and mailed")
