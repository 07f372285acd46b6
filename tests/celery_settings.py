"""The project's settings with a queue of the test's own: the broker is everybody's."""

import os

from flasky.settings import *  # noqa: F403

CELERY_TASK_DEFAULT_QUEUE = os.environ["TEST_QUEUE"]

# The queue of remote control is exclusive and named after the host, where other workers of these tests run too;
# RabbitMQ may also hold it for a moment after a connection is cut, and Celery's worker ends over that.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
