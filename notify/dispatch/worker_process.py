"""A worker process beside a web process, which Django's autoreloader may kill at any moment."""

import contextlib
import os
import subprocess  # nosec  (one fixed command of ours)
import sys
import time

RESTART_SECONDS = 10.0  # at least, from one worker process that failed to the next


class WorkerProcess:
    """`manage.py deliver --watch` beside this process: it ends when this one has, after the current message."""

    def __init__(self) -> None:
        words = [
            sys.executable,
            "-m",
            "django",
            "deliver",
            "--watch",
            "--until-stdin-ends",
            "--pythonpath",
            sys.path[0],
        ]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE)  # noqa: S603  # nosec  (no word from outside)
        assert self._process.stdin  # noqa: S101  (for the type checker: it is a pipe)
        self._stdin = self._process.stdin
        os.set_blocking(self._stdin.fileno(), False)  # a wake-up never waits for it
        self._started_at = time.monotonic()

    def needs_restart(self) -> bool:
        return self._process.poll() is not None and time.monotonic() - self._started_at > RESTART_SECONDS

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # it has ended, or has not read thousands of earlier ones
            os.write(self._stdin.fileno(), b"\n")

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.close()
