"""The facts of a failed attempt: its phase and the reply. Made from any email backend's exception."""

import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from notify.smtp import api
from notify.smtp.secret import hush

Error = TypeVar("Error", bound=BaseException)

PHASES = (
    *("config", "proxy", "dns", "connect", "greeting", "ehlo", "tls"),
    *("token", "auth", "sender", "recipient", "data", "end"),
)
# `prepare` is the one phase before the wire: the message itself could not be made into bytes.
PREPARE = "prepare"
_ENHANCED = re.compile(r"^\s*([245]\.[0-9]{1,3}\.[0-9]{1,3})\b")
# C0, DEL and C1, line and paragraph separators, marks that reorder what stands beside them, halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS = (TimeoutError, ConnectionError, smtplib.SMTPServerDisconnected, ssl.SSLEOFError, ssl.SSLZeroReturnError)
_PHASES_BY_TYPE = {  # of an exception of another backend; the first that fits
    smtplib.SMTPConnectError: "greeting",
    smtplib.SMTPHeloError: "ehlo",
    smtplib.SMTPAuthenticationError: "auth",
    smtplib.SMTPNotSupportedError: "auth",
    smtplib.SMTPSenderRefused: "sender",
    smtplib.SMTPRecipientsRefused: "recipient",
    smtplib.SMTPDataError: "end",
    socket.gaierror: "dns",
    ssl.SSLError: "tls",
    ConnectionRefusedError: "connect",
}
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_TEXT_LIMIT = 2000  # characters of a relay's words that are kept


@dataclass(frozen=True, kw_only=True)
class Failure:
    """`code` is the SMTP reply code or None where nothing was answered.

    `broken`: the connection broke, was never made or went silent; nothing was refused.
    `local`: the reply is what the relay would have said, without asking it (such as for a message over its SIZE).
    `api`: a mail provider's API failed, and `code` is an HTTP status. `final`: it refused, and time will not mend that.
    `wait`: seconds until it wants to be asked again; 0 if it does not say.
    """

    phase: str
    text: str
    code: int | None = None
    broken: bool = False
    local: bool = False
    api: bool = False
    final: bool = False
    wait: float = 0

    @property
    def enhanced(self) -> str:
        """The RFC 3463 code that the reply begins with, or ""."""
        match = _ENHANCED.match(self.text)
        return match[1] if match and not self.api else ""

    @property
    def unheard(self) -> bool:
        """Whether the whole message was handed over and not answered (RFC 1047): it may have been accepted."""
        return self.phase == "end" and (self.api or self.code is None)

    @property
    def words(self) -> str:
        """The reply as the relay gave it: `550 5.1.1 No such user`; an API's with `HTTP` before its status."""
        if self.api and self.code:
            return f"HTTP {self.code} {self.text}"
        return f"{self.code} {self.text}" if self.code else self.text


def from_exception(error: BaseException, *, secrets: Iterable[str] = ()) -> Failure:
    """The facts of an exception from any email backend. Ours has a `phase`; for others it follows from the type."""
    if not hasattr(error, "phase") and (refusal := api.read(error)):
        phase, code, final, words, wait = refusal
        text = scrub(words, secrets)[:_TEXT_LIMIT]
        return Failure(phase=phase, code=code, final=final, wait=wait, api=True, text=text)
    code, words = _reply(error)
    phase = getattr(error, "phase", "")
    if phase not in (*PHASES, PREPARE):  # none, or another library's word
        phase = _phase(error, code)
    return Failure(
        phase=phase,
        code=code,
        text=scrub(words, secrets)[:_TEXT_LIMIT],
        broken=code is None and isinstance(error, _BREAKS),
        local=getattr(error, "local", False),
    )


def marked(error: Error, phase: str) -> Error:
    """The exception with its phase; one that it already has is kept."""
    if not hasattr(error, "phase"):
        error.phase = phase  # type: ignore[attr-defined]
    return error


def decode(raw: bytes | str) -> str:
    """Reply bytes as one line of text: UTF-8, else GBK (as QQ answers), else Latin-1.

    In GBK the bytes beyond ASCII come in pairs, in Latin-1 mostly alone.
    """
    return one_line(raw if isinstance(raw, str) else _decoded(raw))


def _decoded(raw: bytes) -> str:
    if raw.isascii():
        return raw.decode("ascii")
    paired = all(len(run) % 2 == 0 for run in _BEYOND_ASCII.findall(raw))
    for encoding in ("utf-8", "gbk") if paired else ("utf-8",):
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    return raw.decode("latin-1")


def printable(text: str) -> str:
    r"""The text with control characters, line breaks and marks that reorder letters escaped: `\x1b`, `\n`, `\u202e`."""
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """The lines of a reply joined by spaces, a shared enhanced code only once, all of it printable."""
    if "\n" in text:
        first, *others = [line.strip() for line in text.split("\n")]
        code = _ENHANCED.match(first)
        shared = code[1] if code else "\n"
        text = " ".join(filter(None, [first, *(line.removeprefix(shared).strip() for line in others)]))
    return printable(text.replace("\t", " "))


def scrub(text: str, secrets: Iterable[str]) -> str:
    """One printable line with every secret masked: safe to store in any database and to show anywhere."""
    return one_line(hush(text, secrets))


def _reply(error: BaseException) -> tuple[int | None, str]:
    raw: bytes | str
    if isinstance(error, smtplib.SMTPRecipientsRefused) and error.recipients:
        code, raw = next(iter(error.recipients.values()))
    elif isinstance(error, smtplib.SMTPResponseException):
        code, raw = error.smtp_code, error.smtp_error
    else:
        name = type(error).__name__
        return None, f"{name}: {error}" if str(error) else name
    # smtplib uses -1 for "the connection broke while the answer was read", and for what is no reply.
    return (code if 200 <= code <= 599 else None), decode(raw)


def _phase(error: BaseException, code: int | None) -> str:
    for kind, phase in _PHASES_BY_TYPE.items():
        if isinstance(error, kind):
            return phase
    if isinstance(error, (smtplib.SMTPException, OSError)):
        # It is not known whether the message had been transferred: assume that it had.
        return "end" if code is None else "data"
    return PREPARE
