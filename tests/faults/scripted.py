"""A relay of raw sockets that does as its script says: refuses, hangs, drips, closes, lies, at any step."""

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

OK = {
    "greeting": "220 relay.test ready",
    "ehlo": "250-relay.test\r\n250-8BITMIME\r\n250 PIPELINING",
    "auth": "235 2.7.0 Ok",
    "mail": "250 2.1.0 Ok",
    "rcpt": "250 2.1.5 Ok",
    "data": "354 Go on",
    "dot": "250 2.0.0 Ok: queued as 1",
    "quit": "221 2.0.0 Bye",
    "rset": "250 2.0.0 Ok",
    "noop": "250 2.0.0 Ok",
}


@dataclass(frozen=True)
class Close:
    """Say nothing and close."""


@dataclass(frozen=True)
class Hang:
    """Say nothing for so long, then answer as usual."""

    seconds: float = 60


@dataclass(frozen=True)
class Drip:
    """A byte every so often, without end."""

    seconds: float = 0.4


@dataclass(frozen=True)
class Endless:
    """A line without end."""


Step = str | Close | Hang | Drip | Endless | list["str | Close | Hang | Drip | Endless"]


class ScriptedRelay:
    """`with ScriptedRelay({"rcpt": "550 5.1.1 No"}) as relay`. A list is one step per occasion, the last repeats.

    `taken` has the mails it said 250 to, `heard` every command, `connects` the times of connections.
    """

    def __init__(self, script: Mapping[str, Step] | None = None, *, tls: ssl.SSLContext | None = None, port: int = 0):
        self.script: dict[str, Step] = {**OK, **(script or {})}
        self.taken: list[tuple[str, bytes]] = []
        self.heard: list[str] = []
        self.connects: list[float] = []
        self.changed = threading.Condition()
        self._tls = tls
        self._occasions: dict[str, int] = {}
        self._server = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port: int = self._server.getsockname()[1]
        self._sockets: list[socket.socket] = []

    def wait_until(self, condition: str, count: int = 1, seconds: float = 20) -> None:
        """Until so many mails are `taken`, commands `heard` or `connects` made."""
        with self.changed:
            done = self.changed.wait_for(lambda: len(getattr(self, condition)) >= count, seconds)
        assert done, f"{condition}: {len(getattr(self, condition))} of {count} within {seconds} s"

    def wait_to_hear(self, command: str, seconds: float = 20) -> None:
        with self.changed:
            done = self.changed.wait_for(lambda: any(line.startswith(command) for line in self.heard), seconds)
        assert done, f"never heard {command}: {self.heard}"

    def ids(self) -> list[str]:
        """The Message-IDs it took, in order."""
        return [re.search(rb"Message-ID: (\S+)", content)[1].decode() for _, content in self.taken]  # type: ignore[index]

    def __enter__(self) -> "ScriptedRelay":
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # shutdown() wakes a thread that waits in accept() or recv(); close() alone does not.
        for sock in (self._server, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _note(self, where: list[object], what: object) -> None:
        with self.changed:
            where.append(what)
            self.changed.notify_all()

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self._sockets.append(sock)
            self._note(self.connects, time.monotonic())  # type: ignore[arg-type]
            threading.Thread(target=self._serve, args=[sock], daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ConnectionError):
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
            self._session(sock, sock.makefile("rb"))
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()

    def _session(self, sock: socket.socket, lines: object) -> None:
        recipient, accepted = "", False
        self._do(sock, "greeting")
        for line in lines:  # type: ignore[attr-defined]
            command = line.decode(errors="replace").strip()
            verb = command[:4].lower()
            self._note(self.heard, command)  # type: ignore[arg-type]
            if verb == "rcpt":
                recipient = command.partition("<")[2].rstrip(">")
            if verb == "data" and not accepted:
                sock.sendall(b"554 5.5.1 No valid recipients\r\n")
                continue
            answer = self._do(sock, {"helo": "ehlo"}.get(verb, verb))
            accepted = {"mail": False, "rcpt": answer.startswith("25")}.get(verb, accepted)
            if verb == "data" and answer.startswith("354"):
                content = b""
                for part in lines:  # type: ignore[attr-defined]
                    if part == b".\r\n":
                        break
                    content += part
                else:
                    return
                self._note(self.heard, "(dot)")  # type: ignore[arg-type]
                self._do(sock, "dot", taking=(recipient, content))
            if verb == "quit":
                return

    def _do(self, sock: socket.socket, step: str, taking: tuple[str, bytes] | None = None) -> str:
        planned = self.script.get(step, "502 5.5.2 What?")
        if isinstance(planned, list):
            occasion = self._occasions.get(step, 0)
            self._occasions[step] = occasion + 1
            planned = planned[min(occasion, len(planned) - 1)]
        match planned:
            case Close():
                raise ConnectionError
            case Drip(seconds):
                while True:
                    sock.sendall(b"2")
                    time.sleep(seconds)
            case Endless():
                while True:
                    sock.sendall(b"2" * 4096)
            case Hang(seconds):
                time.sleep(seconds)
                planned = OK[step]
        answer = str(planned)
        if taking and answer.startswith("250"):
            self._note(self.taken, taking)  # type: ignore[arg-type]
        sock.sendall(f"{answer}\r\n".encode())
        return answer
