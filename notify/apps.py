"""The app: when Django is ready, registers its checks, finds the previews of all apps and prepares delivery."""

from typing import Any

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class NotifyConfig(AppConfig):
    name = "notify"
    verbose_name = _("Notification")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from notify import dispatch
        from notify.operations import alerts, checks, errors  # noqa: F401  (importing checks registers them)
        from notify.smtp.backend import EmailBackend

        EmailBackend.make_token_source = staticmethod(_token_source)
        autodiscover_modules("previews")  # of every app: their mails are shown beside ours
        errors.take_over()
        dispatch.prepare(look=alerts.look if alerts.is_configured() else None)


def _token_source(options: dict[str, Any]) -> Any:
    """Imported by those who need it: its packages are not small, and may be missing."""
    from notify.oauth import tokens

    return tokens.from_options(options)
