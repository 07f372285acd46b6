"""A stored message in the shape that every Django email backend takes: its bytes are sent as they were stored."""

import email
import email.policy
from email.message import EmailMessage as ParsedMessage
from functools import cached_property
from typing import Any, cast

from django.core.mail import EmailMultiAlternatives

from notify.delivery.claims import Claimed


class StoredMessage(EmailMultiAlternatives):
    """For our own backend `wire_bytes` is all there is to it. What others read is parsed when they ask for it."""

    mixed_subtype = "mixed"
    encoding = None

    def __init__(self, claimed: Claimed, following: Claimed | None = None) -> None:
        # Not super().__init__(): nothing is built anew, and nothing that is not asked for costs anything.
        self.claimed = claimed
        self.following = following and StoredMessage(following)
        self.wire_bytes = claimed.mime
        self.from_email = claimed.sender
        self.to = [claimed.recipient]
        self.cc: list[str] = []
        self.bcc: list[str] = []
        self.reply_to: list[str] = []

    def recipients(self) -> list[str]:
        """The one of the envelope, whoever stands in the headers."""
        return self.to

    def message(self, **kwargs: Any) -> Any:
        parsed = cast(
            "_StoredBytes", email.message_from_bytes(self.wire_bytes, _class=_StoredBytes, policy=email.policy.SMTP)
        )
        parsed.wire_bytes = self.wire_bytes
        return parsed

    @cached_property
    def _parsed(self) -> ParsedMessage:
        return email.message_from_bytes(self.wire_bytes, policy=email.policy.default)

    @cached_property
    def subject(self) -> str:  # type: ignore[override]  # read only here: nothing edits a stored message
        return str(self._parsed["Subject"] or "")

    @cached_property
    def extra_headers(self) -> dict[str, str]:  # type: ignore[override]
        built_anew = ("subject", "from", "to", "cc", "content-type", "content-transfer-encoding", "mime-version")
        return {name: str(value) for name, value in self._parsed.items() if name.lower() not in built_anew}

    @cached_property
    def body(self) -> str:  # type: ignore[override]
        part = self._parsed.get_body(("plain",))
        return str(part.get_content()) if part else ""

    @cached_property
    def alternatives(self) -> list[tuple[str, str]]:  # type: ignore[override]
        part = self._parsed.get_body(("html",))
        return [(str(part.get_content()), "text/html")] if part else []

    @cached_property
    def attachments(self) -> list[ParsedMessage]:  # type: ignore[override]
        return cast("list[ParsedMessage]", list(self._parsed.iter_attachments()))


class _StoredBytes(ParsedMessage):
    """A parsed message that writes itself as the bytes it was read from."""

    wire_bytes: bytes

    def as_bytes(self, unixfrom: bool = False, policy: Any = None, linesep: str | None = None) -> bytes:
        ends = linesep or (policy.linesep if policy else "\r\n")
        return self.wire_bytes if ends == "\r\n" else self.wire_bytes.replace(b"\r\n", b"\n")
