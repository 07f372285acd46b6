"""The rows of the table of faults that concern the site rather than a worker."""

import contextlib
import json
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.faults.outbox import Outbox
from tests.site import Browser, Site

MakeSite = Callable[..., Site]


def readiness(site: Site) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"{site.url}mailz", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_row_23_a_full_disk_is_said_honestly_and_the_input_kept(make_site: MakeSite) -> None:
    site = make_site(NOTIFY_DISPATCH="worker", NOTIFY_INTERVAL=0)
    # No file of this process may grow beyond 700 KiB: as on a full disk, writes fail.
    site.start("bash", "-c", f"ulimit -f 700; exec {sys.executable} manage.py runserver --noreload 127.0.0.1:{{port}}")
    browser, kept = Browser(site), 0
    for number in range(600):
        page = browser.post(f"Visitor {number}")
        if "Pleased to meet you!" not in page or f"Visitor {number}!" not in page:
            break
        kept += 1
    else:
        pytest.fail("the disk was never full")
    assert "could not be saved" in page
    site.kill()
    database = site.variables["DATABASE_URL"]
    with contextlib.closing(sqlite3.connect(str(database).removeprefix("sqlite:///"))) as connection:
        [[visitors]] = connection.execute("SELECT count(*) FROM notify_visitor").fetchall()
        # The report of the failure may have found room, too.
        recorded = connection.execute("SELECT count(*) FROM notify_event WHERE topic = 'new_visitor'")
        [[events]] = recorded.fetchall()
    assert visitors == events
    # SQLite may find the commit that failed in its log after all ("I/O error", not "rolled back"): never less is kept
    # than was promised.
    assert visitors in (kept, kept + 1)


def test_row_31_health_is_red_by_the_age_of_the_oldest_due_message_not_by_their_number(make_site: MakeSite) -> None:
    site = make_site(NOTIFY_DISPATCH="worker")
    outbox = Outbox(str(site.variables["DATABASE_URL"]))
    outbox.queue(2000)
    site.start()
    assert readiness(site)[0] == 200
    long_ago = (datetime.now(UTC) - timedelta(minutes=6)).strftime("%Y-%m-%d %H:%M:%S.%f")
    outbox.sql("UPDATE notify_message SET due_at = ? WHERE id = 1", long_ago)
    status, facts = readiness(site)
    assert status == 503
    assert facts["relay"] == {"state": "open", "diagnosis": ""}
