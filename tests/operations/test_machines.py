"""Machines that differ are named."""

from typing import Any

import pytest

from notify.delivery import breaker
from notify.delivery.retry import Decision
from notify.models import Outcome
from notify.operations import machines

pytestmark = pytest.mark.django_db


def note(host: str, settings: Any, monkeypatch: pytest.MonkeyPatch, *, ahead: float = 0, **differs: str) -> None:
    """Workers on a host, with settings of their own."""
    for name, value in differs.items():
        setattr(settings, name, value)
    monkeypatch.setattr(breaker.socket, "gethostname", lambda: host)
    monkeypatch.setattr(breaker.clock, "seconds_ahead", lambda: ahead)
    breaker.notice_configuration()


def test_machines_that_agree_are_not_mentioned(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machines.disagreements() == []
    for host in ("one", "two"):
        note(host, settings, monkeypatch, ahead=4.9)
    assert machines.disagreements() == []


def test_hosts_with_other_mail_settings_are_named_with_their_state(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in ("one", "two"):
        note(host, settings, monkeypatch)
    note("three", settings, monkeypatch, FLASKY_MAIL_SENDER="Other <other@example.com>")
    held = Decision(outcome=Outcome.HOLD, delay=900)
    breaker.report_failure(breaker.Permit(), held, reason="535", diagnosis="bad-credentials")
    assert machines.disagreements() in (
        ["Workers have different mail settings: one, two (working); three (on hold)."],
        ["Workers have different mail settings: three (on hold); one, two (working)."],
    )


def test_hosts_with_other_keys_are_named_and_the_keys_are_not(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    note("one", settings, monkeypatch)
    note("two", settings, monkeypatch, SECRET_KEY="two" * 20)
    assert machines.disagreements() == ["Workers have different SECRET_KEYs: one; two."]


@pytest.mark.parametrize(("ahead", "side"), [(300.25, "ahead of"), (-6, "behind")])
def test_a_host_whose_clock_is_wrong_is_named(
    ahead: float, side: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    note("one", settings, monkeypatch, ahead=ahead)
    assert machines.disagreements() == [f"The clock of one is {abs(ahead):.1f} s {side} the database's: check NTP."]


def test_a_worker_with_other_settings_than_this_process_is_noticed(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machines.with_other_settings() == []
    ours = settings.FLASKY_MAIL_SENDER
    for host in ("two", "one"):
        note(host, settings, monkeypatch, FLASKY_MAIL_SENDER="Other <other@example.com>")
    assert machines.with_other_settings() == []
    settings.FLASKY_MAIL_SENDER = ours
    assert machines.with_other_settings() == ["one", "two"]
    note("three", settings, monkeypatch)
    assert machines.with_other_settings() == []
