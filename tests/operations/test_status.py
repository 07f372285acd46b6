"""What the state of the outbox is, in facts, in lines and in a verdict; health agrees with it."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from notify.delivery import breaker
from notify.delivery.retry import Decision
from notify.events.digest import notify_due
from notify.models import Event, Message, Outcome, Relay, Window
from notify.operations import status
from notify.operations.status import Status, Verdict
from notify.visitors.models import Visitor
from tests.delivery.test_claims import queue

pytestmark = pytest.mark.django_db


def fail(outcome: Outcome, *, diagnosis: str = "", reason: str = "535 5.7.8 wrong") -> None:
    Relay.current()
    breaker.report_failure(breaker.Permit(), Decision(outcome=outcome, delay=15), reason=reason, diagnosis=diagnosis)


def verdict() -> Verdict:
    return Status().verdict


def test_the_status_of_an_empty_outbox() -> None:
    facts = Status().as_json()
    assert facts["messages"] == {"queued": 0, "sending": 0, "sent": 0, "failed": 0, "cancelled": 0}
    assert (facts["waiting"], facts["oldest_due_seconds"]) == (0, None)
    assert facts["events"] == {"waiting": 0, "oldest_seconds": None, "next_digests": {}}
    assert facts["relay"]["state"] == "open"
    assert status.lines(facts) == [
        "messages  queued 0, sending 0, sent 0, failed 0, cancelled 0",
        "mail server  working",
        "last success  never",
    ]


def test_an_event_that_no_worker_mails_counts_as_due(settings: Any, client: Client) -> None:
    settings.NOTIFY_READY_SECONDS, settings.NOTIFY_INTERVAL, settings.NOTIFY_BURST = 300, 300, 2
    now = timezone.now()
    event = Event.objects.create(topic="order", key="1", subject="s", summary="s", created_at=now)
    Event.objects.create(topic="order", key="2", subject="s", summary="s", created_at=now)
    assert client.get("/mailz").status_code == 200
    Event.objects.filter(pk=event.pk).update(created_at=now - timedelta(seconds=400))
    assert Status().health()["oldest_due_seconds"] == pytest.approx(400, abs=10)
    assert client.get("/mailz").status_code == 503
    assert Status().verdict.mood == "bad"
    assert Status(now).oldest_due == now - timedelta(seconds=400)


@pytest.mark.parametrize(
    ("opened", "singles", "interval", "due"),
    [
        (450, 2, 300, 150),  # the interval had no room: due at its end
        (450, 2, 500, None),  # which is still to come
        (450, 1, 300, 400),  # it had room: due as it happened
        (900, 2, 300, 400),  # it was over
        (450, 2, 0, 400),  # nothing is folded
    ],
)
def test_an_event_is_due_when_a_worker_would_mail_it(
    opened: int, singles: int, interval: int, due: int | None, settings: Any
) -> None:
    settings.NOTIFY_INTERVAL, settings.NOTIFY_BURST = interval, 2
    now = timezone.now()
    Window.objects.create(topic="order", opened_at=now - timedelta(seconds=opened), singles=singles)
    Event.objects.create(topic="order", key="1", subject="s", summary="s", created_at=now - timedelta(seconds=400))
    assert Status(now).oldest_due == (None if due is None else now - timedelta(seconds=due))


def test_the_status_says_what_waits_since_when_and_why() -> None:
    for state in Message.State.values:
        queue(state=state)
    Event.objects.create(topic="order", key="1", subject="New", summary="Order 1")
    fail(Outcome.DOWN, reason="Connection refused")
    facts = Status().as_json()
    assert facts["messages"] == dict.fromkeys(Message.State.values, 1)
    assert facts["waiting"] == 2
    assert facts["oldest_due_seconds"] == pytest.approx(60, abs=10)
    assert facts["events"]["waiting"] == 1
    text = "\n".join(status.lines(facts))
    assert "oldest due  6" in text
    assert f"mail server  interrupted since {facts['relay']['since']}, 2 waiting: Connection refused" in text
    assert "next probe  20" in text
    assert "events waiting for a digest  1" in text


def test_a_held_relay_and_a_pause_are_named() -> None:
    fail(Outcome.HOLD, reason="535 wrong password")
    lines = status.lines(Status().as_json())
    assert any(line.startswith("mail server  on hold") and "535 wrong password" in line for line in lines)
    breaker.pause("maintenance")
    lines = status.lines(Status().as_json())
    assert any(line.startswith("mail server  paused") and "maintenance" in line for line in lines)


def test_the_status_names_when_the_next_digest_is_due(settings: Any) -> None:
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = 1, 300
    for number in range(2):
        Visitor.objects.create(name=f"Visitor {number}")
    notify_due()
    opened_at = Window.objects.get().opened_at
    assert opened_at
    due = timezone.localtime(opened_at + timedelta(seconds=300)).isoformat(timespec="seconds")
    facts = Status().as_json()
    assert facts["events"]["next_digests"] == {"new_visitor": due}
    assert f"next digest  {due} (new_visitor)" in status.lines(facts)


def test_before_the_first_mail_it_asks_for_a_test() -> None:
    assert (verdict().mood, str(verdict().headline)) == ("quiet", "Nothing has been sent yet.")


def test_mail_works_when_the_relay_took_some_and_nothing_is_overdue() -> None:
    Relay.current()
    breaker.report_success(breaker.Permit())
    queue(due_at=timezone.now() - timedelta(seconds=30))
    assert (verdict().mood, str(verdict().headline)) == ("good", "Mail works.")


def test_a_relay_in_trouble_is_explained() -> None:
    fail(Outcome.HOLD, diagnosis="bad-credentials")
    found = verdict()
    assert (found.mood, found.words) == ("bad", "535 5.7.8 wrong")
    assert "action required" in str(found.headline)
    assert "did not accept the user name and password" in str(found.cause)
    assert "MAIL_PASSWORD" in str(found.fix)


def test_a_cause_that_is_not_known_is_not_guessed() -> None:
    fail(Outcome.DOWN)
    found = verdict()
    assert "retrying automatically" in str(found.headline)
    assert (str(found.cause), found.fix) == ("The cause is unknown.", "")
    assert found.words == "535 5.7.8 wrong"


@pytest.mark.parametrize(
    ("way", "words"), [("thread", "web processes"), ("worker", "deliver --watch"), ("celery", "Celery worker")]
)
def test_mail_that_nobody_delivers_is_told_from_mail_that_the_relay_refuses(
    settings: Any, way: str, words: str
) -> None:
    settings.NOTIFY_DISPATCH, settings.NOTIFY_READY_SECONDS = way, 60
    Relay.current()
    Relay.objects.update(last_success=timezone.now() - timedelta(hours=1))
    queue(due_at=timezone.now() - timedelta(seconds=90))
    for found in (verdict(), Status().why_not_sent(Message.objects.get())):
        assert (found.mood, str(found.headline)) == ("bad", "Mail is queued, but no worker is running.")
        assert words in str(found.fix)


def test_a_long_queue_that_moves_is_no_trouble(settings: Any) -> None:
    settings.NOTIFY_READY_SECONDS = 60
    Relay.current()
    breaker.report_success(breaker.Permit())
    queue(due_at=timezone.now() - timedelta(seconds=90))
    for found in (verdict(), Status().why_not_sent(Message.objects.get())):
        assert (found.mood, str(found.headline)) == ("slow", "Mail works, but the queue is behind.")


def test_a_pause_is_told_with_its_reason() -> None:
    breaker.pause("ann: the provider moves")
    found = verdict()
    assert (found.mood, str(found.headline), found.words) == ("still", "Mail is paused.", "ann: the provider moves")


def test_neither_what_waits_nor_what_failed_is_looked_for_in_the_history() -> None:
    queue(3_000, state="sent")
    queue(20)
    queue(20, state="failed")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE notify_message")
    for index, rows in {
        "message_unfinished": Message.objects.due().order_by("due_at"),
        "message_unsent": Message.objects.filter(state=Message.State.FAILED).values("pk"),
    }.items():
        plan = rows.explain()
        assert index in plan
        assert "Seq Scan" not in plan


def test_mail_that_is_overdue_because_of_a_pause_is_explained_by_the_pause(client: Client, settings: Any) -> None:
    settings.NOTIFY_METRICS_TOKEN = "canary"
    queue(due_at=timezone.now() - timedelta(seconds=400))
    breaker.pause("the provider moves")
    answer = client.get("/mailz", headers={"Authorization": "Bearer canary"})
    assert answer.status_code == 503
    [reason] = answer.json()["reasons"]
    assert reason.startswith("The mail server has been paused since ")
    assert reason.endswith(": the provider moves")
