"""Waiting for what another thread or process does, for as long as a busy machine may need."""

import time
from collections.abc import Callable


def until(happened: Callable[[], object], seconds: float = 30, *, said: Callable[[], object] = str) -> None:
    """Return once it has happened. AssertionError with what `said` returns if it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, said()
        time.sleep(0.02)
