"""A relay and a proxy that repeat the credentials they were shown in whatever they say: as bad as servers get."""

import base64
import binascii
import socket
from typing import Any
from urllib.parse import quote

from tests.smtp.scripted import Listener

GOOD = {"EHLO": 250, "HELO": 250, "MAIL": 250, "RCPT": 250, "DATA": 354, ".": 250, "RSET": 250, "QUIT": 221}


class ParrotRelay(Listener):
    """Logs in whoever asks, by `mechanism`, and refuses at `phase` with `code`; at none where `phase` is ""."""

    def __init__(self, mechanism: str = "PLAIN", *, phase: str = "", code: int = 535) -> None:
        super().__init__()
        self._mechanism = mechanism
        self._refusal = {phase: code}
        self._heard: list[str] = []
        self.was_told = False  # whether a password or token was shown to it

    def talk(self, client: socket.socket) -> None:
        self._heard = []
        stream = client.makefile("rb")
        client.sendall(b"220 parrot\r\n")
        while line := stream.readline().decode().strip():
            verb = line.split(" ")[0].upper()
            if verb == "EHLO":
                client.sendall(f"250-parrot\r\n250-8BITMIME\r\n250 AUTH {self._mechanism}\r\n".encode())
                continue
            if verb == "AUTH":
                self._log_in(client, stream, line)
                verb, code = "AUTH", 235
            else:
                code = GOOD.get(verb, 500)
            self._say(client, self._refusal.get(verb, code))
            if verb == "DATA" and "DATA" not in self._refusal:
                while stream.readline() != b".\r\n":
                    pass
                self._say(client, self._refusal.get(".", 250))
            if verb == "QUIT":
                return

    def _log_in(self, client: socket.socket, stream: Any, line: str) -> None:
        if self._mechanism != "LOGIN":
            self._hear(line)
            return
        for question in (b"Username:", b"Password:"):
            client.sendall(b"334 " + base64.b64encode(question) + b"\r\n")
            self._hear(stream.readline().decode().strip())

    def _hear(self, line: str) -> None:
        self.was_told = True
        encoded = line.split(" ")[-1]
        plain = base64.b64decode(encoded).decode()
        words = plain.replace("\0", " ").replace("\1", " ").split(" ")
        self._heard += [line, encoded, *words, *(quote(word, safe="") for word in words), *map(repr, words)]
        self._heard += [base64.b64encode(f"user={word}&x".encode()).decode() for word in words]

    def _say(self, client: socket.socket, code: int) -> None:
        words = [each for each in self._heard if each]
        lines = ["5.7.8 you said:", *words] if code != 354 else [f"go on, {' '.join(words)}"]
        joined = [f"{code}-{each}" for each in lines[:-1]] + [f"{code} {lines[-1]}"]
        client.sendall("".join(f"{each}\r\n" for each in joined).encode())


class ParrotProxy(Listener):
    """An HTTP proxy that refuses, and says whom."""

    def talk(self, client: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += client.recv(1)
        encoded = request.decode().partition("Basic ")[2].split("\r\n")[0]
        try:
            plain = base64.b64decode(encoded).decode()
        except binascii.Error:
            plain = ""
        answer = f"HTTP/1.1 407 who is {encoded} {plain} {quote(plain, safe='')}\r\n\r\n"
        client.sendall(answer.encode())
