"""The rules of intervals against a model of them: events, workers, crashes and failures in any order, at any times.

The model says in Python what docs/operations.md says under Digests. After every step exactly those mails must be
stored that the model would send: each event in one mail, in the right one, by the right template, at the right moment.
"""

from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from notify.events.digest import TEMPLATE, notify_due
from notify.mail import notify_admins
from notify.models import Event, Message, Window
from notify.rendering import message as rendering
from notify.visitors import signals
from notify.visitors.models import Visitor
from tests.events.conftest import Clock

pytestmark = pytest.mark.django_db
RETRY_AFTER = 30  # seconds, as documented
GOOD, MISSING = "notify/mail/test", "mail/none"
Mail = tuple[str, list[str]]  # the template and the keys of the events, in order


@dataclass
class Waiting:
    key: str
    template: str
    happened: float
    failures: int = 0
    retry_at: float = 0


@dataclass
class Conditions:
    somebody: bool = True  # FLASKY_ADMIN is set
    works: bool = True  # the templates that exist, but for the digest's
    digest_works: bool = True


class Topic:
    """What administrators are to get of one topic."""

    def __init__(self, burst: int, interval: int, conditions: Conditions) -> None:
        self.burst, self.interval, self.conditions = burst, interval, conditions
        self.opened, self.singles, self.retry_at = float("-inf"), 0, 0.0
        self.known: set[str] = set()
        self.waiting: list[Waiting] = []
        self.mails: list[Mail] = []

    def happen(self, key: str, template: str, now: float) -> None:
        """The site is told of an event, perhaps not for the first time."""
        if key not in self.known:
            self.known.add(key)
            if self.conditions.somebody:
                self.waiting.append(Waiting(key, template, now))

    def work(self, now: float) -> None:
        """A worker's turn."""
        if not self.conditions.somebody:
            self.waiting = []
            return
        ready = [event for event in self.waiting if event.retry_at <= now]
        if not ready or now < self.retry_at:
            return
        slots = self._slots(ready, now)
        if slots is None:
            self._send_digest(now)
        else:
            for event in ready[:slots]:
                if not self._mail_singly(event, now):
                    break

    def _slots(self, ready: list[Waiting], now: float) -> int | None:
        """How many may be mailed one by one; None if it is time for a digest."""
        if self.interval == 0:
            return len(ready)
        ends = self.opened + self.interval
        if now < ends:
            return self.burst - self.singles
        if ready[0].happened < ends or (len(ready) > self.burst and ready[0].happened + self.interval <= now):
            return None
        return self.burst

    def _mail_singly(self, event: Waiting, now: float) -> bool:
        """False if nothing else can be mailed for now."""
        template = event.template
        if template == MISSING or not self.conditions.works:
            event.failures += 1
            event.retry_at = now + RETRY_AFTER if event.failures < 3 else 0
            if event.failures < 3:
                return True
            if not self.conditions.digest_works:
                self.retry_at = now + RETRY_AFTER
                return False
            template = TEMPLATE
        if self.interval:
            if now >= self.opened + self.interval:
                self.opened, self.singles = now, 0
            self.singles += 1
        self._mail(template, [event])
        return True

    def _send_digest(self, now: float) -> None:
        if not self.conditions.digest_works:
            self.retry_at = now + RETRY_AFTER
            return
        self.opened, self.singles = now, 0
        self._mail(TEMPLATE, self.waiting)  # those too that were put off

    def _mail(self, template: str, events: list[Waiting]) -> None:
        self.mails.append((template, [event.key for event in events]))
        self.waiting = [event for event in self.waiting if event not in events]


class World:
    """The site and its model, side by side, on one clock."""

    def __init__(self, burst: int, interval: int, settings: Any, clock: Clock) -> None:
        for model in (Event, Message, Window, Visitor):
            model.objects.all().delete()  # type: ignore[attr-defined]
        settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = burst, interval
        settings.FLASKY_ADMIN = self.administrators = ["admin@example.com"]
        self.settings, self.clock, self.count = settings, clock, 0
        self.conditions = Conditions()
        self.topics = {name: Topic(burst, interval, self.conditions) for name in ("order", signals.TOPIC)}
        self.templates: dict[str, str] = {}  # of each mail that was built, by its Message-ID
        clock.at(0)

    def build(self, to: Any, subject: Any, template: str, context: Any, **options: Any) -> Any:
        works = self.conditions.digest_works if template == TEMPLATE else self.conditions.works
        self.templates[options["headers"]["Message-ID"]] = template
        return build(to, subject, template, context, **options) if works else 1 / 0

    def step(self, name: str, which: int) -> None:
        getattr(self, f"_{name}")(which)

    def _event(self, which: int) -> None:
        self.count += 1
        self._tell(self.count, GOOD)

    def _bad(self, which: int) -> None:
        self.count += 1
        self._tell(self.count, MISSING)

    def _again(self, which: int) -> None:
        self._tell(max(self.count - which, 0), GOOD)

    def _tell(self, number: int, template: str) -> None:
        key = str(number)
        notify_admins("order", "New", template, key=key, summary=key, url="https://x.example/")
        self.topics["order"].happen(key, template, self.clock.seconds)

    def _visitor(self, which: int) -> None:
        visitor = Visitor.objects.create(name=f"Visitor {Visitor.objects.count()}")
        self.topics[signals.TOPIC].happen(str(visitor.pk), "mail/new_visitor", self.clock.seconds)

    def _crash(self, which: int) -> None:
        with transaction.atomic():
            notify_admins("order", "New", GOOD, key="lost", summary="lost", url="https://x.example/")
            Visitor.objects.create(name="Lost")
            transaction.set_rollback(True)

    def _work(self, which: int) -> None:
        before = sum(len(topic.mails) for topic in self.topics.values())
        mails = notify_due(self.clock.now)
        for topic in self.topics.values():
            topic.work(self.clock.seconds)
        stored = sum(len(topic.mails) for topic in self.topics.values()) - before
        # Mails that were stored before a digest failed are not counted.
        assert mails == stored or not self.conditions.digest_works

    def _break(self, which: int) -> None:
        if which % 2:
            self.conditions.works = not self.conditions.works
        else:
            self.conditions.digest_works = not self.conditions.digest_works

    def _administrators(self, which: int) -> None:
        self.conditions.somebody = not self.conditions.somebody
        self.settings.FLASKY_ADMIN = self.administrators if self.conditions.somebody else []

    def mails(self, topic: str) -> list[Mail]:
        """The template and the keys of each stored mail of the topic."""
        stored: dict[str, list[str]] = {
            message_id: [] for message_id in Message.objects.order_by("id").values_list("message_id", flat=True)
        }
        events = Event.objects.filter(topic=topic).exclude(message_id="").order_by("id")
        for message_id, key in events.values_list("message_id", "key"):
            stored[message_id].append(key)
        return [(self.templates[message_id], keys) for message_id, keys in stored.items() if keys]

    def check(self, after: str) -> None:
        for name, topic in self.topics.items():
            where = f"{name} after {after} at {self.clock.seconds}"
            assert self.mails(name) == topic.mails, where
            waiting = Event.objects.waiting().filter(topic=name).order_by("id").values_list("key", "failures")
            assert list(waiting) == [(event.key, event.failures) for event in topic.waiting], where


