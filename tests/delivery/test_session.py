"""The kept connection: when it is opened, looked after, renewed, and given up."""

import smtplib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from notify.delivery import session
from notify.delivery.claims import Claimed, attempt_seconds
from notify.delivery.session import Session
from tests.backends import Scripted, marked

pytestmark = pytest.mark.usefixtures("scripted")
MESSAGE = Claimed(1, "me@example.com", "you@example.com", b"Subject: x\r\n\r\nHi\r\n", 0, "t", False, 1e9)


@pytest.fixture(autouse=True)
def _scripted(use_transport: Callable[..., None]) -> Iterator[None]:
    use_transport("tests.backends.Scripted", password="canary")
    Scripted.reset()
    yield
    Scripted.reset()


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    Clock.now = 1000.0
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: Clock.now))
    return Clock


def gone(phase: str = "sender") -> Exception:
    return marked(smtplib.SMTPServerDisconnected("Connection unexpectedly closed"), phase)


def test_the_connection_is_opened_when_first_needed_and_kept() -> None:
    kept = Session()
    assert Scripted.said == []
    kept.send(MESSAGE)
    kept.send(MESSAGE)
    assert Scripted.said == ["open", "send", "send"]


def test_the_relays_last_words_come_back_without_a_secret() -> None:
    Scripted.script = ["250 2.0.0 Ok canary\0"]
    assert Session().send(MESSAGE) == r"250 2.0.0 Ok ***\x00"


def test_a_connection_is_renewed_before_relays_lose_patience() -> None:
    kept = Session()
    for _ in range(session.RECYCLE_AFTER + 1):
        kept.send(MESSAGE)
    assert Scripted.said.count("open") == 2
    assert Scripted.said[-3:] == ["close", "open", "send"]


@pytest.mark.parametrize(
    ("idle", "answers", "said"),
    [
        (4, True, ["send"]),
        (6, True, ["check", "send"]),
        (6, False, ["check", "close", "open", "send"]),
    ],
)
def test_an_idle_connection_is_asked_before_it_is_relied_on(
    clock: type[Clock], idle: float, answers: bool, said: list[str]
) -> None:
    kept = Session()
    kept.send(MESSAGE)
    clock.now += idle
    Scripted.answers = answers
    Scripted.said.clear()
    kept.send(MESSAGE)
    assert Scripted.said == said


def test_a_foreign_backend_that_cannot_be_asked_is_opened_anew(
    clock: type[Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Scripted, "check")
    kept = Session()
    kept.send(MESSAGE)
    clock.now += 6
    kept.send(MESSAGE)
    assert Scripted.said == ["open", "send", "close", "open", "send"]


@pytest.mark.parametrize(("idle", "said"), [(29, []), (31, ["close"])])
def test_a_connection_nobody_uses_is_closed(clock: type[Clock], idle: float, said: list[str]) -> None:
    kept = Session()
    kept.rest()
    kept.send(MESSAGE)
    clock.now += idle
    Scripted.said.clear()
    kept.rest()
    assert Scripted.said == said


@pytest.mark.parametrize("error", [gone(), marked(smtplib.SMTPSenderRefused(421, b"Idle too long", "me"), "sender")])
def test_a_kept_connection_that_went_stale_costs_the_message_nothing(error: Exception) -> None:
    kept = Session()
    kept.send(MESSAGE)
    Scripted.script = [error]
    assert kept.send(MESSAGE) == "250 2.0.0 Ok"
    assert Scripted.said == ["open", "send", "fail", "close", "open", "send"]


@pytest.mark.parametrize(
    "error",
    [
        gone("data"),
        gone("end"),
        marked(TimeoutError("no answer within 30 s"), "sender"),
        marked(smtplib.SMTPSenderRefused(451, b"Later", "me"), "sender"),
        ValueError("poison"),
    ],
    ids=["data", "end", "silence", "refusal", "poison"],
)
def test_no_other_failure_is_tried_twice(error: Exception) -> None:
    kept = Session()
    kept.send(MESSAGE)
    Scripted.script = [error]
    with pytest.raises(type(error)):
        kept.send(MESSAGE)
    assert Scripted.said == ["open", "send", "fail", "close"]


@pytest.mark.parametrize(("left", "tries"), [(0, 2), (-1, 1)], ids=["enough", "too little"])
def test_a_second_try_does_not_outlive_the_lease(left: int, tries: int, clock: type[Clock]) -> None:
    kept = Session()
    kept.send(MESSAGE)
    Scripted.said.clear()
    Scripted.script = [gone()] * tries
    with pytest.raises(smtplib.SMTPServerDisconnected):
        kept.send(MESSAGE._replace(held_until=clock.now + attempt_seconds() + left))
    assert Scripted.said.count("fail") == tries


def test_a_fresh_connection_that_breaks_is_not_tried_again_at_once() -> None:
    Scripted.script = [gone()]
    with pytest.raises(smtplib.SMTPServerDisconnected):
        Session().send(MESSAGE)
    assert Scripted.said == ["open", "fail", "close"]


def test_a_failed_second_try_is_the_one_that_counts() -> None:
    kept = Session()
    kept.send(MESSAGE)
    Scripted.script = [gone(), gone("data")]
    with pytest.raises(smtplib.SMTPServerDisconnected) as raised:
        kept.send(MESSAGE)
    assert raised.value.phase == "data"  # type: ignore[attr-defined]
    assert Scripted.said[-1] == "close"


def test_a_backend_that_takes_nothing_and_says_nothing_has_failed() -> None:
    Scripted.script = [0]
    with pytest.raises(RuntimeError, match=r"tests\.backends accepted nothing and gave no reason"):
        Session().send(MESSAGE)


@pytest.mark.parametrize(
    ("backend", "error"), [("tests.backends.Broken", TypeError), ("tests.backends.Missing", Exception)]
)
def test_a_backend_that_cannot_be_made_is_the_configurations_fault(
    use_transport: Callable[..., None], backend: str, error: type[Exception]
) -> None:
    use_transport(backend)
    with pytest.raises(error) as raised:
        Session().send(MESSAGE)
    assert raised.value.phase == "config"  # type: ignore[attr-defined]


def test_what_goes_wrong_in_saying_goodbye_concerns_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any) -> None:
        raise OSError("already gone")

    kept = Session()
    kept.send(MESSAGE)
    monkeypatch.setattr(Scripted, "close", fail)
    kept.close()
    kept.close()


def test_the_backend_is_told_which_message_follows_while_the_connection_lasts() -> None:
    kept, second = Session(), MESSAGE._replace(recipient="second@example.com")
    kept.takes_envelope = True
    for _ in range(session.RECYCLE_AFTER):
        kept.send(MESSAGE, following=second)
    *told, last = [message.following for message in Scripted.sent]
    assert {message.to[0] for message in told} == {"second@example.com"}
    assert last is None


@pytest.mark.parametrize(
    ("unreadable", "envelope"),
    [({"mime": b"To: <\r\n\r\nHi\r\n"}, False), ({"attributes": "{broken"}, False), ({"attributes": "{broken"}, True)],
    ids=["headers", "attributes", "attributes, SMTP"],
)
def test_a_message_that_cannot_be_read_does_no_harm_to_the_one_before(
    unreadable: dict[str, Any], envelope: bool
) -> None:
    kept = Session()
    kept.takes_envelope = envelope
    kept.send(MESSAGE, following=MESSAGE._replace(id=2, **unreadable))
    assert Scripted.said == ["open", "send"]
