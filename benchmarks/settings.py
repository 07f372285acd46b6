"""Django settings of everything that `make bench` runs: Flasky's, with the peers' apps in their defaults beside it."""

import os

from flasky.settings import *  # noqa: F403
from flasky.settings import INSTALLED_APPS

# The last app replaces what is told of a new visitor, so its ready() comes after the project's.
INSTALLED_APPS = [*INSTALLED_APPS, "post_office", "mailer", "benchmarks"]

BENCH_MAIL = os.environ.get("BENCH_MAIL", "flasky")  # who gets the mail: none, flasky, mailer or post_office
BENCH_READY_MADE = "BENCH_READY_MADE" in os.environ  # a peer gets a mail that was built beforehand
if BENCH_MAIL in ("mailer", "post_office"):
    EMAIL_BACKEND = {"mailer": "mailer.backend.DbBackend", "post_office": "post_office.EmailBackend"}[BENCH_MAIL]
MAILER_USE_FILE_LOCK = False
