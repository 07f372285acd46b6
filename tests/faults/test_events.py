"""Every event is carried by exactly one mail, whoever is killed: posting, notifying and delivering processes.

SECONDS=60 for a longer run.
"""

import os
import random
import re
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.outbox import Outbox
from tests.poster import Poster, together
from tests.relays import Envelope, Relay
from tests.site import Site

pytestmark = pytest.mark.service("gunicorn")

SECONDS = float(os.environ.get("SECONDS", "8"))
POSTING, DELIVERING, CLIENTS = 8, 2, 12
BURST, INTERVAL = 3, 1
ADMINISTRATORS = ["ann@example.com", "bob@example.com"]
# Every web process delivers too; forked from one that has loaded the site, it is back soon after its death.
GUNICORN = [sys.executable, "-m", "gunicorn", "flasky.wsgi", "--preload", "--threads=2", "--no-control-socket"]


class Turmoil:
    """A site and workers, and what befalls them until `end`."""

    def __init__(self, site: Site, outbox: Outbox, seed: int) -> None:
        self.site, self.outbox, self.chance = site, outbox, random.Random(seed)
        self.began = time.monotonic()
        self.end = self.began + SECONDS
        self.kills = {"web": 0, "delivery": 0}
        self.accepted: set[str] = set()
        self._workers = [outbox.start("--watch") for _ in range(DELIVERING)]

    def over(self) -> bool:
        return time.monotonic() > self.end

    def post(self, client: int) -> None:
        """One client of the form. Every third types names that another types, too."""
        poster, number = Poster(self.site), 0
        while not self.over():
            poster.post_to_the_dying(f"Visitor {client if client % 3 else 0} {number}")
            number += 1
        poster.close()
        self.accepted |= set(poster.accepted)

    def kill(self) -> None:
        """Now a web process, now one that delivers."""
        while not self.over():
            time.sleep(self.chance.uniform(0.05, 0.4))
            if self.chance.random() < 0.6:
                self._kill_a_web_process()
            else:
                self._kill_a_worker(self.chance.randrange(DELIVERING))

    def close(self) -> None:
        self.site.kill()
        for number in range(DELIVERING):
            self._kill_a_worker(number, restart=False)

    def _kill_a_web_process(self) -> None:
        children = self.site.children()
        if len(children) > 1:  # one is left to take requests
            os.kill(self.chance.choice(children), signal.SIGKILL)
            self.kills["web"] += 1

    def _kill_a_worker(self, number: int, *, restart: bool = True) -> None:
        self._workers[number].kill()
        self._workers[number].communicate()
        self.kills["delivery"] += 1
        if restart:
            self._workers[number] = self.outbox.start("--watch")


@pytest.fixture
def turmoil(make_site: Callable[..., Site], outbox: Outbox, relay: Relay) -> Turmoil:
    """It has begun."""
    outbox.options |= {
        "MAIL_PORT": relay.port,
        "FLASKY_ADMIN": ",".join(ADMINISTRATORS),
        "NOTIFY_BURST": BURST,
        "NOTIFY_INTERVAL": INTERVAL,
    }
    site = make_site(**{**outbox.options, "NOTIFY_DISPATCH": "thread"})
    site.start(*GUNICORN, f"--workers={POSTING}", "--bind=127.0.0.1:{port}")
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return Turmoil(site, outbox, seed)


def test_every_event_is_carried_by_exactly_one_mail_whoever_is_killed(
    turmoil: Turmoil, outbox: Outbox, relay: Relay
) -> None:
    killer = threading.Thread(target=turmoil.kill)
    killer.start()
    together(CLIENTS, turmoil.post)
    killer.join()
    turmoil.close()
    notify_of_the_rest(outbox)

    names = outbox.sql("SELECT id, name FROM notify_visitor")
    events = outbox.sql("SELECT id, topic, key, summary, message_id FROM notify_event ORDER BY id")
    copies = Counter((mail.recipients[0], mail.content) for mail in relay.envelopes)
    doubles = sum(copies.values()) - len(copies)
    mails = {message_id for *_, message_id in events}
    print(f"{turmoil.kills} killed; {len(names)} visitors, {len(mails)} mails, {doubles} doubled")

    # What a client was promised is there, and what is there has an event.
    assert turmoil.accepted <= {name for _, name in names}
    assert sorted((topic, key, summary) for _, topic, key, summary, _ in events) == sorted(
        ("new_visitor", str(key), name) for key, name in names
    )
    # Each event is in a mail that exists and was sent to everybody.
    assert Counter(outbox.sql("SELECT message_id, recipient, state FROM notify_message")) == dict.fromkeys(
        [(message_id, recipient, "sent") for message_id in mails for recipient in ADMINISTRATORS], 1
    )
    assert_mails_tell(events, [Envelope("", [recipient], content) for recipient, content in copies])
    # No flood: an interval is a burst and a digest.
    assert len(mails) <= (BURST + 1) * ((time.monotonic() - turmoil.began) / INTERVAL + 2)
    assert doubles <= len(ADMINISTRATORS) * sum(turmoil.kills.values())


def notify_of_the_rest(outbox: Outbox) -> None:
    """Nobody posts any more: intervals end, leases of the dead run out."""
    deadline = time.monotonic() + 30
    unfinished = "SELECT (SELECT count(*) FROM notify_event WHERE notified_at IS NULL), "
    unfinished += "(SELECT count(*) FROM notify_message WHERE state <> 'sent')"
    while (left := outbox.sql(unfinished)) != [(0, 0)]:
        assert time.monotonic() < deadline, left
        outbox.make_due()
        outbox.deliver()
        time.sleep(INTERVAL / 4)


def assert_mails_tell(events: list[tuple[Any, ...]], mails: list[Envelope]) -> None:
    """Everybody got one mail per Message-ID, and it says what its events are: count, and the newest names."""
    told = defaultdict(list)
    for _, _, _, summary, message_id in events:
        told[message_id].insert(0, summary)
    arrived = Counter((str(mail.message["Message-ID"]), mail.recipients[0]) for mail in mails)
    assert arrived == dict.fromkeys([(message_id, to) for message_id in told for to in ADMINISTRATORS], 1)
    for mail in mails:
        names = told[str(mail.message["Message-ID"])]
        subject = str(mail.message["Subject"])
        text = mail.message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        assert re.findall(r"\bVisitor \d+ \d+\b", text) == names[:20]
        assert subject.startswith("[Flasky] New visitor" if len(names) == 1 else f"[Flasky] {len(names)} × New visitor")
