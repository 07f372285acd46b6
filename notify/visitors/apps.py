"""The app `notify.visitors`: the page that asks for a name. Other projects install `notify` without it."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class VisitorsConfig(AppConfig):
    name = "notify.visitors"
    verbose_name = _("Visitors")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from notify.visitors import signals  # noqa: F401  (importing connects them)
