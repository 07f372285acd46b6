"""Decides who runs the worker, and wakes it: threads of the web process, a worker process, or Celery.

May import `delivery`, `events` and `models`; start with `wake` here, then `loop` (what the worker does), `dispatcher`
(delivery in the web process) and `listener` (wake-ups on PostgreSQL).
"""

import atexit
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from django.core import mail
from django.core.signals import request_started
from django.db import connection
from django.utils.autoreload import autoreload_started
from django.utils.module_loading import import_string

from notify import conf
from notify.dispatch import listener
from notify.dispatch.dispatcher import Dispatcher
from notify.dispatch.loop import lookout

logger = logging.getLogger(__name__)

BROKER_REST_SECONDS = 30  # after a wake-up that a broker did not accept, which may have cost a post a second
_broker_failed_at: dict[str, float] = {}  # by the application's path
_dispatcher = Dispatcher()
os.register_at_fork(after_in_child=_dispatcher.restart_in_child)
atexit.register(_dispatcher.finish)


def prepare(*, look: Callable[[], None] | None = None) -> None:
    """Called once when Django is ready: a process that serves a request delivers if NOTIFY_DISPATCH is `thread`.

    `look`, if given, is called every few seconds by each process that delivers.
    """
    lookout.look = look
    if conf.NOTIFY_DISPATCH == "thread":
        request_started.connect(_on_request, dispatch_uid="notify.dispatch")
        autoreload_started.connect(_on_autoreload, dispatch_uid="notify.dispatch")
        _dispatcher.end_before_signals()


def serve() -> None:
    """For a server's entry point (wsgi, asgi): forked processes then deliver before their first request."""
    if conf.NOTIFY_DISPATCH == "thread":
        _dispatcher.serve()


def finish_with(thread: threading.Thread) -> None:
    """Delay signals that end this process until the thread has ended, where the process delivers."""
    _dispatcher.finish_with(thread)


def disable() -> None:
    """Called by commands that deliver without threads of this process: they need no wake-ups."""
    _dispatcher.disable()


def is_testing() -> bool:
    """Whether a test runner has set Django up (setup_test_environment): then nothing is delivered or woken here."""
    return hasattr(mail, "outbox")


def look(*, meanwhile: Callable[[], object] | None = None) -> None:
    """Check whether mail works, where no lookout thread does; does nothing without alerts and a heartbeat.

    `meanwhile`: called every second while that takes longer, for example because a service does not answer.
    """
    if meanwhile:
        lookout.beside(meanwhile)
    else:
        lookout.once()


def wake() -> None:
    """Called after a commit that stored a message or an event. May be lost or doubled: the row is the truth."""
    if is_testing():
        return
    try:
        if conf.NOTIFY_DISPATCH == "thread":
            _dispatcher.wake()
        elif conf.NOTIFY_DISPATCH == "celery":
            _send_task()
        elif connection.vendor == "postgresql":
            listener.send()
    except Exception as error:  # noqa: BLE001
        # No more threads, a wrong setting: if raised, it would become an error report, which wakes again.
        logger.warning("the worker could not be woken (%s); the message stays in the outbox", error)


def _on_request(**kwargs: Any) -> None:
    if is_testing():
        return
    _dispatcher.serve()
    try:
        _dispatcher.start()
    except (RuntimeError, OSError) as error:  # no more threads or processes: the page is served all the same
        logger.warning("delivery could not be started: %s", error)


def _on_autoreload(**kwargs: Any) -> None:
    _dispatcher.move_out()


def _send_task() -> None:
    """Wake a Celery worker. A broker that is unavailable is logged, and left alone for a while: beat finds the row."""
    path = conf.NOTIFY_CELERY_APP
    if time.monotonic() - _broker_failed_at.get(path, -math.inf) < BROKER_REST_SECONDS:
        return
    app = import_string(path)
    try:
        app.send_task("notify.tasks.deliver", ignore_result=True, retry=False)
    except Exception as error:  # noqa: BLE001  (kombu's brokers each raise their own)
        _broker_failed_at[path] = time.monotonic()
        logger.warning("the broker did not accept the wake-up (%s); the message stays in the outbox", error)
        logger.warning("no wake-up is tried for %d s", BROKER_REST_SECONDS)
