"""Claim, send, settle: what becomes of messages, whatever the relay and the database do."""

import smtplib
import threading
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DataError, InterfaceError, InternalError, OperationalError, connection
from django.utils import timezone

from notify.delivery import breaker, claims, outcome, transport, worker
from notify.delivery.worker import Tally, Worker, deliver_due
from notify.models import Attempt, Body, Message, Relay
from tests.backends import Scripted, marked
from tests.delivery.test_claims import queue

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("scripted")]


def refused(code: int, words: bytes, phase: str = "recipient") -> Exception:
    if phase == "recipient":
        return marked(smtplib.SMTPRecipientsRefused({"you@example.com": (code, words)}), phase)
    return marked(smtplib.SMTPDataError(code, words), phase)


def make_due() -> None:
    Message.objects.filter(state="queued").update(due_at=timezone.now() - timedelta(seconds=1))


def states() -> list[str]:
    return list(Message.objects.order_by("id").values_list("state", flat=True))


def test_what_is_due_is_sent_in_order_over_one_connection_and_the_answers_are_kept() -> None:
    rows = queue(3)
    Scripted.script = ["250 first", "250 second", "250 third"]
    assert deliver_due() == Tally(sent=3)
    assert [row.reply for row in Message.objects.order_by("id")] == ["250 first", "250 second", "250 third"]
    assert [message.to for message in Scripted.sent] == [[row.recipient] for row in rows]
    assert Scripted.said == ["open", "send", "send", "send", "close"]
    assert Relay.current().last_success


def test_several_connections_share_the_work_and_send_nothing_twice() -> None:
    queue(60)
    assert deliver_due(connections=3).sent == 60
    assert len(Scripted.sent) == 60
    assert set(states()) == {"sent"}


def test_a_refusal_is_one_messages_failure_and_noted() -> None:
    queue(2)
    Scripted.script = [refused(550, b"5.1.1 No such user canary")]
    assert deliver_due() == Tally(sent=1, failed=1)
    assert states() == ["failed", "sent"]
    attempt = Attempt.objects.get()
    assert (attempt.phase, attempt.code, attempt.enhanced, attempt.decision) == ("recipient", 550, "5.1.1", "fail")
    assert attempt.text == "5.1.1 No such user ***"
    assert Message.objects.order_by("id")[0].reply == "550 5.1.1 No such user ***"


def test_a_deferral_is_tried_again_later() -> None:
    queue()
    Scripted.script = [refused(451, b"4.7.1 Greylisted")]
    assert deliver_due() == Tally(retry=1)
    row = Message.objects.get()
    assert (row.state, row.attempts, row.reply) == ("queued", 1, "451 4.7.1 Greylisted")
    assert row.due_at > timezone.now()
    assert deliver_due() == Tally()
    make_due()
    assert deliver_due() == Tally(sent=1)
    assert Message.objects.get().attempts == 2


def test_a_message_too_old_is_given_up() -> None:
    queue(expires_at=timezone.now() - timedelta(seconds=1))
    Scripted.script = [refused(451, b"Later")]
    assert deliver_due() == Tally(failed=1)


def test_an_outcome_never_heard_is_marked_until_the_message_is_sent() -> None:
    queue()
    Scripted.script = [marked(TimeoutError("no answer within 30 s"), "end")]
    deliver_due()
    assert Message.objects.get().uncertain
    make_due()
    Scripted.script = [refused(451, b"Later")]
    deliver_due()
    assert Message.objects.get().uncertain
    make_due()
    deliver_due()
    assert not Message.objects.get().uncertain


def test_a_relay_that_is_down_costs_no_message_an_attempt_and_gives_the_batch_back() -> None:
    queue(3)
    Scripted.script = [marked(ConnectionRefusedError("refused"), "connect")]
    assert deliver_due() == Tally(retry=1)
    assert states() == ["queued"] * 3
    assert set(Message.objects.values_list("attempts", "claim")) == {(0, "")}
    assert all(row.due_at == row.created_at for row in Message.objects.all())
    assert Attempt.objects.get().decision == "down"
    assert Relay.current().state == "down"
    assert deliver_due() == Tally()


def test_a_probe_that_goes_through_is_followed_by_all_others() -> None:
    queue(3)
    Scripted.script = [marked(ConnectionRefusedError("refused"), "connect")]
    deliver_due()
    Relay.objects.update(next_probe=timezone.now() - timedelta(seconds=1))
    assert deliver_due() == Tally(sent=3)
    assert Relay.current().state == "open"


