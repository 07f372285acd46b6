"""Every setting of the app, its default, and where Django's own settings are the default. Read at each access.

The table in docs/adopt.md lists them; a test holds the two together.
"""

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.utils.translation import get_language_info, to_locale

NOTIFY_DISPATCH: str = "thread"  # who delivers: a thread of the web process, a "worker" (deliver --watch) or "celery"
NOTIFY_CONNECTIONS: int = 1  # simultaneous connections to the mail server, of each process that delivers
NOTIFY_CELERY_APP: str = "celery.current_app"  # dotted path of the Celery app that carries wake-ups
NOTIFY_BURST: int = 5  # events of a topic that are mailed one by one within an interval
NOTIFY_INTERVAL: int = 300  # seconds; 0: events are never folded into a digest
NOTIFY_KEEP_DAYS: int = 90  # how long `outbox purge` leaves finished messages
NOTIFY_READY_SECONDS: int = 300  # age of the oldest due message at which health falls short
NOTIFY_METRICS_TOKEN: str = ""  # bearer token for /metrics; "": staff only
NOTIFY_FOLD_ERRORS: bool = True  # server errors of a kind are counted in a digest after the first; or each is mailed
NOTIFY_ALERT_URLS: str | list[str] = ""  # Apprise URLs that get an alert when mail does not work (secrets)
NOTIFY_ALERT_AFTER: int = 300  # seconds that delivery may be interrupted before that is reported there
NOTIFY_ALERT_FAILURES: int = 10  # more messages than this that failed within an hour are reported; 0: never
NOTIFY_HEARTBEAT_URL: str = ""  # asked once a minute while mail works (a secret)
NOTIFY_SENSITIVE: str | Callable[[EmailMessage], bool] = "links"  # see `outbox.is_sensitive`
NOTIFY_RATE_LIMIT: int = 0  # names a minute from one client address; 0: no limit
NOTIFY_TRUSTED_PROXIES: int = 0  # proxies in front of the site, whose X-Forwarded-For says the client's address
NOTIFY_FORM_SECONDS: int = 1  # a form that comes back sooner is shown again
MAIL_TIMEOUT: int = 30  # seconds that one attempt to send may take
MAIL_PROXY: str = ""  # for a transport made of EMAIL_* settings: as `notify.smtp.backend.EmailBackend` takes it
MAIL_EHLO: str = ""  # likewise: the name said in EHLO, "" for this machine's
MAIL_OAUTH_KEY: str = ""  # encrypts the tokens that are kept; "": SECRET_KEY does
MAIL_OAUTH_EXPIRES: date | None = None  # when the client's secret ends

# From the lines above mypy knows the types. At run time the names are moved into this dict, because Python calls a
# module's `__getattr__` (PEP 562) only for a name that the module does not have. It asks Django's settings first.
DEFAULTS: dict[str, Any] = {name: globals().pop(name) for name in [*globals()] if name.startswith(("NOTIFY_", "MAIL_"))}

if not TYPE_CHECKING:  # seeing it, mypy would accept any name

    def __getattr__(name: str) -> Any:
        if name not in DEFAULTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(settings, name, DEFAULTS[name])


OUTBOX = "notify.outbox.EmailBackend"
SMTP = "notify.smtp.backend.EmailBackend"


def admins() -> list[str]:
    """Addresses that are notified of events: FLASKY_ADMIN, else ADMINS, which in Django 5.2 has pairs.

    A string is taken for a list with commas in between.
    """
    found = _first("FLASKY_ADMIN", "ADMINS")
    if isinstance(found, str):
        found = [each.strip() for each in found.split(",") if each.strip()]
    return [str(each[1] if isinstance(each, (list, tuple)) else each) for each in found]


def sender() -> str:
    """From of the app's own mails: FLASKY_MAIL_SENDER, else DEFAULT_FROM_EMAIL."""
    return str(_first("FLASKY_MAIL_SENDER", "DEFAULT_FROM_EMAIL"))


def subject_prefix() -> str:
    """Before the subjects of the app's own mails: FLASKY_MAIL_SUBJECT_PREFIX, else EMAIL_SUBJECT_PREFIX; no blanks."""
    return str(_first("FLASKY_MAIL_SUBJECT_PREFIX", "EMAIL_SUBJECT_PREFIX")).strip()


def site_url() -> str:
    """`https://example.com`, without a slash at the end; "" if it is not set: then mails have no link to the site."""
    return str(getattr(settings, "NOTIFY_SITE_URL", "") or getattr(settings, "FLASKY_URL", "")).rstrip("/")


