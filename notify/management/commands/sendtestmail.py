"""manage.py sendtestmail: does mail work, and if not, where does it stop and what is the fix?"""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.core.validators import validate_email
from django.utils.translation import gettext as _

from notify import conf, dispatch
from notify.delivery import claims
from notify.management.database import errors_explained
from notify.management.printing import PrintingCommand
from notify.operations.self_test import SelfTest, Stage
from notify.smtp.providers import presets

WAIT_BEYOND_TIMEOUT = 15  # seconds, with --via outbox


class Command(PrintingCommand):
    requires_system_checks: list[str] = []  # mistakes in the configuration are reported as a stage

    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = conf.named(
            _("Send a test mail to the addresses, or to FLASKY_ADMIN, and report each stage.")
        )
        parser.add_argument("addresses", nargs="*", metavar="ADDRESS", help=conf.named(_("default: FLASKY_ADMIN")))
        parser.add_argument("--check", action="store_true", help=_("stop before DATA: nothing is sent"))
        parser.add_argument(
            "--via", choices=["direct", "outbox"], default="direct", help=_("outbox: queue it for the running worker")
        )
        parser.add_argument("--json", action="store_true", help=_("print JSON"))
        parser.add_argument("--list-services", action="store_true", help=_("list the presets for MAIL_SERVICE"))

    def handle(
        self, *args: Any, addresses: list[str], check: bool, via: str, list_services: bool, **options: Any
    ) -> None:
        if list_services:
            self.stdout.write("\n".join(presets.lines()))
            return
        if check and via == "outbox":
            raise CommandError(
                _("--check cannot be combined with --via outbox, because it sends nothing"), returncode=2
            )
        self_test = SelfTest(self._recipients(addresses), (lambda stage: None) if options["json"] else self._tell)
        if via == "direct":
            report = self_test.direct(check_only=check)
        else:
            dispatch.disable()
            with errors_explained():
                report = self_test.via_outbox(claims.attempt_seconds() + WAIT_BEYOND_TIMEOUT)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json()))
        else:
            for line in report.explanations():
                self.stdout.write(line)
        if report.exit_code:
            raise SystemExit(report.exit_code)

    def _recipients(self, addresses: list[str]) -> list[str]:
        recipients = addresses or conf.admins()
        if not recipients:
            raise CommandError(conf.named(_("No recipient: give an address, or set FLASKY_ADMIN")), returncode=2)
        for address in recipients:
            try:
                validate_email(address)
            except ValidationError:
                raise CommandError(_("%r is not an email address") % address, returncode=2) from None
        return list(recipients)

    def _tell(self, stage: Stage) -> None:
        style = {"PASS": self.style.SUCCESS, "WARN": self.style.WARNING, "FAIL": self.style.ERROR}.get(stage.status)
        self.stdout.write(style(str(stage)) if style else str(stage))
        self.stdout.flush()
