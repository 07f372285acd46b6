"""For a project's tests: delivers stored mail into `django.core.mail.outbox`, where tests look for it."""

import threading

import django
from django.conf import settings
from django.core import mail
from django.test import override_settings

from notify.delivery.worker import Worker
from notify.events.digest import notify_due

LOCMEM = {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}


def deliver_outbox() -> int:
    """Mail the due events and deliver what is stored; returns how many mails were added to `mail.outbox`.

    Under Django's test runner, only: elsewhere it raises RuntimeError. Nothing leaves the machine, whatever the
    settings are. Needs no commit, so it works within TestCase.
    """
    if not hasattr(mail, "outbox"):
        raise RuntimeError("deliver_outbox() is for tests: Django's test environment is not set up")
    before = len(mail.outbox)
    with override_settings(**_locmem()):
        notify_due()
        worker = Worker(threading.Event())
        try:
            worker.drain()
        finally:
            worker.close()
    return len(mail.outbox) - before


def _locmem() -> dict[str, object]:
    own: dict[str, object] = {"NOTIFY_TRANSPORT": LOCMEM}
    if django.VERSION >= (6, 1) and hasattr(settings, "MAILERS"):
        own["MAILERS"] = {**settings.MAILERS, "transport": LOCMEM}
    return own
