"""Where the site and the mail meet: a new visitor is told to the administrators."""

from typing import Any

from django.db.models.signals import post_save, pre_save
from django.dispatch import receiver

from notify import mail
from notify.models import Visitor


@receiver(post_save, sender=Visitor)
def tell_of_new_visitor(sender: type[Visitor], instance: Visitor, created: bool, raw: bool, **kwargs: Any) -> None:
    if created and not raw:
        mail.notify_admins(
            mail.VISITORS,
            mail.NEW_VISITOR,
            "mail/new_visitor",
            key=str(instance.pk),
            summary=instance.name,
            url=mail.url_of(instance),
            visitor=instance,
        )


@receiver(pre_save, sender=Visitor)
def leave_fixtures_untold(sender: type[Visitor], instance: Visitor, raw: bool, **kwargs: Any) -> None:
    if raw:
        instance.announced = True
