"""A dispatcher that no other test uses, outside of what counts as a test run."""

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.core.signals import request_started
from django.utils.autoreload import autoreload_started

from notify import dispatch
from notify.dispatch import loop
from notify.dispatch.dispatcher import SIGNALS, Dispatcher


@pytest.fixture
def outside_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no test runner had set Django up."""
    monkeypatch.delattr(mail, "outbox")


@pytest.fixture
def dispatcher(monkeypatch: pytest.MonkeyPatch, outside_tests: None) -> Iterator[Dispatcher]:
    """A dispatcher that no other test uses, with loops that only wait to be stopped."""

    class Idle:
        def __init__(self, *, stop: threading.Event, wake: threading.Event, **options: Any) -> None:
            self.stop, self.wake = stop, wake

        def run(self) -> None:
            while not self.stop.is_set():
                self.wake.wait(0.01)

    monkeypatch.setattr(loop, "Loop", Idle)
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.01)
    made = Dispatcher()
    monkeypatch.setattr(dispatch, "_dispatcher", made)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield made
    request_started.disconnect(dispatch_uid="notify.dispatch")
    autoreload_started.disconnect(dispatch_uid="notify.dispatch")
    made.stop()
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("deliver-")]
