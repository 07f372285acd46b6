"""A database of the first version, with rows in every table, on its way to this one: nothing is lost or sent twice."""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.faults.outbox import Outbox, create_postgresql, drop_postgresql
from tests.relays import Relay
from tests.samples import PEOPLE
from tests.site import manage

EVERY_BYTE = bytes(range(256))
BODIES = [
    b"Subject: plain\r\n\r\nHello\r\n",
    b"",
    b"Subject: every byte\r\n\r\n" + EVERY_BYTE,
    b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 5000,
    "Subject: 8bit\r\n\r\n李小龙 ' \\x00 %s\r\n".encode(),
]
STATES = ["queued", "sending", "sent", "failed", "cancelled"]
COLUMNS = {
    "notify_message": "id, message_id, sender, recipient, subject, state, created_at, due_at, expires_at, attempts, "
    "claim, sent_at, reply, diagnosis, uncertain, sensitive",
    "notify_attempt": "id, message_id, at, seconds, phase, code, enhanced, text, diagnosis, decision",
    "notify_event": "id, topic, key, subject, summary, url, created_at, notified_at, message_id",
    "notify_visitor": "id, name, created_at",
    "notify_window": "topic, opened_at, singles",
    "notify_hourlycount": "id, hour, outcome, diagnosis, attempts, seconds",
    "notify_clientslot": "id, slot, client, posts",
    "notify_relay": "id, state, reason, diagnosis, since, failures, next_probe, last_success, fingerprint",
}
ANNOUNCED = 3  # of PEOPLE
WAITING = 4  # events of orders, more than a burst would be sent one by one


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.service("postgresql"), pytest.mark.slow])]
)
def outbox(request: pytest.FixtureRequest, tmp_path: Path, relay: Relay) -> Iterator[Outbox]:
    """A database of the first version, empty."""
    name = f"flasky_migrations_{os.getpid()}"
    on_postgresql = request.param == "postgresql"
    outbox = Outbox(
        create_postgresql(name) if on_postgresql else f"sqlite:///{tmp_path}/old.sqlite3",
        MAIL_PORT=relay.port,
        NOTIFY_BURST=2,
    )
    migrate(outbox, "notify", "0001")
    yield outbox
    if on_postgresql:
        drop_postgresql(name)


def migrate(outbox: Outbox, *target: str) -> None:
    done = manage("migrate", *target, "--verbosity", "0", DATABASE_URL=outbox.url)
    assert done.returncode == 0, done.stderr


