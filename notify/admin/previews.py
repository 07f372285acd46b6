"""Pages of previews: each mail template in every language, narrow and wide, light and dark, and sent to oneself."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_POST

from notify import conf
from notify.admin import audit, rows
from notify.admin.message_page import framed
from notify.admin.rows import OPERATE
from notify.models import Message
from notify.rendering import previews
from notify.rendering.message import new_message_id

SCHEMES = {"light": gettext_lazy("Light"), "dark": gettext_lazy("Dark")}
WIDTHS = {"wide": gettext_lazy("Wide, 700 px"), "narrow": gettext_lazy("Narrow, 390 px")}


def index(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """All templates, with the size of each in every language."""
    _admit(request, model_admin)
    languages = conf.preview_languages()
    context = {
        **model_admin.page_context(request, _("Previews of mails")),
        "languages": languages.values(),
        "rows": [
            {
                "template": template,
                "url": reverse("admin:notify_message_preview", args=[template]),
                "mails": [previews.render(each, language) for language in languages],
            }
            for template, each in previews.registered().items()
        ],
    }
    return TemplateResponse(request, "admin/notify/previews/index.html", context)


def page(request: HttpRequest, model_admin: Any, template: str) -> HttpResponse:
    """One template: `language`, `scheme` and `width` choose how it is shown."""
    _admit(request, model_admin)
    shown = _registered(template)
    chosen = {
        "language": _choice(request, "language", conf.preview_languages(), _language()),
        "scheme": _choice(request, "scheme", SCHEMES, "light"),
        "width": _choice(request, "width", WIDTHS, "wide"),
    }
    mail_shown = previews.render(shown, chosen["language"])
    context = {
        **model_admin.page_context(request, template),
        "template": template,
        "mail": mail_shown,
        "complaints": mail_shown.complaints,
        "limit": previews.GMAIL_CLIPS,
        "choices": _choices(chosen),
        "chosen": chosen,
        "may_send": request.user.has_perm(OPERATE),
        "own_addresses": ", ".join(rows.own_addresses(request)),
        "admin_addresses": ", ".join(conf.admins()),
    }
    return TemplateResponse(request, "admin/notify/previews/page.html", context)


@xframe_options_sameorigin
def frame(request: HttpRequest, model_admin: Any, template: str) -> HttpResponse:
    """The HTML alone, in one language and one colour scheme."""
    _admit(request, model_admin)
    language = _choice(request, "language", conf.preview_languages(), _language())
    html = previews.render(_registered(template), language).html
    return framed(previews.in_scheme(html, _choice(request, "scheme", SCHEMES, "light")), addresses=False)


@require_POST
def send(request: HttpRequest, model_admin: Any, template: str) -> HttpResponse:
    """Send it through the outbox to the addresses in `to`, or else to the user, or else to FLASKY_ADMIN."""
    if not request.user.has_perm(OPERATE):
        raise PermissionDenied
    shown = _registered(template)
    language = _choice(request, "language", conf.preview_languages(), _language())
    back = HttpResponseRedirect(f"{reverse('admin:notify_message_preview', args=[template])}?language={language}")
    to = rows.recipients(request)
    if not to:
        return back
    message_id = new_message_id()
    try:
        shown.build(to, language, headers={"Message-ID": message_id}).send()
    except Exception as error:  # noqa: BLE001  (the project's own code and templates)
        messages.error(request, f"{type(error).__name__}: {error}")
        return back
    stored = Message.objects.filter(message_id=message_id)
    audit.of_messages(request, stored, audit.PREVIEWED, template, flag=ADDITION)
    for message in stored:
        messages.success(
            request, rows.link(request, message, _("The mail to %s is in the outbox.") % message.recipient)
        )
    return back


def _admit(request: HttpRequest, model_admin: Any) -> None:
    if not model_admin.has_view_permission(request):
        raise PermissionDenied


def _registered(template: str) -> previews.Preview:
    try:
        return previews.registered()[template]
    except KeyError:
        raise Http404(template) from None


def _language() -> str:
    current = get_language() or ""
    return current if current in conf.preview_languages() else next(iter(conf.preview_languages()))


def _choice(request: HttpRequest, name: str, choices: Any, default: str) -> str:
    chosen = request.POST.get(name) or request.GET.get(name) or default
    return chosen if chosen in choices else default


def _choices(chosen: dict[str, str]) -> list[dict[str, Any]]:
    """What can be chosen, as groups of links: each changes one thing and leaves the others."""

    def group(name: str, title: str, options: Any) -> dict[str, Any]:
        links = [
            {"words": words, "query": urlencode({**chosen, name: value}), "current": chosen[name] == value}
            for value, words in options.items()
        ]
        return {"title": title, "links": links}

    return [
        group("language", _("Language"), conf.preview_languages()),
        group("scheme", _("Colours"), SCHEMES),
        group("width", _("Width"), WIDTHS),
    ]
