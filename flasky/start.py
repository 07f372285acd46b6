"""Starts a process of the site: a mistake in its configuration is one line on stderr, not a traceback."""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError

SERVER_EXIT = 3  # after any other code gunicorn starts the worker again, endlessly


@contextlib.contextmanager
def one_line_for_mistakes(exit_code: int) -> Iterator[None]:
    """Turn an ImproperlyConfigured into its message and the end of the process; `--traceback` shows where it arose.

    Likewise an OperationalError, which Django's own commands (migrate, createsuperuser) leave as a traceback.
    """
    try:
        yield
    except (ImproperlyConfigured, OperationalError) as error:
        if "--traceback" in sys.argv:
            raise
        line = " ".join(part.strip() for part in str(error).splitlines())
        if isinstance(error, OperationalError):
            # SQLite's word for a table that migrate has not made yet, or not brought up to date
            advice = "run manage.py migrate" if "no such" in line else "check DATABASE_URL"
            line = f"Database error: {line} ({advice}; --traceback shows where)"
            exit_code = 1
        print(line, file=sys.stderr, flush=True)
        raise SystemExit(exit_code) from None


@functools.cache
def read_settings() -> None:
    """Read the settings of a server (WSGI, ASGI, Celery). Each doubtful variable is one line on stderr, too."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flasky.settings")
    with one_line_for_mistakes(SERVER_EXIT):
        doubts: list[str] = settings.ENVIRONMENT_DOUBTS
    if not os.path.basename(sys.argv[0]).startswith("manage"):  # there the checks print them
        for doubt in doubts:
            print(doubt, file=sys.stderr, flush=True)
