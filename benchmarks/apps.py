"""Where the notification of a new visitor goes: to the project, nowhere, or to a peer in its place (BENCH_MAIL)."""

from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db.models import Model
from django.db.models.signals import post_save
from django.template.loader import render_to_string
from django.utils import timezone

TEXT = ("x" * 70 + "\n") * 14
HTML = f"<pre>{TEXT}</pre>"  # 2 KB in all, text and HTML, as the project's mails are


class Benchmarks(AppConfig):
    name = "benchmarks"

    def ready(self) -> None:
        if settings.BENCH_MAIL != "flasky":
            disconnect_receivers(visitor_model())
        if settings.BENCH_MAIL in ("mailer", "post_office"):
            post_save.connect(hand_to_peer, sender=visitor_model())


def visitor_model() -> type[Model]:
    try:
        return apps.get_model("notify", "Visitor")
    except LookupError:
        return apps.get_model("visitors", "Visitor")


def disconnect_receivers(model: type[Model]) -> None:
    """Whatever the project connected, under whichever name: its modules are not the benchmark's business."""
    kept = [each for each in post_save.receivers if each[0][1] != id(model)]
    assert len(kept) < len(post_save.receivers), f"nothing is connected to post_save of {model.__name__}"
    post_save.receivers = kept
    post_save.sender_receivers_cache.clear()


def hand_to_peer(sender: type[Model], instance: Model, created: bool, **kwargs: Any) -> None:
    """As a project would that uses the peer: the same templates, sent through Django's email backend."""
    if not created:
        return
    if settings.BENCH_READY_MADE:
        mail("New visitor", TEXT, HTML).send()
        return
    context = {
        "subject": "New visitor",
        "visitor": instance,
        "event": {"url": f"{settings.FLASKY_URL}/admin/{instance.pk}/"},
        "site_url": settings.FLASKY_URL,
        "now": timezone.now(),
    }
    text, html = (render_to_string(f"mail/new_visitor.{kind}", context) for kind in ("txt", "html"))
    mail("New visitor", text, html).send()


def mail(subject: str, text: str, html: str) -> EmailMultiAlternatives:
    message = EmailMultiAlternatives(subject, text, "you@example.com", ["me@example.com"])
    message.attach_alternative(html, "text/html")
    return message
