"""The rules of intervals against a model of them: events, sweeps, crashes and failures in any order, at any times.

The model says in Python what docs/operations.md says under Digests. After every step exactly those mails must be
stored that the model would send: each event in one mail, in the right one, at the right moment.
"""

from collections import defaultdict
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, example, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from notify import digest, mail
from notify.digest import RETRY_AFTER, Sweep
from notify.models import Event, Message, Visitor, Window

pytestmark = pytest.mark.django_db
START = timezone.now().replace(microsecond=0)


class Topic:
    """What administrators are to get of one topic: `mails` has the keys of the events of each, in order."""

    def __init__(self, burst: int, interval: int) -> None:
        self.burst, self.interval = burst, interval
        self.opened, self.singles = float("-inf"), 0
        self.known: set[str] = set()
        self.waiting: list[str] = []
        self.mails: list[set[str]] = []

    def happen(self, key: str, now: float, *, somebody: bool, works: bool) -> None:
        """The site is told of an event, perhaps not for the first time."""
        if key not in self.known:
            self.known.add(key)
            self.waiting += [key] * somebody
        if key in self.waiting and somebody and self._may_tell_at_once(key, now) and works:
            self._mail([key])

    def find(self, keys: list[str], now: float, *, somebody: bool, works: bool) -> bool:
        """Visitors that were made without signals. False where their mail could not be built: they stay unfound."""
        has_slot = bool(keys) and somebody and self._is_live(now) and self.singles < self.burst
        if has_slot and not works:
            return False
        self.waiting += keys
        if has_slot:
            self.singles += 1
            self._mail(keys)
        return True

    def sweep(self, now: float, *, somebody: bool, works: bool) -> bool:
        """What waits is told where its time has come. False where a mail could not be built."""
        is_live = self._is_live(now)
        told = self.waiting[: self.burst - self.singles] if is_live else self.waiting
        if not somebody:
            self.waiting = []
        elif told and not works:
            return False
        elif is_live:
            for key in told:
                self.singles += 1
                self._mail([key])
        elif told:
            self._mail(told)
            self.opened, self.singles = now, 0
        return True

    def _may_tell_at_once(self, key: str, now: float) -> bool:
        if self.interval == 0:
            return True
        if not self._is_live(now):
            if self.waiting != [key]:
                return False
            self.opened, self.singles = now, 0
        self.singles += 1
        if self.singles > self.burst:
            self.singles = self.burst
            return False
        return True

    def _is_live(self, now: float) -> bool:
        return self.opened <= now < self.opened + self.interval

    def _mail(self, keys: list[str]) -> None:
        self.mails.append(set(keys))
        self.waiting = [key for key in self.waiting if key not in keys]


class World:
    """The site and its model, side by side, on one clock."""

    def __init__(self, burst: int, interval: int, settings: Any) -> None:
        for model in (Event, Message, Window, Visitor):
            model.objects.all().delete()  # type: ignore[attr-defined]
        settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = burst, interval
        settings.FLASKY_ADMIN = self.administrators = ["admin@example.com"]
        self.settings, self.now, self.works, self.count = settings, 0.0, True, 0
        self.topics = {name: Topic(burst, interval) for name in ("order", mail.VISITORS)}
        self.sweeps = [Sweep(), Sweep()]  # two processes
        self.not_before: dict[tuple[int, str], float] = defaultdict(float)
        self.unfound: list[str] = []

    @property
    def conditions(self) -> dict[str, bool]:
        return {"somebody": bool(self.settings.FLASKY_ADMIN), "works": self.works}

    def step(self, name: str, which: int) -> None:
        getattr(self, f"_{name}")(which)

    def _event(self, which: int) -> None:
        self.count += 1
        self._tell(self.count)

    def _again(self, which: int) -> None:
        self._tell(max(self.count - which, 0))

    def _tell(self, number: int) -> None:
        key = str(number)
        mail.notify_admins("order", "New", "mail/digest", key=key, summary=key, url="https://x.example/")
        self.topics["order"].happen(key, self.now, **self.conditions)

    def _visitor(self, which: int) -> None:
        visitor = Visitor.objects.create(name=f"Visitor {Visitor.objects.count()}")
        self.topics[mail.VISITORS].happen(str(visitor.pk), self.now, **self.conditions)

    def _found(self, which: int) -> None:
        before = Visitor.objects.count()
        made = Visitor.objects.bulk_create([Visitor(name=f"Visitor {before + each}") for each in range(which + 1)])
        self.unfound += [str(visitor.pk) for visitor in made]

    def _crash(self, which: int) -> None:
        with transaction.atomic():
            mail.notify_admins("order", "New", "mail/digest", key="lost", summary="lost", url="https://x.example/")
            Visitor.objects.create(name="Lost")
            transaction.set_rollback(True)

    def _sweep(self, which: int) -> None:
        process = which % len(self.sweeps)
        self.sweeps[process].run(timezone.now())
        if self._may_try(process, mail.VISITORS):
            if self.topics[mail.VISITORS].find(self.unfound, self.now, **self.conditions):
                self.unfound = []
            else:
                self.not_before[process, mail.VISITORS] = self.now + RETRY_AFTER
        for name, topic in self.topics.items():
            if self._may_try(process, name) and not topic.sweep(self.now, **self.conditions):
                self.not_before[process, name] = self.now + RETRY_AFTER

    def _may_try(self, process: int, topic: str) -> bool:
        return self.now >= self.not_before[process, topic]

    def _restart(self, which: int) -> None:
        process = which % len(self.sweeps)
        self.sweeps[process] = Sweep()
        self.not_before = defaultdict(float, {key: at for key, at in self.not_before.items() if key[0] != process})

    def _break(self, which: int) -> None:
        self.works = not self.works

    def _administrators(self, which: int) -> None:
        self.settings.FLASKY_ADMIN = [] if self.settings.FLASKY_ADMIN else self.administrators

    def mails(self, topic: str) -> list[set[str]]:
        """The keys of the events that each stored mail of the topic tells."""
        stored = {
            message_id: set[str]() for message_id in Message.objects.order_by("id").values_list("message_id", flat=True)
        }
        for message_id, key in (
            Event.objects.filter(topic=topic).exclude(message_id="").values_list("message_id", "key")
        ):
            stored[message_id].add(key)
        return [keys for keys in stored.values() if keys]


