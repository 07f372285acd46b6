"""Celery, for NOTIFY_DISPATCH=celery: `celery -A flasky worker` on any machine, `celery -A flasky beat` on one."""

from celery import Celery

from flasky import start

start.read_settings()
app = Celery("flasky")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {
    # Retries, leases and digests come due without a wake-up; a task that was not picked up is not worth keeping.
    "deliver": {"task": "notify.tasks.deliver", "schedule": 5.0, "options": {"expires": 5}}
}
