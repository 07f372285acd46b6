"""Notifies administrators of each new visitor: the only link between the page and mail."""

from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _

from notify import conf, mail
from notify.visitors.models import Visitor

TOPIC = "new_visitor"
SUBJECT = _("New visitor")


@receiver(post_save, sender=Visitor)
def notify_of_new_visitor(sender: type[Visitor], instance: Visitor, created: bool, raw: bool, **kwargs: Any) -> None:
    if created and not raw:
        mail.notify_admins(
            TOPIC,
            SUBJECT,
            "mail/new_visitor",
            key=str(instance.pk),
            summary=instance.name,
            url=url_of(instance),
            visitor=instance,
        )


def url_of(visitor: Visitor) -> str:
    """The visitor's page in the admin, as an absolute link; "" without an admin."""
    try:
        return conf.site_url() + reverse("admin:visitors_visitor_change", args=[visitor.pk])
    except NoReverseMatch:
        return ""
