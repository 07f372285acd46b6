"""A network namespace with one link to this machine, which can be cut without a word. Needs root and iproute2."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from types import TracebackType

from tests.site import ROOT, environment


class Namespace:
    """`address` leads to a port of this machine's 127.0.0.1, under the same number."""

    def __init__(self, port: int) -> None:
        number = os.getpid() % 250 + 1
        self._name = f"flasky{os.getpid()}"
        self._near, self._far = f"fn{os.getpid()}", f"ff{os.getpid()}"
        self.address, self._other = f"10.213.{number}.1", f"10.213.{number}.2"
        self._port = port
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sockets: list[socket.socket] = []

    def start(self, *arguments: str, **variables: object) -> "subprocess.Popen[bytes]":
        """A management command in there."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self._name, sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=environment(**variables),
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def cut(self) -> None:
        """Packets are lost, and neither side gets an error."""
        _run("ip", "link", "set", self._near, "down")

    def mend(self) -> None:
        _run("ip", "link", "set", self._near, "up")

    def __enter__(self) -> "Namespace":
        _run("ip", "netns", "add", self._name)
        _run("ip", "link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self._name)
        _run("ip", "address", "add", f"{self.address}/24", "dev", self._near)
        _run("ip", "link", "set", self._near, "up")
        inside = ("ip", "-n", self._name)
        _run(*inside, "address", "add", f"{self._other}/24", "dev", self._far)
        _run(*inside, "link", "set", self._far, "up")
        _run(*inside, "link", "set", "lo", "up")
        server = socket.create_server((self.address, self._port))
        self._sockets.append(server)
        threading.Thread(target=self._accept, args=[server], daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        _run("ip", "netns", "delete", self._name)  # and the link with it

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = server.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def can_be_made() -> bool:
    """Whether this machine lets us."""
    name = f"flasky-can{os.getpid()}"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "add", "fp0", "type", "veth", "peer", "name", "fp1")
        _run("ip", "netns", "delete", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
