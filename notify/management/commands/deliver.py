"""manage.py deliver: sends what is due and exits, or keeps sending until it is stopped."""

import argparse
import gc
import itertools
import os
import signal
import sys
import threading
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from notify import conf, dispatch
from notify.delivery import worker
from notify.dispatch import loop
from notify.events.digest import notify_due
from notify.management.database import errors_explained, refuse_old_tables
from notify.management.printing import PrintingCommand
from notify.models import Message, Relay
from notify.smtp.failure import printable

BAR = 30  # characters


class Command(PrintingCommand):
    requires_system_checks = ("notify",)  # the others concern web processes, and take time

    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _(
            "Deliver the messages that are due, then exit. With --watch: run until "
            "SIGTERM, which finishes the current message."
        )
        parser.add_argument("--watch", action="store_true", help=_("run until SIGTERM or Ctrl-C"))
        parser.add_argument(
            "--connections",
            type=int,
            metavar="N",
            help=_("simultaneous connections to the mail server (NOTIFY_CONNECTIONS)"),
        )
        # For WorkerProcess: what arrives on stdin is a wake-up.
        parser.add_argument("--until-stdin-ends", action="store_true", help=argparse.SUPPRESS)

    def handle(
        self, *args: Any, watch: bool, connections: int | None, until_stdin_ends: bool = False, **options: Any
    ) -> None:
        connections = conf.NOTIFY_CONNECTIONS if connections is None else connections
        if not 1 <= connections <= 256:
            raise CommandError(_("--connections must be a number from 1 to 256"), returncode=2)
        if getattr(self, "_called_from_command_line", False):  # not by call_command
            gc.freeze()  # what is loaded by now is needed to the end: not to be searched for garbage
        dispatch.disable()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *received: stop.set())
        if watch:
            refuse_old_tables()
            if not until_stdin_ends:
                self.stderr.write(_("delivering over %d connection(s); stop with SIGTERM or Ctrl-C") % connections)
            # Unbuffered: Python aborts where a thread still reads a buffer as the interpreter ends.
            wake_ups = iter(lambda: os.read(sys.stdin.fileno(), 1024), b"") if until_stdin_ends else None
            loop.watch(connections=connections, stop=stop, wake_ups=wake_ups)
            return
        with errors_explained(_("Nothing is lost; try again.")):
            while notify_due() and not stop.is_set():
                pass  # it stores a limited number at a time
            tally = worker.deliver_due(connections=connections, stop=stop, progress=self._progress())
            dispatch.look()
            relay, waiting = Relay.current(), Message.objects.unfinished().count()
        if relay.state != Relay.State.OPEN:
            said = {"state": relay.get_state_display(), "reason": relay.reason}
            self.stderr.write(printable(_("The mail server is %(state)s: %(reason)s") % said))
        self.stdout.write(f"sent {tally.sent}, retry {tally.retry}, failed {tally.failed}, waiting {waiting}")

    def _progress(self) -> worker.Progress | None:
        """A bar on a terminal, nothing elsewhere."""
        if not sys.stderr.isatty():
            return None
        total, count = max(Message.objects.due().count(), 1), itertools.count(1)

        def show() -> None:
            done = next(count)
            filled = min(BAR, BAR * done // total)
            self.stderr.write(f"\r[{'#' * filled}{'.' * (BAR - filled)}] {done}/{total}", ending="")
            if done >= total:
                self.stderr.write("")

        return show
