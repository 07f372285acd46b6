"""What /metrics says, to whom, and that its counters never go down."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from notify.delivery import breaker, counts
from notify.delivery.retry import Decision
from notify.models import Event, Message, Outcome, Relay
from notify.operations import actions, metrics
from tests.delivery.test_claims import queue

pytestmark = pytest.mark.django_db

TOKEN = "s3cret-tökén"


@pytest.fixture
def scrape(client: Client, settings: Any) -> Any:
    """The samples, by their name and their label's value."""
    settings.NOTIFY_METRICS_TOKEN = TOKEN

    def ask() -> dict[tuple[str, ...], float]:
        answer = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return dict(samples(answer.content.decode()))

    return ask


def samples(text: str) -> Iterator[tuple[tuple[str, ...], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield (sample.name, *sample.labels.values()), sample.value


def test_an_outbox_where_nothing_ever_happened(scrape: Any) -> None:
    found = scrape()
    assert found["notify_messages", "queued"] == found["notify_messages", "failed"] == 0
    assert found["notify_oldest_due_seconds",] == found["notify_sent_total",] == found["notify_events_waiting",] == 0
    assert found["notify_relay_state", "open"] == 1
    assert ("notify_last_success_timestamp_seconds",) not in found


def test_what_waits_and_what_failed_is_counted_by_state(scrape: Any) -> None:
    for state, count in {"queued": 3, "sending": 2, "failed": 4, "sent": 5, "cancelled": 1}.items():
        queue(count, state=state)
    Event.objects.create(topic="order", key="1", subject="New", summary="Order 1")
    found = scrape()
    assert found["notify_events_overdue",] == 1
    assert {key[1]: value for key, value in found.items() if key[0] == "notify_messages"} == {
        "queued": 3,
        "sending": 2,
        "failed": 4,
    }
    assert found["notify_oldest_due_seconds",] == pytest.approx(60, abs=20)
    assert found["notify_events_waiting",] == 1


def test_attempts_are_counted_by_cause_and_timed(scrape: Any) -> None:
    counts.add("sent", count=3, seconds=0.75)
    counts.add("sent", count=1, seconds=0.25, now=timezone.now() - timedelta(days=400))
    counts.add("retry", seconds=2, diagnosis="greylisted")
    counts.add("fail", count=2, seconds=1, diagnosis="no-such-recipient")
    counts.add("fail", seconds=1)
    counts.add("down", seconds=30, diagnosis="silent")
    counts.add("hold", seconds=1, diagnosis="silent")
    found = scrape()
    assert found["notify_sent_total",] == 4
    assert found["notify_retried_total", "greylisted"] == 1
    assert found["notify_failed_total", "no-such-recipient"] == 2
    assert found["notify_failed_total", "unknown"] == 1
    assert found["notify_relay_failures_total", "silent"] == 2
    assert (found["notify_attempt_seconds_count", "sent"], found["notify_attempt_seconds_sum", "sent"]) == (4, 1.0)
    assert found["notify_attempt_seconds_sum", "down"] == 30


def test_the_relay_is_in_one_state_and_its_trouble_has_a_cause(scrape: Any) -> None:
    Relay.current()
    hold = Decision(outcome=Outcome.HOLD, delay=900)
    breaker.report_failure(breaker.Permit(), hold, reason="535 wrong", diagnosis="bad-credentials")
    found = scrape()
    states = {key[1]: value for key, value in found.items() if key[0] == "notify_relay_state"}
    assert states == {"open": 0, "down": 0, "held": 1, "paused": 0}
    assert found["notify_relay_trouble", "bad-credentials"] == 1
    assert found["notify_relay_since_timestamp_seconds",] == pytest.approx(timezone.now().timestamp(), abs=20)
    breaker.resume()
    breaker.report_success(breaker.Permit())
    found = scrape()
    assert not [key for key in found if key[0] == "notify_relay_trouble"]
    assert found["notify_last_success_timestamp_seconds",] == pytest.approx(timezone.now().timestamp(), abs=20)


def test_no_counter_goes_down_when_rows_are_purged_retried_or_cancelled(scrape: Any) -> None:
    old = timezone.now() - timedelta(days=400)
    queue(2, state="sent", created_at=old, due_at=old, sent_at=old)
    queue(2, state="failed", created_at=old, due_at=old)
    counts.add("sent", count=2, seconds=1, now=old)
    counts.add("fail", count=2, seconds=1, now=old)
    before = {key: value for key, value in scrape().items() if key[0].endswith(("_total", "_count", "_sum"))}
    actions.retry(Message.objects.filter(pk=Message.objects.filter(state="failed")[0].pk))
    actions.cancel(Message.objects.all())
    actions.purge(days=90)
    after = scrape()
    assert {key: after[key] for key in before} == before
    assert before["notify_failed_total", "unknown"] == 2
    assert after["notify_messages", "failed"] == 0


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_a_stranger_is_refused(client: Client, settings: Any, header: str) -> None:
    settings.NOTIFY_METRICS_TOKEN = TOKEN
    answer = client.get("/metrics", headers={"authorization": header} if header else {})
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="metrics"')
    assert answer.content == b""


@pytest.mark.parametrize("header", ["Bearer ", "Bearer"])
def test_where_there_is_no_token_none_opens(client: Client, settings: Any, header: str) -> None:
    settings.NOTIFY_METRICS_TOKEN = ""
    assert client.get("/metrics", headers={"authorization": header}).status_code == 401


@pytest.mark.parametrize(
    ("staff", "permission", "status"), [(True, True, 200), (True, False, 403), (False, True, 403), (False, False, 403)]
)
def test_staff_who_may_see_the_relay_need_no_token(client: Client, staff: bool, permission: bool, status: int) -> None:
    user = User.objects.create_user("ann", is_staff=staff)
    if permission:
        user.user_permissions.add(Permission.objects.get(codename="view_relay"))
    client.force_login(user)
    assert client.get("/metrics").status_code == status


def test_a_wrong_token_is_noticed_also_in_a_session(admin_client: Client) -> None:
    assert admin_client.get("/metrics").status_code == 200
    assert admin_client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401


def test_nothing_is_to_be_posted(admin_client: Client) -> None:
    assert admin_client.post("/metrics").status_code == 405


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_is_away_is_said(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def away(*args: Any) -> None:
        raise error("no")

    monkeypatch.setattr(metrics, "_queue", away)
    answer = admin_client.get("/metrics")
    assert (answer.status_code, answer.content) == (503, f"The database does not answer: {error.__name__}\n".encode())


def test_the_dashboard_and_the_alarms_ask_for_metrics_that_there_are() -> None:
    docs = Path(__file__).resolve().parent.parent.parent / "docs"
    counts.add("retry", seconds=1)
    queue(state="failed")
    known = {sample.name for family in metrics.Outbox().collect() for sample in family.samples} | {
        family.name + ("_total" if family.type == "counter" else "") for family in metrics.Outbox().collect()
    }
    panels = json.loads((docs / "grafana.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    operations_page = (docs / "operations.md").read_text()
    asked += re.findall(r"expr: '([^']+)'", operations_page)
    assert len(asked) > 15
    for expression in asked:
        assert set(re.findall(r"notify_\w+", expression)) <= known, expression
    for name in known:
        assert re.sub(r"_(sum|count)$", "", name) in operations_page, name
