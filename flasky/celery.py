"""Celery, for NOTIFY_DISPATCH=celery: `celery -A flasky worker` on any machine, `celery -A flasky beat` on one."""

from celery import Celery
from kombu import Exchange, Queue

from flasky import start

start.read_settings()
app = Celery("flasky")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# Wake-ups are all alike, so a few are enough, however long no worker runs.
_name = app.conf.task_default_queue
_arguments = {"x-max-length": 10, "x-overflow": "drop-head"}
if app.conf.task_default_queue_type == "quorum":  # a classic queue is what it is without the argument
    _arguments["x-queue-type"] = "quorum"
# Not a direct exchange: for quorum queues Celery makes exchanges that this one is bound to.
app.conf.task_queues = [Queue(_name, Exchange(_name, type="topic"), routing_key=_name, queue_arguments=_arguments)]
app.conf.task_default_exchange_type = "topic"
# Retries, leases and digests come due without a wake-up. Without `expires`, which is a time of beat's clock.
app.conf.beat_schedule = {"deliver": {"task": "notify.tasks.deliver", "schedule": 5.0}}
