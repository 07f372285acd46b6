"""Workers are killed while access tokens live two seconds and every renewal rotates the refresh token: none is lost."""

import asyncio
import base64
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.outbox import Outbox
from tests.faults.sink import Sink
from tests.oauth.server import CLIENT, SCOPE, SECRET, USER, OAuthServer

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "200")) // 5
WAITING = 300
WORKERS = 4
JSON = base64.b64encode(b'{"status": "401"}')


class TokenSink(Sink):
    """Takes mail from those alone whose access token is good."""

    oauth: OAuthServer
    refused = 0
    _refusing = False

    def connection_lost(self, error: Exception | None) -> None:
        self._file.close()

    def _answer(self, line: bytes) -> bytes:
        if self._refusing:
            self._refusing = False
            return b"535 5.7.8 Username and Password not accepted\r\n"
        if line[:4].upper() == b"EHLO":
            return b"250-sink\r\n250-PIPELINING\r\n250-AUTH XOAUTH2\r\n250 8BITMIME\r\n"
        if line.startswith(b"AUTH XOAUTH2 "):
            said = base64.b64decode(line.split(b" ")[2]).decode()
            self._good = self.oauth.takes(said.removesuffix("\1\1").split("auth=Bearer ")[1])
            if self._good:
                return b"235 2.7.0 Ok\r\n"
            TokenSink.refused += 1
            self._refusing = True
            return b"334 " + JSON + b"\r\n"
        if line[:4].upper() == b"MAIL" and not getattr(self, "_good", False):
            return b"530 5.7.0 Authentication required\r\n"
        return super()._answer(line)


class Running:
    """The sink, in a thread of this process, where the authorization server is."""

    def __init__(self, log: Path, oauth: OAuthServer) -> None:
        self._log, self._loop = log, asyncio.new_event_loop()
        log.touch()
        TokenSink.oauth, TokenSink.refused = oauth, 0
        self._server = self._loop.run_until_complete(
            self._loop.create_server(lambda: TokenSink(log, 0), "127.0.0.1", 0)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def taken(self) -> list[tuple[str, ...]]:
        return [tuple(line.split("\t")) for line in self._log.read_text().splitlines()]

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@pytest.fixture
def oauth() -> Iterator[OAuthServer]:
    with OAuthServer(seconds=2) as server:
        yield server


@pytest.fixture
def sink(tmp_path: Path, oauth: OAuthServer) -> Iterator[Running]:
    running = Running(tmp_path / "taken.tsv", oauth)
    yield running
    running.stop()


def test_kills_lose_no_mail_and_no_token(outbox: Outbox, oauth: OAuthServer, sink: Running) -> None:
    options = {
        "MAIL_PORT": sink.port,
        "MAIL_USERNAME": USER,
        "MAIL_TIMEOUT": 5,
        "MAIL_OAUTH_CLIENT_ID": CLIENT,
        "MAIL_OAUTH_CLIENT_SECRET": SECRET,
        "MAIL_OAUTH_TOKEN_URL": oauth.token_url,
        "MAIL_OAUTH_AUTHORIZE_URL": oauth.authorize_url,
        "MAIL_OAUTH_SCOPE": SCOPE,
        "MAIL_OAUTH_REFRESH_TOKEN": oauth.permit(),
    }
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    kills, queued = 0, 0
    while kills < KILLS // 2:  # half on each database
        missing = max(WAITING - outbox.unfinished(), 0)
        outbox.queue(missing, prefix=f"round{kills}.")
        queued += missing
        workers = [outbox.start("--watch", **options) for _ in range(WORKERS)]
        before, deadline = len(oauth.of("/token")), time.monotonic() + 20
        # Killed around the renewal: sometimes before its answer, sometimes before it is stored, sometimes after.
        while len(oauth.of("/token")) == before and time.monotonic() < deadline:
            time.sleep(0.001)
        for worker in workers:
            time.sleep(chance.uniform(0, 0.05))
            worker.kill()
            worker.communicate()
            kills += 1
        outbox.make_due()  # the leases of the dead run out
        outbox.sql("UPDATE notify_oauthtoken SET claimed_until = NULL")
        time.sleep(1.1)  # and the token is at half its life
    done = [outbox.start("--connections", "1", **options) for _ in range(WORKERS)]
    for each in done:
        each.communicate(timeout=120)
    outbox.make_due()
    outbox.deliver("--connections", "2", **options, seconds=120)

    copies = Counter(message_id for _, message_id, _ in sink.taken())
    renewals = len(oauth.of("/token"))
    doubled = sum(copies.values()) - len(copies)
    print(
        f"seed {seed}: {kills} kills, {queued} mails, {queued - len(copies)} lost, {doubled} doubled, "
        f"{renewals} renewals, {TokenSink.refused} logins refused, {oauth.validator.races} races"
    )
    assert set(outbox.messages()) == {"sent"}
    assert len(copies) == queued
    assert renewals > kills // WORKERS
    assert oauth.validator.races == 0
    assert outbox.sql("SELECT error FROM notify_oauthtoken") == [("",)]
