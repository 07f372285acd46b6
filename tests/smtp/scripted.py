"""A relay that keeps to a script, line by line, on a raw socket; and a proxy that does what a test tells it to."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, BinaryIO

HANG = "hang"  # say nothing more, and wait until the client is gone
CLOSE = "close"  # end the connection without a word
DRIP = "drip"  # a byte every 50 ms, and never a line end

Reply = str | bytes
Conversation = Callable[[socket.socket], None]

DEFAULTS: Mapping[str, Reply] = {
    "greeting": "220 relay.test ESMTP",
    "HELO": "250 relay.test",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 End data with <CR><LF>.<CR><LF>",
    ".": "250 2.0.0 Ok: queued as 4711",
    "RSET": "250 2.0.0 Ok",
    "NOOP": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
    "AUTH": "235 2.7.0 Authentication successful",
    "STARTTLS": "220 2.0.0 Ready to start TLS",
}


class Listener:
    """Each connection to 127.0.0.1:`port` is talked to in a thread of its own, until the block ends."""

    def __init__(self) -> None:
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def talk(self, client: socket.socket) -> None:
        raise NotImplementedError

    def hear_out(self) -> None:
        """Wait until the clients that have hung up were listened to till the end."""
        for thread in self._threads[1:]:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.connections += 1
                self._open.append(client)
                thread = threading.Thread(target=self._talk, args=[client], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _talk(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.talk(client)
        with contextlib.suppress(OSError):
            client.close()

    def __enter__(self) -> Any:
        self._threads.append(threading.Thread(target=self._accept, daemon=True))
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for sock in (self._server, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(2)


def _body(stream: BinaryIO) -> bytes:
    """The lines up to the dot, or to the end of the stream."""
    return b"".join(iter(lambda: stream.readline() or b".\r\n", b".\r\n"))


class Scripted(Listener):
    """`replies` by verb ("greeting", "EHLO", "MAIL", …, "." for the end of data); a list is used up one by one.

    `lines`: what was received, without line ends. `bodies`: the messages as they came, dots still stuffed.
    """

    def __init__(
        self,
        replies: Mapping[str, Reply | list[Reply]] | None = None,
        *,
        extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME"),
        tls: ssl.SSLContext | None = None,
        wrapped: bool = False,
    ) -> None:
        super().__init__()
        self._replies = {
            key: list(value) if isinstance(value, list) else value for key, value in (replies or {}).items()
        }
        self._extensions = extensions
        self._tls = tls
        self._wrapped = wrapped
        self.lines: list[str] = []
        self.bodies: list[bytes] = []

    @property
    def verbs(self) -> list[str]:
        return [line.split(" ")[0].upper() for line in self.lines]

    def talk(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as closing:
            if self._wrapped and self._tls:
                client = closing.enter_context(self._tls.wrap_socket(client, server_side=True))
            stream = closing.enter_context(client.makefile("rb"))
            if not self._say(client, "greeting"):
                return
            while line := stream.readline():
                self.lines.append(line.decode(errors="replace").rstrip("\r\n"))
                verb = self.lines[-1].split(" ")[0].upper()
                if not self._say(client, verb):
                    return
                if verb == "DATA" and self._said.startswith(b"354"):
                    self.bodies.append(_body(stream))
                    if not self._say(client, "."):
                        return
                elif verb == "STARTTLS" and self._tls and self._said.startswith(b"220"):
                    client = closing.enter_context(self._tls.wrap_socket(client, server_side=True))
                    stream = closing.enter_context(client.makefile("rb"))
                elif verb == "QUIT":
                    return

    def _say(self, client: socket.socket, key: str) -> bool:
        """Answer; False when the conversation is over."""
        reply = self._replies.get(key, self._ehlo() if key == "EHLO" else DEFAULTS.get(key, "500 5.5.2 What?"))
        if isinstance(reply, list):
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        if reply == HANG:
            while client.recv(65536):
                pass
        if reply == DRIP:
            while True:
                client.sendall(b"2")
                time.sleep(0.05)
        if reply in (HANG, CLOSE):
            return False
        raw = reply if isinstance(reply, bytes) else f"{reply}\r\n".encode()
        self._said = raw
        client.sendall(raw)
        return b"\r\n421" not in b"\r\n" + raw

    def _ehlo(self) -> str:
        lines = ["relay.test", *self._extensions]
        return "\r\n".join([f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"])


class Proxy(Listener):
    """SOCKS5 and CONNECT in one: whatever name is asked for lies at 127.0.0.1:`target`.

    `login`: the user and password it wants. `refuse`: a SOCKS reply or a CONNECT status line instead of a connection.
    `together`: send the CONNECT reply and the relay's first words in one packet. `asked`: the names and ports.
    """

    def __init__(
        self,
        target: int,
        *,
        login: str = "",
        refuse: int | str | None = None,
        together: bool = False,
        mute: bool = False,
    ) -> None:
        super().__init__()
        self._target = target
        self._login = login
        self._refuse = refuse
        self._together = together
        self._mute = mute
        self.asked: list[str] = []
        self.logins: list[str] = []

    def talk(self, client: socket.socket) -> None:
        first = client.recv(1, socket.MSG_PEEK)
        if self._mute:
            while client.recv(65536):
                pass
        elif first == b"\5":
            self._socks(client)
        elif first:
            self._connect(client)

    def _socks(self, client: socket.socket) -> None:
        _, count = client.recv(2)
        methods = client.recv(count)
        if self._login:
            if b"\2" not in methods:
                client.sendall(b"\5\xff")
                return
            client.sendall(b"\5\2")
            client.recv(1)
            user = client.recv(client.recv(1)[0])
            password = client.recv(client.recv(1)[0])
            self.logins.append(f"{user.decode()}:{password.decode()}")
            if self.logins[-1] != self._login:
                client.sendall(b"\1\1")
                return
            client.sendall(b"\1\0")
        else:
            client.sendall(b"\5\0")
        *_, kind = client.recv(4)
        assert kind == 3, "the name was resolved before the proxy was asked"
        name = client.recv(client.recv(1)[0]).decode()
        self.asked.append(f"{name}:{int.from_bytes(client.recv(2), 'big')}")
        if self._refuse is not None:
            client.sendall(bytes([5, int(self._refuse), 0, 1]) + bytes(6))
            return
        self._join(client, b"\5\0\0\1" + bytes(6))

    def _connect(self, client: socket.socket) -> None:
        header = b""
        while not header.endswith(b"\r\n\r\n"):
            header += client.recv(1)
        lines = header.decode().split("\r\n")
        self.asked.append(lines[0].split(" ")[1])
        self.logins += [line.partition("Basic ")[2] for line in lines if line.startswith("Proxy-Authorization: ")]
        if self._login and self.logins[-1:] != [self._login]:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        elif self._refuse:
            client.sendall(f"{self._refuse}\r\n\r\n".encode())
        else:
            self._join(client, b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")

    def _join(self, client: socket.socket, reply: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._target)) as relay:
            client.sendall(reply + (relay.recv(4096) if self._together else b""))
            back = threading.Thread(target=_pump, args=(relay, client), daemon=True)
            back.start()
            _pump(client, relay)
            back.join(2)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
