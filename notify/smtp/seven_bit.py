"""A message for relays without 8BITMIME: the same mail, its bodies re-encoded in ASCII (RFC 6152 section 3)."""

import base64
import binascii
import email
import email.policy
import re
from email.message import EmailMessage
from typing import cast

# Headers stay as they were read; only what is not ASCII is encoded.
_POLICY = email.policy.SMTP.clone(refold_source="none", cte_type="7bit")
_UNENCODED = ("", "7bit", "8bit", "binary")


def seven_bit(data: bytes) -> bytes:
    """The message (CRLF line ends) in ASCII; parts that are ASCII already stay as they are.

    Raises ValueError for what cannot be decoded and re-encoded, such as non-ASCII bytes in a base64 part.
    """
    message: EmailMessage = email.message_from_bytes(data, policy=_POLICY)
    for part in message.walk():
        if str(part.get("Content-Transfer-Encoding", "")).strip().lower() not in _UNENCODED:
            continue
        if part.is_multipart():
            _label(part, "7bit")
        elif not (body := cast("bytes", part.get_payload(decode=True))).isascii():
            quoted, encoded = binascii.b2a_qp(body, istext=True), base64.encodebytes(body)
            # For text alone: quoted-printable may change line ends.
            is_quoted = part.get_content_maintype() == "text" and len(quoted) <= len(encoded)
            part.set_payload((quoted if is_quoted else encoded).decode("ascii"))
            _label(part, "quoted-printable" if is_quoted else "base64")
    try:
        written = message.as_bytes()
    except UnicodeEncodeError:
        written = data
    if not written.isascii():
        raise ValueError("the relay takes no eight bits (8BITMIME), and the message cannot be written in seven")
    return re.sub(rb"\r\n|\r|\n", b"\r\n", written)


def _label(part: EmailMessage, encoding: str) -> None:
    if "Content-Transfer-Encoding" in part:
        part.replace_header("Content-Transfer-Encoding", encoding)
    elif encoding != "7bit":
        part["Content-Transfer-Encoding"] = encoding
