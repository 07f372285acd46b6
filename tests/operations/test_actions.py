"""What an operator sees of the outbox and does to it."""

import contextlib
import threading
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage as ParsedMessage
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.db.models.signals import pre_delete
from django.test import Client
from django.utils import timezone

from notify import dispatch
from notify.delivery import breaker
from notify.delivery.retry import Decision
from notify.events.digest import notify_due
from notify.models import Attempt, Body, Event, Message, Outcome, Relay, Window
from notify.operations import actions, overview
from notify.visitors.models import Visitor
from tests.delivery.test_claims import queue

pytestmark = pytest.mark.django_db


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    calls: list[bool] = []
    monkeypatch.setattr(dispatch, "wake", lambda: calls.append(True))
    return calls


def one_of_each() -> dict[str, Message]:
    return {state: queue(state=state)[0] for state in Message.State.values}


def states() -> dict[int, str]:
    return dict(Message.objects.values_list("pk", "state"))


def test_the_status_of_an_empty_outbox() -> None:
    facts = actions.status()
    assert facts["messages"] == {"queued": 0, "sending": 0, "sent": 0, "failed": 0, "cancelled": 0}
    assert (facts["waiting"], facts["oldest_due_seconds"]) == (0, None)
    assert facts["events"] == {"waiting": 0, "oldest_seconds": None, "next_digests": {}}
    assert facts["relay"]["state"] == "open"
    assert actions.status_lines(facts) == [
        "messages  queued 0, sending 0, sent 0, failed 0, cancelled 0",
        "relay  working",
        "last success  never",
    ]


def test_an_event_that_no_worker_mails_counts_as_due(settings: Any, client: Client) -> None:
    settings.NOTIFY_READY_SECONDS, settings.NOTIFY_INTERVAL, settings.NOTIFY_BURST = 300, 300, 2
    now = timezone.now()
    event = Event.objects.create(topic="order", key="1", subject="s", summary="s", created_at=now)
    Event.objects.create(topic="order", key="2", subject="s", summary="s", created_at=now)
    assert client.get("/readyz").status_code == 200
    Event.objects.filter(pk=event.pk).update(created_at=now - timedelta(seconds=400))
    assert actions.health()["oldest_due_seconds"] == pytest.approx(400, abs=10)
    assert client.get("/readyz").status_code == 503
    assert overview.overview().verdict.mood == "bad"
    assert actions.oldest_due(now) == now - timedelta(seconds=400)


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
    assert actions.oldest_due(now) == (None if due is None else now - timedelta(seconds=due))


def test_the_status_says_what_waits_since_when_and_why() -> None:
    one_of_each()
    Event.objects.create(topic="order", key="1", subject="New", summary="Order 1")
    Relay.current()
    down = Decision(outcome=Outcome.DOWN, delay=15)
    breaker.report_failure(breaker.Permit(), down, reason="Connection refused", diagnosis="")
    facts = actions.status()
    assert facts["messages"] == dict.fromkeys(Message.State.values, 1)
    assert facts["waiting"] == 2
    assert facts["oldest_due_seconds"] == pytest.approx(60, abs=10)
    assert facts["events"]["waiting"] == 1
    text = "\n".join(actions.status_lines(facts))
    assert "oldest due  6" in text
    assert f"relay  interrupted since {facts['relay']['since']}, 2 waiting: Connection refused" in text
    assert "next probe  20" in text
    assert "events waiting for a digest  1" in text


def test_a_held_relay_and_a_pause_are_named() -> None:
    Relay.current()
    breaker.report_failure(breaker.Permit(), Decision(outcome=Outcome.HOLD), reason="535 wrong password", diagnosis="")
    assert any(
        line.startswith("relay  on hold") and "535 wrong password" in line
        for line in actions.status_lines(actions.status())
    )
    breaker.pause("maintenance")
    assert any(
        line.startswith("relay  paused") and "maintenance" in line for line in actions.status_lines(actions.status())
    )


