"""System checks of the site's configuration: what is allowed, and probably not meant."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.utils.translation import gettext as _


@register()
def check_environment(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    return [Warning(doubt, id="flasky.W001") for doubt in getattr(settings, "ENVIRONMENT_DOUBTS", [])]


@register()
def check_inbox(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.MAIL_BACKEND != "inbox":
        return []
    hint = _("To send mail, set MAIL_BACKEND=smtp.")
    if not settings.DEBUG:
        problem = _("MAIL_BACKEND=inbox sends no mail, and without DEBUG no page shows what it keeps.")
        return [Warning(problem, hint=hint, id="flasky.W002")]
    named = [name for name in ("MAIL_SERVICE", "MAIL_SERVER") if getattr(settings, name)]
    if not named:
        return []
    problem = _("%s is set, but MAIL_BACKEND=inbox keeps all mail on this machine.") % named[0]
    return [Warning(problem, hint=hint, id="flasky.W003")]
