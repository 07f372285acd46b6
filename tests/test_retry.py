"""The decision table: reference for what each fault means."""

import pytest

from notify.retry import OF_SENDER, PROBE_SLOWLY, SCHEDULE, Decision, Kind, decide
from notify.smtp.causes import CAUSES
from notify.smtp.diagnosis import Diagnosis
from notify.smtp.failure import Failure

RELAY_PROBLEM = Diagnosis(id="x", cause="", fix="", relay=True)
QUOTA = Diagnosis(id="x", cause="", fix="", relay=True, pause=86400)


def failure(phase: str, code: int | None = None, *, broken: bool = False) -> Failure:
    return Failure(phase=phase, text="words", code=code, broken=broken, unheard=phase == "end" and code is None)


@pytest.mark.parametrize(
    ("facts", "diagnosis", "kind", "delay"),
    [
        (failure("connect", broken=True), None, Kind.DOWN, 15),
        (failure("dns"), None, Kind.DOWN, 15),
        (failure("proxy", broken=True), None, Kind.DOWN, 15),
        (failure("greeting", 421), None, Kind.DOWN, 15),
        (failure("greeting"), None, Kind.DOWN, 15),
        (failure("greeting", 554), None, Kind.HOLD, 15),
        (failure("ehlo", 502), None, Kind.HOLD, 15),
        (failure("tls"), None, Kind.HOLD, PROBE_SLOWLY),
        (failure("tls", broken=True), None, Kind.DOWN, 15),
        (failure("tls", 454), None, Kind.DOWN, PROBE_SLOWLY),
        (failure("tls", 454), RELAY_PROBLEM, Kind.HOLD, PROBE_SLOWLY),
        (failure("auth", 535), None, Kind.HOLD, PROBE_SLOWLY),
        (failure("auth"), None, Kind.HOLD, PROBE_SLOWLY),
        (failure("auth", 454), None, Kind.DOWN, PROBE_SLOWLY),
        (failure("auth", 454), RELAY_PROBLEM, Kind.HOLD, PROBE_SLOWLY),
        (failure("auth", 454), QUOTA, Kind.DOWN, 86400),
        (failure("auth", broken=True), RELAY_PROBLEM, Kind.DOWN, 15),
        (failure("config"), None, Kind.HOLD, 15),
        (failure("sender", 451), None, Kind.RETRY, 30),
        (failure("sender", 550), None, Kind.FAIL, 0),
        (failure("sender", 553), RELAY_PROBLEM, Kind.HOLD, 15),
        (failure("sender", 550), QUOTA, Kind.DOWN, 86400),
        (failure("recipient", 450), None, Kind.RETRY, 30),
        (failure("recipient", 550), None, Kind.FAIL, 0),
        (failure("recipient", 530), None, Kind.HOLD, 15),
        (failure("data", 451), None, Kind.RETRY, 30),
        (failure("data", 552), None, Kind.FAIL, 0),
        (failure("data", broken=True), None, Kind.RETRY, 30),
        (failure("end", 451), None, Kind.RETRY, 30),
        (failure("end", 554), None, Kind.FAIL, 0),
        (failure("end", 550), QUOTA, Kind.DOWN, 86400),
        (failure("end", 554), RELAY_PROBLEM, Kind.FAIL, 0),
        (failure("prepare"), None, Kind.RETRY, 30),
    ],
)
def test_each_fault_has_its_answer(facts: Failure, diagnosis: Diagnosis | None, kind: Kind, delay: float) -> None:
    assert decide(facts, diagnosis, spread=0) == Decision(kind=kind, delay=delay)


@pytest.mark.parametrize("phase", ["sender", "recipient", "data", "end"])
@pytest.mark.parametrize("id", OF_SENDER)
def test_a_refused_sender_holds_the_relay_unless_it_is_that_one_messages_own(phase: str, id: str) -> None:
    assert decide(failure(phase, 554), CAUSES[id]).kind is Kind.HOLD
    assert decide(failure(phase, 554), CAUSES[id], own_sender=True).kind is Kind.FAIL
    assert decide(failure(phase, 451), CAUSES[id], own_sender=True).kind is Kind.RETRY


def test_a_send_whose_answer_was_never_heard_is_tried_again_and_marked() -> None:
    assert decide(failure("end", broken=True), spread=0) == Decision(kind=Kind.RETRY, delay=30, uncertain=True)
    assert decide(failure("end", broken=True), expired=True) == Decision(kind=Kind.FAIL, uncertain=True)


def test_the_schedule_grows_to_half_an_hour_and_stays_there() -> None:
    delays = [decide(failure("end", 451), attempts=attempts, spread=0).delay for attempts in range(9)]
    assert delays == [*SCHEDULE, 1800, 1800]


@pytest.mark.parametrize(("spread", "delay"), [(-1, 25.5), (1, 34.5)])
def test_retries_are_spread_by_fifteen_percent(spread: float, delay: float) -> None:
    assert decide(failure("end", 451), spread=spread).delay == pytest.approx(delay)


def test_a_message_too_old_to_try_again_fails() -> None:
    assert decide(failure("recipient", 450), attempts=300, expired=True).kind is Kind.FAIL


def test_a_relay_fault_never_fails_a_message_however_old() -> None:
    assert decide(failure("connect", broken=True), expired=True).kind is Kind.DOWN


def test_probes_come_less_often_up_to_five_minutes() -> None:
    delays = [decide(failure("connect", broken=True), relay_failures=count).delay for count in range(7)]
    assert delays == [15, 30, 60, 120, 240, 300, 300]


def test_a_poison_message_fails_after_three_tries() -> None:
    assert [decide(failure("prepare"), poisonings=count).kind for count in range(3)] == [
        Kind.RETRY,
        Kind.RETRY,
        Kind.FAIL,
    ]
