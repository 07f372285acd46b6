"""What error pages, error mails and logs may show: no password, wherever it stands, and one line for each record."""

import logging
import re
from collections.abc import Iterator
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
_KNOWN_TO_ALL = "django-insecure-"  # the beginning of keys that Django and we make for development


class Filter(SafeExceptionReporterFilter):
    """Django's, which goes by the names of variables; and without the logins in addresses, such as DATABASE_URL."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|NOTIFY_ALERT_URLS|NOTIFY_HEARTBEAT_URL", re.IGNORECASE
    )

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        if isinstance(cleansed, str) and "@" in cleansed:
            return _LOGIN_IN_URL.sub(self.cleansed_substitute, cleansed)
        return cleansed

    def get_post_parameters(self, request: HttpRequest | None) -> Any:
        """Django masks what a view has named, which a failure before the view forestalls; names tell here, too."""
        found = super().get_post_parameters(request)
        if not found or not self.is_active(request):
            return found
        masked = found.copy()
        for name in found:
            if self.hidden_settings.search(name):
                masked[name] = self.cleansed_substitute
        return masked


class Reporter(ExceptionReporter):
    """Django's, without what exceptions and the variables of frames repeat of our secrets (DEBUG's page included)."""

    # Bandit warns of SafeString: Django has escaped the text, and a mask needs no escaping.

    def get_traceback_html(self) -> SafeString:
        return SafeString(hush(super().get_traceback_html(), secrets()))  # nosec

    def get_traceback_text(self) -> SafeString:
        return SafeString(hush(super().get_traceback_text(), secrets()))  # nosec


class Line(logging.Formatter):
    r"""A line for each record: line breaks and other control characters of its message are written \n, \x1b, \u202e.

    Tracebacks follow in lines of their own, each indented, so that none can be taken for a record. What
    `django.security` logs is no fault of ours, and goes without.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = printable(self._head(record))
        if not record.name.startswith("django.security"):
            if record.exc_info:
                line += _indented(self.formatException(record.exc_info))
            if record.stack_info:
                line += _indented(record.stack_info)
        return hush(line, secrets())

    def _head(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        return self.formatMessage(record)


def secrets() -> list[str]:
    """Every secret in the settings, and every login in an address there."""
    return sorted(set(_secrets()))


def _secrets() -> Iterator[str]:
    yield from channels.secrets()
    addresses = (settings.NOTIFY_ALERT_URLS, settings.NOTIFY_HEARTBEAT_URL)
    found = [getattr(settings, name) for name in dir(settings) if name.isupper()]
    for database in settings.DATABASES.values():
        yield str(database.get("PASSWORD") or "")
    for value in (*found, *settings.SECRET_KEY_FALLBACKS, *settings.NOTIFY_TRANSPORT["OPTIONS"].values()):
        if not isinstance(value, Secret) or value.startswith(_KNOWN_TO_ALL) or value in addresses:
            continue
        if "://" not in value:
            yield str(value)
            continue
        parsed = urlsplit(value)
        for login in (parsed.password or parsed.username or "",):
            yield login
            yield unquote(login)


def _indented(lines: str) -> str:
    return "".join(f"\n    {printable(line)}" for line in lines.split("\n"))
