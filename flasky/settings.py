"""Settings: the only reader of the environment. Every variable is in .env.example with its default."""

import contextlib
import inspect
import os
import re
from email.utils import parseaddr
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured
from django.utils.module_loading import import_string

from flasky import environment as env
from notify.smtp.providers import presets

BASE_DIR = Path(__file__).resolve().parent.parent
# What is written at run time: names of visitors, mails with links to passwords. All that this process writes, here or
# elsewhere, is for its user alone; SQLite gives its -wal and -shm the mode of the database.
os.umask(0o077)
VAR_DIR = BASE_DIR / "var"
STATIC_ROOT = VAR_DIR / "static"
with contextlib.suppress(OSError):  # read-only, or another user's: not needed with PostgreSQL; check W007 warns
    VAR_DIR.mkdir(mode=0o700, exist_ok=True)
    STATIC_ROOT.mkdir(exist_ok=True)  # whitenoise warns where it is missing
    VAR_DIR.chmod(0o700)
env.load(BASE_DIR / ".env")

# --- The site ---------------------------------------------------------------------------------------------------

DEBUG = env.flag("DEBUG", False)
INSECURE_KEY = "django-insecure-for-development-only"
SECRET_KEY = env.secret("SECRET_KEY", INSECURE_KEY)
if SECRET_KEY == INSECURE_KEY and not DEBUG:
    raise ImproperlyConfigured("SECRET_KEY is not set. `make run` writes a fresh one into .env; or set DEBUG=true")
SECRET_KEY_FALLBACKS = env.secrets("SECRET_KEY_FALLBACKS")
# As Django's security.W009, which only `check --deploy` would say.
if not DEBUG and (len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 5 or SECRET_KEY.startswith("django-insecure-")):
    raise ImproperlyConfigured(
        "SECRET_KEY can be guessed: it needs 50 characters, at least 5 of them different, and no django-insecure- in "
        "front. Make one: python -c 'import secrets; print(secrets.token_urlsafe(50))'"
    )

# In error pages and error mails, which show settings, environment and variables.
DEFAULT_EXCEPTION_REPORTER = "flasky.secrecy.Reporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "flasky.secrecy.Filter"

PORT = env.number("PORT", 8000, 1, 65535)
FLASKY_URL = env.url("FLASKY_URL", f"http://127.0.0.1:{PORT}")
_host = urlsplit(FLASKY_URL).hostname or "localhost"
ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS") or list(
    dict.fromkeys(["localhost", "127.0.0.1", "[::1]", f"[{_host}]" if ":" in _host else _host])
)

INSTALLED_APPS = [
    "flasky",
    "flasky.apps.Admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "notify",
    "notify.visitors",
]
MIDDLEWARE = [
    "flasky.middleware.close_read_only_connections",
    "flasky.middleware.set_policies",
    "flasky.middleware.read_forms_as_utf8",
    "flasky.middleware.drop_control_characters",
    "django.middleware.security.SecurityMiddleware",
    *(["whitenoise.middleware.WhiteNoiseMiddleware"] if find_spec("whitenoise") else []),
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "flasky.middleware.refuse_large_bodies",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "flasky.urls"
WSGI_APPLICATION = "flasky.wsgi.application"
ASGI_APPLICATION = "flasky.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "flasky.inbox.link",
            ]
        },
    }
]
STATIC_URL = "static/"
FILE_UPLOAD_PERMISSIONS = 0o600  # of what collectstatic copies
WHITENOISE_USE_FINDERS = True  # the admin's files are served without a collectstatic step

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# Cookies and redirects insist on https where the site's own address does.
SECURE = not DEBUG and FLASKY_URL.startswith("https://")
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE
# Health is asked by machines inside the network, without TLS.
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$", r"^mailz$", r"^metrics$"]
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
MAX_BODY_BYTES = 64 * 1024  # of a request: many times what any form of the page or the admin sends; no file is taken
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

