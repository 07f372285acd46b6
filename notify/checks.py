"""System checks: what is configured wrongly, said before a mail is lost to it. E stops, W warns."""

import os
import sqlite3
import stat
from collections.abc import Sequence
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connection
from django.utils.translation import gettext as _

from notify import claims
from notify.smtp import providers


@register("notify")
def check_mail_settings(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    options = settings.NOTIFY_TRANSPORT["OPTIONS"]
    found: list[CheckMessage] = []
    if options.get("use_tls") and options.get("use_ssl"):
        found.append(
            Error(
                _("MAIL_USE_TLS and MAIL_USE_SSL are both on."),
                hint=_("Choose one: MAIL_USE_TLS (STARTTLS, port 587) or MAIL_USE_SSL (TLS at once, port 465)."),
                id="notify.E001",
            )
        )
    if bool(options.get("username")) != bool(options.get("password")):
        has, lacks = "MAIL_USERNAME", "MAIL_PASSWORD"
        if not options.get("username"):
            has, lacks = lacks, has
        found.append(
            Error(
                _("%(has)s is set and %(lacks)s is not, so nobody would log in.") % {"has": has, "lacks": lacks},
                hint=_("Set %s too, or unset both for a relay that asks for no login.") % lacks,
                id="notify.E002",
            )
        )
    if not settings.FLASKY_ADMIN:
        found.append(
            Warning(
                _("FLASKY_ADMIN is not set: nobody is told of new visitors."),
                hint=_("Set FLASKY_ADMIN=you@example.com (several: separated by commas)."),
                id="notify.W003",
            )
        )
    return found + _check_sender(options)


def _check_sender(options: dict[str, Any]) -> list[CheckMessage]:
    provider = providers.find(host=options.get("host") or "")
    if not provider or not provider.sender_is_login:
        return []
    sender, login = parseaddr(settings.FLASKY_MAIL_SENDER)[1], options.get("username") or ""
    if not login or sender.lower() == login.lower():
        return []
    return [
        Error(
            _("FLASKY_MAIL_SENDER is %(sender)s, but %(host)s takes mail only from the account that logs in.")
            % {"sender": sender, "host": provider.host},
            hint=_("Unset FLASKY_MAIL_SENDER, or set it to an address such as Flasky Admin <%s>.") % login,
            id="notify.E004",
        )
    ]


@register("notify")
def check_lease(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    timeout = settings.NOTIFY_TRANSPORT["OPTIONS"].get("timeout") or settings.MAIL_TIMEOUT
    if claims.lease_seconds() > timeout:
        return []
    return [
        Error(
            _("NOTIFY_LEASE is %(lease)s s, but one attempt may take %(timeout)s s (MAIL_TIMEOUT).")
            % {"lease": claims.lease_seconds(), "timeout": timeout},
            hint=_("Make NOTIFY_LEASE longer than MAIL_TIMEOUT, or two workers may send the same mail."),
            id="notify.E005",
        )
    ]


@register("notify", Tags.security)
def check_secrecy(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if not settings.DEBUG and (settings.SECRET_KEY.startswith("django-insecure-") or len(settings.SECRET_KEY) < 32):
        found.append(
            Error(
                _("SECRET_KEY is insecure and DEBUG is off: whoever guesses it can forge sessions."),
                hint=_("Put a fresh one into the environment: %s")
                % "python -c 'import secrets; print(secrets.token_urlsafe(50))'",
                id="notify.E006",
            )
        )
    path = settings.BASE_DIR / ".env"
    if path.exists() and os.name == "posix" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        found.append(
            Warning(
                _("%s can be read by other users of this machine.") % ".env",
                hint=_("Run: %s") % "chmod 600 .env",
                id="notify.W007",
            )
        )
    return found


@register("notify", Tags.database)
def check_database(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    if connection.vendor == "sqlite" and sqlite3.sqlite_version_info < (3, 35):
        return [
            Error(
                _("SQLite %s cannot claim messages: UPDATE … RETURNING came with 3.35.") % sqlite3.sqlite_version,
                hint=_("Use a Python built with a newer SQLite, or PostgreSQL (DATABASE_URL)."),
                id="notify.E008",
            )
        ]
    if connection.vendor not in ("sqlite", "postgresql"):
        return [
            Error(
                _("The database is %s: claiming messages is written for SQLite and PostgreSQL.") % connection.vendor,
                hint=_("Set DATABASE_URL to one of those."),
                id="notify.E009",
            )
        ]
    return []
