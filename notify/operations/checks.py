"""System checks: what is configured wrongly, said before a mail is lost to it. E stops, W warns."""

import contextlib
import ipaddress
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from email.utils import parseaddr
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, router
from django.utils import timezone
from django.utils.translation import gettext as _

from notify import conf
from notify.models import OAuthToken
from notify.oauth import configuration
from notify.operations import channels
from notify.rendering.message import site_time
from notify.smtp.providers import presets

SHORTEST_KEY = 32  # characters
EXPIRY_WARNING = timedelta(days=14)


@register("notify")
def check_mail_settings(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    transport = conf.transport()
    options = transport["OPTIONS"]
    found: list[CheckMessage] = []
    if not transport["BACKEND"]:
        found.append(
            Error(
                _('MAILERS has no "transport": there is no mail server for stored mail.'),
                hint=_('Add "transport" to MAILERS, with the BACKEND and OPTIONS of your mail server.'),
                id="notify.E014",
            )
        )
    if transport["BACKEND"] == conf.OUTBOX:
        found.append(
            Error(
                _("The transport is the outbox itself: stored mail would be stored again, endlessly."),
                hint=_("Set it to the backend that sends, such as %s.") % conf.SMTP,
                id="notify.E015",
            )
        )
    if options.get("use_tls") and options.get("use_ssl"):
        found.append(
            Error(
                _("MAIL_USE_TLS and MAIL_USE_SSL are both on."),
                hint=_("Choose one: MAIL_USE_TLS (STARTTLS, port 587) or MAIL_USE_SSL (TLS at once, port 465)."),
                id="notify.E001",
            )
        )
    by_token = bool(options.get("token")) or any(name.startswith("oauth_") for name in options)
    if not by_token and bool(options.get("username")) != bool(options.get("password")):
        has, lacks = "MAIL_USERNAME", "MAIL_PASSWORD"
        if not options.get("username"):
            has, lacks = lacks, has
        found.append(
            Error(
                _("%(has)s is set but %(lacks)s is not, so there would be no login.") % {"has": has, "lacks": lacks},
                hint=_("Set %s too, or unset both for a mail server without a login.") % lacks,
                id="notify.E002",
            )
        )
    if getattr(settings, "FLASKY_ADMIN", None) == []:  # Flasky's own; elsewhere administrators are optional
        found.append(
            Warning(
                _("FLASKY_ADMIN is not set: no one is notified of new visitors."),
                hint=_("Set FLASKY_ADMIN=you@example.com (several: separated by commas)."),
                id="notify.W003",
            )
        )
    return _in_names_of_project(found + _check_oauth(options) + _check_sender(options))


def _in_names_of_project(found: list[CheckMessage]) -> list[CheckMessage]:
    for problem in found:
        problem.msg, problem.hint = conf.named(problem.msg), conf.named(problem.hint)
    return found


def _check_oauth(options: dict[str, Any]) -> list[CheckMessage]:
    try:
        if configuration.from_options(options) is None:
            return []
    except ImproperlyConfigured as error:
        return [
            Error(
                str(error),
                hint=_("See docs/providers.md for what your provider needs, and: manage.py mailauth"),
                id="notify.E021",
            )
        ]
    found: list[CheckMessage] = []
    if options.get("password"):
        found.append(
            Error(
                _("MAIL_PASSWORD and MAIL_OAUTH_CLIENT_ID are both set, so it is not clear how to sign in."),
                hint=_("Unset MAIL_PASSWORD to sign in by OAuth, or all MAIL_OAUTH_ variables to use the password."),
                id="notify.E022",
            )
        )
    if 0 < len(conf.MAIL_OAUTH_KEY) < SHORTEST_KEY:
        found.append(
            Warning(
                _("MAIL_OAUTH_KEY is so short that it can be guessed."),
                hint=_("Set a new one in the environment: %s")
                % "python -c 'import secrets; print(secrets.token_urlsafe(50))'",
                id="notify.W026",
            )
        )
    if missing := [name for name in ("oauthlib", "cryptography") if find_spec(name) is None]:
        found.append(
            Error(
                _("OAuth needs packages that are not installed: %s.") % ", ".join(missing),
                hint=_("Run: %s") % "pip install oauthlib cryptography",
                id="notify.E023",
            )
        )
    return found


@register("notify")
def check_secret_expiry(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """The date is the operator's to set: no answer of a provider tells it."""
    ends = conf.MAIL_OAUTH_EXPIRES
    today = site_time(timezone.now()).date()
    if ends is None or _oauth() is None or ends > today + EXPIRY_WARNING:
        return []
    return [
        Warning(
            (
                _("The OAuth client secret expired on %s (MAIL_OAUTH_EXPIRES).")
                if ends < today
                else _("The OAuth client secret expires on %s (MAIL_OAUTH_EXPIRES).")
            )
            % ends.isoformat(),
            hint=_("Create a new one; set MAIL_OAUTH_CLIENT_SECRET to its value and MAIL_OAUTH_EXPIRES to its date."),
            id="notify.W024",
        )
    ]


@register("notify", Tags.database)
def check_permission_expiry(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Of a refresh token, where the provider said when it ends."""
    configured = _oauth()
    if configured is None:
        return []
    soon = timezone.now() + EXPIRY_WARNING
    try:
        ends = (
            OAuthToken.objects.filter(key=configured.key, refresh_expires_at__lte=soon)
            .values_list("refresh_expires_at", flat=True)
            .first()
        )
    except DatabaseError:  # not migrated yet
        return []
    if ends is None:
        return []
    words = (
        _("The permission to send as %(user)s ended on %(date)s.")
        if ends < timezone.now()
        else _("The permission to send as %(user)s ends on %(date)s.")
    )
    return [
        Warning(
            words % {"user": configured.username, "date": site_time(ends).date().isoformat()},
            hint=_("Sign in again: manage.py mailauth"),
            id="notify.W025",
        )
    ]


def _oauth() -> configuration.Configuration | None:
    with contextlib.suppress(ImproperlyConfigured):  # E021 says so
        return configuration.from_options(conf.transport()["OPTIONS"])
    return None


@register("notify", Tags.security)
def check_password_in_clear(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    options = conf.transport()["OPTIONS"]
    host = str(options.get("host") or "")
    encrypted = options.get("use_tls") or options.get("use_ssl")
    by_token = options.get("token") or options.get("oauth_client_id")
    if encrypted or (_is_this_machine(host) and not options.get("proxy")):
        return []
    if not options.get("password") and not by_token:
        return []
    found: list[CheckMessage] = [
        Warning(
            _("The access token is sent to %s unencrypted: anyone on the network path can read it.") % host
            if by_token
            else _("MAIL_PASSWORD is sent to %s unencrypted: anyone on the network path can read it.") % host,
            hint=_("Set MAIL_USE_TLS=true (STARTTLS, port 587) or MAIL_USE_SSL=true (TLS at once, port 465)."),
            id="notify.W010",
        )
    ]
    return _in_names_of_project(found)


@register("notify")
def check_alerts(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    chosen = channels.configured()
    if chosen and not channels.is_installed():
        return [
            Error(
                _("NOTIFY_ALERT_URLS is set, but the package apprise is not installed: no alert can be sent."),
                hint=_("Run: %s") % "pip install apprise",
                id="notify.E030",
            )
        ]
    unknown = [number for number, channel in enumerate(chosen, 1) if not channel.is_understood]
    if not unknown:
        return []
    return [
        Error(
            _("NOTIFY_ALERT_URLS: Apprise does not understand address %s.") % ", ".join(map(str, unknown)),
            hint=_("See https://appriseit.com/services/ for how the addresses of each service are written."),
            id="notify.E031",
        )
    ]


def _is_this_machine(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_sender(options: dict[str, Any]) -> list[CheckMessage]:
    provider = presets.find(host=options.get("host") or "")
    if not provider or not provider.sender_is_login:
        return []
    sender, login = parseaddr(conf.sender())[1], options.get("username") or ""
    if not login or sender.lower() == login.lower():
        return []
    return [
        Error(
            _("FLASKY_MAIL_SENDER is %(sender)s, but %(host)s accepts mail only from the account that logs in.")
            % {"sender": sender, "host": provider.host},
            hint=_("Unset FLASKY_MAIL_SENDER, or set it to an address such as Flasky Admin <%s>.") % login,
            id="notify.E004",
        )
    ]


@register("notify")
def check_routers(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    tables = list(apps.get_app_config("notify").get_models())
    used = {choose(table) for table in tables for choose in (router.db_for_read, router.db_for_write)}
    here = all(router.allow_migrate_model(DEFAULT_DB_ALIAS, table) for table in tables)
    if used == {DEFAULT_DB_ALIAS} and here:
        return []
    return [
        Error(
            _("A database router moves tables of notify out of the database %r, or reads them from another one.")
            % DEFAULT_DB_ALIAS,
            hint=_(
                "Exclude the app notify in DATABASE_ROUTERS: a mail is stored in the transaction of the code that "
                "sends it, and reading from a replica that lags behind could send it twice."
            ),
            id="notify.E011",
        )
    ]


@register("notify", Tags.database)
def check_database(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    if connection.vendor == "sqlite" and sqlite3.sqlite_version_info < (3, 35):
        return [
            Error(
                _("SQLite %s is too old: claiming messages needs UPDATE … RETURNING (3.35).") % sqlite3.sqlite_version,
                hint=conf.named(_("Use a Python built with a newer SQLite, or PostgreSQL (DATABASE_URL).")),
                id="notify.E008",
            )
        ]
    if connection.vendor not in ("sqlite", "postgresql"):
        return [
            Error(
                _("The database is %s, but claiming messages works only on SQLite and PostgreSQL.") % connection.vendor,
                hint=conf.named(_("Set DATABASE_URL to one of these.")),
                id="notify.E009",
            )
        ]
    return []
