"""Builds a mail from a pair of templates, unsent: text first, HTML beside it."""

import contextlib
import logging
import re
from collections.abc import Mapping, Sequence
from email.utils import format_datetime, make_msgid, parseaddr
from typing import Any

import css_inline
from django.apps import apps
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db.models import Model
from django.template import Context
from django.template.loader import get_template
from django.urls import NoReverseMatch, reverse
from django.utils import timezone, translation
from django.utils.encoding import punycode
from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.module_loading import import_string

from notify import clock, conf

logger = logging.getLogger(__name__)

# Only operators may read a mail with this header set to yes. The header itself is not sent.
SENSITIVE_HEADER = "X-Flasky-Sensitive"

Text = str | Promise  # a lazy text is translated into the site's language

# Never fetches anything. Rules that cannot be inlined (media queries, dark mode) stay in <style>.
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
# Within a word: mail programs take it for part of an address. Also the East Asian dots (RFC 3490 3.1).
_LINKABLE_DOT = re.compile(r"(?<=\S)([.\u2024\u3002\ufe52\uff0e\uff61])(?=\S)")
# As the inliner writes tags: every value is in double quotes.
_TAG = re.compile(r'<[a-zA-Z][^\s<>"]*+(?:\s++[^\s<>"=]++(?:="[^"]*+")?)*+\s*+/?>')
_QUOTED = re.compile(r'"[^"]*+"')
_MAX_TAGS = 5000  # the inliner recurses: tens of thousands of nested tags would crash the process


def build(
    to: str | Sequence[str],
    subject: Text,
    template: str,
    context: Mapping[str, Any],
    *,
    headers: Mapping[str, str] | None = None,
    language: str | None = None,
) -> EmailMultiAlternatives:
    """The mail rendered from `<template>.txt` and `<template>.html`, in TIME_ZONE and LANGUAGE_CODE or the one given.

    Raises TemplateDoesNotExist and whatever the templates raise.
    """
    with translation.override(language or settings.LANGUAGE_CODE), timezone.override(None):
        subject = one_line(f"{conf.subject_prefix()} {subject}")
        context = {
            "subject": subject,
            "site_url": conf.site_url(),
            "site_name": conf.site_url() or parseaddr(conf.sender())[1].rpartition("@")[2],
            "admins_setting": conf.named("FLASKY_ADMIN"),
            "now": timezone.now(),
            **context,
        }
        # Plain text is not escaped: O'Brien stays O'Brien.
        text = get_template(f"{template}.txt").template.render(Context(dict(context), autoescape=False))  # type: ignore[attr-defined]
        html = get_template(f"{template}.html").render(dict(context))
    message = EmailMultiAlternatives(
        subject=subject,
        body=text.strip() + "\n",
        from_email=conf.sender(),
        to=[to] if isinstance(to, str) else list(to),
        headers={
            "Auto-Submitted": "auto-generated",  # RFC 3834
            "X-Auto-Response-Suppress": "OOF, AutoReply",
            **(headers or {}),
        },
    )
    message.attach_alternative(_inlined(html, template), "text/html")
    return message


def thread_headers(topic: str, message_id: str) -> dict[str, str]:
    """Headers that thread the mails of one topic and day: all reply to the same root, which is never sent."""
    domain = message_id.rstrip(">").rpartition("@")[2]
    name = re.sub(r"[^a-z0-9]+", "-", topic.lower()).strip("-") or "events"
    root = f"<{name}.{clock.site_time(timezone.now()).date()}@{domain}>"
    return {
        "Message-ID": message_id,
        "In-Reply-To": root,
        "References": root,
        "List-Id": f"<{name}.{domain}>",  # RFC 2919
    }


def new_message_id(sender: str = "") -> str:
    """A fresh Message-ID at the domain of the sender, `conf.sender()` if not given (RFC 5322 3.6.4)."""
    domain = parseaddr(sender or conf.sender())[1].rpartition("@")[2]
    try:
        return make_msgid(domain=punycode(domain) or "localhost")
    except UnicodeError:  # not a valid domain; the relay will refuse it with a clear reply
        return make_msgid(domain="localhost")


def fresh_headers(sender: str) -> dict[str, str]:
    """Message-ID and Date of a new message."""
    return {"Message-ID": new_message_id(sender), "Date": format_datetime(clock.site_time(timezone.now()))}


def in_site_language(text: Text) -> str:
    """The text in LANGUAGE_CODE and TIME_ZONE, whatever the current request uses."""
    if isinstance(text, str):
        return text
    if translation.get_language() == settings.LANGUAGE_CODE and (
        timezone.get_current_timezone() is timezone.get_default_timezone()
    ):
        return str(text)  # most requests use them; to set and reset them takes longer than the translation
    with translation.override(settings.LANGUAGE_CODE), timezone.override(None):
        return str(text)


def list_url(model: type[Model], **filters: str) -> str:
    """The admin's list of these rows; "" where no admin site has it, or the site's address is not set."""
    if not conf.site_url() or not apps.is_installed("django.contrib.admin"):
        return ""
    view = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    for site in sorted(import_string("django.contrib.admin.sites.all_sites"), key=lambda site: site.name != "admin"):
        if site.is_registered(model):
            with contextlib.suppress(NoReverseMatch):
                url = conf.site_url() + reverse(view, current_app=site.name)
                return f"{url}?{urlencode(filters)}" if filters else url
    return ""


def one_line(text: str) -> str:
    """Text for a header: each run of white space, including the line breaks only Python knows, becomes one space."""
    return " ".join(text.split())


def unlinked(text: str) -> str:
    """Text that mail programs do not turn into links: each dot in a word is followed by a zero-width space."""
    return _LINKABLE_DOT.sub("\\1\u200b", text)


def _inlined(page: str, template: str) -> str:
    """The page with its <style> moved into style attributes; unchanged if it has no <style>.

    A page that cannot be inlined is sent as it was rendered.
    """
    if "<style" not in page or page.count("<") > _MAX_TAGS:
        return page
    try:
        return _with_escaped_attributes(_INLINER.inline(page))
    except ValueError:
        logger.exception("the styles of %s.html were not inlined", template)
        return page


def _with_escaped_attributes(page: str) -> str:
    """The page with < and > in attributes escaped, as the template had them: the inliner writes them raw.

    Browsers accept that, but simpler mail programs would find tags that are none.
    """

    def escape(tag: re.Match[str]) -> str:
        return _QUOTED.sub(lambda value: value[0].replace("<", "&lt;").replace(">", "&gt;"), tag[0])

    return _TAG.sub(escape, page)
