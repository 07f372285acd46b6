"""The bytes of an SMTP session: sent and read under one deadline, every failure marked with its phase.

smtplib's client, with its own reading and sending. Every exception that leaves it has a `phase`, one of
notify.smtp.failure.PHASES, and is an OSError (smtplib's exceptions are).
"""

import contextlib
import functools
import re
import smtplib
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from notify.smtp.dial import Deadline
from notify.smtp.failure import marked, printable
from notify.smtp.secret import Secret, hush

LINE_LIMIT = 8192  # bytes; RFC 5321 4.5.3.1.5 has 512
REPLY_LIMIT = 100  # lines of one reply
NOOP_SECONDS = 5.0
QUIT_SECONDS = 2.0
ARMED_WITHIN = 0.2  # seconds by which a socket's timeout may exceed the deadline
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")  # tabs and the line feeds between lines stay
_REFUSAL = re.compile(rb"^[45]\d\d(?!-)[^\n]*\n", re.MULTILINE)  # the last line of a reply that says no

Observer = Callable[[str, str, float], None]  # phase, detail, milliseconds


class Phase:
    """`with phase as say`: marks what is raised within.

    When it ends well, the observer gets what was said within, and how long it took.
    """

    __slots__ = ("_detail", "_name", "_observer", "_started")

    def __init__(self, name: str, observer: Observer | None) -> None:
        self._name = name
        self._observer = observer

    def __enter__(self) -> Callable[[str], None]:
        self._detail: list[str] = []
        self._started = time.monotonic()
        return self._detail.append

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            marked(error, self._name)
        elif self._observer and self._detail:
            self._observer(self._name, printable("; ".join(self._detail)), (time.monotonic() - self._started) * 1000)


class Wire(smtplib.SMTP):
    """`deadline` bounds everything until it is replaced; the observer hears of each phase that ended well.

    `secrets`: what is taken out of every reply, in case the server repeats what it was sent.
    """

    secrets: Sequence[Secret] = ()

    def __init__(self, *, local_hostname: str, timeout: float | None, observer: Observer | None = None) -> None:
        super().__init__(local_hostname=local_hostname, timeout=timeout or 60)  # the latter unused: deadlines rule
        self.deadline = Deadline(timeout)
        self._armed: float | None = None
        self._buffer = b""
        self._observer = observer

    def answers(self) -> bool:
        """Whether an idle session is still good (NOOP)."""
        self.deadline = Deadline(NOOP_SECONDS)
        try:
            return self.noop()[0] == 250
        except OSError:
            return False

    def leave(self) -> None:
        """QUIT, politely and briefly; never raises."""
        self.deadline = Deadline(QUIT_SECONDS)
        with contextlib.suppress(OSError):
            self.docmd("quit")
        self.close()

    def phase(self, name: str) -> Phase:
        return Phase(name, self._observer)

    def send(self, s: Any) -> None:
        """All of it, or SMTPServerDisconnected, or TimeoutError.

        Where the server hung up in the middle but left a refusal behind, that is left to getreply().
        """
        if not self.sock:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        rest = memoryview(s.encode("utf-8") if isinstance(s, str) else s)
        try:
            while rest:  # not sendall(): over TLS its timeout restarts with every 16 KiB
                self._arm()
                rest = rest[self.sock.send(rest) :]
        except TimeoutError as error:
            self.close()
            raise TimeoutError(f"nothing taken within {self.deadline.seconds:g} s") from error
        except OSError as error:
            if self._left_a_refusal():
                return
            self.close()
            raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error

    def getreply(self) -> tuple[int, bytes]:
        r"""One reply: its code (-1 for what is none) and its lines, joined by line feeds.

        Its control characters are written out (\x1b). Those beyond ASCII may be parts of letters here: see `decode`.
        """
        lines = []
        while True:
            line = self._read_line()
            code = int(line[:3]) if line[:3].isdigit() else -1  # bytes: ASCII digits alone
            lines.append((line[4:] if code >= 0 else line).strip(b" \t\r"))
            if code < 0 or line[3:4] != b"-":
                return code, self._made_fit(b"\n".join(lines))
            if len(lines) >= REPLY_LIMIT:
                self.close()
                raise smtplib.SMTPServerDisconnected("the server's reply has no end")

    def close(self) -> None:
        self._buffer = b""
        super().close()

    def _made_fit(self, words: bytes) -> bytes:
        """A reply as it may be kept: without the secrets, and without what acts on a terminal."""
        return _CONTROL.sub(lambda found: b"\\x%02x" % ord(found[0]), self._without_secrets(words))

    def _without_secrets(self, words: bytes) -> bytes:
        return _hushed(words, tuple(self.secrets)) if self.secrets else words

    def _arm(self) -> None:
        """Set the socket timeout to what is left of the deadline; only if it differs, as each call is a system call."""
        left = self.deadline.remaining()
        if left is None or self._armed is None or not 0 <= self._armed - left < ARMED_WITHIN:
            self.sock.settimeout(left)  # type: ignore[union-attr]  # the callers have looked
            self._armed = left

    def _left_a_refusal(self) -> bool:
        deadline = Deadline(1)  # of all of it: words may drip
        self._armed = None
        with contextlib.suppress(OSError):
            while self.sock and len(self._buffer) < LINE_LIMIT:
                self.sock.settimeout(deadline.remaining())
                received = self.sock.recv(4096)
                if not received:
                    break
                self._buffer += received
        return bool(_REFUSAL.search(self._buffer))

    def _read_line(self) -> bytes:
        """The next line, without the line feed at its end."""
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = rest
                return line
            if len(self._buffer) > LINE_LIMIT:
                self.close()
                raise smtplib.SMTPServerDisconnected("the server's line has no end")
            self._buffer += self._receive()

    def _receive(self) -> bytes:
        """What the server has to say, some bytes at least."""
        if not self.sock:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        try:
            self._arm()
            received = self.sock.recv(4096)
        except TimeoutError as error:
            self.close()
            raise TimeoutError(f"no answer within {self.deadline.seconds:g} s") from error
        except OSError as error:
            self.close()
            raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error
        if not received:
            self.close()
            raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
        return received


@functools.lru_cache(maxsize=32)  # most replies are the same for every mail, and to search one takes long
def _hushed(words: bytes, secrets: tuple[Secret, ...]) -> bytes:
    return hush(words.decode("utf-8", "surrogateescape"), secrets).encode("utf-8", "surrogateescape")
