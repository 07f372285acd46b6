"""System checks: finds wrong configuration before a mail fails because of it. E stops the start, W warns."""

import contextlib
import ipaddress
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import parseaddr
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connection, router
from django.utils import timezone
from django.utils.translation import gettext as _

from notify import clock, conf
from notify.models import OAuthToken
from notify.oauth import configuration
from notify.operations import channels
from notify.smtp.providers import presets

SHORTEST_KEY = 32  # characters
DISPATCHES = ("thread", "worker", "celery")
EXPIRY_WARNING = timedelta(days=14)

Problems = Iterator[CheckMessage]


def _registered(*tags: str) -> Callable[[Callable[[], Problems]], Callable[..., list[CheckMessage]]]:
    """Make a system check of a function that yields problems; their texts name settings as the project does."""

    def decorate(find: Callable[[], Problems]) -> Callable[..., list[CheckMessage]]:
        def check(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
            found = list(find())
            for problem in found:
                problem.msg, problem.hint = conf.named(problem.msg), conf.named(problem.hint)
            return found

        check.__name__ = find.__name__
        return register(check, "notify", *tags)

    return decorate


@_registered()
def check_mail_settings() -> Problems:
    transport = conf.transport()
    options = transport["OPTIONS"]
    if not transport["BACKEND"]:
        yield Error(
            _('MAILERS has no "transport": there is no mail server for stored mail.'),
            hint=_('Add "transport" to MAILERS, with the BACKEND and OPTIONS of your mail server.'),
            id="notify.E014",
        )
    if transport["BACKEND"] == conf.OUTBOX:
        yield Error(
            _("The transport is the outbox itself: stored mail would be stored again, endlessly."),
            hint=_("Set it to the backend that sends, such as %s.") % conf.SMTP,
            id="notify.E015",
        )
    if options.get("use_tls") and options.get("use_ssl"):
        yield Error(
            _("MAIL_USE_TLS and MAIL_USE_SSL are both on."),
            hint=_("Choose one: MAIL_USE_TLS (STARTTLS, port 587) or MAIL_USE_SSL (TLS at once, port 465)."),
            id="notify.E001",
        )
    if not _by_token(options) and bool(options.get("username")) != bool(options.get("password")):
        has, lacks = "MAIL_USERNAME", "MAIL_PASSWORD"
        if not options.get("username"):
            has, lacks = lacks, has
        yield Error(
            _("%(has)s is set but %(lacks)s is not, so there would be no login.") % {"has": has, "lacks": lacks},
            hint=_("Set %s too, or unset both for a mail server without a login.") % lacks,
            id="notify.E002",
        )
    if getattr(settings, "FLASKY_ADMIN", None) == []:  # Flasky's own; elsewhere administrators are optional
        yield Warning(
            _("FLASKY_ADMIN is not set: no one is notified of new visitors."),
            hint=_("Set FLASKY_ADMIN=you@example.com (several: separated by commas)."),
            id="notify.W003",
        )
    yield from _oauth_problems(options)
    yield from _sender_problems(options)


def _by_token(options: dict[str, Any]) -> bool:
    """Whether it signs in by OAuth. Options made of Django's EMAIL_* settings hold an empty text for each of ours."""
    return any(value for name, value in options.items() if name == "token" or name.startswith("oauth_"))


def _oauth_problems(options: dict[str, Any]) -> Problems:
    try:
        if configuration.from_options(options) is None:
            return
    except ImproperlyConfigured as error:
        hint = _("See docs/providers.md for what your provider needs, and: manage.py mailauth")
        yield Error(str(error), hint=hint, id="notify.E021")
        return
    if options.get("password"):
        yield Error(
            _("MAIL_PASSWORD and MAIL_OAUTH_CLIENT_ID are both set, so it is not clear how to sign in."),
            hint=_("Unset MAIL_PASSWORD to sign in by OAuth, or all MAIL_OAUTH_ variables to use the password."),
            id="notify.E022",
        )
    if 0 < len(conf.MAIL_OAUTH_KEY) < SHORTEST_KEY:
        command = "python -c 'import secrets; print(secrets.token_urlsafe(50))'"
        yield Warning(
            _("MAIL_OAUTH_KEY is so short that it can be guessed."),
            hint=_("Set a new one in the environment: %s") % command,
            id="notify.W026",
        )
    if missing := [name for name in ("oauthlib", "cryptography") if find_spec(name) is None]:
        yield Error(
            _("OAuth needs packages that are not installed: %s.") % ", ".join(missing),
            hint=_("Run: %s") % "pip install oauthlib cryptography",
            id="notify.E023",
        )


def _sender_problems(options: dict[str, Any]) -> Problems:
    provider = presets.find(host=options.get("host") or "")
    sender, login = parseaddr(conf.sender())[1], options.get("username") or ""
    if provider and provider.sender == "login" and login and sender.lower() != login.lower():
        yield Error(
            _("FLASKY_MAIL_SENDER is %(sender)s, but %(host)s accepts mail only from the account that logs in.")
            % {"sender": sender, "host": provider.host},
            hint=_("Unset FLASKY_MAIL_SENDER, or set it to an address such as Flasky Admin <%s>.") % login,
            id="notify.E004",
        )


@_registered()
def check_secret_expiry() -> Problems:
    """The operator sets the date, because providers do not report it."""
    ends = conf.MAIL_OAUTH_EXPIRES
    today = clock.site_time(timezone.now()).date()
    if ends is None or _oauth() is None or ends > today + EXPIRY_WARNING:
        return
    words = (
        _("The OAuth client secret expired on %s (MAIL_OAUTH_EXPIRES).")
        if ends < today
        else _("The OAuth client secret expires on %s (MAIL_OAUTH_EXPIRES).")
    )
    yield Warning(
        words % ends.isoformat(),
        hint=_("Create a new one; set MAIL_OAUTH_CLIENT_SECRET to its value and MAIL_OAUTH_EXPIRES to its date."),
        id="notify.W024",
    )


@_registered(Tags.database)
def check_permission_expiry() -> Problems:
    """For a refresh token whose expiry the provider reported."""
    if (configured := _oauth()) is None:
        return
    soon = timezone.now() + EXPIRY_WARNING
    rows = OAuthToken.objects.filter(key=configured.key, refresh_expires_at__lte=soon)
    try:
        ends = rows.values_list("refresh_expires_at", flat=True).first()
    except (DatabaseError, InterfaceError):  # not migrated yet
        return
    if ends is None:
        return
    words = (
        _("The permission to send as %(user)s ended on %(date)s.")
        if ends < timezone.now()
        else _("The permission to send as %(user)s ends on %(date)s.")
    )
    yield Warning(
        words % {"user": configured.username, "date": clock.site_time(ends).date().isoformat()},
        hint=_("Sign in again: manage.py mailauth"),
        id="notify.W025",
    )


def _oauth() -> configuration.Configuration | None:
    with contextlib.suppress(ImproperlyConfigured):  # E021 says so
        return configuration.from_options(conf.transport()["OPTIONS"])
    return None


@_registered(Tags.security)
def check_password_in_clear() -> Problems:
    options = conf.transport()["OPTIONS"]
    host = str(options.get("host") or "")
    by_token = _by_token(options)
    if not (options.get("password") or by_token) or options.get("use_tls") or options.get("use_ssl"):
        return
    if _is_this_machine(host) and not options.get("proxy"):
        return
    words = (
        _("The access token is sent to %s unencrypted: anyone on the network path can read it.")
        if by_token
        else _("MAIL_PASSWORD is sent to %s unencrypted: anyone on the network path can read it.")
    )
    yield Warning(
        words % host,
        hint=_("Set MAIL_USE_TLS=true (STARTTLS, port 587) or MAIL_USE_SSL=true (TLS at once, port 465)."),
        id="notify.W010",
    )


def _is_this_machine(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@_registered()
def check_values() -> Problems:
    """Numbers that are text, as the environment has them, and words that mean nothing: both fail late, or silently."""
    numbers = [(name, getattr(conf, name)) for name, default in conf.DEFAULTS.items() if type(default) is int]
    timeout = ("MAIL_TIMEOUT", conf.transport()["OPTIONS"].get("timeout") or 0)
    numbers += [timeout] if timeout not in numbers else []  # an attempt may take the longer of the two
    for name, value in numbers:
        least = 1 if name == "NOTIFY_CONNECTIONS" else 0
        if not isinstance(value, (int, float)) or value < least:
            yield Error(
                _("%(name)s is %(value)r, not a number of at least %(least)d.")
                % {"name": name, "value": value, "least": least},
                hint=_("Set it to a number, such as %d.") % conf.DEFAULTS[name],
                id="notify.E032",
            )
    if conf.NOTIFY_DISPATCH not in DISPATCHES:
        yield Error(
            _("NOTIFY_DISPATCH is %r, so nothing is delivered.") % conf.NOTIFY_DISPATCH,
            hint=_("Set it to one of these: %s.") % ", ".join(DISPATCHES),
            id="notify.E033",
        )


@_registered()
def check_alerts() -> Problems:
    chosen = channels.configured()
    if chosen and not channels.is_installed():
        yield Error(
            _("NOTIFY_ALERT_URLS is set, but the package apprise is not installed: no alert can be sent."),
            hint=_("Run: %s") % "pip install apprise",
            id="notify.E030",
        )
    elif unknown := [str(number) for number, channel in enumerate(chosen, 1) if not channel.is_understood]:
        yield Error(
            _("NOTIFY_ALERT_URLS: Apprise does not understand address %s.") % ", ".join(unknown),
            hint=_("See https://appriseit.com/services/ for how the addresses of each service are written."),
            id="notify.E031",
        )


@_registered()
def check_routers() -> Problems:
    tables = list(apps.get_app_config("notify").get_models())
    used = {choose(table) for table in tables for choose in (router.db_for_read, router.db_for_write)}
    here = all(router.allow_migrate_model(DEFAULT_DB_ALIAS, table) for table in tables)
    if used != {DEFAULT_DB_ALIAS} or not here:
        yield Error(
            _("A database router moves tables of notify out of the database %r, or reads them from another one.")
            % DEFAULT_DB_ALIAS,
            hint=_(
                "Exclude the app notify in DATABASE_ROUTERS: a mail is stored in the transaction of the code that "
                "sends it, and reading from a replica that lags behind could send it twice."
            ),
            id="notify.E011",
        )


@_registered(Tags.database)
def check_database() -> Problems:
    if connection.vendor == "sqlite" and sqlite3.sqlite_version_info < (3, 35):
        yield Error(
            _("SQLite %s is too old: claiming messages needs UPDATE … RETURNING (3.35).") % sqlite3.sqlite_version,
            hint=_("Use a Python built with a newer SQLite, or PostgreSQL (DATABASE_URL)."),
            id="notify.E008",
        )
    if connection.vendor not in ("sqlite", "postgresql"):
        yield Error(
            _("The database is %s, but claiming messages works only on SQLite and PostgreSQL.") % connection.vendor,
            hint=_("Set DATABASE_URL to one of these."),
            id="notify.E009",
        )
