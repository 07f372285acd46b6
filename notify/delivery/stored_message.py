"""A stored message in the shape that every Django email backend takes: its bytes, and the fields it was built from."""

import email
import email.policy
from collections.abc import Iterator
from email.headerregistry import Address
from email.message import EmailMessage as ParsedMessage
from email.message import Message as MIMEMessage
from email.message import MIMEPart
from email.mime.base import MIMEBase
from functools import cached_property
from typing import Any, NamedTuple, cast

import django
from django.core.mail import EmailAlternative, EmailAttachment, EmailMultiAlternatives
from django.utils.encoding import punycode

from notify.delivery import attributes
from notify.delivery.claims import Claimed
from notify.smtp.envelope import Envelope, envelope_of

# Headers that Django writes from fields, and those of the body.
_BUILT = (
    "subject from to cc reply-to content-type content-transfer-encoding mime-version".split()  # noqa: SIM905
)
# What is taken out of the bytes is as it was in them.
_AS_STORED = email.policy.default.clone(linesep="\r\n", refold_source="none")


class StoredMessage(EmailMultiAlternatives):
    """What a transport gets: to one recipient, or to all where the row is of a whole message.

    `envelope`: the transport is SMTP. Then sender and recipient are bare addresses, and `wire_envelope` and
    `wire_bytes` are all it needs. For other backends the fields are those of the caller's message. What they do not ask
    for is never parsed. `following`: the message that will be sent next, where that is known.
    """

    encoding = None
    following: "StoredMessage | None" = None

    def __init__(self, claimed: Claimed, *, envelope: bool = True) -> None:
        # Not super().__init__(): nothing is built again, and nothing that is not asked for costs anything.
        self.claimed = claimed
        self.wire_bytes = claimed.mime
        self.from_email = claimed.sender
        self.to = [claimed.recipient]
        self.cc: list[str] = []
        self.bcc: list[str] = []
        self.reply_to: list[str] = []
        self._recipients = self.to
        self._headers: dict[str, str | None] | None = None
        kept = attributes.load(claimed.attributes)
        for name, value in kept["attributes"].items():
            if not hasattr(self, name):
                setattr(self, name, value)
        if whole := attributes.whole_message(claimed.attributes, claimed.recipient):
            self._recipients = whole
            self._headers = kept["fields"].pop("extra_headers")
            alternatives = kept["fields"].pop("alternatives", None)
            vars(self).update(kept["fields"])
            if alternatives is not None:
                self.alternatives = [EmailAlternative(*each) for each in alternatives]
        elif not envelope:
            self._name_from_headers()

    def recipients(self) -> list[str]:
        """Bare addresses: those of the envelope, not of the headers."""
        return list(self._recipients)

    @cached_property
    def wire_envelope(self) -> Envelope:
        """Raises ValueError for an invalid address."""
        return envelope_of(self, self.wire_bytes)

    def message(self, **kwargs: Any) -> Any:
        parsed = cast("_StoredBytes", email.message_from_bytes(self.wire_bytes, _class=_StoredBytes, policy=_AS_STORED))
        parsed.wire_bytes, parsed.stored_headers = self.wire_bytes, parsed.all_headers()
        return parsed

    @cached_property
    def subject(self) -> str:  # type: ignore[override]  # read only here: nothing edits a stored message
        return str(self._parsed["Subject"] or "")

    @cached_property
    def extra_headers(self) -> dict[str, str]:  # type: ignore[override]
        """Those the caller gave and the Message-ID; from the bytes where the caller's are not known."""
        stored = {name: str(value) for name, value in self._parsed.items() if name.lower() not in _BUILT}
        if self._headers is None:
            return stored | self._foreign_sender()
        of_the_bytes = {name.lower(): value for name, value in stored.items()}
        given = {
            name: of_the_bytes.get(name.lower(), "") if value is None else value
            for name, value in self._headers.items()
        }
        if "message-id" in of_the_bytes and not any(name.lower() == "message-id" for name in given):
            given["Message-ID"] = of_the_bytes["message-id"]
        return given

    @cached_property
    def content_subtype(self) -> str:  # type: ignore[override]
        part = self._parts.body
        return part.get_content_subtype() if part else "plain"

    @cached_property
    def body(self) -> str:  # type: ignore[override]
        part = self._parts.body
        return str(_content(part)) if part else ""

    @cached_property
    def alternatives(self) -> list[EmailAlternative]:  # type: ignore[override]
        return [EmailAlternative(_content(part), _mimetype(part)) for part in self._parts.alternatives]

    @cached_property
    def attachments(self) -> list[EmailAttachment | MIMEPart | MIMEBase]:  # type: ignore[override]
        """As the caller attached them: name, content and type; as a MIME part where it has more (a Content-ID, say)."""
        return [_attachment(part) for part in self._parts.attachments]

    @cached_property
    def _parsed(self) -> ParsedMessage:
        return email.message_from_bytes(self.wire_bytes, policy=_AS_STORED)

    @cached_property
    def _parts(self) -> "_Parts":
        return _split(self._parsed)

    def _name_from_headers(self) -> None:
        """Sender, recipient and Reply-To with their display names, for a row of a message stored for SMTP.

        The row's own recipient is the only one: a backend without an envelope would send to all that it is given.
        """
        sender, own = _ascii(self.claimed.sender), _ascii(self.claimed.recipient)
        self.from_email = next(
            (str(each) for each in self._addresses("From") if _ascii(each.addr_spec) == sender), self.claimed.sender
        )
        named = [*self._addresses("To"), *self._addresses("Cc")]
        self.to = [next((str(each) for each in named if _ascii(each.addr_spec) == own), self.claimed.recipient)]
        self.reply_to = [str(each) for each in self._addresses("Reply-To")]

    def _foreign_sender(self) -> dict[str, str]:
        """The From header where it names another than the envelope (Django ticket 9214)."""
        named = [_ascii(each.addr_spec) for each in self._addresses("From")]
        return {} if named == [_ascii(self.claimed.sender)] else {"From": str(self._parsed["From"] or "")}

    def _addresses(self, header: str) -> Iterator[Address]:
        for value in self._parsed.get_all(header, []):
            yield from value.addresses