def transport() -> dict[str, Any]:
    """What sends stored mail: `{"BACKEND": dotted path, "OPTIONS": {…}}`; BACKEND is "" if none is configured.

    NOTIFY_TRANSPORT, else MAILERS["transport"] (Django 6.1), else the project's EMAIL_* settings. OPTIONS may hold
    secrets.
    """
    chosen = getattr(settings, "NOTIFY_TRANSPORT", None)
    if chosen is None and (mailers := _mailers()) is not None:
        chosen = mailers.get("transport") or {}
    elif chosen is None:
        options = {option: getattr(settings, name, "") for option, name in _OPTIONS.values()}
        chosen = {"BACKEND": SMTP, "OPTIONS": options}
    if not isinstance(chosen, dict):
        raise ImproperlyConfigured('NOTIFY_TRANSPORT is no dictionary such as {"BACKEND": "…", "OPTIONS": {…}}')
    backend, options = str(chosen.get("BACKEND") or ""), dict(chosen.get("OPTIONS") or {})
    if backend in (SMTP, "django.core.mail.backends.smtp.EmailBackend"):  # whose own default is to wait without end
        options["timeout"] = options.get("timeout") or getattr(settings, "MAIL_TIMEOUT", DEFAULTS["MAIL_TIMEOUT"])
        by_mode = 465 if options.get("use_ssl") else 587 if options.get("use_tls") else 25
        options["port"] = options.get("port") or by_mode
    return {"BACKEND": backend, "OPTIONS": options}


def preview_languages() -> dict[str, str]:
    """Code to name. NOTIFY_PREVIEW_LANGUAGES, else LANGUAGE_CODE and those of LANGUAGES that have a catalogue."""
    chosen = getattr(settings, "NOTIFY_PREVIEW_LANGUAGES", None)
    if not chosen:
        chosen = [settings.LANGUAGE_CODE]
        chosen += [code for code, _ in settings.LANGUAGES if code not in chosen and _has_catalogue(code)]
    names = dict(settings.LANGUAGES)
    return {code: str(names.get(code) or _name_of(code)) for code in chosen}


def named(text: object) -> str:
    """A text with the names of settings that this project uses: EMAIL_HOST_PASSWORD, say, for MAIL_PASSWORD."""
    if hasattr(settings, "FLASKY_ADMIN"):
        return str(text)

    def replace(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        own = _NAMES.get(name) or _option_name(name)
        return f"{own} = {value.capitalize()}" if value else own

    return _NAMED.sub(replace, str(text))


def _first(own: str, of_django: str) -> Any:
    found = getattr(settings, own, None)
    return getattr(settings, of_django) if found is None else found


def _mailers() -> dict[str, Any] | None:
    """MAILERS, where Django knows and the project has it."""
    found: dict[str, Any] | None = getattr(settings, "MAILERS", None) if django.VERSION >= (6, 1) else None
    return found


def _has_catalogue(code: str) -> bool:
    folders = [Path(__file__).parent / "locale", *map(Path, settings.LOCALE_PATHS)]
    return any((folder / to_locale(code) / "LC_MESSAGES" / "django.mo").exists() for folder in folders)


def _name_of(code: str) -> str:
    try:
        return str(get_language_info(code)["name_local"])
    except KeyError:
        return code


# Name in texts: the backend's option, and the setting it is where there is neither MAILERS nor NOTIFY_TRANSPORT.
_OPTIONS = {
    "MAIL_SERVER": ("host", "EMAIL_HOST"),
    "MAIL_PORT": ("port", "EMAIL_PORT"),
    "MAIL_USERNAME": ("username", "EMAIL_HOST_USER"),
    "MAIL_PASSWORD": ("password", "EMAIL_HOST_PASSWORD"),
    "MAIL_USE_TLS": ("use_tls", "EMAIL_USE_TLS"),
    "MAIL_USE_SSL": ("use_ssl", "EMAIL_USE_SSL"),
    "MAIL_TIMEOUT": ("timeout", "EMAIL_TIMEOUT"),
    "EMAIL_SSL_KEYFILE": ("ssl_keyfile", "EMAIL_SSL_KEYFILE"),
    "EMAIL_SSL_CERTFILE": ("ssl_certfile", "EMAIL_SSL_CERTFILE"),
    "MAIL_PROXY": ("proxy", "MAIL_PROXY"),
    "MAIL_EHLO": ("local_hostname", "MAIL_EHLO"),
    **{
        f"MAIL_OAUTH_{name}": (f"oauth_{name.lower()}", f"MAIL_OAUTH_{name}")
        for name in ("CLIENT_ID", "CLIENT_SECRET", "TENANT", "REFRESH_TOKEN", "TOKEN_URL", "AUTHORIZE_URL", "SCOPE")
    },
}
_NAMES = {
    "FLASKY_ADMIN": "ADMINS",
    "FLASKY_MAIL_SENDER": "DEFAULT_FROM_EMAIL",
    "FLASKY_MAIL_SUBJECT_PREFIX": "EMAIL_SUBJECT_PREFIX",
    "FLASKY_URL": "NOTIFY_SITE_URL",
    "DATABASE_URL": "DATABASES",
}
_NAMED = re.compile(rf"\b({'|'.join([*_NAMES, *_OPTIONS])})\b(?:=(true|false)\b)?")


def _option_name(name: str) -> str:
    option, of_django = _OPTIONS[name]
    if hasattr(settings, "NOTIFY_TRANSPORT"):
        return f"{option} of NOTIFY_TRANSPORT"
    return of_django if _mailers() is None else f'{option} of MAILERS["transport"]'
