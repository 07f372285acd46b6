"""What a stored mail says, for people: headers, text, HTML and attachments, read from bytes nobody vouches for."""

import base64
import email
import email.policy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage as ParsedMessage
from email.message import MIMEPart
from typing import Any

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")  # shown where the HTML asks for them by cid:
POLICY = email.policy.default

# Before it nothing may be written: without its doctype a page is laid out in another way.
_BEGINNING = re.compile(r"(?is)\A\s*(<!doctype[^>]*>)?\s*(<html[^>]*>)?\s*(<head[^>]*>)?")
_LINK = re.compile(r"(?i)<(?:a|area)\s[^>]*>")
_TARGET = re.compile(r"(?i)(?<=[\s\"'/])target(?=\s*=)")

# No script, no network, no form, no navigation, whatever the HTML says; its own styles and its own pictures only.
FRAME_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox"
)


@dataclass(frozen=True)
class Attachment:
    """`size`: bytes of what was read of it, decoded."""

    name: str
    type: str
    size: int


@dataclass(frozen=True)
class Content:
    """`text` and `html` are None where the mail has no such part; `html` holds its pictures as data: addresses."""

    headers: list[tuple[str, str]]
    text: str | None
    html: str | None
    attachments: list[Attachment]


def read(raw: bytes) -> Content:
    """Read a mail, or the beginning of one. Never raises: what is not understood is shown as it stands, or left out."""
    parsed = email.message_from_bytes(raw, _class=ParsedMessage, policy=POLICY)
    text, html = _body(parsed, "plain"), _body(parsed, "html")
    if html is not None:
        html = _with_pictures(html, parsed)
    return Content(list(_headers(parsed)), text, html, list(_attachments(parsed)))


def inert(html: str) -> str:
    """HTML for a frame under FRAME_POLICY, which is what keeps it quiet, with two things that no policy does.

    Without tags for which a browser opens a connection before it looks at the policy; and links want a window of their
    own, which the sandbox denies them, so that a click leaves the mail where it is.
    """
    html = re.sub(r"(?i)<(/?)(link|iframe|frame|object|embed)(?=[\s/>])", r"<\1x-\2", html)
    html = _LINK.sub(lambda link: _TARGET.sub("x-target", link[0]), html)
    return _BEGINNING.sub(r'\g<0><base target="_blank">', html, count=1)


def _headers(parsed: ParsedMessage) -> Iterator[tuple[str, str]]:
    for name, value in parsed.raw_items():
        try:
            yield name, str(POLICY.header_fetch_parse(name, value))
        except Exception:  # noqa: BLE001  (the parser of headers raises all sorts of things at hostile ones)
            yield name, str(value)


def _body(parsed: ParsedMessage, kind: str) -> str | None:
    try:
        part = parsed.get_body((kind,))
        return None if part is None else _decoded(part)
    except Exception:  # noqa: BLE001  (as above)
        return None


def _decoded(part: MIMEPart) -> str:
    try:
        return str(part.get_content())
    except LookupError:  # a charset that Python does not know
        return _payload(part).decode("utf-8", "replace")


def _payload(part: MIMEPart) -> bytes:
    payload: Any = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _attachments(parsed: ParsedMessage) -> Iterator[Attachment]:
    try:
        for part in parsed.iter_attachments():
            yield Attachment(part.get_filename() or "", part.get_content_type(), len(_payload(part)))
    except Exception:  # noqa: BLE001  (as above)
        return


def _with_pictures(html: str, parsed: ParsedMessage) -> str:
    """The HTML with `cid:` replaced by the pictures that came along in the mail (RFC 2392)."""

    def picture(match: re.Match[str]) -> str:
        return found.get(match[1], match[0])

    found = {}
    if "cid:" in html:
        for part in parsed.walk():
            cid = str(part.get("Content-ID", "")).strip(" <>")
            if cid and part.get_content_type() in PICTURES:
                data = base64.b64encode(_payload(part)).decode()
                found[cid] = f"data:{part.get_content_type()};base64,{data}"
    return re.sub(r"cid:([^\"'\s)>]+)", picture, html)
