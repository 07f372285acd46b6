"""The project's settings with a queue of the test's own: the broker is everybody's."""

import os

from flasky.settings import *  # noqa: F403

CELERY_TASK_DEFAULT_QUEUE = os.environ["TEST_QUEUE"]
