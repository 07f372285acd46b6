#!/usr/bin/env python3
"""The entry point for commands: manage.py COMMAND."""

import gc
import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flasky.settings")
    # Nearly all that a command loads stays: looking through it for garbage again and again takes a fifth of its start.
    gc.set_threshold(200_000)
    try:
        from django.core.management import execute_from_command_line

        from flasky import start
    except ImportError as error:
        sys.exit(f"{error}. Run `make run` once: it makes .venv; then use .venv/bin/python manage.py")
    with start.one_line_for_mistakes(exit_code=2):
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
