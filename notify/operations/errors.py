"""A logging handler: a server error is an event like any other, so a broken view cannot flood the administrators.

The first error of a kind is mailed at once with Django's full report; those that follow within NOTIFY_INTERVAL are
counted in a digest. A kind is the exception's type and the place that raised it. Each stays an event, with its
traceback. With NOTIFY_FOLD_ERRORS off each error is mailed, as Django does it.
"""

import hashlib
import logging
import traceback
import uuid
from pathlib import Path
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.utils.log import AdminEmailHandler
from django.utils.module_loading import import_string

from notify import conf
from notify.events.policy import ERRORS
from notify.rendering.message import Text, one_line

REPORT_LENGTH = 100_000  # characters kept of a report
REQUEST = "\nRequest information:"  # after the traceback, in Django's report


class AdminEventHandler(AdminEmailHandler):
    """Replaces django.utils.log.AdminEmailHandler in LOGGING, with the same options.

    If the transaction that failed is rolled back, the event is kept.
    """

    def emit(self, record: logging.LogRecord) -> None:
        self._record = record  # handlers emit one record at a time, under their lock
        try:
            super().emit(record)
        except (DatabaseError, InterfaceError):
            pass  # the error cannot be stored; it is on stderr
        except Exception:  # noqa: BLE001  (an error in reporting an error must not replace it)
            self.handleError(record)

    def send_mail(self, subject: Text, message: Text, *args: Any, **kwargs: Any) -> None:
        if not conf.NOTIFY_FOLD_ERRORS:
            super().send_mail(str(subject), str(message), *args, **kwargs)
            return
        kind, place, words = _described(self._record)
        # Not imported above: logging is set up before models can be.
        notify_admins = import_string("notify.mail.notify_admins")
        events = import_string("notify.models.Event").objects
        topic = ERRORS + hashlib.sha256(f"{kind} {place}".encode()).hexdigest()[:16]
        key = uuid.uuid4().hex

        def write() -> None:
            # Of the errors of a kind that wait for a digest, only one keeps its full report. The others are stored
            # without the request's variables and the settings, which are most of a report.
            counted = conf.NOTIFY_INTERVAL and events.waiting().filter(topic=topic).exists()
            notify_admins(
                topic,
                f"{kind} in {place}"[:200],
                "notify/mail/error",
                key=key,
                summary=one_line(words)[:300],
                url="",
                subject_line=str(subject)[:1000],
                report=(str(message).partition(REQUEST)[0] if counted else str(message))[:REPORT_LENGTH],
            )

        import_string("notify.storing.store_apart")(write)


def take_over() -> None:
    """Make Django's own handler, wherever LOGGING has it, fold errors, too; a project's subclasses stay as they are."""
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if type(handler) is AdminEmailHandler:
            handler.__class__ = AdminEventHandler  # its level, filters and options stay


def _described(record: logging.LogRecord) -> tuple[str, str, str]:
    """The exception's type, the function and line that raised it, and one line for a digest."""
    path = getattr(getattr(record, "request", None), "path", "")
    kind, error, trace = record.exc_info or (None, None, None)
    if kind is None:
        return record.levelname.capitalize(), f"{record.name}:{record.lineno}", record.getMessage()
    frames = traceback.extract_tb(trace)
    place = f"{frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else record.name
    return kind.__name__, place, f"{path} {error}".strip() or kind.__name__
