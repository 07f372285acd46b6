"""The tables of the page: visitors, and how often each client posts."""

from typing import Any

from django.db import models, transaction
from django.db.models.functions import Length, Now
from django.db.models.lookups import GreaterThan, LessThanOrEqual
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from notify.visitors import names


class Visitor(models.Model):
    """Someone who typed a name. The name is stored folded, and is unique in that form."""

    name = models.CharField(_("name"), max_length=names.MAX_LENGTH, unique=True, validators=[names.validate])
    created_at = models.DateTimeField(_("first seen"), default=timezone.now, db_default=Now(), editable=False)

    class Meta:
        db_table = "notify_visitor"  # as when it was part of `notify`
        verbose_name = _("visitor")
        verbose_name_plural = _("visitors")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                name="visitor_name_length",
                condition=models.Q(GreaterThan(Length("name"), 0), LessThanOrEqual(Length("name"), names.MAX_LENGTH)),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the visitor and what `post_save` does in one transaction. Raises ValidationError for a bad name."""
        self.clean()
        names.validate(self.name)
        with transaction.atomic(using=kwargs.get("using")):
            super().save(*args, **kwargs)

    def clean(self) -> None:
        self.name = names.fold(self.name)


class ClientSlot(models.Model):
    """Posts of one client within ten seconds, if NOTIFY_RATE_LIMIT is set. Kept for a little over a minute."""

    slot = models.BigIntegerField(_("tens of seconds since 1970"))
    client = models.CharField(_("keyed hash of the address"), max_length=32)
    posts = models.PositiveIntegerField(_("posts"), default=0)

    class Meta:
        db_table = "notify_clientslot"
        verbose_name = _("posts of a client")
        verbose_name_plural = _("posts of clients")
        constraints = [models.UniqueConstraint(name="client_slot_once", fields=["slot", "client"])]

    def __str__(self) -> str:
        return f"{self.client[:8]} {self.slot}: {self.posts}"
