"""Email backends for the transport's place: one that does as it is told, and one that breaks before it begins."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.core.mail.backends.base import BaseEmailBackend


class Scripted(BaseEmailBackend):
    """Raises what `script` has for each message in turn (None: takes it), and tells in `said` what was done."""

    script: ClassVar[list[Any]] = []
    said: ClassVar[list[str]] = []
    sent: ClassVar[list[Any]] = []
    answers: ClassVar[bool] = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(**{name: kwargs[name] for name in ("fail_silently", "alias") if name in kwargs})
        self.last_reply = ""

    @classmethod
    def reset(cls) -> None:
        cls.script, cls.said, cls.sent, cls.answers = [], [], [], True

    def open(self) -> bool:
        self.said.append("open")
        return True

    def check(self) -> bool:
        self.said.append("check")
        return self.answers

    def close(self) -> None:
        self.said.append("close")

    def send_messages(self, email_messages: Sequence[Any]) -> int:
        [message] = email_messages
        step = self.script.pop(0) if self.script else None
        if isinstance(step, BaseException):
            self.said.append("fail")
            raise step
        if step == 0:
            return 0
        self.said.append("send")
        self.sent.append(message)
        self.last_reply = step or "250 2.0.0 Ok"
        return 1


class Broken(BaseEmailBackend):
    """Cannot be made, as with options it does not take."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("unexpected option")


def marked(error: Exception, phase: str) -> Exception:
    """An exception as our own backend raises it."""
    error.phase = phase  # type: ignore[attr-defined]
    return error
