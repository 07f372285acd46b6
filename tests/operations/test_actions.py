"""What an operator does to the outbox."""

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
from django.utils import timezone

from notify import dispatch
from notify.models import Alert, Attempt, Body, Event, Message, Relay
from notify.operations import actions
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
        assert len(actions.resend(Message.objects.all())) == 1
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
    assert len(actions.resend(Message.objects.all())) == 3
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


def test_a_purge_leaves_the_newest_alert_of_each_subject_which_is_its_state() -> None:
    now = timezone.now()
    long_ago = {"since": now - timedelta(days=91), "created_at": now - timedelta(days=91)}
    for previous, (about, kind) in enumerate([("delivery", "held"), ("delivery", "works"), ("heartbeat", "works")]):
        Alert.objects.create(about=about, kind=kind, previous=previous, title="t", **long_ago)
    Alert.objects.create(about="delivery", kind="held", previous=9, since=now, created_at=now, title="t")
    actions.purge(days=90, now=now)
    assert [(each.about, each.kind) for each in Alert.objects.order_by("pk")] == [
        ("heartbeat", "works"),
        ("delivery", "held"),
    ]


def test_a_purge_takes_the_state_of_configurations_that_are_no_longer_used() -> None:
    now = timezone.now()
    old, lately = now - timedelta(days=91), now - timedelta(minutes=5)
    seen = {"h": {"seen": (now - timedelta(minutes=2)).isoformat()}}
    given: dict[str, dict[str, Any]] = {
        "first": {},  # the audit log is kept under it
        "unused": {"state": "held", "last_success": old, "workers": {"h": {"seen": old.isoformat()}}},
        "paused": {"state": "paused"},
        "took a mail": {"last_success": lately},
        "on hold since": {"state": "held", "since": lately},
        "stopped": {"workers": {"h": {"seen": (now - timedelta(days=89)).isoformat()}}},
        "works beside": {"state": "held", "workers": seen},
        "current": {"workers": seen},
    }
    for name, columns in given.items():
        Relay.objects.create(**{"fingerprint": name, "since": old, **columns})
    actions.purge(days=90, now=now)
    assert set(Relay.objects.values_list("fingerprint", flat=True)) == {*given} - {"unused"}
    actions.purge(days=0, now=now)
    assert set(Relay.objects.values_list("fingerprint", flat=True)) == {"first", "paused", "works beside", "current"}


def test_a_purge_leaves_the_only_state_there_is() -> None:
    now = timezone.now()
    actions.purge(days=0, now=now)
    assert not Relay.objects.exists()
    Relay.objects.create(fingerprint="only", state="held", since=now - timedelta(days=91))
    actions.purge(days=0, now=now)
    assert Relay.objects.get().state == "held"
