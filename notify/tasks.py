"""Celery's door to delivery. The outbox row is the truth: a task is a wake-up, and may be lost or doubled."""

from celery import shared_task
from django.conf import settings

from notify import delivery, digest

_sweep = digest.Sweep()  # one for all tasks of the process: it remembers what could not be told a moment ago


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]  # celery ships no types
def deliver() -> None:
    """Tell what is to be told, send what is due. Sent after each commit, and by beat every few seconds."""
    _sweep.run()
    delivery.deliver_due(connections=settings.NOTIFY_CONNECTIONS)
