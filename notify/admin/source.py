"""What one message says: for its page, its HTML in a frame of its own, its source, and the file to take away."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import BinaryField, F
from django.db.models.functions import Length, Substr
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_POST

from notify.admin import display, history, sanitizer
from notify.admin.actions import OPERATE
from notify.models import Message

SHOWN = 1_000_000  # bytes of a mail that its pages read; the rest is in the file
TEXT_SHOWN = 100_000  # characters of a text on the page
REVEALED = "notify_revealed"  # in the session: the sensitive message that its page shows next


def size(message: Message) -> int:
    """Bytes of the stored mail."""
    return int(Message.objects.filter(pk=message.pk).values_list(Length("body__mime"), flat=True).get() or 0)


def beginning(message: Message) -> bytes:
    """The first SHOWN bytes of the stored mail."""
    cut = Substr(F("body__mime"), 1, SHOWN, output_field=BinaryField())
    return bytes(Message.objects.filter(pk=message.pk).values_list(cut, flat=True).get() or b"")


def may_read(request: HttpRequest, message: Message) -> bool:
    """Whether its words are for this user, who may view it: what is sensitive is for operators only."""
    return not message.sensitive or request.user.has_perm(OPERATE)


def note_reading(request: HttpRequest, message: Message, what: str) -> None:
    """Sensitive words are not read unseen."""
    if message.sensitive:
        history.note(request, [message], what)


@xframe_options_sameorigin
def html(request: HttpRequest, model_admin: Any, pk: int) -> HttpResponse:
    """The HTML part for the frame on the message's page; it can do nothing but be looked at."""
    message = _readable(request, model_admin, pk, "The HTML was shown.")
    part = display.read(beginning(message)).html or ""
    return framed(part)


def framed(part: str, *, addresses: bool = True) -> HttpResponse:
    """HTML that is not ours, made inert, under a policy of its own. A middleware that sets one leaves it alone."""
    answer = HttpResponse(sanitizer.inert(part, addresses=addresses))
    answer["Content-Security-Policy"] = display.FRAME_POLICY
    answer["Referrer-Policy"] = "no-referrer"
    answer["X-DNS-Prefetch-Control"] = "off"
    return answer


def raw(request: HttpRequest, model_admin: Any, pk: int) -> HttpResponse:
    """The bytes of the mail, or the first of them, as text."""
    message = _readable(request, model_admin, pk, "The source was shown.")
    shown = beginning(message).decode("utf-8", "replace")
    if size(message) > SHOWN:
        shown += "\n\n" + _("(truncated; the file has the rest)") + "\n"
    answer = HttpResponse(shown, content_type="text/plain; charset=utf-8")
    answer["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; sandbox"
    return answer


def download(request: HttpRequest, model_admin: Any, pk: int) -> HttpResponse:
    """The whole mail as a file that mail programs open."""
    message = _readable(request, model_admin, pk, "The mail was downloaded.")
    stored = bytes(Message.objects.values_list("body__mime", flat=True).get(pk=pk))
    # Nothing of the mail stands in the name: neither a path nor a header can be made of a number.
    name = f"message-{message.pk}.eml"
    return HttpResponse(
        stored, content_type="message/rfc822", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@require_POST
def reveal(request: HttpRequest, model_admin: Any, pk: int) -> HttpResponse:
    """Have the page show a sensitive mail, once. A POST: no link in a mail can bring about a reading."""
    message = _readable(request, model_admin, pk, "The mail was shown.")
    request.session[REVEALED] = message.pk
    return HttpResponseRedirect(reverse("admin:notify_message_change", args=[message.pk]))


def is_revealed(request: HttpRequest, message: Message) -> bool:
    """Whether the page is to show what it says: the next time only, where that is sensitive."""
    return not message.sensitive or request.session.pop(REVEALED, None) == message.pk


def _readable(request: HttpRequest, model_admin: Any, pk: int, what: str) -> Message:
    """The message. Raises Http404, or PermissionDenied where its words are not for this user."""
    message: Message = get_object_or_404(model_admin.get_queryset(request), pk=pk)
    if not model_admin.has_view_permission(request, message) or not may_read(request, message):
        raise PermissionDenied
    # A link elsewhere, or in a mail's frame, is not to write into the history that somebody read this.
    if message.sensitive and request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise PermissionDenied
    note_reading(request, message, what)
    return message
