"""A flood through HTTP: all is kept, every event mailed once, in a handful of mails. NAMES=10000 for a larger one."""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.faults.outbox import Outbox
from tests.poster import Poster, together
from tests.relays import Relay
from tests.site import Site

NAMES, CLIENTS, BURST = int(os.environ.get("NAMES", "2000")), 16, 5
ADMINISTRATORS = ["ann@example.com", "bob@example.com"]


@pytest.mark.service("gunicorn")
def test_a_flood_in_one_interval_is_a_burst_and_one_digest(
    make_site: Callable[..., Site], outbox: Outbox, relay: Relay
) -> None:
    outbox.options |= {
        "MAIL_PORT": relay.port,
        "FLASKY_ADMIN": ",".join(ADMINISTRATORS),
        "NOTIFY_BURST": BURST,
        "NOTIFY_INTERVAL": 3600,
    }
    site = make_site(**outbox.options)
    site.start(sys.executable, "-m", "gunicorn", "flasky.wsgi", "--workers=4", "--threads=4", "--bind=127.0.0.1:{port}")

    def flood(client: int) -> None:
        poster = Poster(site)
        for number in range(client, NAMES, CLIENTS):
            poster.post(f"Visitor {number}")
        poster.close()

    started = time.monotonic()
    together(CLIENTS, flood)
    seconds = time.monotonic() - started
    outbox.deliver()
    assert len(relay.envelopes) == BURST * len(ADMINISTRATORS)

    # The interval is over.
    for column in ("notify_window SET opened_at", "notify_event SET created_at"):
        outbox.sql(f"UPDATE {column} = ?", outbox.time(datetime.now(UTC) - timedelta(hours=2)))
    outbox.deliver()
    print(f"{NAMES} names in {seconds:.1f} s, {NAMES / seconds:.0f} a second: {len(relay.envelopes)} mails")
    assert Counter(envelope.recipients[0] for envelope in relay.envelopes) == dict.fromkeys(ADMINISTRATORS, BURST + 1)
    [[waiting]] = outbox.sql("SELECT count(*) FROM notify_event WHERE notified_at IS NULL")
    assert waiting == 0
    told = Counter(row[0] for row in outbox.sql("SELECT message_id FROM notify_event"))
    assert sorted(told.values()) == [1] * BURST + [NAMES - BURST]
    assert f"{NAMES - BURST} ×" in str(relay.envelopes[-1].message["Subject"])
