"""PostgreSQL above READ COMMITTED refuses one of two writers that meet: no visitor sees it, and nothing is lost."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.faults.outbox import Outbox, create_postgresql, drop_postgresql
from tests.poster import together
from tests.relays import Relay
from tests.site import Browser, Site

VISITORS = 45

pytestmark = [pytest.mark.service("postgresql"), pytest.mark.service("gunicorn")]


@pytest.fixture(params=["repeatable read", "serializable"])
def strict(request: pytest.FixtureRequest, postgresql_template: str) -> Iterator[Outbox]:
    name = f"flasky_strict_{os.getpid()}"
    made = Outbox(create_postgresql(name, postgresql_template))
    made.sql(f"ALTER DATABASE {name} SET default_transaction_isolation = '{request.param}'")
    yield made
    made.close()
    drop_postgresql(name)


@pytest.mark.parametrize("limit", [0, 1000])
def test_visitors_who_come_at_once_are_all_kept_and_told(
    limit: int, strict: Outbox, make_site: Callable[..., Site], relay: Relay
) -> None:
    strict.options |= {"MAIL_PORT": relay.port, "NOTIFY_INTERVAL": 0, "NOTIFY_RATE_LIMIT": limit}
    site = make_site(**strict.options | {"NOTIFY_DISPATCH": "thread", "NOTIFY_CONNECTIONS": 2})
    site.start(sys.executable, "-m", "gunicorn", "flasky.wsgi", "--workers=4", "--threads=4", "--bind=127.0.0.1:{port}")
    pages: list[str] = []

    def visit(number: int) -> None:
        # Every third one types a name that another types as well.
        pages.append(Browser(site).post(f"Visitor {number - number % 3 // 2}"))

    together(VISITORS, visit)
    assert [page for page in pages if "Pleased to meet you" not in page and "Happy to see you" not in page] == []
    names = VISITORS * 2 // 3
    assert strict.sql("SELECT count(*) FROM notify_visitor") == [(names,)]
    mails = relay.wait_for(names, seconds=60)
    told = Counter(str(mail.message["Subject"]) for mail in mails)
    assert (len(told), set(told.values())) == (names, {1})
    assert strict.sql("SELECT count(*) FROM notify_event WHERE notified_at IS NULL") == [(0,)]
    assert "Traceback" not in site.output()
