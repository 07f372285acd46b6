"""The decision table: reference for what each fault means."""

import pytest

from notify.delivery import retry
from notify.delivery.retry import Decision, decide
from notify.models import Outcome
from notify.smtp.diagnosis import rules
from notify.smtp.diagnosis.causes import CAUSES
from notify.smtp.diagnosis.rules import Diagnosis
from notify.smtp.failure import Failure

RELAY_PROBLEM = Diagnosis(id="x", cause="", fix="", relay=True)
QUOTA = Diagnosis(id="x", cause="", fix="", relay=True, pause=86400)


def failure(phase: str, code: int | None = None, *, broken: bool = False) -> Failure:
    return Failure(phase=phase, text="words", code=code, broken=broken)


@pytest.mark.parametrize(
    ("facts", "diagnosis", "outcome", "delay"),
    [
        (failure("connect", broken=True), None, Outcome.DOWN, 15),
        (failure("dns"), None, Outcome.DOWN, 15),
        (failure("proxy", broken=True), None, Outcome.DOWN, 15),
        (failure("greeting", 421), None, Outcome.DOWN, 15),
        (failure("greeting"), None, Outcome.DOWN, 15),
        (failure("greeting", 554), None, Outcome.HOLD, 15),
        (failure("ehlo", 502), None, Outcome.HOLD, 15),
        (failure("tls"), None, Outcome.HOLD, 900),
        (failure("tls", broken=True), None, Outcome.DOWN, 15),
        (failure("tls", 454), None, Outcome.DOWN, 900),
        (failure("tls", 454), RELAY_PROBLEM, Outcome.HOLD, 900),
        (failure("auth", 535), None, Outcome.HOLD, 900),
        (failure("auth"), None, Outcome.HOLD, 900),
        (failure("auth", 454), None, Outcome.DOWN, 900),
        (failure("auth", 454), RELAY_PROBLEM, Outcome.HOLD, 900),
        (failure("auth", 454), QUOTA, Outcome.DOWN, 86400),
        (failure("auth", broken=True), RELAY_PROBLEM, Outcome.DOWN, 15),
        (failure("config"), None, Outcome.HOLD, 15),
        (failure("sender", 451), None, Outcome.RETRY, 30),
        (failure("sender", 550), None, Outcome.FAIL, 0),
        (failure("sender", 553), RELAY_PROBLEM, Outcome.HOLD, 15),
        (failure("sender", 550), QUOTA, Outcome.DOWN, 86400),
        (failure("recipient", 450), None, Outcome.RETRY, 30),
        (failure("recipient", 550), None, Outcome.FAIL, 0),
        (failure("recipient", 530), rules.diagnose(failure("recipient", 530)), Outcome.HOLD, 15),
        (failure("data", 451), None, Outcome.RETRY, 30),
        (failure("data", 552), None, Outcome.FAIL, 0),
        (failure("data", broken=True), None, Outcome.RETRY, 30),
        (failure("end", 451), None, Outcome.RETRY, 30),
        (failure("end", 554), None, Outcome.FAIL, 0),
        (failure("end", 550), QUOTA, Outcome.DOWN, 86400),
        (failure("end", 554), RELAY_PROBLEM, Outcome.FAIL, 0),
        (failure("prepare"), None, Outcome.RETRY, 30),
    ],
)
def test_each_fault_has_its_answer(facts: Failure, diagnosis: Diagnosis | None, outcome: Outcome, delay: float) -> None:
    assert decide(facts, diagnosis, spread=0) == Decision(outcome=outcome, delay=delay)


EVERY = ("config", "proxy", "dns", "connect", "greeting", "ehlo", "tls", "token", "auth")
EVERY += ("sender", "recipient", "data", "end", "prepare", "a phase of a foreign backend")
R, F, D, H = Outcome.RETRY, Outcome.FAIL, Outcome.DOWN, Outcome.HOLD

