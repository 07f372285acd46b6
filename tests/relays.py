"""A real SMTP server on loopback, in this process, that keeps what it is given."""

import threading
import time
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any

from aiosmtpd.controller import Controller


@dataclass(frozen=True)
class Envelope:
    """One mail as it was taken."""

    sender: str
    recipients: list[str]
    content: bytes
    arrived: float = field(default_factory=time.monotonic)

    @property
    def message(self) -> EmailMessage:
        parsed: EmailMessage = message_from_bytes(self.content, policy=policy.default)  # type: ignore[assignment]
        return parsed


class Relay:
    """`with Relay() as relay`: listens on 127.0.0.1:relay.port until the block ends. Port 0 means a free one."""

    def __init__(self, port: int = 0, **options: Any) -> None:
        self.envelopes: list[Envelope] = []
        self._arrived = threading.Condition()
        self._controller = Controller(self, hostname="127.0.0.1", port=port, decode_data=False, **options)

    @property
    def port(self) -> int:
        server = self._controller.server
        assert server
        port: int = server.sockets[0].getsockname()[1]
        return port

    def wait_for(self, count: int, seconds: float = 20) -> list[Envelope]:
        """The envelopes, once there are so many; AssertionError when they do not come in time."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.envelopes) >= count, seconds):
                raise AssertionError(f"{len(self.envelopes)} of {count} mails came within {seconds} s")
            return list(self.envelopes)

    def stays_at(self, count: int, seconds: float = 1.5) -> None:
        """No mail more than so many comes for a while."""
        time.sleep(seconds)
        assert len(self.envelopes) == count

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        with self._arrived:
            self.envelopes.append(Envelope(envelope.mail_from, list(envelope.rcpt_tos), bytes(envelope.content)))
            self._arrived.notify_all()
        return "250 2.0.0 Ok: queued"

    def __enter__(self) -> "Relay":
        # Not start(): it connects to port 0 to see whether the server answers.
        ready = threading.Event()
        self._controller._thread = threading.Thread(target=self._controller._run, args=(ready,), daemon=True)
        self._controller._thread.start()
        assert ready.wait(5)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._controller.stop(no_assert=True)
