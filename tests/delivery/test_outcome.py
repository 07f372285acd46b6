"""One door for how attempts end: what is judged of an exception, and what is written down."""

import smtplib

import pytest

from notify.delivery import claims, counts, outcome
from notify.delivery.breaker import Permit
from notify.models import Attempt, Message, Outcome, Relay
from tests.backends import marked
from tests.delivery.test_claims import queue

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scripted")]


def claimed() -> claims.Claimed:
    queue()
    return claims.claim(1)[0]


def refusal(code: int, phase: str) -> Exception:
    return marked(smtplib.SMTPResponseException(code, b"5.7.1 words canary"), phase)


def test_a_success_is_recorded_with_the_relays_words_and_counted_by_the_worker() -> None:
    result = outcome.success(claimed(), "250 Ok", 0.5)
    assert (result.decision.outcome, result.relay_answered, result.blames_relay) == (Outcome.SENT, True, False)
    assert result.record(Permit())
    assert (Message.objects.get().state, Message.objects.get().reply) == ("sent", "250 Ok")
    assert not result.record(Permit())
    assert counts.totals() == []


@pytest.mark.parametrize(
    ("error", "decided", "answered"),
    [
        (refusal(550, "recipient"), Outcome.FAIL, True),
        (refusal(451, "data"), Outcome.RETRY, True),
        (refusal(451, "end"), Outcome.RETRY, True),
        (refusal(550, "sender"), Outcome.FAIL, False),
        (refusal(530, "recipient"), Outcome.HOLD, False),
        (refusal(535, "auth"), Outcome.HOLD, False),
        (marked(TimeoutError("no answer"), "end"), Outcome.RETRY, False),
        (marked(ConnectionRefusedError("refused"), "connect"), Outcome.DOWN, False),
    ],
    ids=lambda value: str(value),
)
def test_a_failure_is_judged_recorded_and_counted_once(error: Exception, decided: Outcome, answered: bool) -> None:
    Relay.current()
    result = outcome.failure(claimed(), error, 0.5, Permit())
    assert (result.decision.outcome, result.relay_answered) == (decided, answered)
    assert result.blames_relay == (decided in (Outcome.DOWN, Outcome.HOLD))
    assert result.record(Permit())
    attempt, message = Attempt.objects.get(), Message.objects.get()
    assert (attempt.decision, attempt.message, attempt.seconds) == (decided, message, 0.5)
    assert message.state == ("failed" if decided is Outcome.FAIL else "queued")
    assert message.reply == result.reply
    assert "canary" not in message.reply + attempt.text
    assert [(row[0], row[2]) for row in counts.totals()] == [(decided, 1)]


def test_a_failure_whose_claim_was_lost_changes_and_counts_nothing() -> None:
    result = outcome.failure(claimed(), refusal(550, "recipient"), 0.5, Permit())
    Message.objects.update(claim="another's")
    assert not result.record(Permit())
    assert (Message.objects.get().state, Attempt.objects.count(), counts.totals()) == ("sending", 0, [])