@pytest.mark.parametrize("phase", ["recipient", "end"])
@pytest.mark.parametrize("code", [451, 550])
def test_a_probe_whose_message_alone_is_refused_opens_the_relay_for_the_others(code: int, phase: str) -> None:
    queue(3)
    Scripted.script = [marked(ConnectionRefusedError("refused"), "connect")]
    deliver_due()
    Relay.objects.update(next_probe=timezone.now() - timedelta(seconds=1))
    Scripted.script = [refused(code, b"Not this one", phase)]
    assert deliver_due().sent == 2
    assert Relay.current().state == "open"


@pytest.mark.parametrize(
    "error",
    [
        marked(TimeoutError("no answer"), "end"),
        marked(smtplib.SMTPSenderRefused(451, b"Try later", "me@example.com"), "sender"),
        refused(530, b"5.7.0 Authentication required"),
        ZeroDivisionError("poison"),
    ],
    ids=["silence", "sender", "login", "poison"],
)
def test_a_probe_that_learned_nothing_good_of_the_relay_leaves_it_as_it_is(error: Exception) -> None:
    queue(3)
    Scripted.script = [marked(ConnectionRefusedError("refused"), "connect")]
    deliver_due()
    Relay.objects.update(next_probe=timezone.now() - timedelta(seconds=1))
    Scripted.script = [error]
    assert deliver_due().sent == 0
    assert Relay.current().state != "open"


def test_days_of_failed_probes_are_noted_once() -> None:
    queue()
    for _ in range(4):
        Scripted.script = [marked(ConnectionRefusedError("refused"), "connect")]
        deliver_due()
        Relay.objects.update(next_probe=timezone.now() - timedelta(seconds=1))
    assert Attempt.objects.count() == 1
    assert Relay.current().failures == 4


@pytest.mark.parametrize(
    "words", ["broken", "NUL \0", "a surrogate \udc80", "canary"], ids=["plain", "NUL", "surrogate", "secret"]
)
def test_a_poison_message_fails_after_three_tries_and_the_queue_moves_on(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome.logger, "disabled", True)  # pytest's own reports take no surrogates
    queue(2)
    for _ in range(3):
        Scripted.script = [ZeroDivisionError(words)]
        deliver_due()
        make_due()
    assert states() == ["failed", "sent"]
    assert set(Attempt.objects.values_list("phase", flat=True)) == {"prepare"}
    reply = Message.objects.order_by("id")[0].reply
    assert reply.startswith("ZeroDivisionError: ")
    assert "canary" not in reply


@pytest.mark.parametrize("envelope", [False, True], ids=["API", "SMTP"])
def test_a_message_whose_attributes_cannot_be_read_fails_alone(envelope: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "takes_envelope", lambda: envelope)
    queue(3)
    Body.objects.filter(messages__pk=Message.objects.order_by("id")[1].pk).update(attributes="{broken")
    for _ in range(3):
        deliver_due()
        make_due()
    assert states() == ["sent", "failed", "sent"]


def test_a_transport_that_cannot_be_made_holds_the_relay_and_fails_no_message(
    use_transport: Callable[..., None],
) -> None:
    queue(2)
    use_transport("tests.backends.Broken")
    assert deliver_due() == Tally(retry=1)
    assert states() == ["queued"] * 2
    assert (Relay.current().state, Relay.current().reason) == ("held", "TypeError: unexpected option")


def test_a_worker_told_to_stop_finishes_the_message_in_hand_and_gives_the_rest_back() -> None:
    queue(5)
    stop = threading.Event()
    assert deliver_due(stop=stop, progress=stop.set) == Tally(sent=1)
    assert states() == ["sent", *["queued"] * 4]
    assert set(Message.objects.filter(state="queued").values_list("claim", flat=True)) == {""}


def test_what_might_outlive_its_lease_is_given_back_and_claimed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    queue(3)
    now = [1000.0]
    for module in (worker, claims):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    claimed: list[int] = []
    claim = claims.claim
    monkeypatch.setattr(claims, "claim", lambda limit, *, size: claimed.append(limit) or claim(limit, size=size))

    def slowly() -> None:
        now[0] += claims.lease_seconds() - 20

    assert deliver_due(progress=slowly) == Tally(sent=3)
    assert len(claimed) == 4  # one for each message, and one that finds nothing


