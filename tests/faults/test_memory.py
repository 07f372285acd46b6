"""The memory of a process that delivers is the same however many messages wait, and however large they are.

WAITING=100000 for more of the small ones.
"""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Sink
from tests.faults.outbox import Outbox

WAITING = int(os.environ.get("WAITING", "5000"))
MEGABYTE = 1024 * 1024
LARGE, SIZE = 40, 5 * MEGABYTE


def peak(worker: "subprocess.Popen[str]") -> int:
    """The most memory, in bytes, that a process ever had, looked at until its end (VmHWM: proc_pid_status(5))."""
    most, path = 0, Path(f"/proc/{worker.pid}/status")
    while worker.poll() is None:
        found = [line for line in path.read_text().splitlines() if line.startswith("VmHWM")]
        most = max(most, *(int(line.split()[1]) * 1024 for line in found), 0)
        time.sleep(0.01)
    return most


def deliver(outbox: Outbox, sink: Sink, connections: int = 1) -> int:
    """Deliver all; the peak of memory."""
    worker = outbox.start("--connections", str(connections), MAIL_PORT=sink.port, MAIL_TIMEOUT=30)
    most = peak(worker)
    assert worker.returncode == 0
    assert set(outbox.messages()) == {"sent"}
    outbox.sql("DELETE FROM notify_message")
    outbox.sql("DELETE FROM notify_body")
    return most


def test_memory_is_the_same_however_many_wait(outbox: Outbox, sink: Sink) -> None:
    outbox.queue(100, size=2000)
    few = deliver(outbox, sink)
    outbox.queue(WAITING, size=2000)
    many = deliver(outbox, sink)
    print(f"100: {few // MEGABYTE} MB, {WAITING}: {many // MEGABYTE} MB")
    assert many < few + 8 * MEGABYTE


@pytest.mark.parametrize("connections", [1, 4])
def test_memory_holds_few_of_large_messages(outbox: Outbox, sink: Sink, connections: int) -> None:
    outbox.queue(10, size=2000)
    small = deliver(outbox, sink, connections)
    for number in range(LARGE):
        outbox.queue(1, size=SIZE, prefix=f"large{number}.")
    large = deliver(outbox, sink, connections)
    print(f"{connections} connections: 2 KB {small // MEGABYTE} MB, 5 MB {large // MEGABYTE} MB")
    # A connection's part of a batch (8 MB and the message that exceeds it), and copies of the one in hand: in the
    # driver, with its dots doubled, and on the socket. A batch of fifty would be 250 MB and their copies.
    assert large < small + connections * 12 * SIZE