class _StoredBytes(ParsedMessage):
    """A parsed message that writes itself as the bytes it was read from, unless a backend has changed its headers."""

    wire_bytes: bytes
    stored_headers: list[tuple[str, Any]]

    def all_headers(self) -> list[tuple[str, Any]]:
        """Those of the parts as well."""
        return [header for part in self.walk() for header in part.raw_items()]

    def as_bytes(self, unixfrom: bool = False, policy: Any = None, linesep: str | None = None) -> bytes:
        ends = linesep or (policy.linesep if policy else "\r\n")
        changed = self.all_headers() != self.stored_headers
        written = super().as_bytes(policy=_AS_STORED) if changed else self.wire_bytes
        return written if ends == "\r\n" else written.replace(b"\r\n", b"\n")


class _Parts(NamedTuple):
    """The parts of a mail by what Django calls them."""

    body: MIMEPart | None
    alternatives: list[MIMEPart]
    attachments: list[MIMEPart]


def _split(whole: ParsedMessage) -> _Parts:
    """A mail taken apart as Django puts it together: the body, beside it the alternatives, around them attachments."""
    main: MIMEPart | None = whole
    attachments: list[MIMEPart] = []
    if whole.is_multipart() and whole.get_content_type() != "multipart/alternative":
        main, *attachments = [None, *whole.iter_parts()]
        if attachments and _is_text(attachments[0]):
            main = attachments.pop(0)
    if main is None or not main.is_multipart():
        return _Parts(main, [], attachments)
    alternatives: list[MIMEPart] = []
    for part in main.iter_parts():
        if part.get_content_type() == "multipart/related":  # the HTML, and pictures that belong to it
            first, *pictures = part.iter_parts()
            alternatives.append(first)
            attachments += pictures
        else:
            alternatives.append(part)
    is_plain = bool(alternatives) and alternatives[0].get_content_type() == "text/plain"
    return _Parts(alternatives.pop(0) if is_plain else None, alternatives, attachments)


def _is_text(part: MIMEPart) -> bool:
    of_text = part.get_content_type() in ("text/plain", "text/html", "multipart/alternative")
    return of_text and part.get_content_disposition() is None


def _content(part: MIMEPart) -> str | bytes:
    if part.get_content_maintype() == "message":
        return b"".join(inner.as_bytes(policy=_AS_STORED) for inner in cast("list[MIMEMessage]", part.get_payload()))
    content = part.get_payload(decode=True)
    raw = content if isinstance(content, bytes) else part.as_bytes(policy=_AS_STORED)
    if part.get_content_maintype() != "text":
        return raw
    try:
        text = raw.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:  # a charset that there is not
        text = raw.decode("utf-8", "replace")
    return text.replace("\r\n", "\n")


def _mimetype(part: MIMEPart) -> str:
    """With parameters that say something of the content, as `text/calendar; method=REQUEST`."""
    header = part["Content-Type"]
    params = header.params.items() if header is not None else ()
    said = [f"{name}={value}" for name, value in params if name not in ("charset", "boundary", "name")]
    return "; ".join([part.get_content_type(), *said])


def _attachment(part: MIMEPart) -> EmailAttachment | MIMEPart | MIMEBase:
    names = {name.lower() for name, _ in part.items()}
    ordinary = names <= {"content-type", "content-transfer-encoding", "content-disposition", "mime-version"}
    ordinary &= part.get_content_disposition() != "inline" and part.get_content_maintype() != "multipart"
    if ordinary:
        return EmailAttachment(part.get_filename(), _content(part), _mimetype(part))
    if django.VERSION >= (6, 0):
        return part
    # What Django takes for a MIME part until then.
    return cast("MIMEBase", email.message_from_bytes(part.as_bytes(policy=_AS_STORED), _class=_OldPart))


class _OldPart(MIMEBase):
    def __init__(self, policy: Any = email.policy.compat32) -> None:
        MIMEMessage.__init__(self, policy=policy)


def _ascii(address: str) -> str:
    local, at, domain = address.rpartition("@")
    return f"{local}@{punycode(domain)}" if at else address
