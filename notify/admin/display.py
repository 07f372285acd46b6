"""The content of a stored mail, for people: headers, text, HTML and attachments, parsed from untrusted bytes.

Not by Python's email package: it recurses into nested parts, takes quadratic time over long headers, and decodes with
any codec that a mail names. Here the work is linear in the size of the mail, and anything beyond a limit is left out.
"""

import base64
import binascii
import encodings
import re
from collections.abc import Iterator
from dataclasses import dataclass
from encodings.aliases import aliases
from itertools import count, islice
from pkgutil import iter_modules
from urllib.parse import unquote, unquote_to_bytes

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")  # shown where the HTML refers to them by cid:
PARTS = 500  # of a mail, over all levels
DEPTH = 20  # of parts within parts
HEADERS = 300  # of a part
HEADER_LENGTH = 5000  # bytes; longer headers are cut
ATTACHED = 20_000  # characters shown of a calendar or an attached mail
OF_ATTACHED = ("from", "to", "cc", "date", "subject")  # headers of an attached mail
INLINED = 2_000_000  # characters of pictures in the HTML, counting repetitions

# No script, network, form or navigation, whatever the HTML says; only its own styles and pictures.
FRAME_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox"
)

_HEADER = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)(?:\n|\Z)")
_ENCODED_WORD = re.compile(r"=\?([\w.:+-]{1,40})(?:\*[\w-]{0,20})?\?([bBqQ])\?([^? ]*+)\?=")  # RFC 2047, RFC 2231 5
_BLANK_LINE = re.compile(rb"\r?\n")
_BETWEEN_WORDS = re.compile(r"(?<=\?=)[ \t]++(?==\?)")
_TYPE = re.compile(r"[ \t]*([\w.+-]{1,60}/[\w.+-]{1,100})[ \t]*(?:;|\Z)", re.ASCII)
_PARAMETER = re.compile(r';[ \t]*([^\s=;"]{1,60})[ \t]*=[ \t]*("(?:[^"\\]|\\.)*+"|[^;\s]*)')
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_CID = re.compile(r"cid:([^\"'\s)>]+)")
# Characters that HTML or UTF-8 cannot represent.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

# Charsets of text. Python's other codecs (unicode_escape, idna, zip …) are not charsets, and are harmful here.
_TEXT = re.compile(
    r"ascii|utf_(8|16|32)(_[bl]e)?|latin_1|iso8859_\d+|cp\d+|koi8_\w|gbk|gb18030|gb2312|big5(hkscs)?|euc_\w+|"
    r"shift_jis\w*|iso2022_\w+|mac_\w+|hz|johab|tis_620|ptcp154|kz1048"
)
_CHARSETS = {module.name: module.name for module in iter_modules(encodings.__path__) if _TEXT.fullmatch(module.name)}
_CHARSETS |= {alias: codec for alias, codec in aliases.items() if codec in _CHARSETS}


@dataclass(frozen=True)
class Attachment:
    """`size`: decoded bytes, as far as the mail was read. `text`: the content of a calendar or an attached mail."""

    name: str
    type: str
    size: int
    text: str = ""


@dataclass(frozen=True)
class Content:
    """`text` and `html` are None if the mail has no such part; pictures in `html` are data: URLs."""

    headers: list[tuple[str, str]]
    text: str | None
    html: str | None
    attachments: list[Attachment]


class _Part:
    """A mail or a part of one: the first HEADERS headers, unfolded but still encoded, and the body.

    `first`: the first header of each name, in lower case. `aside`: it belongs to another part, as a picture does.
    """

    def __init__(self, raw: bytes, *, aside: bool = False) -> None:
        self.headers: list[tuple[str, str]] = []
        self.aside = aside
        at = 0
        while header := _HEADER.match(raw, at):
            at = header.end()
            if len(self.headers) < HEADERS:
                self.headers.append((header[1][:100].decode("ascii"), _text_of(header[2])))
        blank = _BLANK_LINE.match(raw, at)
        self.body = raw[blank.end() if blank else at :]
        self.first = {name.lower(): value for name, value in reversed(self.headers)}

    @property
    def type(self) -> str:
        found = _TYPE.match(self.first.get("content-type", ""))
        return found[1].lower() if found else "text/plain"

    @property
    def id(self) -> str:
        return self.first.get("content-id", "").strip(" <>")

    @property
    def is_attachment(self) -> bool:
        return self.first.get("content-disposition", "").lower().startswith("attachment")

    @property
    def filename(self) -> str:
        return self.parameter("content-disposition", "filename") or self.parameter("content-type", "name")

    def parameter(self, header: str, name: str) -> str:
        """A parameter of a header, joined and decoded by RFC 2231; "" if there is none."""
        found: dict[str, str] = {}
        for parameter in _PARAMETER.finditer(self.first.get(header, "")):
            value = parameter[2]
            if value[:1] == '"':
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            found.setdefault(parameter[1].lower(), value)
        if name in found:
            return _decoded_words(found[name])
        value = found.get(f"{name}*", "")
        encoded = bool(value) or f"{name}*0*" in found
        for number in count():
            key = f"{name}*{number}"
            if key not in found and f"{key}*" not in found:
                break
            value += found.get(key, found.get(f"{key}*", ""))
        if not encoded:
            return value
        charset, _, rest = value.partition("'")
        return _decoded(unquote_to_bytes(rest.partition("'")[2]), charset)

    @property
    def payload(self) -> bytes:
        """The body without its transfer encoding, as far as it can be decoded."""
        encoding = self.first.get("content-transfer-encoding", "").lower()
        if encoding == "base64":
            return _base64(self.body)
        return binascii.a2b_qp(self.body) if encoding == "quoted-printable" else self.body

    @property
    def text(self) -> str:
        return _decoded(self.payload, self.parameter("content-type", "charset")).replace("\r\n", "\n")


