"""The envelope: sender, recipients and size as the commands MAIL, RCPT and DATA, within what the server takes."""

import re
import smtplib
from collections.abc import Mapping, Sequence
from email.headerregistry import AddressHeader
from typing import Any, NamedTuple

from django.core.mail import EmailMessage
from django.utils.encoding import punycode

from notify.smtp.failure import Error, marked

_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+")
_NUMBER = re.compile(r"[0-9]{1,20}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# What Django takes though RFC 5322 does not: a name without a domain; and what SMTPUTF8 (RFC 6531) allows.
_HARMLESS = {"addr-spec local part with no domain", "local-part contains non-ASCII characters)"}


class Envelope(NamedTuple):
    """Sender and recipients, and what is announced of the body: size in bytes (0: nothing) and whether it is ASCII."""

    sender: str
    recipients: Sequence[str]
    size: int = 0
    eight_bit: bool = False


def address(given: object) -> str:
    """The one address for MAIL or RCPT: without display name, its domain in ASCII. Raises ValueError."""
    text = str(given)  # translations are lazy
    if _PLAIN_ADDRESS.fullmatch(text):
        return text
    try:
        parsed: Any = AddressHeader.value_parser(text)
        defects = {str(defect) for defect in parsed.all_defects} - _HARMLESS
        mailboxes = parsed.all_mailboxes
    except Exception as error:  # the library's parser stumbles in many ways: over "to@", "=@["
        raise ValueError(f"Invalid address {text!r}") from error
    if defects or len(mailboxes) != 1:
        raise ValueError(f"Invalid address {text!r}: {'; '.join(sorted(defects)) or 'must be a single address'}")
    bare: str = mailboxes[0].addr_spec
    local, at, domain = bare.rpartition("@")
    if not bare or (at and not (local and domain)) or _CONTROL.search(bare) or set(domain) & set(" <>"):
        raise ValueError(f"Invalid address {text!r}")
    return f"{local}@{punycode(domain)!s}" if at else bare


def envelope_of(message: EmailMessage, data: bytes) -> Envelope:
    """That of a message whose bytes these are. Raises ValueError for an invalid address."""
    recipients = [address(each) for each in message.recipients()]
    return Envelope(address(message.from_email), recipients, len(data), not data.isascii())


def commands(features: Mapping[str, str], envelope: Envelope) -> list[bytes]:
    """The lines MAIL, RCPT …, DATA. `features`: the server's, as smtplib keeps them.

    An envelope of eight bits is for a server that takes them.

    Raises SMTPDataError for a message that is too large, SMTPSenderRefused or SMTPRecipientsRefused for an address
    that this server cannot take, each before a byte is sent.
    """
    sender, recipients = envelope.sender, envelope.recipients
    options = _size(features, envelope.size) if "size" in features and envelope.size else ""
    if envelope.eight_bit:
        options += " BODY=8BITMIME"
    foreign = [address for address in (sender, *recipients) if not address.isascii()]
    if foreign:
        if "smtputf8" not in features:
            raise _untakeable(sender, foreign)
        options += " SMTPUTF8"
    words = [f"MAIL FROM:<{sender}>{options}", *(f"RCPT TO:<{recipient}>" for recipient in recipients), "DATA"]
    return [f"{word}\r\n".encode() for word in words]


def _size(features: Mapping[str, str], size: int) -> str:
    limit = features["size"].strip()
    # RFC 1870 3: 1 to 20 digits, 0 for no limit. What is none of that says nothing.
    if _NUMBER.fullmatch(limit) and 0 < int(limit) < size:
        text = f"5.3.4 The message has {size} bytes, the relay takes {limit} at most (SIZE, RFC 1870)"
        raise _local(smtplib.SMTPDataError(552, text.encode()), "data")
    return f" SIZE={size}"


def _untakeable(sender: str, foreign: list[str]) -> smtplib.SMTPException:
    code, text = 553, b"5.6.7 The relay takes no address with letters beyond ASCII before the @ (SMTPUTF8, RFC 6531)"
    if sender in foreign:
        return _local(smtplib.SMTPSenderRefused(code, text, sender), "sender")
    return _local(smtplib.SMTPRecipientsRefused(dict.fromkeys(foreign, (code, text))), "recipient")


def _local(error: Error, phase: str) -> Error:
    """Marked as a reply that the relay did not give."""
    error.local = True  # type: ignore[attr-defined]
    return marked(error, phase)