def test_retry_takes_what_failed_was_cancelled_or_waits(
    woken: list[bool], django_capture_on_commit_callbacks: Any
) -> None:
    rows = one_of_each()
    Message.objects.update(attempts=7, expires_at=timezone.now(), uncertain=True)
    with django_capture_on_commit_callbacks(execute=True):
        assert actions.retry(Message.objects.all()) == 3
    assert woken == [True]
    assert {state for state, row in rows.items() if states()[row.pk] == "queued"} == {"queued", "failed", "cancelled"}
    retried = Message.objects.get(pk=rows["failed"].pk)
    assert (retried.attempts, retried.uncertain) == (0, True)
    assert retried.expires_at > timezone.now() + timedelta(days=4)
    assert Message.objects.due().filter(pk=retried.pk).exists()


def test_cancel_takes_only_what_is_in_nobodys_hands() -> None:
    rows = one_of_each()
    assert actions.cancel(Message.objects.all()) == 1
    assert states()[rows["queued"].pk] == "cancelled"
    assert states()[rows["sending"].pk] == "sending"


def test_a_message_sent_again_is_a_new_one_with_the_same_words(
    woken: list[bool], django_capture_on_commit_callbacks: Any
) -> None:
    headers = {"References": f"<{'a' * 300}@example.com> <b@example.com>"}
    subject = "Grüße an alle " + "x" * 200
    EmailMessage(subject, "Grüße\n.dot\n", "Jörg <me@example.com>", ["a@example.com"], headers=headers).send()
    first = Message.objects.get()
    Message.objects.update(state="sent", reply="250 Ok", attempts=3)
    with django_capture_on_commit_callbacks(execute=True):
        assert actions.resend(Message.objects.all()) == 1
    assert woken
    second = Message.objects.exclude(pk=first.pk).get()
    assert (second.state, second.attempts, second.reply, second.subject) == ("queued", 0, "", subject)
    assert (second.sender, second.recipient) == (first.sender, first.recipient)
    old, new = parsed(first), parsed(second)
    assert new["Message-ID"] == second.message_id != first.message_id
    assert new.get_all("Date") == [new["Date"]]
    for message in (old, new):
        del message["Message-ID"], message["Date"]
    assert sorted(old.items()) == sorted(new.items())
    assert bytes(first.body.mime).partition(b"\r\n\r\n")[2] == bytes(second.body.mime).partition(b"\r\n\r\n")[2]


def parsed(message: Message) -> ParsedMessage:
    return message_from_bytes(bytes(message.body.mime), policy=policy.default)  # type: ignore[return-value]


def test_what_is_not_finished_is_not_sent_again() -> None:
    rows = one_of_each()
    assert actions.resend(Message.objects.all()) == 3
    assert set(states()) - {row.pk for row in rows.values()} == set(
        Message.objects.filter(pk__gt=max(row.pk for row in rows.values())).values_list("pk", flat=True)
    )


def test_a_purge_takes_what_was_finished_long_ago_and_nothing_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "PURGED_AT_ONCE", 2)
    now = timezone.now()
    old = now - timedelta(days=91)
    for state in Message.State.values:
        [row] = queue(state=state, created_at=old, due_at=old, sent_at=old if state == "sent" else None)
        Attempt.objects.create(message=row, seconds=1, phase="end", text="x", decision="retry")
    queue(3, state="sent", created_at=old, due_at=old, sent_at=now)
    Event.objects.create(topic="t", key="old", subject="s", summary="s", notified_at=old)
    Event.objects.create(topic="t", key="new", subject="s", summary="s", notified_at=now)
    Event.objects.create(topic="t", key="waiting", subject="s", summary="s", created_at=old)
    assert actions.purge(days=90, now=now) == {"messages": 3, "events": 1}
    assert sorted(states().values()) == ["queued", "sending", "sent", "sent", "sent"]
    assert Attempt.objects.count() == 2
    assert set(Event.objects.values_list("key", flat=True)) == {"new", "waiting"}