build = rendering.build
KINDS = ["event"] * 8 + ["work"] * 7 + ["visitor"] * 2 + ["bad"] * 2 + ["again", "crash", "break", "administrators"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from([0, 0, 0.5, 0.9, 1, 29, 30]),  # the time before it, in intervals up to 1, else in seconds
        st.integers(0, 3),
    ),
    min_size=5,
    max_size=50,
)

# Rare, and known to go wrong.
AFTER_A_DIGEST = [
    ("event", 0, 0),
    ("event", 0, 0),
    ("work", 1, 0),
    ("event", 0.5, 0),
    ("event", 0.5, 0),
    ("work", 0, 0),
]
AFTER_A_FAILURE = [("event", 0, 0), ("event", 0, 0), ("break", 0, 0), ("work", 1, 0), ("break", 0, 0), ("work", 0, 0)]
TOLD_TWICE = [("event", 0, 0), ("again", 0, 0), ("event", 0, 0), ("work", 0, 0), ("again", 0, 1), ("work", 0, 0)]
A_BAD_ONE_FIRST = [("bad", 0, 0), ("event", 0, 0), *[("work", 0, 0)] * 2, *[("work", 30, 0)] * 3, ("event", 0, 0)]
BOTH_TEMPLATES = [("bad", 0, 0), ("break", 0, 0), ("event", 0, 0), *[("work", 30, 0)] * 5, ("break", 0, 0)]
BACK_AFTER_LONG = [("event", 0, 0)] * 5 + [("work", 1, 0), ("event", 0, 0), ("work", 0, 0)]


HISTORIES = given(burst=st.integers(1, 3), interval=st.sampled_from([0, 20, 20, 60, 60, 100]), steps=STEPS)


@profile(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@HISTORIES
@example(burst=1, interval=20, steps=AFTER_A_DIGEST)
@example(burst=1, interval=20, steps=AFTER_A_FAILURE)
@example(burst=2, interval=20, steps=TOLD_TWICE)
@example(burst=1, interval=100, steps=A_BAD_ONE_FIRST)
@example(burst=1, interval=0, steps=A_BAD_ONE_FIRST)
@example(burst=2, interval=100, steps=BOTH_TEMPLATES)
@example(burst=2, interval=60, steps=BACK_AFTER_LONG)
def test_what_is_mailed_is_what_the_rules_say(
    burst: int,
    interval: int,
    steps: list[tuple[str, float, int]],
    settings: Any,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live(World(burst, interval, settings, clock), steps, monkeypatch)


@pytest.mark.slow
@profile(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@HISTORIES
def test_so_it_is_in_hundreds_of_histories(
    burst: int,
    interval: int,
    steps: list[tuple[str, float, int]],
    settings: Any,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live(World(burst, interval, settings, clock), steps, monkeypatch)


def live(world: World, steps: list[tuple[str, float, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the steps; after each, what was mailed must be what the rules say."""
    clock, interval = world.clock, world.settings.NOTIFY_INTERVAL
    with monkeypatch.context() as patched:
        patched.setattr(rendering, "build", world.build)
        for name, wait, which in steps:
            clock.at(clock.seconds + (wait if wait > 1 else wait * interval))
            world.step(name, which)
            world.check(name)
        # Whatever happened: in the end every event is mailed, and every mail has events.
        world.conditions.works = world.conditions.digest_works = True
        if not world.conditions.somebody:
            world.step("administrators", 0)
        turns = 0
        while Event.objects.waiting().exists():
            clock.at(clock.seconds + max(interval, RETRY_AFTER))
            world.step("work", 0)
            world.check("the end")
            turns += 1
            assert turns <= 4
    assert sum(len(world.mails(topic)) for topic in world.topics) == Message.objects.count()
    keys = {topic: set(Event.objects.filter(topic=topic).values_list("key", flat=True)) for topic in world.topics}
    assert keys["order"] == world.topics["order"].known
    assert keys[signals.TOPIC] == set(map(str, Visitor.objects.values_list("pk", flat=True)))
