"""nodemailer's smtp-server on a free port of 127.0.0.1: a relay that nobody here has written."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests import servers
from tests.services.certificates import issue
from tests.site import ROOT


@dataclass(frozen=True)
class Taken:
    """One mail as it was taken: its bytes, and what tests/node/relay.js tells of its sending."""

    content: bytes
    facts: dict[str, Any]


class Nodemailer:
    """Takes mail on `port` for the length of a `with` block. `options`: see tests/node/relay.js.

    A client must trust `authority`. `names` and `certificate` make another certificate than one for loopback.
    """

    def __init__(self, folder: Path, *, certificate: dict[str, Any] | None = None, **options: Any) -> None:
        self._folder = folder
        self._options = options
        self._certificate = certificate or {}
        self.port = 0

    def mails(self, count: int, seconds: float = 20) -> list[Taken]:
        """The mails in the order they came, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(found := list(self._folder.glob("*.json"))) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(found) == count
        paths = sorted(found, key=lambda path: int(path.stem))
        return [Taken(path.with_suffix(".eml").read_bytes(), json.loads(path.read_text())) for path in paths]

    def __enter__(self) -> "Nodemailer":
        self._folder.mkdir()
        certificate = issue(self._folder, **self._certificate)
        self.authority = certificate.authority
        options = {"folder": str(self._folder), "chain": str(certificate.chain), **self._options}
        self._process = subprocess.Popen(
            [servers.program("node"), str(ROOT / "tests/node/relay.js"), json.dumps(options)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        port = self._process.stdout.readline()
        if not port.strip().isdigit():
            self._end()
            raise AssertionError("smtp-server did not start")
        self.port = int(port)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=20)