def test_a_purge_takes_a_body_with_the_last_message_that_shares_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "PURGED_AT_ONCE", 2)  # also where the messages of a mail are purged one by one
    now = timezone.now()
    old = now - timedelta(days=91)
    recipients = [f"r{number}@example.com" for number in range(5)]
    EmailMessage("Kept", "Text", "me@example.com", recipients).send()
    EmailMessage("Purged", "Text", "me@example.com", recipients).send()
    Message.objects.filter(subject="Purged").update(state="sent", sent_at=old)
    Message.objects.filter(subject="Kept").exclude(recipient=recipients[3]).update(state="sent", sent_at=old)
    assert Body.objects.count() == 2
    assert actions.purge(days=90, now=now)["messages"] == 9
    left = Message.objects.get()
    assert (left.subject, left.recipient) == ("Kept", recipients[3])
    assert b"Subject: Kept" in bytes(left.body.mime)
    assert Body.objects.count() == 1
    Message.objects.update(state="sent", sent_at=old)
    assert actions.purge(days=90, now=now)["messages"] == 1
    assert not Body.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_message_that_is_retried_during_a_purge_is_purged_or_retried_and_never_both() -> None:
    old = timezone.now() - timedelta(days=91)
    queue(state="failed", created_at=old, due_at=old)
    retried: list[int] = []

    def retry() -> None:
        retried.append(actions.retry(Message.objects.all()))
        connection.close()

    operator = threading.Thread(target=retry)

    def meanwhile(**kwargs: Any) -> None:
        operator.start()
        operator.join(0.3)  # longer only if it must wait for the purge

    pre_delete.connect(meanwhile, sender=Message)
    try:
        actions.purge(days=90)
    finally:
        pre_delete.disconnect(meanwhile, sender=Message)
        operator.join()
    assert retried == [Message.objects.count()]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="on SQLite the second waits for the first to end")
@pytest.mark.django_db(transaction=True)
def test_two_purges_at_a_time_leave_no_body_that_nobody_shares() -> None:
    EmailMessage("Subject", "Text", "me@example.com", ["a@example.com", "b@example.com"]).send()
    both_deleted = threading.Barrier(2)

    def purge(recipient: str) -> None:
        with transaction.atomic():
            actions._delete_messages(Message.objects.filter(recipient=recipient))
            with contextlib.suppress(threading.BrokenBarrierError):
                both_deleted.wait(0.3)  # which never happens: one waits for the other
        connection.close()

    threads = [threading.Thread(target=purge, args=[name]) for name in ("a@example.com", "b@example.com")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not Message.objects.exists()
    assert not Body.objects.exists()


def test_a_purge_takes_visitors_only_when_told_to() -> None:
    old = timezone.now() - timedelta(days=91)
    Visitor.objects.bulk_create([Visitor(name="Old", created_at=old), Visitor(name="Fresh")])
    assert "visitors" not in actions.purge(days=90)
    assert actions.purge(days=90, visitors=True)["visitors"] == 1
    assert Visitor.objects.get().name == "Fresh"


def test_the_status_names_when_the_next_digest_is_due(settings: Any) -> None:
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = 1, 300
    for number in range(2):
        Visitor.objects.create(name=f"Visitor {number}")
    notify_due()
    opened_at = Window.objects.get().opened_at
    assert opened_at
    due = timezone.localtime(opened_at + timedelta(seconds=300)).isoformat(timespec="seconds")
    facts = actions.status()
    assert facts["events"]["next_digests"] == {"new_visitor": due}
    assert f"next digest  {due} (new_visitor)" in actions.status_lines(facts)


def test_what_was_sensitive_stays_so_when_it_is_sent_again() -> None:
    queue(state="sent", sensitive=True)
    actions.resend(Message.objects.all())
    assert Message.objects.latest("id").sensitive


def test_any_number_is_changed_in_batches(monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any) -> None:
    monkeypatch.setattr(actions, "CHANGED_AT_ONCE", 4)
    queue(10)
    queue(2, state="sent")
    with django_assert_num_queries(4):  # the keys, and three batches
        assert actions.in_batches(actions.cancel, Message.objects.cancellable()) == 10
    assert sorted(states().values()) == ["cancelled"] * 10 + ["sent"] * 2
    assert actions.in_batches(actions.cancel, Message.objects.cancellable()) == 0
