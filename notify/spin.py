"""Short waits at a socket without falling asleep: for a process that only delivers, over one connection.

A relay and a database on the same machine answer within a fifth of a millisecond. Whoever sleeps meanwhile is woken
late and with cold caches, above all on a virtual machine, and has lost more than the answer took.
"""

import os
import select
import time

SECONDS = 0.0005  # the longest spin
LONGEST_PAUSE = 1024  # waits between two spins that are in vain: what is far away costs half a microsecond

_allowed = False


def allow() -> None:
    """This process may spin from now on, if there is another processor for those it waits for.

    Where other threads have work, it would take the processor from them.
    """
    global _allowed
    _allowed = (os.cpu_count() or 1) > 1


def is_allowed() -> bool:
    return _allowed


class Spin:
    """Waits of a kind. Spins in vain make the pauses between them longer, those that see an answer shorter."""

    def __init__(self) -> None:
        self._pause = self._waits_asleep = 0

    def wait(self, fd: int) -> bool:
        """True as soon as there is something to read; False when whoever waits for it had better sleep."""
        if not _allowed:
            return False
        if self._waits_asleep:
            self._waits_asleep -= 1
            return False
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        end = time.monotonic() + SECONDS
        while not poller.poll(0):
            if time.monotonic() > end:
                self._waits_asleep = self._pause = min(max(4 * self._pause, 4), LONGEST_PAUSE)
                return False
        self._pause //= 2
        return True
