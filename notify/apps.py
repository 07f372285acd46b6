"""The app: when Django is ready, registers its checks, finds the previews of all apps and prepares delivery."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules, import_string
from django.utils.translation import gettext_lazy as _


class NotifyConfig(AppConfig):
    name = "notify"
    verbose_name = _("Notification")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from notify import dispatch
        from notify.operations import alerts, checks, errors  # noqa: F401  (importing checks registers them)
        from notify.smtp.backend import EmailBackend

        # Imported when it is called: its packages are not small, and may be missing.
        EmailBackend.make_token_source = staticmethod(
            lambda options: import_string("notify.oauth.tokens.from_options")(options)
        )
        autodiscover_modules("previews")  # of every app: their mails are shown beside ours
        errors.take_over()
        dispatch.prepare(look=alerts.look if alerts.is_configured() else None)
