"""Where a mail transfer agent delivers: a Maildir that is waited for."""

import mailbox
import time
from collections.abc import Callable
from pathlib import Path


class Maildir:
    """`log` is asked when the mails do not come: what the server says of itself."""

    def __init__(self, folder: Path, log: Callable[[], str]) -> None:
        self.folder = folder
        self._log = log

    def wait_for(self, count: int, seconds: float = 30) -> list[mailbox.MaildirMessage]:
        """The mails, once there are so many; AssertionError with the server's log when they do not come in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (self.folder / "new").is_dir() and len(list((self.folder / "new").iterdir())) >= count:
                return list(mailbox.Maildir(str(self.folder)))
            time.sleep(0.1)
        raise AssertionError(f"{count} mails did not come within {seconds} s\n{self._log()}")
