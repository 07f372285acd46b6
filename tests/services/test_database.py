"""A database that changes under the site and the workers: fail-over, an upgrade, a path that dies."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from tests.faults.conftest import Sink
from tests.faults.outbox import POSTGRESQL, Outbox
from tests.services.namespace import Namespace
from tests.site import Browser, Site
from tests.waiting import until

pytestmark = pytest.mark.service("postgresql")


def readiness(site: Site) -> tuple[int, dict[str, object]]:
    asked = urllib.request.Request(f"{site.url}readyz", headers={"Authorization": "Bearer t"})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_site_whose_code_is_ahead_of_the_schema_is_not_ready_until_it_is_migrated(
    outbox: Outbox, make_site: Callable[..., Site]
) -> None:
    site = make_site(**outbox.options, NOTIFY_METRICS_TOKEN="t")
    assert site.manage("migrate", "notify", "0006").returncode == 0
    site.start()
    status, said = readiness(site)
    assert (status, said["status"]) == (503, "not ready")
    [reason] = said["reasons"]  # type: ignore[misc]
    assert str(reason).startswith("Migrations are not applied: notify.0007_relay_per_configuration")
    assert site.manage("migrate").returncode == 0
    assert readiness(site)[0] == 200


@pytest.mark.service("gunicorn")
def test_a_connection_to_a_primary_that_became_read_only_is_not_kept(
    outbox: Outbox, make_site: Callable[..., Site]
) -> None:
    name = outbox.url.rpartition("/")[2]
    elsewhere = Outbox(f"{POSTGRESQL}/postgres")
    elsewhere.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    site = make_site(**outbox.options).start("gunicorn", "flasky.wsgi", "--workers", "1", "--bind", "127.0.0.1:{port}")
    browser = Browser(site)
    assert "could not be saved" in browser.post("Ann")
    elsewhere.sql(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')  # for sessions that begin now
    assert "Pleased to meet you!" in browser.post("Ann")


@pytest.mark.service("netns")
def test_a_worker_whose_path_to_the_database_dies_silently_recovers_in_seconds(outbox: Outbox, sink: Sink) -> None:
    with Namespace(5432) as space:
        url = outbox.url.replace("127.0.0.1", space.address)
        worker = space.start("deliver", "--watch", **{**outbox.options, "DATABASE_URL": url, "MAIL_TIMEOUT": 5})
        until(lambda: outbox.sql("SELECT 1 FROM notify_relay WHERE workers IS NOT NULL"))
        space.cut()
        time.sleep(15)
        space.mend()
        outbox.queue(1)
        started = time.monotonic()
        while outbox.messages("attempts") == [0] and outbox.messages("reply") == [""]:  # the sink is not in there
            assert time.monotonic() - started < 15
            time.sleep(0.1)
        assert worker.poll() is None
