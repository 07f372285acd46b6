"""Processes that post and notify at the same time, a statement at a time, in any order, killed at any statement.

Hypothesis draws who goes next. On PostgreSQL transactions really overlap; SQLite lets one write at a time, so there
it is the order of whole transactions, and what is read between them, that differs.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import connection, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from notify.events.digest import notify_due
from notify.mail import notify_admins
from notify.models import Event, Message, Window
from tests.events.conftest import START, Clock

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 0.02  # seconds: a process that takes longer for a statement waits for a lock; another has its turn
EXAMPLES = 200 if connection.vendor == "postgresql" else 12  # where processes take turns


class Killed(BaseException):
    """As SIGKILL: nothing catches it, and the database undoes what was not committed."""


class Process:
    """Does its work when it is told to go on, up to the next statement."""

    def __init__(self, work: Callable[["Process"], None]) -> None:
        self.error: BaseException | None = None
        self.is_over = self._is_killed = False
        self._go, self._rests = threading.Semaphore(0), threading.Event()
        self._thread = threading.Thread(target=self._run, args=[work], daemon=True)
        self._thread.start()
        self._rests.wait(10)

    def go_on(self) -> bool:
        """False where it has come to its end, or waits for a lock."""
        if self._rests.is_set() and not self.is_over:
            self._rests.clear()
            self._go.release()
        return self._rests.wait(PATIENCE) and not self.is_over

    def kill(self) -> None:
        self._is_killed = True
        self.go_on()

    def pause(self, *_: Any) -> None:
        self._rests.set()
        self._go.acquire()
        if self._is_killed:
            raise Killed

    def _run(self, work: Callable[["Process"], None]) -> None:
        try:
            with connection.execute_wrapper(self._before_statement):
                work(self)
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        finally:
            connection.close()
            self.is_over = True
            self._rests.set()

    def _before_statement(self, execute: Callable[..., Any], *statement: Any) -> Any:
        self.pause()
        return execute(*statement)


class World:
    """What the processes share, and what they are known to have done."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.kept: set[str] = set()  # keys of events whose transactions ended well
        self.mailed: list[str] = []  # Message-IDs of the mails that were kept
        self.mails_of: Counter[datetime] = Counter()  # how many each interval has

    def poster(self, keys: Iterable[str]) -> Callable[[Process], None]:
        def post(process: Process) -> None:
            for key in keys:
                with transaction.atomic():
                    template = "mail/none" if key in BAD else "notify/mail/test"
                    notify_admins("order", "New", template, key=key, summary=key, url="https://x.example/")
                    process.pause()  # done, and not committed yet
                self.kept.add(key)

        return post

    def worker(self, turns: int) -> Callable[[Process], None]:
        def work(process: Process) -> None:
            for _ in range(turns):
                process.pause()
                notify_due()

        return work

    def note(self, send: Callable[[EmailMultiAlternatives], int]) -> Callable[[EmailMultiAlternatives], int]:
        """EmailMultiAlternatives.send, and a note of what it sent, kept if the transaction is."""

        def noting(message: EmailMultiAlternatives) -> int:
            sent = send(message)
            message_id = message.extra_headers["Message-ID"]
            opened_at = Window.objects.get(topic="order").opened_at
            transaction.on_commit(lambda: self.mailed.append(message_id))
            transaction.on_commit(lambda: self.mails_of.update([opened_at]))
            return sent

        return noting


BAD = "ef"  # keys of events whose template fails
KEYS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4)
ACTORS = st.lists(st.one_of(st.integers(1, 3), KEYS), min_size=3, max_size=4)
MOVES = st.lists(
    # Who goes on, and by how many statements; 40 are all it has to do.
    st.tuples(st.integers(0, 3), st.sampled_from([1, 2, 3, 4, 5, 6, 40, 40, "kill", "later", "much later"])),
    min_size=5,
    max_size=40,
)


@profile(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    burst=st.integers(1, 3),
    age=st.sampled_from([None, 9, 11]),
    waiting=st.sets(st.sampled_from("abcde")),
    actors=ACTORS,
    moves=MOVES,
)
def test_each_event_is_in_one_mail_and_no_interval_has_too_many_however_processes_interleave(
    burst: int,
    age: int | None,
    waiting: set[str],
    actors: list[Any],
    moves: list[tuple[int, Any]],
    settings: Any,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for model in (Event, Message, Window):
        model.objects.all().delete()  # type: ignore[attr-defined]
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = burst, 10
    clock.at(0)
    world = World(clock)
    # Some wait already, in an interval that opened so many seconds ago.
    Event.objects.bulk_create(
        Event(
            topic="order",
            key=key,
            subject="New",
            summary=key,
            template="mail/none" if key in BAD else "notify/mail/test",
        )
        for key in sorted(waiting)
    )
    if age is not None:
        window = Window.objects.create(topic="order", opened_at=START - timedelta(seconds=age), singles=burst - 1)
        world.mails_of[window.opened_at] = window.singles
    with monkeypatch.context() as patched:
        patched.setattr(EmailMultiAlternatives, "send", world.note(EmailMultiAlternatives.send))
        # A number is a worker of so many turns, a list a process that posts events with these keys.
        processes = [
            Process(world.worker(actor) if isinstance(actor, int) else world.poster(actor)) for actor in actors
        ]
        play(processes, moves, world)
        for _ in range(4):  # a template that fails is tried three times
            clock.at(clock.seconds + 31)
            notify_due()

    assert [process.error for process in processes if process.error] == []
    events = Counter(Event.objects.values_list("topic", "key"))
    assert set(events.values()) <= {1}
    assert {key for _, key in events} >= world.kept | waiting
    assert not Event.objects.waiting().exists()
    mailed = Counter(world.mailed)
    assert set(mailed.values()) <= {1}
    assert set(mailed) == set(Event.objects.values_list("message_id", flat=True))
    assert Counter(Message.objects.values_list("message_id", flat=True)) == mailed
    assert all(count <= burst + 1 for count in world.mails_of.values()), world.mails_of


def play(processes: list[Process], moves: list[tuple[int, Any]], world: World) -> None:
    for number, move in moves:
        process = processes[number % len(processes)]
        if move == "kill":
            process.kill()
        elif move in ("later", "much later"):
            world.clock.at(world.clock.seconds + (4 if move == "later" else 30))
        else:
            while move and process.go_on():
                move -= 1
    deadline = time.monotonic() + 60
    while not all(process.is_over for process in processes):
        assert time.monotonic() < deadline
        for process in processes:
            while process.go_on():
                pass
