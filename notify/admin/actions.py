"""What an operator does to one, some or all matching messages; each action is counted and logged."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from notify import conf
from notify.admin import audit, rows
from notify.models import Message, MessageQuerySet
from notify.operations import actions


@dataclass(frozen=True)
class Verb:
    """An action on messages: `concerns` narrows to those it applies to, `run` performs it and returns how many.

    `past`: its title in the audit log. `asks_alone`: it needs confirmation for a single message, too. `limit`: the most
    messages at once; with a limit, any selection needs confirmation.
    """

    name: str
    label: Any  # a lazy translation, as are the questions
    question: Any
    past: str
    concerns: Callable[[MessageQuerySet], MessageQuerySet]
    run: Callable[[MessageQuerySet], int]
    asks_alone: bool = False
    limit: int | None = None


RETRY = Verb(
    "retry",
    gettext_lazy("Retry now"),
    gettext_lazy("Each keeps its Message-ID and Date, and is retried for another five days."),
    audit.RETRIED,
    MessageQuerySet.retriable,
    actions.retry,
)
CANCEL = Verb(
    "cancel",
    gettext_lazy("Cancel"),
    gettext_lazy("They will not be sent unless they are retried."),
    audit.CANCELLED,
    MessageQuerySet.cancellable,
    actions.cancel,
    asks_alone=True,
)
RESEND = Verb(
    "resend",
    gettext_lazy("Send again"),
    gettext_lazy(
        "Each is sent as a new message with a new Message-ID and Date: "
        "recipients who already received it receive it twice."
    ),
    audit.RESENT,
    MessageQuerySet.finished,
    lambda messages: len(actions.resend(messages)),
    asks_alone=True,
    limit=1000,  # one transaction; to send more, repeat the action
)
VERBS = {verb.name: verb for verb in (RETRY, CANCEL, RESEND)}


def applicable(message: Message) -> list[Verb]:
    """The actions that apply to this message in its state."""
    one = Message.objects.filter(pk=message.pk)
    return [verb for verb in VERBS.values() if verb.concerns(one).exists()]


def admin_actions() -> list[Any]:
    """The verbs as actions of the list, for users with the permission to operate."""
    found = []
    for verb in VERBS.values():
        action = partial(_act, verb)
        action.__name__ = verb.name  # type: ignore[attr-defined]
        found.append(admin.action(permissions=["operate"], description=verb.label)(action))
    return found


@require_POST
def operate(request: HttpRequest, model_admin: Any, pk: int) -> HttpResponse:
    """Retry, cancel or resend this message; cancelling and resending need confirmation."""
    if not model_admin.has_operate_permission(request):
        raise PermissionDenied
    message = get_object_or_404(model_admin.get_queryset(request), pk=pk)
    back = redirect("admin:notify_message_change", message.pk)
    verb = VERBS.get(request.POST.get("verb", ""))
    if verb is None:
        return back
    if verb.asks_alone and "confirmed" not in request.POST:
        return _ask_alone(verb, model_admin, request, message)
    chosen = Message.objects.filter(pk=message.pk)
    if verb is not RESEND:
        _report(request, verb, _perform(verb, request, chosen))
        return back
    try:
        to = [] if message.sensitive else actions.addresses(request.POST.get("to", ""))
    except ValidationError as error:
        return _ask_alone(verb, model_admin, request, message, error=error.messages[0])
    with transaction.atomic():
        copies = actions.resend(chosen, to=to)
        if copies:
            audit.of_messages(request, [message], verb.past, ", ".join(copy.recipient for copy in copies))
    for copy in copies:
        words = _("A new message to %s is in the outbox.") % copy.recipient
        messages.success(request, rows.link(request, copy, words))
    if not copies:
        _report(request, verb, 0)
    return back


def _perform(verb: Verb, request: HttpRequest, chosen: MessageQuerySet) -> int:
    """Act on a few messages and log an entry for each, in one transaction. Returns how many."""
    with transaction.atomic():
        concerned = list(verb.concerns(chosen))
        count = verb.run(Message.objects.filter(pk__in=[message.pk for message in concerned]))
        audit.of_messages(request, concerned, verb.past)
    return count


def _perform_on_all(verb: Verb, request: HttpRequest, matching: MessageQuerySet) -> int:
    """Act on all matching messages, however many, and log one entry. Returns how many."""
    run = verb.run if verb.limit else partial(actions.in_batches, verb.run)
    count = run(verb.concerns(matching))
    audit.of_many(request, f"{count} messages: {request.GET.urlencode() or 'all'}", verb.past)
    return count


def _report(request: HttpRequest, verb: Verb, count: int) -> None:
    """Report the result on the next page."""
    words = ngettext("%(verb)s: %(count)d message.", "%(verb)s: %(count)d messages.", count)
    level = messages.SUCCESS if count else messages.WARNING
    messages.add_message(request, level, words % {"verb": verb.label, "count": count})


def _ask_alone(verb: Verb, model_admin: Any, request: HttpRequest, message: Message, error: str = "") -> HttpResponse:
    """The page that asks for confirmation, and for the recipient if the message is to be resent."""
    context = {
        **model_admin.page_context(request, verb.label),
        "verb": verb,
        "message": message,
        "back": reverse("admin:notify_message_change", args=[message.pk]),
        # An operator must not redirect a mail that can set a password.
        "asks_for_address": verb is RESEND and not message.sensitive,
        "to": request.POST.get("to", message.recipient),
        "error": error,
        "suggestions": dict.fromkeys([message.recipient, ", ".join(conf.admins())]),
    }
    return TemplateResponse(request, "admin/notify/message/confirm_one.html", context, status=422 if error else 200)


def _act(verb: Verb, model_admin: Any, request: HttpRequest, chosen: MessageQuerySet) -> HttpResponse | None:
    across = request.POST.get("select_across") == "1"
    if (across or verb.limit) and not request.POST.get("confirmed"):
        return _ask(verb, model_admin, request, chosen, across)
    if verb.limit and verb.concerns(chosen).order_by()[verb.limit :].exists():
        words = _("At most %(limit)d messages can be sent again at once: select fewer.")
        messages.error(request, words % {"limit": verb.limit})
        return None
    done = _perform_on_all if across else _perform
    _report(request, verb, done(verb, request, chosen))
    return None


def _ask(verb: Verb, model_admin: Any, request: HttpRequest, chosen: MessageQuerySet, across: bool) -> HttpResponse:
    count = verb.concerns(chosen).order_by().count()
    context = {
        **model_admin.page_context(request, verb.label),
        "verb": verb,
        "count": count,
        "too_many": bool(verb.limit and count > verb.limit),
        "across": across,
        # Django's admin requires a selection; one key stands for all that match.
        "selected": request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)[: 1 if across else None],
        "checkbox": helpers.ACTION_CHECKBOX_NAME,
        "back": request.get_full_path(),
    }
    return TemplateResponse(request, "admin/notify/message/confirm.html", context)
