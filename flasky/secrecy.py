"""Redacts what error pages, error mails and logs show: no password anywhere in them, and one line for each record."""

import contextlib
import logging
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from notify.operations import channels
from notify.smtp.failure import printable
from notify.smtp.secret import Secret, hush

_LOGIN_IN_URL = re.compile(r"(?<=://)\S+(?=@)")
_KNOWN_TO_ALL = "django-insecure-"  # keys for development, Django's and ours, begin so


class Filter(SafeExceptionReporterFilter):
    """Django's, which goes by the names of variables; it also redacts logins in addresses, such as DATABASE_URL."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|NOTIFY_ALERT_URLS|NOTIFY_HEARTBEAT_URL", re.IGNORECASE
    )

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        if isinstance(cleansed, str) and "@" in cleansed:
            return _LOGIN_IN_URL.sub(self.cleansed_substitute, cleansed)
        return cleansed

    def get_post_parameters(self, request: HttpRequest | None) -> Any:
        """Also by name: what a view marks as sensitive is not known if the failure comes before the view."""
        found = super().get_post_parameters(request)
        if not found or not self.is_active(request):
            return found
        masked = found.copy()
        for name in found:
            if self.hidden_settings.search(name):
                masked[name] = self.cleansed_substitute
        return masked


class Reporter(ExceptionReporter):
    """Django's, without our secrets in exceptions and variables; for DEBUG's error page, too."""

    # Bandit warns of SafeString: Django has escaped the text, and a mask needs no escaping.

    def get_traceback_html(self) -> SafeString:
        return SafeString(hush(super().get_traceback_html(), secrets()))  # nosec

    def get_traceback_text(self) -> SafeString:
        return SafeString(hush(super().get_traceback_text(), secrets()))  # nosec


class Line(logging.Formatter):
    r"""A line for each record: line breaks and other control characters of its message are written \n, \x1b, \u202e.

    The lines of a traceback follow, each indented, so that none can be taken for a record. Records of
    `django.security`, which any request can cause, have none.
    """

    def format(self, record: logging.LogRecord) -> str:
        record.message, record.asctime = record.getMessage(), self.formatTime(record)
        line = printable(self.formatMessage(record))
        if not record.name.startswith("django.security"):
            if record.exc_info:
                line += _indented(self.formatException(record.exc_info))
            if record.stack_info:
                line += _indented(record.stack_info)
        return hush(line, secrets())


def secrets() -> list[str]:
    """Every secret in the settings, and every login in an address there."""
    found = {*channels.secrets(), *(str(database.get("PASSWORD") or "") for database in settings.DATABASES.values())}
    values = [getattr(settings, name) for name in dir(settings) if name.isupper()]
    of_channels = (settings.NOTIFY_ALERT_URLS, settings.NOTIFY_HEARTBEAT_URL)
    for value in (*values, *settings.SECRET_KEY_FALLBACKS, *settings.NOTIFY_TRANSPORT["OPTIONS"].values()):
        if isinstance(value, Secret) and not value.startswith(_KNOWN_TO_ALL) and value not in of_channels:
            part = _secret_part(value)
            found |= {part, unquote(part)}
    return sorted(found)


def _secret_part(value: str) -> str:
    """The login of an address; all of what is not an address."""
    if "://" in value:
        with contextlib.suppress(ValueError):
            parsed = urlsplit(value)
            return parsed.password or parsed.username or ""
    return str(value)


def _indented(lines: str) -> str:
    return "".join(f"\n    {printable(line)}" for line in lines.split("\n"))
