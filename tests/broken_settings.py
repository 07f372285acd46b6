"""The project's settings with a broken view."""

from flasky.settings import *  # noqa: F403

ROOT_URLCONF = "tests.broken_urls"
