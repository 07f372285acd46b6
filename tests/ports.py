"""Ports of 127.0.0.1 that stay ours, also while nobody listens on them."""

import contextlib
import socket
from collections.abc import Iterator


class Reserved:
    """A free port, kept from everybody who asks for any port; connecting to it is refused.

    Linux lets a server bind it all the same, and again after a restart: both set SO_REUSEADDR, and this socket never
    listens.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def reserved() -> Iterator[int]:
    """The number of a free port, kept while the block runs."""
    port = Reserved()
    try:
        yield port.number
    finally:
        port.release()


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
