"""Short waits at a socket without falling asleep: for a process that only delivers, over one connection.

A relay and a database on the same machine answer within a fifth of a millisecond. Whoever sleeps meanwhile is woken
late and with cold caches, above all on a virtual machine, and has lost more than the answer took.
"""

import select
import time

SECONDS = 0.0005  # the longest spin
MOST_WAITS_ASLEEP = 1024  # between two spins that are in vain: what is far away costs half a microsecond

_allowed = False


def allow() -> None:
    """This process may spin from now on. Where other threads have work, it would take the processor from them."""
    global _allowed
    _allowed = True


def is_allowed() -> bool:
    return _allowed


class Spin:
    """Waits of one kind, which last about as long as each other. The more spins are in vain, the fewer there are."""

    def __init__(self) -> None:
        self._waits_asleep = self._in_vain = 0

    def wait(self, socket: int) -> bool:
        """True as soon as there is something to read; False when whoever waits for it had better sleep."""
        if not _allowed:
            return False
        if self._waits_asleep:
            self._waits_asleep -= 1
            return False
        poller = select.poll()
        poller.register(socket, select.POLLIN)
        end = time.monotonic() + SECONDS
        while not poller.poll(0):
            if time.monotonic() > end:
                self._in_vain += 1
                self._waits_asleep = min(4**self._in_vain, MOST_WAITS_ASLEEP)
                return False
        self._in_vain = 0
        return True
