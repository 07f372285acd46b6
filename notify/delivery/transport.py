"""Which email backend carries stored messages to the relay: NOTIFY_TRANSPORT, alias `transport` in MAILERS."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from notify.smtp.providers import presets


def connect() -> BaseEmailBackend:
    """A new, unopened instance of the transport backend."""
    if django.VERSION >= (6, 1):
        from django.core.mail import mailers

        backend: BaseEmailBackend = mailers["transport"]
    else:
        config = settings.NOTIFY_TRANSPORT
        backend = import_string(config["BACKEND"])(**config["OPTIONS"])
    return backend


def options() -> dict[str, Any]:
    """The backend's options, as settings has them; may hold secrets."""
    return dict(settings.NOTIFY_TRANSPORT["OPTIONS"])


def secrets() -> list[str]:
    """What must not stand in any text that is shown or kept."""
    found = [str(options().get("password") or "")]
    proxy = urlsplit(str(options().get("proxy") or ""))
    if login := proxy.password or proxy.username:  # a user without a password is a token
        found += [login, unquote(login)]
    return [secret for secret in found if secret]


def fingerprint() -> str:
    """A mark that changes with the configuration and tells nothing of it: a changed one deserves a fresh try."""
    # Not repr(): that of a secret is a mask.
    plain = json.dumps([settings.NOTIFY_TRANSPORT, settings.FLASKY_MAIL_SENDER], default=str)
    return hmac.new(settings.SECRET_KEY.encode(), plain.encode(), hashlib.sha256).hexdigest()[:32]


def describe() -> str:
    """The way to the relay in words, without a secret: `smtp.163.com:465, TLS, as me@163.com`."""
    plan = options()
    if "host" not in plan:
        return str(settings.NOTIFY_TRANSPORT["BACKEND"])
    words = [f"{plan['host']}:{plan['port']}"]
    words += ["TLS"] if plan.get("use_ssl") else ["STARTTLS"] if plan.get("use_tls") else []
    words += [_("as %s") % plan["username"]] if plan.get("username") else []
    proxy = urlsplit(str(plan.get("proxy") or ""))
    words += [_("via proxy %s") % f"{proxy.hostname}:{proxy.port}"] if proxy.hostname else []
    return ", ".join(words)


def provider() -> presets.Provider | None:
    """The preset of the relay that is configured, where it has one."""
    return presets.find(host=str(options().get("host") or ""))
