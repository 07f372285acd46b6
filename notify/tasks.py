"""Celery's door to delivery. The outbox row is the truth: a task is a wake-up, and may be lost or doubled."""

import contextlib
import mmap
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from celery import shared_task
from celery.signals import worker_process_init, worker_shutting_down

from notify import conf, dispatch
from notify.dispatch import loop

TASK_SECONDS = 25.0  # then it sends its successor; with the current mail a task ends in about half a minute


class Stopping(threading.Event):
    """Set when the Celery worker is asked to end, or this process of its pool is."""

    def __init__(self) -> None:
        super().__init__()
        self._shared = mmap.mmap(-1, 1)  # with the processes that the worker forks

    def set(self) -> None:
        self._shared[0] = 1

    def is_set(self) -> bool:
        return self._shared[0] == 1 or _signalled.is_set()


_signalled = threading.Event()  # SIGTERM came to this process of a pool
_stopping = Stopping()
_crews = threading.local()  # a pool of threads runs a task in each
_pool = threading.Event()  # this is a process of a pool


@shared_task(bind=True, ignore_result=True, acks_late=True)  # type: ignore[untyped-decorator]  # celery ships no types
def deliver(self: Any) -> None:
    """Notify of events, deliver what is due. Sent after each commit, and by beat every few seconds.

    Acknowledged at its end, so that a busy process has not reserved the next wake-up, which an idle one could take.
    """
    if not hasattr(_crews, "crew"):
        _crews.crew = loop.Crew(connections=conf.NOTIFY_CONNECTIONS, stop=_stopping, backlog=dispatch.wake)
    crew: loop.Crew = _crews.crew
    try:
        with _sigterm_delayed():
            more = crew.work(TASK_SECONDS)
            if more:
                dispatch.wake()
            dispatch.look(meanwhile=lambda: crew.work(loop.POLL_SECONDS))
    finally:
        if self.request.called_directly:
            crew.close()
            del _crews.crew


@contextlib.contextmanager
def _sigterm_delayed() -> Iterator[None]:
    """A cold shutdown, or a service manager, sends SIGTERM to the processes of a pool: it is obeyed after the block."""
    if not _pool.is_set():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *received: _signalled.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if _signalled.is_set():
            os.kill(os.getpid(), signal.SIGTERM)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**kwargs: Any) -> None:
    _stopping.set()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _note_pool(**kwargs: Any) -> None:
    _pool.set()
