"""How commands print and end, whatever reads them."""

import io
import os
import sys

from django.core.management.base import BaseCommand

INTERRUPTED = 130  # as shells count: 128 and SIGINT


class PrintingCommand(BaseCommand):
    """Prints to a terminal of any encoding, and ends without a traceback at Ctrl-C and when `head` has read enough."""

    def run_from_argv(self, argv: list[str]) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # as Python does on stderr
        try:
            super().run_from_argv(argv)
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or flushing fails again at the exit
            raise SystemExit(1) from None
