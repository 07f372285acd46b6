"""What /readyz says of this process, whatever mail does."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from notify.models import Outcome
from notify.operations import health
from tests.operations.test_status import fail

pytestmark = pytest.mark.django_db
TOKEN = "a-token-of-twenty-letters"


@pytest.fixture(autouse=True)
def _asked_for_the_first_time(settings: Any) -> Iterator[None]:
    settings.NOTIFY_METRICS_TOKEN = TOKEN
    health._is_migrated.clear()
    yield
    health._is_migrated.clear()


@pytest.mark.parametrize("outcome", [Outcome.DOWN, Outcome.HOLD])
def test_a_process_is_ready_while_mail_is_not(client: Client, outcome: Outcome) -> None:
    fail(outcome)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "database": "ok"})
    assert client.get("/mailz").status_code == 503


def test_once_ready_it_costs_one_query(client: Client, django_assert_num_queries: Any) -> None:
    client.get("/readyz")
    with django_assert_num_queries(1):
        assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("has_token", [True, False])
def test_it_is_not_ready_before_migrations_are_applied(client: Client, has_token: bool) -> None:
    MigrationRecorder.Migration.objects.filter(app="notify").latest("id").delete()
    answer = client.get("/readyz", headers={"authorization": f"Bearer {TOKEN}"} if has_token else {})
    said = answer.json()
    assert (answer.status_code, said["status"], said["database"]) == (503, "not ready", "behind")
    assert ("reasons" in said) is has_token
    if has_token:
        assert "Run manage.py migrate." in said["reasons"][0]
        assert "notify.0" in said["reasons"][0]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
@pytest.mark.parametrize("has_token", [True, False])
def test_it_is_not_ready_without_the_database(
    client: Client, monkeypatch: pytest.MonkeyPatch, has_token: bool, error: type[Exception]
) -> None:
    def away() -> None:
        raise error("connection to db1.internal refused")

    monkeypatch.setattr(connection, "cursor", away)
    answer = client.get("/readyz", headers={"authorization": f"Bearer {TOKEN}"} if has_token else {})
    reasons = {"reasons": [f"The database does not answer: {error.__name__}"]} if has_token else {}
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", **reasons, "database": "unreachable"}
