"""Celery's door to delivery. The outbox row is the truth: a task is a wake-up, and may be lost or doubled."""

from celery import shared_task

from notify import delivery, digest


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]  # celery ships no types
def deliver() -> None:
    """Tell what is to be told, send what is due. Sent after each commit, and by beat every few seconds."""
    digest.Sweep().run()
    delivery.deliver_due()
