"""Where a mail transfer agent delivers: a Maildir that is waited for."""

import mailbox
from collections.abc import Callable
from pathlib import Path

from tests.waiting import until


class Maildir:
    """`log` is asked when the mails do not come: what the server says of itself."""

    def __init__(self, folder: Path, log: Callable[[], str]) -> None:
        self.folder = folder
        self._log = log

    def wait_for(self, count: int, seconds: float = 30) -> list[mailbox.MaildirMessage]:
        """The mails, once there are so many; AssertionError with the server's log when they do not come in time."""
        until(
            lambda: len(list((self.folder / "new").glob("*"))) >= count,
            seconds,
            said=lambda: f"{count} mails did not come within {seconds} s\n{self._log()}",
        )
        return list(mailbox.Maildir(str(self.folder)))
