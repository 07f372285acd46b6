"""The mails that tests look at: each kind, as it is built for its occasion."""

from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from django.core.mail import EmailMultiAlternatives

from notify.events.digest import subject_of
from notify.models import Event, Message
from notify.rendering.message import build, in_site_language
from notify.visitors import signals
from notify.visitors.models import Visitor

FIRST = datetime(2026, 3, 14, 1, 26, 53, tzinfo=UTC)
PEOPLE = ("李小龙", "Conan O'Brien", "محمد عبد الله", "J.R.R. Tolkien", "x" * 64)


def visitor_mail(name: str) -> EmailMultiAlternatives:
    visitor = Visitor(pk=7, name=name, created_at=FIRST)
    event = event_of(visitor)
    context = {"visitor": visitor, "event": event}
    return build("a@example.com", subject_of([event], 1), "mail/new_visitor", context)


def event_of(visitor: Visitor) -> Event:
    """The event that a visitor's post_save records, unsaved."""
    return Event(
        topic=signals.TOPIC,
        key=str(visitor.pk),
        subject=in_site_language(signals.SUBJECT),
        summary=visitor.name,
        url=signals.url_of(visitor),
        created_at=visitor.created_at,
    )


def digest_mail(*people: str, more: int = 0, **context: Any) -> EmailMultiAlternatives:
    events = [
        event_of(Visitor(pk=9 - number, name=name, created_at=FIRST - timedelta(seconds=number)))
        for number, name in enumerate(people)
    ]
    context = {
        "heading": signals.SUBJECT,
        "events": events,
        "count": len(events) + more,
        "more": more,
        "list_url": "https://flasky.example.com/admin/notify/event/?message_id=%3C1%40example.com%3E",
        **context,
    }
    return build("a@example.com", "x", "notify/mail/digest", context)


def trial_mail(relay: str = "smtp.163.com:465, TLS") -> EmailMultiAlternatives:
    return build("a@example.com", "Test", "notify/mail/test", {"relay": relay})


def every_mail() -> dict[str, EmailMultiAlternatives]:
    """In the language and zone of the settings at the moment."""
    return {
        "new_visitor": visitor_mail("Ann"),
        "new_visitor with dots": visitor_mail("J.R.R. Tolkien"),
        "digest": digest_mail(*PEOPLE, more=20),
        "digest of one": digest_mail("Ann"),
        "test": trial_mail(),
        "test without a relay": trial_mail(""),
    }


def html_of(message: EmailMultiAlternatives) -> str:
    content = message.alternatives[0][0]
    assert isinstance(content, str)
    return content


def parsed(message: Message) -> EmailMessage:
    """A stored mail as its reader's program sees it."""
    return message_from_bytes(bytes(message.body.mime), policy=policy.default)  # type: ignore[return-value]


def text_of(message: Message, kind: str = "plain") -> str:
    """The text of a stored mail, or its HTML."""
    part = parsed(message).get_body((kind,))
    assert part
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")