def read(raw: bytes) -> Content:
    """Read a mail, or the beginning of one. Never raises: what cannot be parsed is shown as it is, or left out."""
    whole = _Part(raw)
    leaves = list(_leaves(whole))
    text, html = _body(leaves, "text/plain"), _body(leaves, "text/html")
    others = [leaf for leaf in leaves if leaf not in (text, html) and (leaf.is_attachment or not leaf.aside)]
    return Content(
        [(name, _decoded_words(value)) for name, value in whole.headers],
        text.text if text else None,
        _with_pictures(html.text, leaves) if html else None,
        [Attachment(part.filename, part.type, len(part.payload), _said_by(part)) for part in others],
    )


def _said_by(part: _Part) -> str:
    """The text of an attachment: a calendar as it is; a mail's main headers and text; else ""."""
    if part.type == "text/calendar":
        return part.text[:ATTACHED]
    if part.type != "message/rfc822":
        return ""
    inner = _Part(part.payload)
    shown = [f"{name}: {_decoded_words(value)}" for name, value in inner.headers if name.lower() in OF_ATTACHED]
    text = _body(list(_leaves(inner)), "text/plain")
    return "\n".join([*shown, "", text.text if text else ""]).strip()[:ATTACHED]


def _leaves(whole: _Part) -> Iterator[_Part]:
    """The parts that contain no others, in order; an attached mail counts as one, and so does a part at DEPTH."""
    waiting = [(whole, 0)]
    for _ in range(PARTS):
        if not waiting:
            return
        part, depth = waiting.pop()
        boundary = part.parameter("content-type", "boundary") if part.type.startswith("multipart/") else ""
        if boundary and depth < DEPTH:
            waiting += [(inner, depth + 1) for inner in reversed(_inner(part, boundary))]
        else:
            yield part


def _inner(part: _Part, boundary: str) -> list[_Part]:
    delimiter = re.compile(rb"\n--" + re.escape(boundary.encode("utf-8", "replace")) + rb"(--)?[ \t\r]*+(?=\n|\Z)")
    body = b"\n" + part.body
    found = []
    delimiters = list(islice(delimiter.finditer(body), PARTS + 1))
    for each, following in zip(delimiters, [*delimiters[1:], None], strict=False):
        if each[1]:  # the last one
            break
        raw = body[each.end() + 1 : following.start() if following else None]
        found.append(_Part(raw.removesuffix(b"\r"), aside=part.aside))
    if part.type == "multipart/related" and found:
        start = part.parameter("content-type", "start").strip(" <>")
        root = next((each for each in found if start and each.id == start), found[0])
        found.sort(key=lambda each: each is not root)
        for beside in found[1:]:
            beside.aside = True
    return found


def _body(leaves: list[_Part], kind: str) -> _Part | None:
    return next((leaf for leaf in leaves if leaf.type == kind and not leaf.is_attachment and not leaf.aside), None)


def _with_pictures(html: str, leaves: list[_Part]) -> str:
    """The HTML with its `cid:` pictures inlined (RFC 2392), up to INLINED characters."""
    room = INLINED
    parts = {leaf.id: leaf for leaf in reversed(leaves) if leaf.type in PICTURES and leaf.id}
    written: dict[str, str] = {}

    def picture(match: re.Match[str]) -> str:
        nonlocal room
        part = parts.get(match[1]) or parts.get(unquote(match[1]))
        if part is None:
            return match[0]
        if match[1] not in written:
            written[match[1]] = f"data:{part.type};base64,{base64.b64encode(part.payload).decode()}"
        room -= len(written[match[1]])
        return written[match[1]] if room >= 0 else match[0]

    return _CID.sub(picture, html) if parts else html


def _text_of(value: bytes) -> str:
    """A header's value, unfolded but still encoded."""
    cut = "…" if len(value) > HEADER_LENGTH else ""
    text = value[:HEADER_LENGTH].decode("utf-8", "replace").replace("\r", "").replace("\n", "")
    return _UNPRINTABLE.sub("\ufffd", text).strip() + cut


def _decoded_words(text: str) -> str:
    """A header's value with encoded words decoded (RFC 2047)."""

    def decode(word: re.Match[str]) -> str:
        data = word[3].encode("utf-8", "replace")
        return _decoded(_base64(data) if word[2] in "bB" else binascii.a2b_qp(data, header=True), word[1])

    return _ENCODED_WORD.sub(decode, _BETWEEN_WORDS.sub("", text))


def _base64(data: bytes) -> bytes:
    """The decoded bytes; characters outside the alphabet are skipped."""
    data = _NOT_BASE64.sub(b"", data)
    if len(data) % 4 == 1:
        data = data[:-1]
    return base64.b64decode(data + b"=" * (-len(data) % 4))


def _decoded(data: bytes, charset: str) -> str:
    """Bytes as text that a page can show. An unknown charset is read as UTF-8."""
    codec = _CHARSETS.get(encodings.normalize_encoding(charset[:40]).lower(), "utf_8")
    text = data.decode("utf_8" if codec == "ascii" else codec, "replace")
    return _UNPRINTABLE.sub("\ufffd", text)
