"""System checks of the site's configuration: what is allowed, and probably not meant."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register


@register()
def check_environment(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    return [Warning(doubt, id="flasky.W001") for doubt in getattr(settings, "ENVIRONMENT_DOUBTS", [])]