# The connection broke, no reply, 400, 499, 500, 599: in each phase, without a diagnosis and with one of the relay.
WITHOUT = {
    "config": (H, H, H, H, H, H),
    "proxy": (D, D, D, D, D, D),
    "dns": (D, D, D, D, D, D),
    "connect": (D, D, D, D, D, D),
    "greeting": (D, D, D, D, H, H),
    "ehlo": (D, D, D, D, H, H),
    "tls": (D, H, D, D, H, H),
    "token": (D, H, H, H, H, H),
    "auth": (D, H, D, D, H, H),
    "sender": (R, R, R, R, F, F),
    "recipient": (R, R, R, R, F, F),
    "data": (R, R, R, R, F, F),
    "end": (R, R, R, R, F, F),
    "prepare": (R, R, R, R, R, R),
    "a phase of a foreign backend": (R, R, R, R, R, R),
}
OF_THE_RELAY = WITHOUT | {
    "tls": (D, H, H, H, H, H),
    "auth": (D, H, H, H, H, H),
    "sender": (R, R, R, R, H, H),
    "recipient": (R, R, R, R, H, H),
}
ONE_RECIPIENTS = OF_THE_RELAY | {"recipient": (R, R, R, R, F, F)}


def each_reply(phase: str) -> list[Failure]:
    return [failure(phase, broken=True), failure(phase), *(failure(phase, code) for code in (400, 499, 500, 599))]


@pytest.mark.parametrize("phase", EVERY)
def test_the_whole_table(phase: str) -> None:
    def outcomes(diagnosis: Diagnosis | None) -> tuple[Outcome, ...]:
        return tuple(decide(facts, diagnosis).outcome for facts in each_reply(phase))

    assert outcomes(None) == WITHOUT[phase]
    assert outcomes(Diagnosis(id="x", cause="", fix="")) == WITHOUT[phase]
    assert outcomes(RELAY_PROBLEM) == OF_THE_RELAY[phase]
    assert outcomes(Diagnosis(id="a", cause="", fix="", relay=True)) == OF_THE_RELAY[phase]
    assert outcomes(CAUSES["relay-denied"]) == ONE_RECIPIENTS[phase]
    assert outcomes(QUOTA) == (*OF_THE_RELAY[phase][:2], D, D, D, D)


@pytest.mark.parametrize("phase", EVERY)
def test_a_reply_that_is_neither_a_deferral_nor_a_refusal_says_as_much_as_none(phase: str) -> None:
    assert decide(failure(phase, 399), spread=0) == decide(failure(phase, 299), spread=0)
    assert decide(failure(phase, 399)).outcome is WITHOUT[phase][1]


@pytest.mark.parametrize("phase", EVERY)
def test_a_message_that_is_too_old_fails_where_it_would_be_tried_again_and_nowhere_else(phase: str) -> None:
    for facts in each_reply(phase):
        outcome = decide(facts).outcome
        assert decide(facts, expired=True).outcome is (F if outcome is R else outcome)


@pytest.mark.parametrize("phase", EVERY)
def test_the_next_probe_or_attempt_is_as_far_away_as_its_history_says(phase: str) -> None:
    for facts in each_reply(phase):
        decided = decide(facts, attempts=3, relay_failures=2, spread=0)
        patient = phase in ("tls", "token", "auth") and not facts.broken
        assert decided.delay == {R: 300, F: 0, D: 900 if patient else 60, H: 900 if patient else 60}[decided.outcome]
        assert decided.uncertain == (phase == "end" and facts.code is None)
        paused = decide(facts, QUOTA, attempts=3, relay_failures=2, spread=0)
        assert paused.delay == (86400 if paused.outcome in (D, H) else decided.delay)


@pytest.mark.parametrize("phase", ["sender", "recipient", "data", "end"])
@pytest.mark.parametrize("id", ["sender-not-login", "sender-not-verified"])
def test_a_refused_sender_holds_the_relay_unless_it_is_that_one_messages_own(phase: str, id: str) -> None:
    assert decide(failure(phase, 554), CAUSES[id]).outcome is Outcome.HOLD
    assert decide(failure(phase, 554), CAUSES[id], own_sender=True).outcome is Outcome.FAIL
    assert decide(failure(phase, 451), CAUSES[id], own_sender=True).outcome is Outcome.RETRY


