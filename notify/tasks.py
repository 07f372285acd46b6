"""Celery's door to delivery. The outbox row is the truth: a task is a wake-up, and may be lost or doubled."""

from celery import shared_task
from django.conf import settings

from notify.delivery import worker
from notify.events.digest import notify_due


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]  # celery ships no types
def deliver() -> None:
    """Notify of events, deliver what is due. Sent after each commit, and by beat every few seconds."""
    notify_due()
    worker.deliver_due(connections=settings.NOTIFY_CONNECTIONS)