# --- Database ---------------------------------------------------------------------------------------------------

_database = env.database("DATABASE_URL", "sqlite:///var/db.sqlite3")
_options = _database.get("OPTIONS", {})
if _database["ENGINE"].endswith("sqlite3"):
    if _database["NAME"] != ":memory:":
        _database["NAME"] = str(BASE_DIR / _database["NAME"])
        try:
            Path(_database["NAME"]).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImproperlyConfigured(f"DATABASE_URL: {error}") from error
    # IMMEDIATE: a transaction that will write waits for its turn at the start instead of failing in the middle.
    # FULL: what was committed survives a power cut; delivery relaxes this for its own settles.
    _database["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        **_options,
    }
else:
    _database["CONN_HEALTH_CHECKS"] = True
    if _database["ENGINE"].endswith("postgresql"):
        # A network path that fails silently is noticed within about ten seconds instead of minutes.
        _database["OPTIONS"] = {
            "connect_timeout": 5,
            "keepalives": 1,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,  # milliseconds that what was sent may stay unacknowledged
            **_options,
        }
_database["CONN_MAX_AGE"] = 60
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Language and time ------------------------------------------------------------------------------------------

LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LANGUAGE_CODE = env.choice("LANGUAGE_CODE", "en", [code for code, _ in LANGUAGES])
USE_I18N = True
# One catalogue for the app, the templates beside it and the project: projects that install the app get its texts.
LOCALE_PATHS = [BASE_DIR / "notify" / "locale"]
TIME_ZONE = env.time_zone("TIME_ZONE", "UTC")
USE_TZ = True

# --- Mail -------------------------------------------------------------------------------------------------------

MAIL_USERNAME = env.text("MAIL_USERNAME")
MAIL_PASSWORD = env.secret("MAIL_PASSWORD")
MAIL_SERVICE = env.choice("MAIL_SERVICE", "", ["", *presets.names()], fold=True)
MAIL_SERVER = env.host("MAIL_SERVER").strip("[]")
_route = presets.route(
    service=MAIL_SERVICE,
    username=MAIL_USERNAME,
    server=MAIL_SERVER,
    port=env.number("MAIL_PORT", 0, 1, 65535) if env.text("MAIL_PORT") else None,
    use_tls=env.flag("MAIL_USE_TLS", False) if env.text("MAIL_USE_TLS") else None,
    use_ssl=env.flag("MAIL_USE_SSL", False) if env.text("MAIL_USE_SSL") else None,
)
MAIL_TIMEOUT = env.number("MAIL_TIMEOUT", 30, 1, 3600)
_given = {
    "oauth_client_id": env.text("MAIL_OAUTH_CLIENT_ID"),
    "oauth_client_secret": env.secret("MAIL_OAUTH_CLIENT_SECRET"),
    "oauth_tenant": env.text("MAIL_OAUTH_TENANT"),
    "oauth_refresh_token": env.secret("MAIL_OAUTH_REFRESH_TOKEN"),
    "oauth_token_url": env.text("MAIL_OAUTH_TOKEN_URL"),
    "oauth_authorize_url": env.text("MAIL_OAUTH_AUTHORIZE_URL"),
    "oauth_scope": env.text("MAIL_OAUTH_SCOPE"),
}
_oauth = {name: value for name, value in _given.items() if value}
MAIL_OAUTH_KEY = env.secret("MAIL_OAUTH_KEY")
MAIL_OAUTH_EXPIRES = env.date("MAIL_OAUTH_EXPIRES")

