"""A flood through HTTP: all is kept, every event told once, in a handful of mails. NAMES=10000 for a larger one."""

import contextlib
import http.client
import os
import re
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from tests.relays import Relay
from tests.site import Site

NAMES, CLIENTS, BURST = int(os.environ.get("NAMES", "2000")), 16, 5


def post_names(site: Site, client: int) -> None:
    """What a script does that floods a form: one token, many posts."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    connection.request("GET", "/")
    answer = connection.getresponse()
    cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', answer.read().decode())
    assert token
    for number in range(client, NAMES, CLIENTS):
        body = urlencode({"csrfmiddlewaretoken": token[1], "name": f"Visitor {number}"})
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        connection.request("POST", "/", body, headers)
        posted = connection.getresponse()
        posted.read()
        assert posted.status == 302, posted.status
    connection.close()


@pytest.mark.service("gunicorn")
def test_a_flood_in_one_interval_is_a_burst_and_one_digest(make_site: Callable[..., Site], relay: Relay) -> None:
    site = make_site(
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=relay.port,
        NOTIFY_BURST=BURST,
        NOTIFY_INTERVAL=3600,
        NOTIFY_DISPATCH="worker",
    )
    gunicorn = [sys.executable, "-m", "gunicorn", "flasky.wsgi", "--workers", "4", "--threads", "4"]
    site.start(*gunicorn, "--bind", "127.0.0.1:{port}")
    failures: list[BaseException] = []

    def run(client: int) -> None:
        try:
            post_names(site, client)
        except BaseException as error:
            failures.append(error)

    clients = [threading.Thread(target=run, args=[number]) for number in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert not failures
    assert site.manage("deliver").returncode == 0
    relay.wait_for(BURST)
    path = str(site.variables["DATABASE_URL"]).removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as database, database:
        # The interval is over.
        database.execute("UPDATE notify_window SET opened_at = datetime(opened_at, '-2 hours')")
    assert site.manage("deliver").returncode == 0
    assert len(relay.wait_for(BURST + 1)) == BURST + 1
    with contextlib.closing(sqlite3.connect(path)) as database:
        told = Counter(row[0] for row in database.execute("SELECT message_id FROM notify_event"))
        [[untold]] = database.execute("SELECT count(*) FROM notify_event WHERE notified_at IS NULL").fetchall()
    assert untold == 0
    assert sorted(told.values()) == [1] * BURST + [NAMES - BURST]
    assert f"{NAMES - BURST} ×" in str(relay.envelopes[-1].message["Subject"])
