"""A message as bytes, its header lines folded at 78 octets where that is possible and never over 998 (RFC 5322 2.1.1).

Python folds text and addresses well. What programs read, such as a Message-ID or a link in List-Unsubscribe, it turns
into encoded words, which they do not expect, or, with its older policy, leaves on one line of any length.
"""

import io
import re
from email.generator import BytesGenerator
from email.header import Header, decode_header, make_header
from email.message import Message
from email.policy import SMTP, Compat32, EmailPolicy, Policy
from email.utils import getaddresses
from typing import Any

import django
from django.core.mail import EmailMessage

LINE = 78
LIMIT = 998
_ADDRESSES = {"from", "sender", "reply-to", "to", "cc", "bcc"}
_TEXTS = {"subject", "comments"}  # only people read them
# Programs read them word by word: nothing in them may be encoded.
_WORDS = {"message-id", "in-reply-to", "references", "return-path", "date", "mime-version"}
_RAW = re.compile("[\ud800-\udfff]")  # bytes beyond ASCII, which attached messages may hold
_LINE_END = re.compile(r"\r\n|\r|\n")
_TOKEN = re.compile(r"[ \t]*[^ \t]+")
_PARAMETER = re.compile(r""";\s*([^\s=;*]+(?:\*\d+)?)(\*?)=("(?:[^"\\]|\\.)*"|[^;\s]*)""")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}|.", re.DOTALL)


def wire_bytes(message: EmailMessage) -> bytes:
    """The MIME bytes as SMTP requires: CRLF line ends, no bare CR or LF (RFC 5321 2.3.8), no header line too long.

    Raises ValueError for a header that cannot be folded within 998 octets, such as a long Message-ID.
    """
    rendered: Message = message.message(**({"policy": SMTP} if django.VERSION >= (6, 0) else {}))
    stream = io.BytesIO()
    policy = _LEGACY if isinstance(rendered.policy, Compat32) else _MODERN
    BytesGenerator(stream, mangle_from_=False, policy=policy).flatten(rendered)
    return re.sub(rb"\r\n|\r|\n", b"\r\n", stream.getvalue())


class _Folding(Policy):
    """Folds headers as `wire_bytes` says; also those of parts and of attached messages."""

    def fold_binary(self, name: str, value: Any) -> bytes:
        kind, text = name.lower(), str(value)
        if kind.startswith("content-") or kind in _ADDRESSES or _RAW.search(text):
            folded: bytes = super().fold_binary(name, value)
            lines = _joined(_LINE_END.split(folded.decode("latin-1"))[:-1])
            if kind.startswith("content-") and text.isascii() and max(map(len, lines)) > LINE:
                lines = _with_short_parameters(f"{name}: {text}")
            elif kind in _ADDRESSES and max(map(len, lines)) > LIMIT:
                lines = fold(name, _with_encoded_names(text))
        else:
            lines = fold(name, text)
        if max(map(len, lines)) > LIMIT:
            raise ValueError(f"the header {name} holds a word too long for a line of {LIMIT} octets (RFC 5322 2.1.1)")
        return "".join(f"{line}{self.linesep}" for line in lines).encode("latin-1")


class _Modern(_Folding, EmailPolicy):
    pass


class _Legacy(_Folding, Compat32):
    pass


_MODERN, _LEGACY = _Modern(linesep="\r\n"), _Legacy(linesep="\r\n")


def fold(name: str, value: str) -> list[str]:
    """The lines of a header; over 78 only if a word that programs read is, over 998 only if it cannot be broken."""
    kind, start = name.lower(), f"{name}:"
    value = re.sub(r"[\r\n]+(?![ \t])", " ", value)
    value = re.sub(r"[\r\n]+", "", value).strip(" \t")
    if not value.isascii() or _has_to_be_encoded(kind, value):
        # The first encoded word, too, goes on the line of the name: some readers show an empty first line.
        plain = str(make_header(decode_header(value))) if value.isascii() else value
        value = Header(plain, "utf-8", header_name=name, maxlinelen=LINE - 1).encode(linesep="")
    lines = [start]
    for token in _TOKEN.findall(f" {value}"):
        for piece in _pieces(kind, token):
            # A word that is too long for any line may as well go on the line of the name.
            room = LIMIT if lines == [start] and len(piece) > LINE else LINE
            if len(lines[-1]) + len(piece) > room:
                lines.append(piece)
            else:
                lines[-1] += piece
    return lines


def _has_to_be_encoded(kind: str, value: str) -> bool:
    """Whether a text in ASCII has a word too long for its line; then all of it is encoded, to keep its spaces."""
    if kind in _WORDS or kind.startswith("list-") or kind == "dkim-signature":
        return False
    words = value.split()
    if kind in _TEXTS:
        return any(len(word) >= LINE for word in words) or bool(words and len(kind) + 2 + len(words[0]) > LINE)
    return any(len(word) >= LIMIT for word in words)


def _pieces(kind: str, token: str) -> list[str]:
    """A word and the spaces before it, in pieces that each fit on a line."""
    word = token.strip()
    if len(token) <= LIMIT:
        return [token]
    if len(word) < LIMIT or kind in _WORDS:
        return [f" {word}"]
    # Spaces within the <…> of List-Unsubscribe are not part of the link (RFC 2369 2), nor of a signature's base64.
    return [f" {word[start : start + LINE - 1]}" for start in range(0, len(word), LINE - 1)]


def _with_encoded_names(value: str) -> str:
    mailboxes = []
    for name, address in getaddresses([value]):
        plain = str(make_header(decode_header(name)))
        encoded = Header(plain, "utf-8", maxlinelen=LINE - len("Reply-To: ")).encode()
        mailboxes.append(f"{encoded} <{address}>" if name else address)
    return ", ".join(mailboxes)


def _with_short_parameters(header: str) -> list[str]:
    """A line per parameter, the long ones in several (RFC 2231 3)."""
    header = re.sub(r"[\r\n]+", "", header)
    lines = [header[: start.start()].rstrip() if (start := _PARAMETER.search(header)) else header]
    for match in _PARAMETER.finditer(header):
        name, extended, value = match.groups()
        line = f" {name}{extended}={value}"
        if len(line) < LINE or "*" in name:
            lines[-1] += ";"
            lines.append(line)
            continue
        plain = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        letters = _ESCAPE.findall(plain) if extended else [re.sub(r'(["\\])', r"\\\1", letter) for letter in plain]
        for number, chunk in enumerate(_chunks(letters, LINE - len(f' {name}*000*="";'))):
            lines[-1] += ";"
            lines.append(f" {name}*{number}*={chunk}" if extended else f' {name}*{number}="{chunk}"')
    return lines


def _chunks(letters: list[str], length: int) -> list[str]:
    chunks = [""]
    for letter in letters:
        if len(chunks[-1]) + len(letter) > length:
            chunks.append("")
        chunks[-1] += letter
    return chunks


def _joined(lines: list[str]) -> list[str]:
    """Without a first line that is only the name, if the next line fits beside it or is too long for any line."""
    if len(lines) > 1 and lines[0].rstrip().endswith(":"):
        first = f"{lines[0].rstrip()} {lines[1].lstrip()}"
        if len(first) <= (LIMIT if len(lines[1]) > LINE else LINE):
            return [first, *lines[2:]]
        return [lines[0].rstrip(), *lines[1:]]
    return lines
