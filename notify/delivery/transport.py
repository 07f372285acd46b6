"""The email backend that carries stored messages to the relay: see `conf.transport`."""

import contextlib
import functools
import hashlib
import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends import console, dummy, locmem
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SMTPBackend
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from notify import conf
from notify.smtp.providers import presets

ROUNDS = 50_000  # of the hash that a password is in
_SECRET = re.compile(r"key|token|secret|passw", re.IGNORECASE)


def connect() -> BaseEmailBackend:
    """A new, unopened instance of the transport backend. Raises ImproperlyConfigured if none is configured."""
    config = conf.transport()
    if not config["BACKEND"]:
        raise ImproperlyConfigured('MAILERS has no "transport": no mail server is configured')
    # From Django 6.1 a backend gets the alias of its entry in MAILERS; without it, it reads deprecated settings.
    alias = {"alias": "transport"} if django.VERSION >= (6, 1) else {}
    backend: BaseEmailBackend = import_string(config["BACKEND"])(**alias, **config["OPTIONS"])
    return backend


def takes_envelope() -> bool:
    """Whether it sends to the recipients of an envelope, as SMTP does; others send to all whom the message names."""
    return issubclass(_backend_class(), SMTPBackend)


def stays_here() -> bool:
    """Whether it is one of Django's that send nothing: to the console, to files, to memory or nowhere."""
    return issubclass(_backend_class(), (console.EmailBackend, locmem.EmailBackend, dummy.EmailBackend))


def _backend_class() -> type:
    """That of Django's SMTP where the one that is configured cannot be imported: connect() says so."""
    with contextlib.suppress(ImportError):
        if isinstance(found := import_string(conf.transport()["BACKEND"]), type):
            return found
    return SMTPBackend


def options() -> dict[str, Any]:
    """The backend's options, as settings has them; may hold secrets."""
    found: dict[str, Any] = conf.transport()["OPTIONS"]
    return found


def secrets() -> list[str]:
    """Texts that must not appear in anything that is shown or kept."""
    named = {name: value for name, value in {**options(), **_anymail()}.items() if isinstance(value, str)}
    found = [value for name, value in named.items() if _SECRET.search(name) and not name.endswith("_url")]
    found.append(str(options().get("password") or ""))  # a number, say
    # Not by urlsplit(), which reads no login in an address that is malformed.
    user, _, password = str(options().get("proxy") or "").rpartition("@")[0].split("://", 1)[-1].partition(":")
    if login := password or user:  # a user without a password is a token
        found += [login, unquote(login)]
    return [secret for secret in found if secret]


def _anymail() -> dict[str, Any]:
    """Anymail's settings, which it reads where OPTIONS do not have them."""
    return dict(getattr(settings, "ANYMAIL", {}))


def fingerprint() -> str:
    """The name of this configuration, the same in every process that has it, whatever its SECRET_KEY.

    Slow to compute and short, so that the password cannot be found from it by trying.
    """
    # Not repr(): that of a secret is a mask.
    known = [conf.transport(), conf.sender(), *([_anymail()] if _anymail() else [])]
    return _hashed(json.dumps(known, default=_name))


@functools.lru_cache(maxsize=4)
def _hashed(plain: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", plain.encode(), b"notify relay", ROUNDS, dklen=4).hex()


def _name(value: Any) -> str:
    """Not repr(): that of a callable has its address, which differs between processes."""
    return str(getattr(value, "__qualname__", type(value).__name__)) if callable(value) else str(value)


def describe() -> str:
    """The way to the relay in words, without a secret: `smtp.163.com:465, TLS, as me@163.com`."""
    plan = options()
    if "host" not in plan:
        return str(conf.transport()["BACKEND"])
    words = [f"{plan['host']}:{plan.get('port') or 25}"]
    words += ["TLS"] if plan.get("use_ssl") else ["STARTTLS"] if plan.get("use_tls") else []
    words += [_("as %s") % plan["username"]] if plan.get("username") else []
    words += ["OAuth 2"] if plan.get("oauth_client_id") or plan.get("token") else []
    try:
        proxy = urlsplit(str(plan.get("proxy") or ""))
        place = ":".join(str(part) for part in (proxy.hostname, proxy.port) if part)
        words += [_("via proxy %s") % place] if place else []
    except ValueError:
        words.append(_("via a proxy whose address is not valid"))
    return ", ".join(words)


def provider() -> presets.Provider | None:
    """The preset of the relay that is configured, where it has one."""
    return presets.find(host=str(options().get("host") or ""))
