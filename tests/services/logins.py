"""Who may log in to Postfix: a server that speaks as much of Dovecot's authentication protocol as Postfix asks for."""

import base64
import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

# https://doc.dovecot.org/main/developers/design/auth_protocol.html
GREETING = "VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0\nDONE\n"


@contextlib.contextmanager
def logins(path: Path, users: Mapping[str, str]) -> Iterator[None]:
    """Answers at the socket `path` whether a name has that password, while the block runs."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        os.chmod(path, 0o666)
        server.listen()
        threading.Thread(target=_accept, args=[server, users], daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, users: Mapping[str, str]) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = server.accept()
            threading.Thread(target=_talk, args=[client, users], daemon=True).start()


def _talk(client: socket.socket, users: Mapping[str, str]) -> None:
    asked: dict[str, list[str]] = {}  # of LOGIN: what was answered so far
    with contextlib.suppress(OSError), client, client.makefile("r") as lines:
        client.sendall(GREETING.encode())
        for line in lines:
            verb, *words = line.rstrip("\n").split("\t")
            if verb == "AUTH":
                number, mechanism, *options = words
                given = [option.removeprefix("resp=") for option in options if option.startswith("resp=")]
                asked[number] = [mechanism]
            elif verb == "CONT":
                number, given = words[0], words[1:]
            else:
                continue
            asked[number] += [base64.b64decode(word).decode() for word in given]
            client.sendall(f"{_verdict(asked[number], users, number)}\n".encode())


def _verdict(said: list[str], users: Mapping[str, str], number: str) -> str:
    mechanism, *answers = said
    if mechanism == "PLAIN" and answers:
        answers = answers[0].split("\0")[1:]
    if len(answers) < 2:
        prompt = "" if mechanism == "PLAIN" else ["Username:", "Password:"][len(answers)]
        return f"CONT\t{number}\t{base64.b64encode(prompt.encode()).decode()}"
    name, password = answers
    return f"OK\t{number}\tuser={name}" if users.get(name) == password else f"FAIL\t{number}\tuser={name}"