FLASKY_ADMIN = env.addresses("FLASKY_ADMIN")
FLASKY_MAIL_SUBJECT_PREFIX = env.text("FLASKY_MAIL_SUBJECT_PREFIX", "[Flasky]")
FLASKY_MAIL_SENDER = env.address(
    "FLASKY_MAIL_SENDER", f"Flasky Admin <{MAIL_USERNAME if _route.sender_is_login else 'flasky@example.com'}>"
)
DEFAULT_FROM_EMAIL = FLASKY_MAIL_SENDER
SERVER_EMAIL = parseaddr(FLASKY_MAIL_SENDER)[1]
EMAIL_SUBJECT_PREFIX = f"{FLASKY_MAIL_SUBJECT_PREFIX} "
ADMINS = FLASKY_ADMIN if django.VERSION >= (6, 0) else [(address, address) for address in FLASKY_ADMIN]

_smtp = {
    "host": _route.host,
    "port": _route.port,
    "username": MAIL_USERNAME,
    "password": MAIL_PASSWORD,
    "use_tls": _route.use_tls,
    "use_ssl": _route.use_ssl,
    "timeout": MAIL_TIMEOUT,
}
_ours = {"proxy": env.proxy(_route.host), "local_hostname": env.host("MAIL_EHLO")}
MAIL_BACKEND = env.text("MAIL_BACKEND", "smtp")
# `make run` writes inbox into a new .env. A mail server that the real environment names wins over that.
if (
    MAIL_BACKEND == "inbox"
    and env.is_from_file("MAIL_BACKEND")
    and any(env.text(name) and not env.is_from_file(name) for name in ("MAIL_SERVER", "MAIL_SERVICE", "MAIL_PORT"))
):
    MAIL_BACKEND = "smtp"
if MAIL_BACKEND == "notify.outbox.EmailBackend":
    raise ImproperlyConfigured(f"MAIL_BACKEND={MAIL_BACKEND!r} is the outbox: name the backend it hands mail to")
_transports: dict[str, dict[str, Any]] = {
    "smtp": {"BACKEND": "notify.smtp.backend.EmailBackend", "OPTIONS": {**_smtp, **_ours, **_oauth}},
    "inbox": {"BACKEND": "flasky.inbox.EmailBackend", "OPTIONS": {"folder": str(VAR_DIR / "inbox")}},
    "console": {"BACKEND": "django.core.mail.backends.console.EmailBackend", "OPTIONS": {}},
    "file": {
        "BACKEND": "django.core.mail.backends.filebased.EmailBackend",
        "OPTIONS": {"file_path": str(VAR_DIR / "mail")},
    },
}
if MAIL_BACKEND in _transports:
    NOTIFY_TRANSPORT = _transports[MAIL_BACKEND]
else:
    try:
        _backend = import_string(MAIL_BACKEND)
        if not hasattr(_backend, "send_messages"):
            raise ImportError("it is no email backend")
        _parameters = inspect.signature(_backend.__init__).parameters
    except (ImportError, ValueError, AppRegistryNotReady) as error:
        raise ImproperlyConfigured(
            f"MAIL_BACKEND={MAIL_BACKEND!r} is not {', '.join(_transports)} or an importable class"
            + (env.did_you_mean(MAIL_BACKEND, _transports) or f": {error}")
        ) from error
    _taken = {name: value for name, value in (_smtp | _ours).items() if name in _parameters}
    NOTIFY_TRANSPORT = {"BACKEND": MAIL_BACKEND, "OPTIONS": _taken}

# What Django code sends with is the outbox; what delivery sends with is the transport.
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "notify.outbox.EmailBackend"}, "transport": NOTIFY_TRANSPORT}
else:
    EMAIL_BACKEND = "notify.outbox.EmailBackend"
    EMAIL_HOST, EMAIL_PORT = _route.host, _route.port
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = MAIL_USERNAME, MAIL_PASSWORD
    EMAIL_USE_TLS = _route.use_tls and not _route.use_ssl  # both on is said by a check, not by a traceback
    EMAIL_USE_SSL = _route.use_ssl
    EMAIL_TIMEOUT = MAIL_TIMEOUT
    EMAIL_FILE_PATH = str(VAR_DIR / "mail")

# --- Notification -----------------------------------------------------------------------------------------------

