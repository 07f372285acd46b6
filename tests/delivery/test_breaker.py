"""The relay's state: who may send, who probes, and what a person can do about it."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from notify.delivery import breaker
from notify.delivery.breaker import Permit
from notify.delivery.retry import Decision
from notify.models import SEEN_LATELY, Outcome, Relay
from tests.delivery.test_claims import queue

pytestmark = pytest.mark.django_db

DOWN, HOLD = Decision(outcome=Outcome.DOWN, delay=15), Decision(outcome=Outcome.HOLD, delay=900)


def fail(decision: Decision = DOWN, *, permit: Permit | None = None, reason: str = "refused") -> bool:
    return breaker.report_failure(permit or Permit(), decision, reason=reason, diagnosis="x")


def let_probe_come_due() -> None:
    Relay.objects.update(next_probe=timezone.now() - timedelta(seconds=1))


def seconds_to_probe() -> float:
    probe = Relay.current().next_probe
    assert probe
    return (probe - timezone.now()).total_seconds()


def test_an_open_relay_admits_everybody() -> None:
    Relay.current()
    assert breaker.admit() == Permit(probe=False, failures=0)
    assert breaker.admit() == Permit(probe=False, failures=0)


@pytest.mark.parametrize(("decision", "state"), [(DOWN, "down"), (HOLD, "held")])
def test_the_first_failure_closes_it_and_the_others_change_nothing(
    decision: Decision, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    Relay.current()
    assert fail(decision, reason="first") is True
    assert fail(DOWN, reason="second") is False
    assert caplog.messages == [f"relay {state}: first"]
    relay = Relay.current()
    assert (relay.state, relay.reason, relay.diagnosis, relay.failures) == (state, "first", "x", 1)
    assert abs(seconds_to_probe() - decision.delay) < 5


def test_nobody_is_admitted_before_a_probe_is_due_and_then_one() -> None:
    queue()
    Relay.current()
    fail()
    assert breaker.admit() is None
    let_probe_come_due()
    assert breaker.admit() == Permit(probe=True, failures=1)
    assert breaker.admit() is None


def test_a_probe_needs_something_to_send() -> None:
    Relay.current()
    fail()
    let_probe_come_due()
    assert breaker.admit() is None
    queue()
    assert breaker.admit()


def test_a_probe_that_fails_is_counted_and_followed_by_another_that_says_why_now() -> None:
    queue()
    Relay.current()
    fail(reason="refused")
    since = Relay.current().since
    let_probe_come_due()
    permit = breaker.admit()
    assert permit
    assert fail(HOLD, permit=permit, reason="wrong password") is False
    relay = Relay.current()
    assert (relay.state, relay.reason, relay.failures, relay.since) == ("held", "wrong password", 2, since)


def test_a_probe_whose_worker_died_is_repeated_after_its_lease() -> None:
    queue()
    Relay.current()
    fail()
    let_probe_come_due()
    breaker.admit()
    assert 30 < seconds_to_probe() < 60
    let_probe_come_due()
    assert breaker.admit()


def test_a_probe_that_goes_through_opens_it() -> None:
    Relay.current()
    fail()
    breaker.report_success(Permit(probe=True, failures=1))
    relay = Relay.current()
    assert (relay.state, relay.reason, relay.diagnosis, relay.failures, relay.next_probe) == ("open", "", "", 0, None)
    assert relay.last_success


def test_a_message_that_was_under_way_does_not_open_it() -> None:
    Relay.current()
    fail()
    breaker.report_success(Permit())
    assert Relay.current().state == "down"


def test_a_pause_stands_above_all_until_a_person_ends_it() -> None:
    queue()
    Relay.current()
    fail()
    breaker.pause("maintenance")
    relay = Relay.current()
    assert (relay.failures, relay.next_probe, relay.diagnosis) == (0, None, "")
    assert not fail(HOLD, permit=Permit(probe=True))
    breaker.report_success(Permit(probe=True))
    assert (Relay.current().state, Relay.current().reason) == ("paused", "maintenance")
    assert breaker.admit() is None
    breaker.resume()
    assert breaker.admit() == Permit()


@pytest.mark.parametrize("decision", [DOWN, HOLD])
def test_resume_opens_a_relay_in_trouble(decision: Decision) -> None:
    Relay.current()
    fail(decision)
    breaker.resume()
    assert Relay.current().state == "open"


def test_a_probe_stranded_by_a_clock_set_back_is_due() -> None:
    queue()
    Relay.current()
    fail()
    Relay.objects.update(next_probe=timezone.now() + timedelta(days=2, seconds=-30))  # no quota is longer
    assert breaker.admit() is None
    Relay.objects.update(next_probe=timezone.now() + timedelta(days=2, seconds=30))
    assert breaker.admit()


def test_a_changed_configuration_gets_a_fresh_try(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "notify.delivery.breaker")
    breaker.notice_configuration()
    assert not caplog.messages
    fail(HOLD)
    breaker.notice_configuration()
    assert Relay.current().state == "held"
    settings.FLASKY_MAIL_SENDER = "Other <other@example.com>"
    breaker.notice_configuration()
    assert Relay.current().state == "open"
    assert caplog.messages[-1] == "the mail configuration changed: the relay is tried again"


def test_a_changed_configuration_does_not_end_a_pause(settings: Any) -> None:
    breaker.notice_configuration()
    breaker.pause("maintenance")
    settings.FLASKY_MAIL_SENDER = "Other <other@example.com>"
    breaker.notice_configuration()
    assert Relay.current().state == "paused"


def test_a_configuration_changes_whichever_way_its_fingerprint_sorts() -> None:
    for before in ("", "~"):
        Relay.current()
        fail(HOLD)
        Relay.objects.update(fingerprint=before)
        breaker.notice_configuration()
        assert Relay.current().state == "open"


OTHER = "Other <other@example.com>"


def test_a_host_with_another_configuration_stops_alone(settings: Any) -> None:
    breaker.notice_configuration()
    ours = settings.FLASKY_MAIL_SENDER
    settings.FLASKY_MAIL_SENDER = OTHER
    assert fail(HOLD, reason="535 old password")
    assert breaker.admit() is None
    settings.FLASKY_MAIL_SENDER = ours
    assert breaker.admit() == Permit()
    breaker.report_success(Permit(probe=True))
    settings.FLASKY_MAIL_SENDER = OTHER
    assert (breaker.own().state, breaker.own().reason) == ("held", "535 old password")


def test_a_failure_is_remembered_whatever_the_key_of_the_process(settings: Any) -> None:
    breaker.notice_configuration()
    fail(HOLD)
    settings.SECRET_KEY = "another " + settings.SECRET_KEY
    breaker.notice_configuration()
    assert breaker.admit() is None
    assert Relay.objects.get().state == "held"


def test_a_pause_and_its_end_concern_every_configuration(settings: Any) -> None:
    ours = settings.FLASKY_MAIL_SENDER
    breaker.notice_configuration()
    settings.FLASKY_MAIL_SENDER = OTHER
    breaker.notice_configuration()
    breaker.pause("maintenance")
    for sender in (ours, OTHER, "Third <third@example.com>"):
        settings.FLASKY_MAIL_SENDER = sender
        assert breaker.admit() is None
    assert set(Relay.objects.values_list("state", "reason")) == {("paused", "maintenance")}
    breaker.resume()
    assert set(Relay.objects.values_list("state", "reason")) == {("open", "")}


def test_a_probe_is_due_under_every_configuration_that_is_in_trouble(settings: Any) -> None:
    queue()
    ours = settings.FLASKY_MAIL_SENDER
    fail(HOLD)
    settings.FLASKY_MAIL_SENDER = OTHER
    fail(HOLD)
    assert breaker.probe_now() is True
    for sender in (ours, OTHER):
        settings.FLASKY_MAIL_SENDER = sender
        assert breaker.admit() == Permit(probe=True, failures=1)


def test_workers_are_named_by_their_host_with_what_tells_them_apart(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = {"a": settings.FLASKY_MAIL_SENDER, "b": OTHER, "c": settings.FLASKY_MAIL_SENDER}
    for host, sender in hosts.items():
        monkeypatch.setattr(breaker.socket, "gethostname", lambda host=host: host)
        settings.FLASKY_MAIL_SENDER = sender
        settings.SECRET_KEY = f"{host * 50}"
        breaker.notice_configuration()
    a, b, c = breaker.workers()
    assert [seen.host for seen in (a, b, c)] == ["a", "b", "c"]
    assert a.fingerprint == c.fingerprint != b.fingerprint
    assert len({seen.key for seen in (a, b, c)}) == 3
    assert "a" * 10 not in str(Relay.objects.values())


def test_a_host_whose_configuration_changed_is_named_under_the_new_one_only(settings: Any) -> None:
    breaker.notice_configuration()
    settings.FLASKY_MAIL_SENDER = OTHER
    breaker.notice_configuration()
    [seen] = breaker.workers()
    assert seen.fingerprint == breaker.own().fingerprint


@pytest.mark.parametrize(("later", "named"), [(timedelta(), True), (SEEN_LATELY, False)])
def test_a_worker_that_was_not_seen_for_minutes_is_named_no_more(
    later: timedelta, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = breaker.clock.now()
    monkeypatch.setattr(breaker.clock, "now", lambda: now)
    breaker.notice_configuration()
    monkeypatch.setattr(breaker.clock, "now", lambda: now + later)
    assert bool(breaker.workers()) is named
    monkeypatch.setattr(breaker.socket, "gethostname", lambda: "another")
    breaker.notice_configuration()
    assert len(Relay.objects.values_list("workers", flat=True).get()) == 1 + named


def test_what_operators_look_at_is_the_best_that_workers_use_now(settings: Any) -> None:
    ours = settings.FLASKY_MAIL_SENDER
    breaker.notice_configuration(starting=False)
    settings.FLASKY_MAIL_SENDER = OTHER
    fail(HOLD)
    breaker.notice_configuration(starting=False)
    assert Relay.current().state == "open"
    settings.FLASKY_MAIL_SENDER = ours
    fail(DOWN)
    assert Relay.current().state == "down"


@pytest.mark.parametrize(("seconds", "written"), [(0, False), (47, False), (49, True), (90, True)])
def test_a_host_that_was_seen_just_now_is_not_written_again(
    seconds: int, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker.notice_configuration()
    before, now = Relay.objects.values().get(), breaker.clock.now()
    monkeypatch.setattr(breaker.clock, "now", lambda: now + timedelta(seconds=seconds))
    breaker.notice_configuration(starting=False)
    assert (Relay.objects.values().get() != before) is written


@pytest.mark.parametrize("before", [True, False])
def test_a_host_is_known_whichever_way_times_were_when_it_was_seen(before: bool, settings: Any) -> None:
    settings.USE_TZ, settings.TIME_ZONE = before, "Asia/Shanghai"
    breaker.notice_configuration()
    known = Relay.objects.values("workers").get()
    settings.USE_TZ, settings.TIME_ZONE = not before, "America/New_York"
    breaker.notice_configuration(starting=False)
    assert Relay.objects.values("workers").get() == known
    assert len(breaker.workers()) == 1
    seen = Relay.current().seen_at
    assert seen
    assert breaker.clock.now() - seen < timedelta(seconds=60)


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (-301.5, ["this machine's clock is 301.5 s behind the database's: check NTP"]),
        (5.1, ["this machine's clock is 5.1 s ahead of the database's: check NTP"]),
        (5, []),
        (-5, []),
    ],
)
def test_a_clock_that_differs_from_the_databases_is_reported(
    ahead: float, said: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(breaker.clock, "seconds_ahead", lambda: ahead)
    breaker.notice_configuration()
    assert caplog.messages == said
    assert breaker.workers()[0].seconds_ahead == ahead


def test_a_person_has_an_unusable_relay_probed_now_and_no_other() -> None:
    queue()
    Relay.current()
    assert breaker.probe_now() is False
    fail(HOLD)
    assert breaker.admit() is None
    assert breaker.probe_now() is True
    assert -0.9 < seconds_to_probe() < 0.5
    assert breaker.admit() == Permit(probe=True, failures=1)
    breaker.pause("maintenance")
    assert breaker.probe_now() is False
