"""The app: when Django is ready, registers its checks, finds the previews of all apps and prepares delivery."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class NotifyConfig(AppConfig):
    name = "notify"
    verbose_name = _("Notification")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from notify import dispatch
        from notify.operations import checks  # noqa: F401  (importing registers them)

        autodiscover_modules("previews")  # of every app: their mails are shown beside ours
        dispatch.prepare()
