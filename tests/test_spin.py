"""Spinning: when it is done, and when it is given up."""

import select
import socket
from collections.abc import Iterator

import pytest

from notify import spin
from notify.spin import Spin

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What each look at the socket saw: 0 for nothing."""
    seen: list[int] = []

    class Poller:
        def __init__(self) -> None:
            self._poller = poll()

        def register(self, file: int, events: int) -> None:
            self._poller.register(file, events)

        def poll(self, timeout: int) -> list[tuple[int, int]]:
            assert timeout == 0
            found = self._poller.poll(timeout)
            seen.append(len(found))
            return found

    poll = select.poll
    monkeypatch.setattr(spin.select, "poll", Poller)
    return seen


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spin, "_allowed", False)  # and back again
    monkeypatch.setattr(spin.os, "cpu_count", lambda: 2)
    spin.allow()


def test_nothing_spins_unless_it_is_allowed(ends: Ends, polls: list[int]) -> None:
    assert not spin.is_allowed()
    ends[1].send(b"x")
    assert not Spin().wait(ends[0].fileno())
    assert polls == []


@pytest.mark.usefixtures("allowed")
def test_it_ends_with_the_answer(ends: Ends, polls: list[int]) -> None:
    waits = Spin()
    for _ in range(3):
        ends[1].send(b"x")
        assert waits.wait(ends[0].fileno())
        ends[0].recv(1)
    assert polls == [1, 1, 1]


@pytest.mark.usefixtures("allowed")
def test_it_ends_when_the_other_side_hangs_up(ends: Ends, polls: list[int]) -> None:
    ends[1].close()
    assert Spin().wait(ends[0].fileno())
    assert polls == [1]


@pytest.mark.usefixtures("allowed")
def test_it_looks_again_and_again_and_then_gives_up(
    ends: Ends, polls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spin, "SECONDS", 0.1)
    assert not Spin().wait(ends[0].fileno())
    assert set(polls) == {0}
    assert len(polls) > 1


def waits_asleep(waits: Spin, ends: Ends, polls: list[int]) -> int:
    """How many waits pass until there is a spin."""
    polls.clear()
    number = 0
    while not polls:
        waits.wait(ends[0].fileno())
        number += 1
    return number - 1


@pytest.mark.usefixtures("allowed")
def test_the_more_spins_are_in_vain_the_fewer_there_are(ends: Ends, polls: list[int]) -> None:
    waits = Spin()
    assert [waits_asleep(waits, ends, polls) for _ in range(8)] == [0, 4, 16, 64, 256, 1024, 1024, 1024]


@pytest.mark.usefixtures("allowed")
def test_one_that_sees_an_answer_halves_the_pause(ends: Ends, polls: list[int]) -> None:
    waits = Spin()
    for _ in range(3):
        waits_asleep(waits, ends, polls)
    ends[1].send(b"x")
    assert [waits_asleep(waits, ends, polls) for _ in range(3)] == [64, 0, 0]
    ends[0].recv(1)
    assert [waits_asleep(waits, ends, polls) for _ in range(2)] == [0, 32]


@pytest.mark.usefixtures("allowed")
def test_where_every_second_one_is_in_vain_they_become_rare(ends: Ends, polls: list[int]) -> None:
    waits = Spin()
    for _ in range(10):
        waits_asleep(waits, ends, polls)
        ends[1].send(b"x")
        waits_asleep(waits, ends, polls)
        ends[0].recv(1)
    assert waits_asleep(waits, ends, polls) == 0
    assert waits_asleep(waits, ends, polls) == spin.LONGEST_PAUSE


def test_nothing_spins_where_there_is_one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spin, "_allowed", False)
    monkeypatch.setattr(spin.os, "cpu_count", lambda: 1)
    spin.allow()
    assert not spin.is_allowed()


@pytest.mark.usefixtures("allowed")
def test_waits_of_one_kind_say_nothing_of_another(ends: Ends, polls: list[int]) -> None:
    Spin().wait(ends[0].fileno())
    ends[1].send(b"x")
    polls.clear()
    Spin().wait(ends[0].fileno())
    assert polls == [1]