KINDS = (
    ["event"] * 8 + ["sweep"] * 5 + ["visitor"] * 2 + ["again", "found", "crash", "restart", "break", "administrators"]
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from([0, 0, 0.5, 0.9, 1]),  # the time before it, in intervals
        st.integers(0, 3),
    ),
    min_size=5,
    max_size=50,
)

# Rare, and known to go wrong.
AFTER_A_DIGEST = [("event", 0, 0), ("event", 0, 0), ("sweep", 1, 0), ("event", 0.5, 0), ("event", 0.5, 0)]
AFTER_A_FAILURE = [("event", 0, 0), ("event", 0, 0), ("break", 0, 0), ("sweep", 1, 0), ("break", 0, 0), ("sweep", 0, 0)]
TOLD_TWICE = [("event", 0, 0), ("again", 0, 0), ("event", 0, 0)]


@profile(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(burst=st.integers(1, 3), interval=st.sampled_from([0, 20, 20, 20, 60]), steps=STEPS)
@example(burst=1, interval=20, steps=AFTER_A_DIGEST)
@example(burst=1, interval=20, steps=AFTER_A_FAILURE)
@example(burst=2, interval=20, steps=TOLD_TWICE)
def test_what_is_mailed_is_what_the_rules_say(
    burst: int, interval: int, steps: list[tuple[str, float, int]], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, build = World(burst, interval, settings), mail.build

    def build_or_fail(*args: Any, **kwargs: Any) -> Any:
        return build(*args, **kwargs) if world.works else 1 / 0

    with monkeypatch.context() as patched:
        patched.setattr(mail, "build", build_or_fail)
        patched.setattr(timezone, "now", lambda: START + timedelta(seconds=world.now))
        patched.setattr(digest, "time", SimpleNamespace(monotonic=lambda: world.now))
        for name, wait, which in steps:
            world.now += wait * interval
            world.step(name, which)
            for topic, expected in world.topics.items():
                assert world.mails(topic) == expected.mails, f"{topic} after {name} at {world.now}"
                waiting = Event.objects.waiting().filter(topic=topic).order_by("id").values_list("key", flat=True)
                assert list(waiting) == expected.waiting, f"{topic} after {name} at {world.now}"
        # Whatever happened: in the end everything is told, and every mail tells something.
        world.works, settings.FLASKY_ADMIN = True, world.administrators
        world.now += interval + RETRY_AFTER
        world.step("sweep", 0)
    assert not Event.objects.waiting().exists()
    assert not Visitor.objects.filter(announced=False).exists()
    assert sum(len(world.mails(topic)) for topic in world.topics) == Message.objects.count()
    keys = {topic: set(Event.objects.filter(topic=topic).values_list("key", flat=True)) for topic in world.topics}
    assert keys["order"] == world.topics["order"].known
    assert keys[mail.VISITORS] == set(map(str, Visitor.objects.values_list("pk", flat=True)))