NOTIFY_PREVIEW_LANGUAGES = [code for code, _ in LANGUAGES]
NOTIFY_DISPATCH = env.choice("NOTIFY_DISPATCH", "thread", ["thread", "worker", "celery"])
NOTIFY_CONNECTIONS = env.number("NOTIFY_CONNECTIONS", 1, 1, 256)
NOTIFY_BURST = env.number("NOTIFY_BURST", 5, 1)
NOTIFY_INTERVAL = env.number("NOTIFY_INTERVAL", 300)
NOTIFY_KEEP_DAYS = env.number("NOTIFY_KEEP_DAYS", 90)
NOTIFY_READY_SECONDS = env.number("NOTIFY_READY_SECONDS", 300, 1)
NOTIFY_METRICS_TOKEN = env.secret("NOTIFY_METRICS_TOKEN")
NOTIFY_FOLD_ERRORS = env.flag("NOTIFY_FOLD_ERRORS", True)
NOTIFY_ALERT_URLS = env.secret("NOTIFY_ALERT_URLS")
NOTIFY_ALERT_AFTER = env.number("NOTIFY_ALERT_AFTER", 300)
NOTIFY_ALERT_FAILURES = env.number("NOTIFY_ALERT_FAILURES", 10)
NOTIFY_HEARTBEAT_URL = env.secret_url("NOTIFY_HEARTBEAT_URL")
# A broker that refuses or does not answer delays the caller a second at most; the row is kept anyway.
NOTIFY_CELERY_APP = "flasky.celery.app"
CELERY_BROKER_URL = env.secret("CELERY_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//")
CELERY_BROKER_CONNECTION_TIMEOUT = 1
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 1, "socket_timeout": 1, "max_retries": 0}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "flasky"  # see flasky.celery
CELERY_TASK_DEFAULT_QUEUE_TYPE = env.choice("CELERY_QUEUE_TYPE", "classic", ["classic", "quorum"])
CELERY_WORKER_PREFETCH_MULTIPLIER = 1  # what a busy process reserves, an idle one cannot take
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "celerybeat")
NOTIFY_RATE_LIMIT = env.number("NOTIFY_RATE_LIMIT", 0)
NOTIFY_TRUSTED_PROXIES = env.number("NOTIFY_TRUSTED_PROXIES", 0, 0, 10)
NOTIFY_FORM_SECONDS = env.number("NOTIFY_FORM_SECONDS", 1, 0, 60)

ENVIRONMENT_DOUBTS = env.doubts()  # read by checks: mistakes that do not stop the start

# What anybody can cause by a request (django.security: a wrong Host, too many fields; django.request below 500) is a
# line on stderr and no mail. A fault of ours (django.request, ERROR) is mailed, and leaves its traceback there too.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "debug_off": {"()": "django.utils.log.RequireDebugFalse"},
        # A 503 that a view answers on purpose (/mailz, as often as it is asked) is no fault; an exception is.
        "raised": {"()": "django.utils.log.CallbackFilter", "callback": lambda record: bool(record.exc_info)},
        # An open inbox asks every two seconds whether there is a new mail.
        "not_idle_inbox": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: not re.search(r"GET /inbox/ HTTP/\S+. 304 ", record.getMessage()),
        },
    },
    "formatters": {
        "line": {"()": "flasky.secrecy.Line", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
        "admins": {
            "class": "notify.operations.errors.AdminEventHandler",
            "level": "ERROR",
            "filters": ["debug_off", "raised"],
        },
    },
    "loggers": {
        "django": {"handlers": ["stderr"], "level": "INFO"},
        "django.request": {"handlers": ["admins"], "level": "INFO"},
        "django.server": {
            "handlers": ["stderr"],
            "level": "INFO",
            "filters": ["not_idle_inbox"],
            "propagate": False,
        },
        "notify": {"handlers": ["stderr"], "level": "INFO"},
    },
}
