"""A kept connection to the relay: opened when first needed, looked after while idle, renewed in good time."""

import contextlib
import logging
import time

from django.core.mail.backends.base import BaseEmailBackend

from notify import transport
from notify.claims import Claimed
from notify.smtp import failure
from notify.smtp.dial import own_name
from notify.stored import StoredMessage

logger = logging.getLogger(__name__)

RENEW_AFTER = 100  # messages: many relays count, and answer the next with 421
CHECK_AFTER = 5  # seconds idle: ask with NOOP before relying on it
CLOSE_AFTER = 30  # seconds idle: a connection nobody uses is the relay's to give to others

# Relays (fingerprints of the configuration) that lost their place when the next envelope came along with a body,
# though they offer PIPELINING. Learned anew by each process.
_out_of_step: set[str] = set()


class Session:
    """Sends one message at a time through the transport backend. `send` raises what the backend raises."""

    def __init__(self) -> None:
        self._backend: BaseEmailBackend | None = None
        self._sent = 0
        self._used_at = 0.0
        self._secrets = transport.secrets()
        self._relay = transport.fingerprint()
        if not transport.options().get("local_hostname"):
            own_name()  # now, as nothing is claimed yet
        self._following: StoredMessage | None = None  # whose envelope went along with the body before it

    def send(self, message: Claimed, *, following: Claimed | None = None) -> str:
        """Hand one message over; returns the relay's last words, "" from a backend that does not keep them.

        Where the message after it is known, its envelope may be sent along: see `Connection.transact`.
        """
        if self._following and self._following.claimed.id != message.id:
            self.close()  # the relay waits for another body, which was given back
        kept = self._ready()
        announced = kept and self._following is not None
        try:
            return self._hand_over(message, following)
        except Exception as error:
            self.close()
            if _lost_its_place(error, announced=announced, following=self._following is not None):
                logger.warning("the relay answers out of step, so each mail waits for the answer to the one before")
                _out_of_step.add(self._relay)
            if not (kept and _went_stale(error, announced=announced)):
                raise
        # The relay had closed a connection it had nothing against: not this message's failure.
        self._ready()
        try:
            return self._hand_over(message, None)
        except Exception:
            self.close()
            raise

    def rest(self) -> None:
        """Called while there is nothing to send."""
        if self._backend and time.monotonic() - self._used_at > CLOSE_AFTER:
            self.close()

    def close(self) -> None:
        """End the connection. What goes wrong in saying goodbye concerns nobody."""
        backend, self._backend = self._backend, None
        if backend:
            with contextlib.suppress(Exception):
                backend.close()

    def _ready(self) -> bool:
        """An open connection; True where it was open before."""
        idle = time.monotonic() - self._used_at
        if self._backend and (self._sent >= RENEW_AFTER or (idle > CHECK_AFTER and not self._answers())):
            self.close()
        if self._backend:
            return True
        self._backend, self._sent = _connected(), 0
        return False

    def _answers(self) -> bool:
        check = getattr(self._backend, "check", None)
        return bool(check()) if check else False

    def _hand_over(self, message: Claimed, following: Claimed | None) -> str:
        assert self._backend  # noqa: S101  (_ready made it)
        known, self._following = self._following, None
        stored = known if known and known.claimed is message else StoredMessage(message)
        announce = getattr(self._backend, "announce", None)
        if announce and following and self._sent + 1 < RENEW_AFTER and self._relay not in _out_of_step:
            self._following = StoredMessage(following)
            announce(self._following)
        taken = self._backend.send_messages([stored])
        if taken == 0:
            raise RuntimeError(f"{type(self._backend).__module__} took nothing and gave no reason")
        self._sent += 1
        self._used_at = time.monotonic()
        return failure.scrub(str(getattr(self._backend, "last_reply", "") or ""), self._secrets)


def _connected() -> BaseEmailBackend:
    """A new connection. What goes wrong here, and is nobody's refusal, is the configuration and no message's fault."""
    backend = None
    try:
        backend = transport.connect()
        backend.open()
    except Exception as error:
        if backend:
            with contextlib.suppress(Exception):
                backend.close()
        if not isinstance(error, OSError) and not hasattr(error, "phase"):
            error.phase = "config"  # type: ignore[attr-defined]
        raise
    return backend


def _went_stale(error: Exception, *, announced: bool) -> bool:
    """Broken before any recipient was named, so trying on a fresh connection cannot send twice.

    Silence is no sign of it: it has used up this attempt's time, and a second attempt would outlive the lease.
    """
    facts = failure.from_exception(error)
    stale = facts.broken or facts.code == 421 or (announced and facts.code == 503)
    return facts.phase == "sender" and stale and not isinstance(error, TimeoutError)


def _lost_its_place(error: Exception, *, announced: bool, following: bool) -> bool:
    """No answer, or "bad sequence", to an envelope that went ahead; or no answer to a body that had one behind it."""
    facts = failure.from_exception(error)
    if announced and facts.phase == "sender":
        return facts.broken or facts.code == 503
    return following and facts.phase == "end" and facts.code is None
