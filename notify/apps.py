"""The app: connects its signals and its checks when Django is ready."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class NotifyConfig(AppConfig):
    name = "notify"
    verbose_name = _("Notification")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from notify import checks, signals  # noqa: F401  (importing registers them)

        autodiscover_modules("previews")  # of every app: their mails are shown beside ours
