"""The page of one message: its facts, failed attempts, events and content; also as source and as a file."""

from dataclasses import replace
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import BinaryField, F
from django.db.models.functions import Length, Substr
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_POST

from notify import conf
from notify.admin import actions, audit, display, sanitizer
from notify.admin.events import events_of
from notify.admin.rows import LIVE, OPERATE
from notify.models import Message
from notify.operations.status import Status
from notify.smtp.diagnosis import rules

ATTEMPTS_SHOWN = 200
SHOWN = 1_000_000  # bytes of a mail that its pages read; the rest is in the file
TEXT_SHOWN = 100_000  # characters of a text on the page
REVEALED = "notify_revealed"  # session key: the sensitive message whose content is shown next

PHASES = {
    "prepare": _("while the message was prepared"),
    "config": _("before connecting"),
    "proxy": _("at the proxy"),
    "dns": _("looking up the mail server's name"),
    "connect": _("connecting"),
    "greeting": _("waiting for the greeting"),
    "ehlo": _("sending EHLO"),
    "tls": _("starting TLS"),
    "token": _("obtaining an access token"),
    "auth": _("logging in"),
    "sender": _("sending the sender"),
    "recipient": _("sending the recipient"),
    "data": _("sending the message"),
    "end": _("waiting for the reply to the message"),
}

# Makes a frame focusable, so that it can be scrolled by keyboard; the links of the mail are not focusable.
_FOCUSABLE = '<div tabindex="0" style="position:fixed;inset:0;pointer-events:none"></div>'


def context(request: HttpRequest, message: Message) -> dict[str, Any]:
    """The template's context; the content of a sensitive message only if an operator has just asked for it."""
    permitted = _may_read(request, message)
    shown = permitted and (not message.sensitive or _was_asked_for(request, message))
    failed = message.failed_attempts.count()
    last = list(message.failed_attempts.order_by("-id")[:ATTEMPTS_SHOWN])[::-1]
    beginning, size = _beginning(message)
    is_sent = message.state == Message.State.SENT
    is_unfinished = message.state in (Message.State.QUEUED, Message.State.SENDING)
    found: dict[str, Any] = {
        "message": message,
        "known": _known(message.diagnosis),
        "waiting": Status().why_not_sent(message) if is_unfinished else None,
        "tries": [
            {
                "number": number,
                "attempt": each,
                "phase": PHASES.get(each.phase, each.phase),
                "known": _known(each.diagnosis),
            }
            for number, each in enumerate(last, failed - len(last) + 1)
        ],
        "recorded": failed + is_sent,
        "accepted_at": failed + 1 if is_sent else None,
        "verbs": actions.applicable(message) if request.user.has_perm(OPERATE) else [],
        "permitted": permitted,
        "shown": shown,
        "size": size,
        "events_of": events_of(request, message.message_id),
    }
    return found | content(beginning, size) if shown else found


def content(beginning: bytes, size: int) -> dict[str, Any]:
    """The context of a mail's content: its first bytes, at most SHOWN, and how many it has."""
    read = display.read(beginning)
    text = read.text or ""
    cut = size > len(beginning) or len(text) > TEXT_SHOWN
    return {"content": read, "text": text[:TEXT_SHOWN], "size": size, "cut": cut, "shown_bytes": SHOWN}


@xframe_options_sameorigin
def html(request: HttpRequest, model_admin: Any, pk: int) -> HttpResponse:
    """The HTML part for the frame on the message's page, inert."""
    message = _readable(request, model_admin, pk, audit.HTML)
    return framed(display.read(_beginning(message)[0]).html or "")


def framed(part: str, *, addresses: bool = True) -> HttpResponse:
    """Untrusted HTML, made inert, with its own Content-Security-Policy, which middleware must keep."""
    answer = HttpResponse(sanitizer.inert(part, addresses=addresses) + _FOCUSABLE)
    answer["Content-Security-Policy"] = display.FRAME_POLICY
    answer["Referrer-Policy"] = "no-referrer"
    answer["X-DNS-Prefetch-Control"] = "off"
    return answer


def source(request: HttpRequest, model_admin: Any, pk: int) -> HttpResponse:
    """The source of the mail, or its beginning, as text."""
    return as_text(*_beginning(_readable(request, model_admin, pk, audit.SOURCE)))


def as_text(beginning: bytes, size: int) -> HttpResponse:
    """The first bytes of a mail of `size` bytes, as text."""
    shown = beginning.decode("utf-8", "replace")
    if size > len(beginning):
        shown += "\n\n" + gettext("(truncated; the file has the rest)") + "\n"
    answer = HttpResponse(shown, content_type="text/plain; charset=utf-8")
    answer["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; sandbox"
    return answer


def download(request: HttpRequest, model_admin: Any, pk: int) -> HttpResponse:
    """The whole mail as an .eml file."""
    message = _readable(request, model_admin, pk, audit.DOWNLOADED)
    # A number: no text of the mail gets into the header or the file name.
    return as_file(bytes(message.body.mime), f"message-{message.pk}.eml")


def as_file(stored: bytes, name: str) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(stored, content_type="message/rfc822", headers=headers)


@require_POST
def reveal(request: HttpRequest, model_admin: Any, pk: int) -> HttpResponse:
    """Have the page show a sensitive mail once. POST only, so that no link can trigger it."""
    message = _readable(request, model_admin, pk, audit.REVEALED)
    request.session[REVEALED] = message.pk
    return redirect("admin:notify_message_change", message.pk)


def _known(diagnosis: str) -> rules.Diagnosis | None:
    known = rules.known(diagnosis)
    return known and replace(known, fix=conf.named(known.fix))


def _was_asked_for(request: HttpRequest, message: Message) -> bool:
    """Whether an operator has just asked to see this sensitive message. True once, and not for a live refresh."""
    return LIVE not in request.headers and request.session.pop(REVEALED, None) == message.pk


def _may_read(request: HttpRequest, message: Message) -> bool:
    """Whether this user, who may view the message, may read its content: if it is sensitive, operators only."""
    return not message.sensitive or request.user.has_perm(OPERATE)


def _beginning(message: Message) -> tuple[bytes, int]:
    """The first SHOWN bytes of the stored mail, and how many it has."""
    cut = Substr(F("body__mime"), 1, SHOWN, output_field=BinaryField())
    size, beginning = Message.objects.filter(pk=message.pk).values_list(Length("body__mime"), cut).get()
    return bytes(beginning or b""), size  # SQLite makes NULL of the beginning of nothing


def _readable(request: HttpRequest, model_admin: Any, pk: int, what: str) -> Message:
    """The message; if it is sensitive, reading it is logged as `what`. Raises Http404 or PermissionDenied."""
    message: Message = get_object_or_404(model_admin.get_queryset(request), pk=pk)
    if not model_admin.has_view_permission(request, message) or not _may_read(request, message):
        raise PermissionDenied
    if message.sensitive:
        # A link from another site or from a mail's frame must not log that this user read it.
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise PermissionDenied
        audit.of_messages(request, [message], what)
    return message
