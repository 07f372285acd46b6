"""The form under gunicorn, 2 workers of 4 threads: names a second and milliseconds of each, 1 and 16 clients.

A closed loop: each client keeps its connection, has one CSRF token, and posts the next name when the last is answered.
The page is the same for all; the notification differs, and whether the relay accepts mail or is silent.
Each is compared, slice by slice, with the page without mail at the same moment: the machine's mood is everybody's.
"""

import itertools
import random
import re
import signal
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

from benchmarks.stage import MAILER, NO_MAIL, POST_OFFICE, Contestant, Relay, Stage, percentile, table
from tests.poster import together
from tests.site import Site

CLIENTS = [1, 16]
NUMBERS = itertools.count()  # names are new
# A site that was stopped for long is not to be taken for dead: no timeout.
GUNICORN = ["gunicorn", "flasky.wsgi", "--workers=2", "--threads=4", "--timeout=0", "--bind=127.0.0.1:{port}"]
THREAD: dict[str, object] = {"NOTIFY_DISPATCH": "thread"}  # as in production: the web process delivers too
SILENT = [
    Contestant("ours, silent relay", THREAD),
    Contestant("ours, silent relay, NOTIFY_INTERVAL=0", {**THREAD, "NOTIFY_INTERVAL": 0}),
]
CONTESTANTS = [
    MAILER,
    POST_OFFICE,
    Contestant("ours", THREAD),
    Contestant("ours, NOTIFY_INTERVAL=0", {**THREAD, "NOTIFY_INTERVAL": 0}),
    *SILENT,
    Contestant("ours, nobody delivers, NOTIFY_INTERVAL=0", {"NOTIFY_INTERVAL": 0}),
]


@dataclass(frozen=True)
class Slice:
    """What the clients had of one site for a moment: names a second, and the seconds of each."""

    rate: float
    posts: list[float]

    @property
    def p50(self) -> float:
        return statistics.median(self.posts)


def run(stage: Stage, rounds: int, seconds: float) -> None:
    pairs: dict[int, dict[str, list[tuple[Slice, Slice]]]] = {clients: {} for clients in CLIENTS}
    with _site(stage, NO_MAIL) as without:
        for each in CONTESTANTS:
            with _site(stage, each) as site:
                for clients in CLIENTS:
                    found = [_compare(site, without, clients, seconds) for _ in range(2 * rounds)]
                    pairs[clients][each.name] = found
    for clients, of_all in pairs.items():
        bare = [(without, without) for of_one in of_all.values() for _, without in of_one]
        table(
            f"form, {stage.vendor}: {clients} client(s), {2 * rounds} slices of {seconds} s each",
            ["", "names/s", "of no mail", "p50 ms", "of no mail", "p99 ms"],
            [_row(NO_MAIL.name, bare), *(_row(name, of_one) for name, of_one in of_all.items())],
            "ours, whatever the relay does: >= 0.75 x the names/s and <= 1.4 x the p50 of no mail",
        )


def _row(name: str, pairs: list[tuple[Slice, Slice]]) -> list[str]:
    own = [each for each, _ in pairs]
    return [
        name,
        f"{statistics.median(each.rate for each in own):.0f}",
        f"{statistics.median(each.rate / without.rate for each, without in pairs):.2f} x",
        f"{statistics.median(each.p50 for each in own) * 1000:.1f}",
        f"{statistics.median(each.p50 / without.p50 for each, without in pairs):.2f} x",
        f"{percentile([post for each in own for post in each.posts], 99) * 1000:.1f}",
    ]


@contextmanager
def _site(stage: Stage, contestant: Contestant) -> Iterator[Site]:
    """The site, warm, and stopped (SIGSTOP) until it is its turn."""
    with ExitStack() as exits:
        database = exits.enter_context(stage.database())
        if contestant in SILENT:
            # No one accepts: the kernel completes the connection, and then nothing comes.
            port = exits.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        else:
            port = exits.enter_context(Relay(stage.folder)).port
        variables = stage.variables(DATABASE_URL=database, MAIL_PORT=port, **contestant.variables)
        site = Site(stage.folder, {**variables, "NOTIFY_FORM_SECONDS": 0, "NOTIFY_RATE_LIMIT": 0})
        exits.callback(site.discard)
        site.start(sys.executable, "-m", *GUNICORN)
        _load(site, 16, 0.5)
        site.send_signal(signal.SIGSTOP)
        yield site


def _compare(site: Site, without: Site, clients: int, seconds: float) -> tuple[Slice, Slice]:
    """A slice of the site, and one of the page without mail at the same moment, in either order."""
    slices = {}
    for each in random.sample([site, without], 2):
        each.send_signal(signal.SIGCONT)
        slices[each] = _load(each, clients, seconds)
        each.send_signal(signal.SIGSTOP)
    return slices[site], slices[without]


def _load(site: Site, count: int, seconds: float) -> Slice:
    """Post new names for so long."""
    posts: list[float] = []
    with ExitStack() as exits:
        clients = [exits.enter_context(Client(site.port)) for _ in range(count)]
        began = time.monotonic()

        def post_on(number: int) -> None:
            while time.monotonic() < began + seconds:
                posts.append(clients[number].post(f"Visitor {next(NUMBERS)}"))

        together(count, post_on)
        return Slice(len(posts) / (time.monotonic() - began), posts)


class Client:
    """A browser that only posts names; on a bare socket, as the clients share the processors with the site."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "Client":
        page = self._ask(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        [self._token] = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        [self._cookie] = re.findall(r"(?im)^set-cookie: (csrftoken=[^;]+)", page)
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def post(self, name: str) -> float:
        """The seconds until the answer, which must be the redirect that says the name was kept."""
        body = urlencode({"csrfmiddlewaretoken": self._token, "name": name})
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nCookie: {self._cookie}\r\nContent-Length: {len(body)}\r\n"
        began = time.perf_counter()
        answer = self._ask(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}".encode())
        took = time.perf_counter() - began
        assert answer.startswith("HTTP/1.1 302"), answer[:500]
        return took

    def _ask(self, request: bytes) -> str:
        self._socket.sendall(request)
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._receive()
        [length] = re.findall(rb"(?i)content-length: (\d+)", answer[:end])
        while len(answer) < end + 4 + int(length):
            answer += self._receive()
        return answer.decode()

    def _receive(self) -> bytes:
        received = self._socket.recv(65536)
        assert received, "the site closed the connection"
        return received
