"""What is due of a topic, without a database: every boundary by name, and the rules over a topic's whole life."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.events.policy import Interval, Plan, burst_of, decide

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
BURST, LENGTH = 2, 60  # events, seconds
TICK = 1e-6  # seconds: the smallest step of a clock


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def decided(opened: float | None, singles: int, waiting: list[float], burst: int = BURST, length: int = LENGTH) -> Plan:
    """The plan for now; times are seconds from it."""
    interval = None if opened is None else Interval(opened_at=at(opened), singles=singles)
    return decide(interval, [at(happened) for happened in waiting], NOW, burst=burst, length=timedelta(seconds=length))


def one_by_one(singles: int, opened: float, before: int = 0, until: float | None = None) -> Plan:
    return Plan(
        interval=Interval(opened_at=at(opened), singles=before),
        singles=singles,
        wait_until=None if until is None else at(until),
    )


DIGEST = Plan(interval=Interval(opened_at=NOW, singles=0), singles=0, digest=True, wait_until=None)
NOTHING = Plan(interval=None, singles=0, digest=False, wait_until=None)


@pytest.mark.parametrize(
    ("opened", "singles", "waiting", "plan"),
    [
        pytest.param(None, 0, [], NOTHING, id="nothing waits and nothing ever did"),
        pytest.param(-10, 1, [], NOTHING, id="nothing waits within an interval"),
        pytest.param(-600, 2, [], NOTHING, id="nothing waits after one"),
        pytest.param(None, 0, [0], one_by_one(1, 0), id="the first event opens an interval"),
        pytest.param(None, 0, [-1, 0], one_by_one(2, 0), id="as many as the burst at once"),
        pytest.param(None, 0, [-2, -1, 0], one_by_one(2, 0, until=60), id="one more than the burst waits"),
        pytest.param(-10, 0, [-1], one_by_one(1, -10), id="after a digest the interval has its whole burst"),
        pytest.param(-10, 0, [-3, -2, -1], one_by_one(2, -10, until=50), id="and no more than that"),
        pytest.param(-10, 1, [-1], one_by_one(1, -10, 1), id="the last slot"),
        pytest.param(-10, 1, [-2, -1], one_by_one(1, -10, 1, until=50), id="two for the last slot"),
        pytest.param(-10, 2, [-1], one_by_one(0, -10, 2, until=50), id="the burst is full"),
        pytest.param(-10, 3, [-1], one_by_one(0, -10, 3, until=50), id="the burst was larger before a restart"),
        pytest.param(-60 + TICK, 2, [-1], one_by_one(0, -60 + TICK, 2, until=TICK), id="just before the end"),
        pytest.param(-60 + TICK, 1, [-1], one_by_one(1, -60 + TICK, 1), id="just before the end a slot is a slot"),
        pytest.param(0, 2, [0], one_by_one(0, 0, 2, until=60), id="at the very beginning of an interval"),
        pytest.param(-60, 2, [-1], DIGEST, id="exactly at the end what was left over is due"),
        pytest.param(-60, 0, [-1], DIGEST, id="also where no slot was used"),
        pytest.param(-60, 2, [0], one_by_one(1, 0), id="exactly at the end a newcomer opens an interval"),
        pytest.param(-61, 2, [-1], one_by_one(1, 0), id="it happened exactly at the end of the interval"),
        pytest.param(-61, 2, [-1 - TICK], DIGEST, id="it happened just before the end of the interval"),
        pytest.param(-61, 2, [-2, 0], DIGEST, id="a newcomer joins what was left over"),
        pytest.param(-61, 2, [0, -2], DIGEST, id="whatever their order"),
        pytest.param(-600, 2, [-1], one_by_one(1, 0), id="after a quiet time the next is mailed at once"),
        pytest.param(-600, 2, [-3, -2, -1], one_by_one(2, 0, until=60), id="a burst after a quiet time"),
        pytest.param(-600, 2, [-60, -60, -60], DIGEST, id="no worker for exactly an interval, and too many"),
        pytest.param(-600, 2, [-60, -1, 0], DIGEST, id="only the oldest is that old"),
        pytest.param(-600, 2, [-60 + TICK] * 3, one_by_one(2, 0, until=60), id="no worker for just less than that"),
        pytest.param(-600, 2, [-500, -400], one_by_one(2, 0), id="no worker for long, and no more than a burst"),
        pytest.param(None, 0, [-500] * 3, DIGEST, id="no worker since the site was set up"),
        pytest.param(None, 0, [-500], one_by_one(1, 0), id="one event from before there was a worker"),
        pytest.param(30, 2, [0], one_by_one(0, 30, 2, until=90), id="another machine's clock is a little ahead"),
        pytest.param(60, 2, [0], one_by_one(0, 60, 2, until=120), id="ahead by exactly an interval"),
        pytest.param(60 + TICK, 2, [0], one_by_one(1, 0), id="the clock was set back: the interval is forgotten"),
        pytest.param(7200, 2, [7100, 7150], one_by_one(2, 0), id="events from before the clock was set back"),
        pytest.param(7200, 2, [7100] * 3, one_by_one(2, 0, until=60), id="and more of them than a burst"),
    ],
)
def test_the_plan_is(opened: float | None, singles: int, waiting: list[float], plan: Plan) -> None:
    assert decided(opened, singles, waiting) == plan


@pytest.mark.parametrize("opened", [None, -10, -60, -600, 7200])
@pytest.mark.parametrize("waiting", [[], [0], [-500] * 3, [-1] * 100])
def test_interval_zero_mails_each_by_itself_even_what_waited(opened: float | None, waiting: list[float]) -> None:
    assert decided(opened, 2, waiting, length=0) == Plan(
        interval=None, singles=len(waiting), digest=False, wait_until=None
    )


def test_a_burst_of_one_is_one_mail_and_the_rest_in_the_digest() -> None:
    assert decided(None, 0, [-1, 0], burst=1) == one_by_one(1, 0, until=60)
    assert decided(-10, 0, [-1, 0], burst=1) == one_by_one(1, -10, until=50)
    assert decided(-10, 1, [-1], burst=1) == one_by_one(0, -10, 1, until=50)


def test_of_a_kind_of_server_error_one_is_mailed_by_itself_whatever_the_burst() -> None:
    assert burst_of("error:0a1b2c", 5) == 1
    assert burst_of("error:0a1b2c", 0) == 1
    assert burst_of("visitor", 5) == 5
    assert burst_of("no error:", 5) == 5


def test_plans_and_intervals_begin_with_nothing_and_cannot_be_changed() -> None:
    assert Interval(opened_at=NOW).singles == 0
    plan = Plan()
    assert (plan.interval, plan.singles, plan.digest, plan.wait_until) == (None, 0, False, None)
    for value in (plan, Interval(opened_at=NOW)):
        with pytest.raises(AttributeError, match="cannot assign"):
            setattr(value, "singles", 9)  # noqa: B010  (mypy knows that it cannot)
    for kind in (Plan, Interval):
        with pytest.raises(TypeError, match="positional"):
            kind(NOW, 1)  # type: ignore[misc]


@given(
    opened=st.none() | st.integers(-200, 200),
    singles=st.integers(0, 5),
    waiting=st.lists(st.integers(-200, 200), max_size=8),
    burst=st.integers(1, 4),
    length=st.integers(0, 100),
)
def test_a_plan_mails_something_now_or_says_when(
    opened: int | None, singles: int, waiting: list[float], burst: int, length: int
) -> None:
    plan = decided(opened, singles, waiting, burst, length)
    assert not (plan.digest and plan.singles), "a digest holds all that waits"
    assert plan.singles <= len(waiting)
    left = 0 if plan.digest else len(waiting) - plan.singles
    assert (plan.wait_until is not None) == (left > 0)
    if plan.wait_until:
        assert NOW < plan.wait_until <= NOW + 2 * timedelta(seconds=length)
    if plan.interval:
        assert length
        assert plan.singles <= max(burst - plan.interval.singles, 0)
    else:
        assert not (length and waiting)
    # The first burst + 1, which is all a worker reads, are enough to know.
    if length and waiting == sorted(waiting):
        assert decided(opened, singles, waiting[: burst + 1], burst, length) == Plan(
            interval=plan.interval,
            singles=plan.singles,
            digest=plan.digest,
            wait_until=plan.wait_until,
        )


@dataclass
class Life:
    """A topic whose worker does what each plan says: which mails each interval got, and when each event was mailed."""

    burst: int
    length: int
    now: float = 0
    interval: Interval | None = None
    waiting: list[float] = field(default_factory=list)
    mails: dict[datetime, list[str]] = field(default_factory=dict)
    waited: list[float] = field(default_factory=list)

    def work(self) -> Plan:
        plan = decide(
            self.interval,
            [at(happened) for happened in self.waiting[: self.burst + 1]],
            at(self.now),
            burst=self.burst,
            length=timedelta(seconds=self.length),
        )
        if plan.digest or plan.singles:
            assert plan.interval
            self.interval = Interval(opened_at=plan.interval.opened_at, singles=plan.interval.singles + plan.singles)
            mailed = len(self.waiting) if plan.digest else plan.singles
            kinds = ["digest"] if plan.digest else ["single"] * plan.singles
            self.mails.setdefault(self.interval.opened_at, []).extend(kinds)
            self.waited += [self.now - happened for happened in self.waiting[:mailed]]
            del self.waiting[:mailed]
        return plan


@given(
    burst=st.integers(1, 4),
    length=st.integers(1, 60),
    pauses=st.lists(st.integers(0, 40), max_size=60),
    absences=st.sets(st.integers(0, 59)),
)
def test_with_a_worker_at_hand_nobody_waits_longer_than_an_interval_and_no_interval_has_too_many(
    burst: int, length: int, pauses: list[int], absences: set[int]
) -> None:
    life = Life(burst, length)
    for number, pause in enumerate(pauses):
        life.now += pause
        life.waiting.append(life.now)
        if number in absences:
            continue  # the worker comes later
        plan = life.work()
        if plan.wait_until:
            assert life.waiting
        if not absences:
            assert life.work().singles == 0, "a plan leaves nothing undone"
    while life.waiting:
        plan = life.work()
        if plan.wait_until:
            life.now = (plan.wait_until - NOW).total_seconds()
    for kinds in life.mails.values():
        assert kinds.count("digest") <= 1
        assert kinds.count("single") <= burst
        assert "digest" not in kinds[1:], "a digest opens an interval, it does not end one"
    if not absences:
        gaps = [pause for pause in pauses if pause > 0]
        assert all(waited <= length + max(gaps, default=0) for waited in life.waited)
    opened = sorted(life.mails)
    assert all(later - earlier >= timedelta(seconds=length) for earlier, later in pairwise(opened))