def insert(outbox: Outbox, table: str, *rows: dict[str, Any]) -> None:
    for row in rows:
        values = [outbox.time(value) if isinstance(value, datetime) else value for value in row.values()]
        outbox.sql(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", *values)


def fill(outbox: Outbox, now: datetime) -> None:
    past = now - timedelta(hours=1)
    insert(
        outbox,
        "notify_message",
        *(
            {
                "message_id": f"<{state}.{number}@example.com>",
                "sender": "flasky@example.com",
                "recipient": f"{state}.{number}@example.com",
                "subject": "Subject",
                # What is still to be sent has no bare line ends: those are refused.
                "mime": body.replace(EVERY_BYTE, b"") if state in ("queued", "sending") else body,
                "state": state,
                "created_at": past,
                "due_at": past,
                "expires_at": now + timedelta(days=5),
                "attempts": number,
                "claim": f"dead.{number:05}" if state == "sending" else "",
                "sent_at": past if state == "sent" else None,
                "reply": "250 2.0.0 Ok" if state == "sent" else "",
                "diagnosis": "mailbox_unknown" if state == "failed" else "",
                "uncertain": state == "sending",
                "sensitive": number == 0,
            }
            for number, body in enumerate(BODIES)
            for state in STATES
        ),
    )
    [[failed]] = outbox.sql("SELECT min(id) FROM notify_message WHERE state = 'failed'")
    insert(
        outbox,
        "notify_attempt",
        *(
            {
                "message_id": failed,
                "at": past,
                "seconds": 0.5,
                "phase": "data",
                "code": 550,
                "enhanced": "5.1.1",
                "text": "No such user",
                "diagnosis": "mailbox_unknown",
                "decision": decision,
            }
            for decision in ("retry", "fail", "hold", "down")
        ),
    )
    event = {"subject": "New order", "url": "https://x.example/", "created_at": past}
    insert(
        outbox,
        "notify_event",
        *(
            {
                **event,
                "topic": "order",
                "key": f"told {number}",
                "summary": "Told",
                "notified_at": past,
                "message_id": mail,
            }
            for number, mail in enumerate(["<sent.0@example.com>", ""])
        ),
        *(
            {**event, "topic": "order", "key": f"waiting {number}", "summary": f"Order {number}", "message_id": ""}
            for number in range(WAITING)
        ),
    )
    insert(
        outbox,
        "notify_visitor",
        *(
            {"name": name, "created_at": past, "announced": number < ANNOUNCED}
            for number, name in enumerate((*PEOPLE, "a\nb  c"))
        ),
    )
    insert(outbox, "notify_window", {"topic": "order", "opened_at": past, "singles": 2})
    insert(outbox, "notify_window", {"topic": "new_visitor", "opened_at": past - timedelta(hours=9), "singles": 1})
    counts = [
        {"hour": past, "outcome": outcome, "diagnosis": "", "attempts": 7, "seconds": 1.25}
        for outcome in ("sent", "retry", "fail", "hold", "down")
    ]
    insert(outbox, "notify_hourlycount", *counts)
    insert(outbox, "notify_clientslot", {"slot": 1, "client": "c" * 32, "posts": 3})
    relay = {"id": 1, "state": "open", "reason": "", "diagnosis": "", "failures": 0, "fingerprint": "f" * 32}
    insert(outbox, "notify_relay", {**relay, "since": past, "last_success": past})


def rows(outbox: Outbox) -> dict[str, list[tuple[Any, ...]]]:
    return {table: outbox.sql(f"SELECT {columns} FROM {table} ORDER BY 1") for table, columns in COLUMNS.items()}


def test_a_database_of_the_first_version_keeps_every_row_and_sends_each_mail_once(outbox: Outbox, relay: Relay) -> None:
    fill(outbox, datetime.now(UTC))
    before = rows(outbox)
    bodies = dict(outbox.sql("SELECT recipient, mime FROM notify_message"))
    unannounced = outbox.sql("SELECT id, name, created_at FROM notify_visitor WHERE NOT announced ORDER BY id")
    assert all(before.values())
    assert len(unannounced) == 3

    migrate(outbox)
    after = rows(outbox)
    events = after["notify_event"][len(before["notify_event"]) :]
    after["notify_event"] = after["notify_event"][: len(before["notify_event"])]
    assert after == before
    join = "notify_message JOIN notify_body ON notify_body.id = body_id"
    assert dict(outbox.sql(f"SELECT recipient, mime FROM {join}")) == bodies
    assert outbox.sql("SELECT count(*) FROM notify_body") == [(len(bodies),)]
    # Visitors that nobody was notified of are waiting events.
    assert [event[1:] for event in events] == [
        (
            "new_visitor",
            str(key),
            "New visitor",
            " ".join(name.split()),
            f"http://127.0.0.1:8000/admin/notify/visitor/{key}/change/",
            created_at,
            None,
            "",
        )
        for key, name, created_at in unannounced
    ]

    turns = 4
    while outbox.unfinished() or outbox.sql("SELECT 1 FROM notify_event WHERE notified_at IS NULL"):
        outbox.deliver()
        turns -= 1
        assert turns, (outbox.messages("state, reply"), outbox.sql("SELECT * FROM notify_event"))
    subjects = Counter(str(envelope.message["Subject"]) for envelope in relay.envelopes)
    # Those of visitors waited for as long as an interval and are more than a burst: a digest, too.
    assert {subject for subject in subjects if subject.startswith("[Flasky]")} == {
        "[Flasky] 4 × New order: Order 3, Order 2, Order 1, Order 0",
        f"[Flasky] 3 × New visitor: a b c, {'x' * 64}"[:75] + "…",
    }
    assert set(subjects.values()) <= {1, 2}
    sent = Counter(envelope.recipients[0] for envelope in relay.envelopes)
    assert sent == {
        **{f"{state}.{number}@example.com": 1 for state in ("queued", "sending") for number in range(len(BODIES))},
        "admin@example.com": 2,
    }
    # Bodies stored from here on do not meet those that were moved.
    assert outbox.sql("SELECT max(id) - count(*) FROM notify_body") == [(0,)]
    [[left]] = outbox.sql("SELECT count(*) FROM notify_event WHERE message_id = '' AND key <> 'told 1'")
    assert left == 0
