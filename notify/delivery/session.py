"""A kept connection to the relay: opened lazily, checked when idle, recycled after 100 messages."""

import contextlib
import time
from typing import Any

from django.core.mail.backends.base import BaseEmailBackend

from notify.delivery import transport
from notify.delivery.claims import Claimed, attempt_seconds
from notify.delivery.stored_message import StoredMessage
from notify.smtp import failure
from notify.smtp.dial import own_name

RECYCLE_AFTER = 100  # messages: many relays count, and answer the next with 421
CHECK_AFTER = 5  # seconds idle: ask with NOOP before relying on it
CLOSE_AFTER = 30  # seconds idle


class RecipientsRefused(Exception):
    """The provider's API took the request and said of every recipient that it will not deliver to them."""


class Session:
    """Sends one message at a time through the transport backend. `send` raises what the backend raises.

    `refused`: recipients of the last message that the backend did not take, while it took the others, and its words.
    """

    def __init__(self) -> None:
        self._backend: BaseEmailBackend | None = None
        self._following: StoredMessage | None = None
        self._sent = 0
        self._used_at = 0.0
        self._secrets = transport.secrets()
        self.takes_envelope = transport.takes_envelope()
        self.refused: dict[str, str] = {}
        if not transport.options().get("local_hostname"):
            own_name()  # now, as nothing is claimed yet

    def send(self, message: Claimed, *, following: Claimed | None = None) -> str:
        """Hand one message over; returns the relay's reply, "" from a backend that does not keep it.

        `following`: the message that will be sent next, if the caller knows it.
        """
        was_open = self._ensure_open()
        try:
            return self._hand_over(message, following)
        except Exception as error:
            self.close()
            # A relay may have taken long to hang up; a second attempt must not outlive the lease.
            in_time = time.monotonic() + attempt_seconds() <= message.held_until
            if not (was_open and in_time and _went_stale(error)):
                raise
        # The relay had closed an idle connection: not this message's failure.
        return self.send(message, following=following)

    def rest(self) -> None:
        """Called while there is nothing to send."""
        if self._backend and time.monotonic() - self._used_at > CLOSE_AFTER:
            self.close()

    def close(self) -> None:
        """End the connection; errors in doing so are ignored."""
        backend, self._backend = self._backend, None
        if backend:
            with contextlib.suppress(Exception):
                backend.close()

    def _ensure_open(self) -> bool:
        """Open a connection if there is none; True if it was open before."""
        if self._backend:
            is_idle = time.monotonic() - self._used_at > CHECK_AFTER
            if self._sent < RECYCLE_AFTER and (not is_idle or self._answers()):
                return True
            self.close()
        self._open()
        return False

    def _answers(self) -> bool:
        """False also for a backend that cannot be asked."""
        check = getattr(self._backend, "check", None)
        return bool(check and check())

    def _open(self) -> None:
        """An error here that is no relay's refusal is the configuration's, not the message's."""
        try:
            self._backend, self._sent = transport.connect(), 0
            self._backend.open()
        except Exception as error:
            self.close()
            if not isinstance(error, OSError) and not hasattr(error, "phase"):
                error.phase = "config"  # type: ignore[attr-defined]
            raise

    def _hand_over(self, message: Claimed, following: Claimed | None) -> str:
        assert self._backend  # noqa: S101  (_ensure_open made it)
        if self._sent + 1 >= RECYCLE_AFTER or not self.takes_envelope:  # only SMTP asks for it
            following = None
        self.refused = {}
        stored, self._following = self._stored(message), None
        with contextlib.suppress(Exception):  # one that cannot be read must not fail the one before it
            stored.following = self._following = following and self._stored(following)
        if self._backend.send_messages([stored]) == 0:
            raise RuntimeError(f"{type(self._backend).__module__} accepted nothing and gave no reason")
        self._sent += 1
        self._used_at = time.monotonic()
        status = getattr(stored, "anymail_status", None)
        reply = _reply_of_anymail(status) if status else getattr(self._backend, "last_reply", "")
        if status and not self.takes_envelope:
            self.refused = _refused_by_anymail(status, stored.recipients())
        return failure.scrub(str(reply or ""), self._secrets)

    def _stored(self, message: Claimed) -> StoredMessage:
        """The same object that was announced as the following one, where it was."""
        if self._following and self._following.claimed is message:
            return self._following
        return StoredMessage(message, envelope=self.takes_envelope)


def _reply_of_anymail(status: Any) -> str:
    """What became of the recipients, and the provider's own ids: `queued <0f3a@mg.example>`."""
    each = status.recipients.values()
    words = [*sorted({str(one.status) for one in each}), *sorted({str(one.message_id) for one in each} - {"None"})]
    return " ".join(words)


def _refused_by_anymail(status: Any, recipients: list[str]) -> dict[str, str]:
    """Of these recipients those that the provider did not take, and what it said of them: rejected, invalid, failed."""
    said = {str(address).lower(): str(one.status) for address, one in status.recipients.items()}
    found = {recipient: said.get(recipient.lower(), "") for recipient in recipients}
    refused = {recipient: words for recipient, words in found.items() if words in ("invalid", "rejected", "failed")}
    if len(refused) == len(recipients):
        raise RecipientsRefused(", ".join(f"{recipient}: {words}" for recipient, words in refused.items()))
    return refused


def _went_stale(error: Exception) -> bool:
    """Broken before any recipient was named, so trying on a fresh connection cannot send twice.

    A timeout does not count: it has used up this attempt's time.
    """
    facts = failure.from_exception(error)
    return facts.phase == "sender" and (facts.broken or facts.code == 421) and not isinstance(error, TimeoutError)