def test_a_claim_that_took_long_leaves_so_much_less_of_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    queue(1)
    now = [1000.0]
    for module in (worker, claims):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    waits, claimed, claim = [claims.lease_seconds() - 20, 0, 0], [], claims.claim
    monkeypatch.setattr(claims, "claim", lambda limit, *, size: claimed.append(claim(limit, size=size)) or claimed[-1])

    def slowly(execute: Any, sql: str, *rest: Any) -> Any:
        if sql == claims._CLAIM[connection.vendor]:
            now[0] += waits.pop(0)
        return execute(sql, *rest)

    own = Worker(threading.Event())
    with connection.execute_wrapper(slowly):
        own.drain()
    own.close()
    assert own.tally == Tally(sent=1)
    assert [len(batch) for batch in claimed] == [1, 1, 0]  # the first was given back


def test_a_relay_that_is_paused_meanwhile_gets_no_further_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "BATCH", 20)
    queue(45)
    assert deliver_due(progress=lambda: breaker.pause("enough")) == Tally(sent=20)
    assert states().count("queued") == 25


@pytest.mark.parametrize("error", [DataError("no such value"), TypeError("a mistake")])
def test_what_was_not_begun_is_given_back_where_a_batch_fails(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(message: Any, **columns: Any) -> bool:
        raise error

    queue(3)
    monkeypatch.setattr(claims, "mark_sent", fail)
    with pytest.raises(type(error)):
        deliver_due()
    assert states() == ["sending", "queued", "queued"]


@pytest.mark.parametrize(
    ("said", "stored", "mark"),
    [
        ("250 wird gesendet \u2713", "250 wird gesendet \\u2713", "mark_sent"),
        (refused(450, "4.2.0 sp\u00e4ter".encode()), "450 4.2.0 sp\\xe4ter", "mark_retry"),
        (refused(550, "5.1.1 \u65e0\u6b64\u4eba".encode()), "550 5.1.1 \\u65e0\\u6b64\\u4eba", "mark_failed"),
    ],
)
def test_words_that_the_database_cannot_hold_are_escaped_and_the_outcome_is_recorded(
    said: Any, stored: str, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on PostgreSQL in LATIN1, which Django does not refuse: else the mail would be sent again at every lease."""
    record = getattr(claims, mark)

    def in_latin(message: Any, *, reply: str, **columns: Any) -> bool:
        if not reply.isascii():
            raise DataError("character has no equivalent in encoding LATIN1")
        return bool(record(message, reply=reply, **columns))

    queue(1)
    monkeypatch.setattr(claims, mark, in_latin)
    Scripted.script = [said]
    deliver_due()
    assert Message.objects.get().reply == stored
    assert [attempt.text.isascii() for attempt in Attempt.objects.all()] == [True] * (mark != "mark_sent")


def test_a_success_that_cannot_be_noted_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    queue(3)

    def fail(permit: breaker.Permit) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(breaker, "report_success", fail)
    assert deliver_due() == Tally(sent=3)


def test_more_is_not_claimed_from_a_relay_that_another_worker_found_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "BATCH", 20)
    queue(45)

    def find_down() -> None:
        if states().count("sent") == 19:
            Relay.objects.update(state="down", next_probe=timezone.now() - timedelta(seconds=1))

    assert deliver_due(progress=find_down) == Tally(sent=45)  # the probe was left to be taken, and went through
    assert Relay.current().state == "open"


@pytest.mark.parametrize("error", [OperationalError("gone"), InternalError("cannot execute UPDATE while read-only")])
def test_an_outcome_is_kept_whatever_keeps_the_database_from_taking_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(2)
    mark_sent, errors = claims.mark_sent, [error]

    def fail_once(message: Any, **columns: Any) -> bool:
        if errors:
            raise errors.pop()
        return mark_sent(message, **columns)

    monkeypatch.setattr(claims, "mark_sent", fail_once)
    assert deliver_due() == Tally(sent=2)
    assert Scripted.said.count("send") == 2


def test_an_outcome_is_written_down_before_anything_else_is_sent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue(2)
    mark_sent, failures, naps = claims.mark_sent, [OperationalError("away"), OperationalError("still away")], []

    def fail_twice(message: Any, **columns: Any) -> bool:
        if failures:
            raise failures.pop()
        return mark_sent(message, **columns)

    monkeypatch.setattr(claims, "mark_sent", fail_twice)
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: naps.append((seconds, len(Scripted.sent))))
    assert deliver_due() == Tally(sent=2)
    assert naps == [(0.1, 1), (0.5, 1)]
    assert "an outcome cannot be recorded, sending is suspended" in caplog.text


def test_a_stopping_worker_does_not_insist_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue()
    stop, now = threading.Event(), [0.0]

    def fail(message: Any, **columns: Any) -> bool:
        stop.set()
        raise OperationalError("away")

    monkeypatch.setattr(claims, "mark_sent", fail)

    def nap(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=nap))
    with pytest.raises(OperationalError, match="away"):
        deliver_due(stop=stop)
    assert worker.LAST_WORD_SECONDS <= now[0] <= worker.LAST_WORD_SECONDS + 10
    assert "could not be recorded" in caplog.text
    assert states() == ["sending"]


def test_a_claim_lost_meanwhile_is_said_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    queue()

    class Thief(list[Any]):
        def pop(self, index: Any = -1) -> Any:
            Message.objects.update(claim="another's")
            super().pop(index)

    Scripted.script = Thief([None])
    deliver_due()
    assert (states(), Message.objects.get().claim) == (["sending"], "another's")
    assert "was lost before its outcome was recorded" in caplog.text


def test_a_worker_that_lost_a_claim_sends_no_more_of_that_batch() -> None:
    queue(3)

    class Thieves(list[Any]):
        def pop(self, index: Any = -1) -> Any:
            Message.objects.update(claim="another's")
            super().pop(index)

    Scripted.script = Thieves([None])
    deliver_due()
    assert Scripted.said.count("send") == 1
    assert set(Message.objects.values_list("state", "claim")) == {("sending", "another's")}


@pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("away"), ZeroDivisionError("away")])
def test_what_ends_a_thread_of_delivery_is_the_callers_to_know(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(limit: int, *, size: int) -> None:
        raise error

    queue()
    monkeypatch.setattr(claims, "claim", fail)
    with pytest.raises(type(error), match="away"):
        deliver_due(connections=2)


def test_a_paused_relay_gets_nothing() -> None:
    queue()
    breaker.pause("maintenance")
    assert deliver_due() == Tally()
    breaker.resume()
    assert deliver_due() == Tally(sent=1)


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="on PostgreSQL each statement says so itself")
def test_sqlite_waits_for_the_disk_again_after_a_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    def synchronous() -> int:
        with connection.cursor() as cursor:
            return int(cursor.execute("PRAGMA synchronous").fetchone()[0])

    def fail(message: Any, **columns: Any) -> bool:
        raise DataError("no such value")

    normal, full = 1, 2
    levels: list[int] = []
    assert synchronous() == full
    queue(2)
    worker = Worker(threading.Event(), lambda: levels.append(synchronous()))
    worker.drain()
    assert levels == [normal, normal]
    assert synchronous() == full
    queue()
    monkeypatch.setattr(claims, "mark_sent", fail)
    with pytest.raises(DataError):
        worker.drain()
    assert synchronous() == full
    worker.close()


def test_progress_is_told_of_every_message() -> None:
    queue(4)
    Scripted.script = [None, refused(550, b"no"), refused(451, b"later")]
    told: list[int] = []
    deliver_due(progress=lambda: told.append(1))
    assert len(told) == 4


def test_a_worker_at_rest_closes_an_unused_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    queue()
    worker = Worker(threading.Event())
    worker.drain()
    worker.rest()
    assert Scripted.said == ["open", "send"]
    worker.close()
    assert Scripted.said == ["open", "send", "close"]


SENDER_REFUSED = b"5.2.252 SendAsDenied; a@example.com not allowed to send as b@example.com"


def test_a_refused_sender_that_is_everybodys_holds_the_relay(settings: Any) -> None:
    settings.FLASKY_MAIL_SENDER = "Me <ME@example.com>"
    queue(2)
    Scripted.script = [refused(554, SENDER_REFUSED, "end")]
    assert deliver_due() == Tally(retry=1)
    assert (states(), Relay.current().state) == (["queued", "queued"], "held")


def test_a_refused_sender_that_is_one_messages_own_fails_that_message(settings: Any) -> None:
    settings.FLASKY_MAIL_SENDER = "Somebody else <else@example.com>"
    queue(2)
    Scripted.script = [refused(554, SENDER_REFUSED, "end")]
    assert deliver_due() == Tally(sent=1, failed=1)
    assert (states(), Relay.current().state) == (["failed", "sent"], "open")
