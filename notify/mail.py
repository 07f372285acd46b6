"""Builds messages and hands them to Django's email backend; does no I/O of its own beyond the event's row."""

import logging
import re
from collections.abc import Mapping, Sequence
from email.utils import make_msgid, parseaddr
from typing import Any

import css_inline
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import DatabaseError, transaction
from django.template import Context
from django.template.loader import get_template
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.encoding import punycode
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from notify import windows
from notify.models import Event, Visitor

logger = logging.getLogger(__name__)

VISITORS = "new_visitor"  # the topic of new visitors
NEW_VISITOR = _("New visitor")  # the subject of their mails
Text = str | Promise  # what is lazy is said in the site's language

# No network, whatever a template links to. What cannot stand in an attribute, dark mode say, stays in <style>.
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
_TAGS_AT_MOST = 5000  # the inliner recurses, and a page of tens of thousands of nested tags would end the process


def send_mail(to: str | Sequence[str], subject: Text, template: str, /, **context: Any) -> int:
    """Send one mail, rendered from `<template>.txt` and `<template>.html`, and return how many were taken (1 or 0).

    `to` is an address or several; the subject gets FLASKY_MAIL_SUBJECT_PREFIX. Called twice, it sends two mails,
    each with a Message-ID of its own. Raises TemplateDoesNotExist and what the template raises; ValueError for a
    line break in an address, and for several addresses in one text.
    """
    return build(to, subject, template, context).send()


def notify_admins(
    topic: str, subject: Text, template: str, /, *, key: str, summary: str, url: str, **context: Any
) -> None:
    """Tell every address in FLASKY_ADMIN of something that happened. The same `topic` and `key` are told once.

    `summary` is one line and `url` an absolute link: they stand for the event in a digest, which carries it where the
    topic is flooding. A mail that cannot be built does not undo what happened: the event waits, the error is logged,
    and a digest tells it. Raises DatabaseError where the event cannot be kept, ValueError where `topic`, `key` or `url`
    is longer than its column.
    """
    for name, value, limit in (("topic", topic, 100), ("key", key, 200), ("url", url, 500)):  # as the columns
        if len(value) > limit:
            raise ValueError(f"notify_admins: {name} has {len(value)} characters, {limit} at most")
    subject = in_site_language(subject)
    event = Event(topic=topic, key=key, subject=subject[:200], summary=one_line(summary)[:500], url=url)
    if not settings.FLASKY_ADMIN:
        event.notified_at = event.created_at  # to nobody: it will not be told later either
    if event.notified_at or windows.is_full(topic):
        Event.objects.bulk_create([event], ignore_conflicts=True)
        return
    with transaction.atomic():
        Event.objects.bulk_create([event], ignore_conflicts=True)
        waiting = Event.objects.waiting().filter(topic=topic, key=key).first()
        if waiting and windows.take_slot(waiting):
            _tell_at_once(waiting, subject, template, {**context, "event": waiting})


def _tell_at_once(event: Event, subject: str, template: str, context: Mapping[str, Any]) -> None:
    message_id = new_message_id()
    try:
        with transaction.atomic():
            # Marked first: since it was read, a digest may have told it.
            told_at = timezone.now()
            if Event.objects.waiting().filter(pk=event.pk).update(notified_at=told_at, message_id=message_id):
                tell_administrators(subject, template, context, topic=event.topic, message_id=message_id)
    except DatabaseError:
        raise  # nothing was accepted, and the caller is to know
    except Exception:
        logger.exception("the mail for event %s (%s) was not built; it waits for a digest", event.pk, event.topic)


def tell_administrators(
    subject: str, template: str, context: Mapping[str, Any], *, topic: str, message_id: str
) -> None:
    """Send one mail to every address in FLASKY_ADMIN, under the Message-ID its events are marked with."""
    headers = thread_headers(topic, message_id)
    build(settings.FLASKY_ADMIN, subject, template, context, headers=headers).send()


def thread_headers(topic: str, message_id: str) -> dict[str, str]:
    """The mails of a topic and day are one thread: all answer to the same root, which itself is never sent."""
    domain = message_id.rstrip(">").rpartition("@")[2]
    name = re.sub(r"[^a-z0-9]+", "-", topic.lower()).strip("-") or "events"
    root = f"<{name}.{timezone.localdate()}@{domain}>"
    return {
        "Message-ID": message_id,
        "In-Reply-To": root,
        "References": root,
        "List-Id": f"<{name}.{domain}>",  # RFC 2919
    }


def event_of(visitor: Visitor) -> Event:
    """The event that a visitor is, unsaved."""
    return Event(
        topic=VISITORS,
        key=str(visitor.pk),
        subject=in_site_language(NEW_VISITOR),
        summary=one_line(visitor.name),  # in SQL, whatever fits the column
        url=url_of(visitor),
        created_at=visitor.created_at,
    )


def url_of(visitor: Visitor) -> str:
    """The visitor's page in the admin, as a link for mails."""
    return settings.FLASKY_URL + reverse("admin:notify_visitor_change", args=[visitor.pk])


def build(
    to: str | Sequence[str],
    subject: Text,
    template: str,
    context: Mapping[str, Any],
    *,
    headers: Mapping[str, str] | None = None,
    language: str | None = None,
) -> EmailMultiAlternatives:
    """The mail, unsent: text first, HTML beside it, from FLASKY_MAIL_SENDER, in the site's language or another."""
    with translation.override(language or settings.LANGUAGE_CODE):
        subject = one_line(f"{settings.FLASKY_MAIL_SUBJECT_PREFIX} {subject}")
        context = {"subject": subject, "site_url": settings.FLASKY_URL, "now": timezone.now(), **context}
        # Plain text is not escaped: O'Brien reads O'Brien.
        text = get_template(f"{template}.txt").template.render(Context(dict(context), autoescape=False))  # type: ignore[attr-defined]
        html = get_template(f"{template}.html").render(dict(context))
    message = EmailMultiAlternatives(
        subject=subject,
        body=text.strip() + "\n",
        from_email=settings.FLASKY_MAIL_SENDER,
        to=[to] if isinstance(to, str) else list(to),
        headers={
            "Auto-Submitted": "auto-generated",  # RFC 3834
            "X-Auto-Response-Suppress": "OOF, AutoReply",
            **(headers or {}),
        },
    )
    message.attach_alternative(_inlined(html, template), "text/html")
    return message


def _inlined(page: str, template: str) -> str:
    """The page with its <style> written into style attributes. One without a <style> is left as it is, byte by byte.

    A mail is worth more than its looks: where the styles cannot be read, it goes out as it was rendered.
    """
    if "<style" not in page or page.count("<") > _TAGS_AT_MOST:
        return page
    try:
        return _INLINER.inline(page)
    except ValueError:
        logger.exception("the styles of %s.html were not inlined", template)
        return page


def new_message_id(sender: str = "") -> str:
    """A fresh Message-ID at the domain of the sender, which is FLASKY_MAIL_SENDER if not given (RFC 5322 3.6.4)."""
    domain = parseaddr(sender or settings.FLASKY_MAIL_SENDER)[1].rpartition("@")[2]
    try:
        return make_msgid(domain=punycode(domain) or "localhost")
    except UnicodeError:  # a domain that IDNA refuses, which the relay will refuse in its own words
        return make_msgid(domain="localhost")


def in_site_language(text: Text) -> str:
    """Whoever asks, and in whichever language."""
    with translation.override(settings.LANGUAGE_CODE):
        return str(text)


def one_line(text: str) -> str:
    """Header text: every run of blanks and line breaks, also the exotic ones Python splits at, is one space."""
    return " ".join(text.split())
