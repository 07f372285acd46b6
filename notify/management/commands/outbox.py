"""manage.py outbox: what is queued, why, and what an operator can do about it."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, CommandParser
from django.db.models import BigIntegerField
from django.utils.translation import gettext as _

from notify import conf
from notify.delivery import breaker
from notify.management.database import errors_explained
from notify.management.printing import PrintingCommand
from notify.models import Message, MessageQuerySet, Relay
from notify.operations import actions, alerts, channels, status
from notify.smtp.failure import printable


class Command(PrintingCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _(
            "Show the outbox, and retry, cancel, resend, pause, resume, probe or purge it; test alerts."
        )
        actions = parser.add_subparsers(
            dest="action", required=True, metavar="status|retry|cancel|resend|pause|resume|probe|alert|purge"
        )
        self._action(actions, "status", _("show counts by state, the oldest due message, and the mail server's state"))
        for name, does, all_of_them in (
            ("retry", _("send failed or queued messages now"), _("every message that can be retried")),
            ("cancel", _("cancel queued messages"), _("every message that can be cancelled")),
        ):
            action = self._action(actions, name, does)
            action.add_argument("ids", nargs="*", type=int, metavar="ID", help=_("message numbers, as in the admin"))
            action.add_argument("--all", action="store_true", help=all_of_them)
            action.add_argument("--recipient", help=_("only messages to this address"))
            action.add_argument("--diagnosis", help=_("only messages with this diagnosis"))
            action.add_argument("--contains", metavar="TEXT", help=_("only messages whose last reply contains this"))
        resend = self._action(actions, "resend", _("send a sent or failed message again, as a new message"))
        resend.add_argument("ids", nargs="+", type=int, metavar="ID")
        pause = self._action(actions, "pause", _("send nothing until `outbox resume`"))
        pause.add_argument("--reason", default=_("paused by an operator"))
        self._action(actions, "resume", _("resume sending; if it was on hold, try now"))
        self._action(actions, "probe", _("if delivery is interrupted or on hold, try now"))
        alert = self._action(actions, "alert", _("show the last alert, and where alerts are sent"))
        alert.add_argument("--test", action="store_true", help=_("send a test alert to every address now"))
        purge = self._action(
            actions, "purge", _("remove finished messages and notified events older than NOTIFY_KEEP_DAYS")
        )
        purge.add_argument("--days", type=int, metavar="N", help=_("instead of NOTIFY_KEEP_DAYS"))
        if apps.is_installed("notify.visitors"):
            purge.add_argument("--visitors", action="store_true", help=_("also remove visitors of that age"))

    def _action(self, actions: Any, name: str, does: str) -> ArgumentParser:
        action: ArgumentParser = actions.add_parser(name, help=does, description=does)
        action.add_argument("--json", action="store_true", help=_("print JSON"))
        return action

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        with errors_explained():
            answer = _perform(action, options)
        if options["json"]:
            self.stdout.write(json.dumps(answer, default=str))
        elif action == "alert":
            self.stdout.write(printable(_("alerts are sent to  %s") % ", ".join(answer["to"])))
            last = answer["last_alert"]
            self.stdout.write("\n".join(status.alert_lines(last)) if last else _("last alert  none yet"))
        elif action == "status":
            self.stdout.write("\n".join(status.lines(answer)))
        else:
            self.stdout.write(", ".join(f"{name} {value}" for name, value in answer.items()))
        if action == "alert" and options["test"] and not all(each["sent"] for each in answer["last_alert"]["channels"]):
            raise CommandError(_("Not every channel accepted the alert."), returncode=1)


def _perform(action: str, options: dict[str, Any]) -> dict[str, Any]:
    """Do it. Returns the outcome, ready for JSON."""
    match action:
        case "retry":
            return {"retried": actions.in_batches(actions.retry, _chosen(Message.objects.retriable(), options))}
        case "cancel":
            return {"cancelled": actions.in_batches(actions.cancel, _chosen(Message.objects.cancellable(), options))}
        case "resend":
            return {"resent": len(actions.resend(Message.objects.filter(pk__in=_keys(options["ids"]))))}
        case "pause":
            breaker.pause(printable(options["reason"]))
            return {"relay": "paused"}
        case "resume":
            actions.resume()
            return {"relay": "open"}
        case "probe":
            return {"probed": actions.probe(), "relay": Relay.current().state}
        case "alert":
            return _alert(options["test"])
        case "purge":
            days = conf.NOTIFY_KEEP_DAYS if options["days"] is None else options["days"]
            if days < 0:
                raise CommandError(_("--days must be a whole number, 0 or more"), returncode=2)
            return actions.purge(days=days, visitors=options.get("visitors", False))
        case _:
            return status.Status().as_json()


def _chosen(messages: MessageQuerySet, options: dict[str, Any]) -> MessageQuerySet:
    lookups = {"recipient": "recipient__iexact", "diagnosis": "diagnosis", "contains": "reply__icontains"}
    wanted = {lookup: options[name] for name, lookup in lookups.items() if options[name]}
    if options["ids"]:
        wanted["pk__in"] = _keys(options["ids"])
    if not (wanted or options["all"]):
        raise CommandError(_("Which messages? Give their numbers, a filter, or --all."), returncode=2)
    return messages.filter(**wanted)


def _keys(numbers: Sequence[int]) -> list[int]:
    """Those that a column holds: SQLite's driver raises OverflowError for others, and no message has them."""
    return [number for number in numbers if abs(number) <= BigIntegerField.MAX_BIGINT]


def _alert(test: bool) -> dict[str, Any]:
    chosen = channels.configured()
    if not chosen:
        raise CommandError(_("NOTIFY_ALERT_URLS is not set: no alert is sent."), returncode=2)
    if not channels.is_installed():
        raise CommandError(channels.missing(), returncode=2)
    if test:
        alerts.test()
    return {"to": [channel.name for channel in chosen], "last_alert": status.alert_facts(status.Status().last_alert)}
