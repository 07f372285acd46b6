"""A way to a broker that can be closed and opened again."""

import contextlib
import socket
import threading

from tests.ports import Reserved


class Way:
    """Forwards `port` of 127.0.0.1 to another while it is open; closed, it refuses, and what was connected is cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._reserved = Reserved()
        self.port = self._reserved.number
        self._server: socket.socket | None = None
        self._sockets: list[socket.socket] = []

    def open(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._server], daemon=True).start()

    def close(self) -> None:
        server, self._server = self._server, None
        for each in [server, *self._sockets]:
            if each:
                # shutdown() wakes a thread that waits in accept() or recv(); close() alone does not.
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        self._sockets.clear()

    def discard(self) -> None:
        self.close()
        self._reserved.release()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = server.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
