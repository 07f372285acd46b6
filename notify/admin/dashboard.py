"""The dashboard, in place of a list of relays: whether mail works, why not, and the buttons to operate it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from notify.admin import audit, rows
from notify.admin.rows import OPERATE, WrittenByMachine
from notify.delivery import breaker
from notify.models import Message, Relay
from notify.operations import actions, chart, checks
from notify.operations.status import Status, Verdict
from notify.rendering.message import one_line

REASON_LENGTH = 200
PATIENCE_SECONDS = 3  # that a button waits for its outcome before the page is shown
Report = Callable[[], None]  # returned within the button's transaction, called after its commit
Act = Callable[[HttpRequest], Report | None]
# The buttons for each state, the most useful first.
BUTTONS = {
    Relay.State.OPEN: ["test", "pause"],
    Relay.State.DOWN: ["probe", "test", "pause"],
    Relay.State.HELD: ["probe", "test", "pause"],
    Relay.State.PAUSED: ["resume"],
}


@admin.register(Relay)
class RelayAdmin(WrittenByMachine):
    """There is one relay: its list and its page are both the dashboard, and its history is the audit log."""

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_view_permission(request, obj) or request.user.has_perm(OPERATE)

    def get_urls(self) -> list[URLPattern]:
        acts: dict[str, Act] = {"pause": self._pause, "resume": self._resume, "probe": self._probe, "test": self._test}
        guard = self.admin_site.admin_view
        doors = [
            path(f"{name}/", guard(require_POST(partial(self._operate, act))), name=f"notify_relay_{name}")
            for name, act in acts.items()
        ]
        return [*doors, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.page_context(request, _("Dashboard")),
            **panel(request),
            "history_url": reverse("admin:notify_relay_history", args=[audit.relay().pk]),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/notify/relay/change_list.html", context)

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Django's log of actions links here."""
        return redirect("admin:notify_relay_changelist")

    def _operate(self, act: Act, request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm(OPERATE):
            raise PermissionDenied
        with transaction.atomic():
            report = act(request)
        if report:
            report()
        return redirect("admin:notify_relay_changelist")

    def _pause(self, request: HttpRequest) -> None:
        reason = one_line(request.POST.get("reason", ""))[:REASON_LENGTH]
        said = _("%(who)s: %(why)s") if reason else _("Paused by %(who)s")
        breaker.pause(said % {"who": request.user.get_username(), "why": reason})
        audit.of_relay(request, audit.PAUSED, reason)
        messages.success(request, _("Mail is paused: it is queued, and nothing is sent until it is resumed."))

    def _resume(self, request: HttpRequest) -> None:
        actions.resume()
        audit.of_relay(request, audit.RESUMED)
        messages.success(request, _("Sending has resumed; queued mail is being sent now."))

    def _probe(self, request: HttpRequest) -> Report | None:
        before = Relay.current()
        if not actions.probe():
            if before.state == Relay.State.PAUSED:
                messages.info(request, _("Mail is paused: there is nothing to probe until it is resumed."))
            else:
                messages.info(request, _("The mail server is working: there is nothing to probe."))
            return None
        audit.of_relay(request, audit.PROBED)
        if Message.objects.due().exists():
            return partial(_report_probe, request, before)
        messages.success(request, _("No mail is due: the next mail is tried at once."))
        return None

    def _test(self, request: HttpRequest) -> Report | None:
        recipients = rows.recipients(request)
        if not recipients:
            return None
        message_id = actions.send_test(recipients)
        audit.of_relay(request, audit.TESTED, ", ".join(recipients))
        return partial(_report_test, request, message_id)


def _report_probe(request: HttpRequest, before: Relay) -> None:
    """Report the outcome, if it is known soon; the next page shows the same."""

    def tried() -> bool:
        now = Relay.current()
        return (now.state, now.failures) != (before.state, before.failures)

    if not actions.wait_until(tried, PATIENCE_SECONDS):
        messages.warning(request, _("The mail server is being tried; the outcome will appear here."))
        return
    now = Relay.current()
    if now.state == Relay.State.OPEN:
        messages.success(request, _("The mail server works again; queued mail is being sent now."))
    elif (now.state, now.diagnosis, now.reason) == (before.state, before.diagnosis, before.reason):
        messages.warning(request, _("The mail server was tried, and nothing has changed."))
    else:
        verdict = Status().verdict
        said = _("The mail server was tried again, with another result:")
        messages.warning(request, rows.lines([said, *_explained(verdict)]))


def _report_test(request: HttpRequest, message_id: str) -> None:
    """Report success only if the relay accepted every message; otherwise why not, and what to do."""
    sent = Message.objects.filter(message_id=message_id).order_by("pk")
    actions.wait_until(lambda: not sent.untried().exists(), PATIENCE_SECONDS)
    status = Status()
    level, outcomes = messages.SUCCESS, []
    for message in sent:
        said = f"{message.recipient}: {message.get_state_display()}"
        if message.state == Message.State.SENT:
            outcomes.append(rows.link(request, message, f"{said} {message.reply}"))
            continue
        failed = message.state == Message.State.FAILED
        level = max(level, messages.ERROR if failed or status.relay.in_trouble else messages.WARNING)
        outcomes += [rows.link(request, message, said), *_explained(status.why_not_sent(message))]
    words = ", ".join(message.recipient for message in sent)
    summary = {
        messages.SUCCESS: _("The test mail to %s was sent."),
        messages.WARNING: _("The test mail to %s is in the outbox, and not sent yet."),
        messages.ERROR: _("The test mail to %s was not sent."),
    }[level]
    messages.add_message(request, level, rows.lines([summary % words, *outcomes]))


def _explained(verdict: Verdict) -> list[str]:
    """A verdict as lines: headline, the server's words, cause and fix."""
    return [str(text) for text in (verdict.headline, verdict.words, verdict.cause, verdict.fix) if text]


def panel(request: HttpRequest) -> dict[str, Any]:
    """The context of the dashboard's templates; empty without the permission to view it."""
    if not admin.site.get_model_admin(Relay).has_view_permission(request):
        return {}
    status = Status()
    sees_messages = admin.site.get_model_admin(Message).has_view_permission(request)
    return {
        "status": status,
        "chart": chart.draw(status.hours),
        "buttons": BUTTONS[Relay.State(status.relay.state)] if request.user.has_perm(OPERATE) else [],
        "problems": [
            *checks.check_mail_settings(None),
            *checks.check_secret_expiry(None),
            *checks.check_permission_expiry(None),
        ],
        "messages_url": reverse("admin:notify_message_changelist") if sees_messages else "",
        "reason_length": REASON_LENGTH,
    }