def test_a_send_whose_answer_was_never_heard_is_tried_again_and_marked() -> None:
    assert decide(failure("end", broken=True), spread=0) == Decision(outcome=Outcome.RETRY, delay=30, uncertain=True)
    assert decide(failure("end", broken=True), expired=True) == Decision(outcome=Outcome.FAIL, uncertain=True)


def test_the_schedule_grows_to_half_an_hour_and_stays_there() -> None:
    delays = [decide(failure("end", 451), attempts=attempts, spread=0).delay for attempts in [*range(9), 300]]
    assert delays == [30, 60, 120, 300, 600, 1200, 1800, 1800, 1800, 1800]


@pytest.mark.parametrize(("spread", "delay"), [(-1, 25.5), (1, 34.5)])
def test_retries_are_spread_by_fifteen_percent(spread: float, delay: float) -> None:
    assert decide(failure("end", 451), spread=spread).delay == pytest.approx(delay)
    assert decide(failure("end", 451), attempts=9, spread=spread).delay == pytest.approx(delay * 60)


def test_how_far_is_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: {(-1, 1): 0.5}[low, high])
    assert decide(failure("end", 451)).delay == pytest.approx(32.25)
    assert decide(failure("end", 451), spread=0).delay == 30


def test_a_message_too_old_to_try_again_fails() -> None:
    assert decide(failure("recipient", 450), attempts=300, expired=True).outcome is Outcome.FAIL


def test_a_relay_fault_never_fails_a_message_however_old() -> None:
    assert decide(failure("connect", broken=True), expired=True).outcome is Outcome.DOWN


def test_probes_come_less_often_up_to_five_minutes() -> None:
    delays = [decide(failure("connect", broken=True), relay_failures=count).delay for count in range(7)]
    assert delays == [15, 30, 60, 120, 240, 300, 300]


def test_a_poison_message_fails_after_three_tries() -> None:
    assert [decide(failure("prepare"), poisonings=count).outcome for count in range(5)] == [R, R, F, F, F]
    assert decide(failure("prepare"), poisonings=2) == Decision(outcome=F)


def test_what_broke_while_it_was_prepared_says_nothing_of_another_failure() -> None:
    assert decide(failure("end", 451), poisonings=5).outcome is R


def test_a_sender_that_must_be_authenticated_is_every_messages_or_its_own() -> None:
    unauthenticated = CAUSES["sender-unauthenticated"]
    assert decide(failure("end", 550), unauthenticated).outcome is Outcome.HOLD
    assert decide(failure("end", 550), unauthenticated, own_sender=True).outcome is Outcome.FAIL


def test_a_refused_login_concerns_every_message_whatever_it_says_of_the_sender() -> None:
    assert decide(failure("auth", 535), CAUSES["sender-not-login"], own_sender=True).outcome is Outcome.HOLD


@pytest.mark.parametrize("code", [450, 550])
def test_a_refused_ehlo_name_holds_the_relay_though_the_reply_says_later(code: int) -> None:
    assert decide(failure("recipient", code), CAUSES["ehlo-name"]).outcome is Outcome.HOLD


@pytest.mark.parametrize(("wait", "probe"), [(0, 86400), (1, 15), (15, 15), (16, 16), (100_000, 100_000)])
def test_an_api_that_says_for_how_long_is_asked_again_then_in_place_of_the_quotas_day(wait: int, probe: int) -> None:
    facts = Failure(phase="end", text="words", code=429, api=True, wait=wait)
    assert decide(facts, QUOTA) == Decision(outcome=Outcome.DOWN, delay=probe)


@pytest.mark.parametrize(("wait", "delay"), [(0, 30), (29, 30), (31, 31), (1800, 1800), (1801, 1800)])
def test_a_message_is_not_tried_again_sooner_than_an_api_wants(wait: int, delay: int) -> None:
    facts = Failure(phase="data", text="words", code=503, api=True, wait=wait)
    assert decide(facts, spread=0) == Decision(outcome=Outcome.RETRY, delay=delay)


def test_a_status_of_an_api_is_no_reply_of_smtp() -> None:
    """That a 503 is final is said by `final` alone."""
    assert decide(Failure(phase="end", text="words", code=503, api=True), spread=0).outcome is Outcome.RETRY
