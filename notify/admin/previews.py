"""Pages of previews: each mail template by language, width and colour scheme; operators can send themselves one."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import get_language
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
    chosen = _chosen(request)
    context = {
        **model_admin.page_context(request, template),
        "template": template,
        "mail": previews.render(shown, chosen["language"]),
        "limit": previews.GMAIL_CLIPS,
        "choices": [
            {
                "title": title,
                "links": [
                    {"words": words, "query": urlencode({**chosen, name: value}), "current": chosen[name] == value}
                    for value, words in options.items()
                ],
            }
            for name, (title, options) in _options().items()
        ],
        "chosen": chosen,
        "may_send": request.user.has_perm(OPERATE),
    }
    return TemplateResponse(request, "admin/notify/previews/page.html", context)


@xframe_options_sameorigin
def frame(request: HttpRequest, model_admin: Any, template: str) -> HttpResponse:
    """The HTML alone, in one language and colour scheme."""
    _admit(request, model_admin)
    chosen = _chosen(request)
    html = previews.render(_registered(template), chosen["language"]).html
    return framed(previews.in_scheme(html, chosen["scheme"]), addresses=False)


@require_POST
def send(request: HttpRequest, model_admin: Any, template: str) -> HttpResponse:
    """Send it through the outbox, to the addresses in `to` or the default ones."""
    if not request.user.has_perm(OPERATE):
        raise PermissionDenied
    shown = _registered(template)
    language = _chosen(request)["language"]
    back = HttpResponseRedirect(f"{reverse('admin:notify_message_preview', args=[template])}?language={language}")
    to = rows.recipients(request)
    if not to:
        return back
    message_id = new_message_id()
    try:
        with transaction.atomic():
            shown.build(to, language, headers={"Message-ID": message_id}).send()
            stored = list(Message.objects.filter(message_id=message_id))
            audit.of_messages(request, stored, audit.PREVIEWED, template, flag=ADDITION)
    except Exception as error:  # noqa: BLE001  (the project's own code and templates)
        messages.error(request, f"{type(error).__name__}: {error}")
        return back
    for message in stored:
        words = _("The mail to %s is in the outbox.") % message.recipient
        messages.success(request, rows.link(request, message, words))
    return back


def _admit(request: HttpRequest, model_admin: Any) -> None:
    if not model_admin.has_view_permission(request):
        raise PermissionDenied


def _registered(template: str) -> previews.Preview:
    try:
        return previews.registered()[template]
    except KeyError:
        raise Http404(template) from None


def _options() -> dict[str, tuple[str, dict[str, str]]]:
    """The options by name: a title, and the label of each value."""
    return {
        "language": (_("Language"), conf.preview_languages()),
        "scheme": (_("Colours"), {"light": _("Light"), "dark": _("Dark")}),
        "width": (_("Width"), {"wide": _("Wide, 700 px"), "narrow": _("Narrow, 390 px")}),
    }


def _chosen(request: HttpRequest) -> dict[str, str]:
    """A value for each option: the requested one, else (for the language) the user's own, else the first."""
    asked = {"language": get_language(), **request.GET.dict(), **request.POST.dict()}
    return {
        name: asked[name] if asked.get(name) in options else next(iter(options))
        for name, (_title, options) in _options().items()
    }
