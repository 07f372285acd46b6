"""Readers of environment variables that fail loudly: used by settings, and by nothing else.

Every reader takes the variable's name and its default. Unset and empty are the same. A value that does not
parse raises ImproperlyConfigured with the variable's name and what it should look like.
"""

import contextlib
import re
import warnings
from collections.abc import Collection
from email.utils import getaddresses
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # since 2.6
from zoneinfo import ZoneInfo

import environ
from django.core.exceptions import ImproperlyConfigured

from notify.smtp.secret import Secret

_env = environ.FileAwareEnv()

TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")


def load(path: Path) -> None:
    """Read a .env file; the real environment wins over it. A line that is not NAME=value stops the start."""
    if not path.exists():
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{path.name} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#") and not re.match(r"(export )?[A-Za-z_0-9]+=", line):
            # Only what looks like a name is shown: the rest may be a password.
            name = re.match(r"\s*(?:export )?([A-Z_]*)\b", line)
            shown = f" ({name[1]!r})" if name and name[1] else ""
            raise ImproperlyConfigured(
                f"{path.name} line {number}{shown} is not NAME=value: no space before the name or around the ="
            )
    environ.Env.read_env(path)  # not the file-aware one, which would open every NAME_FILE on the way


def text(name: str, default: str = "") -> str:
    """The value without the blanks around it. NAME_FILE, where it is set, names a file that holds the value."""
    try:
        # Not env.str(): that reads a leading $ as another variable's name, and passwords may begin so.
        value = _env.ENVIRON.get(name) or ""
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{name}_FILE: {error}") from error
    return value.strip() or default


def secret(name: str, default: str = "") -> Secret:
    """As text(), for what no error page or log may show."""
    return Secret(text(name, default))


def flag(name: str, default: bool) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value not in TRUE + FALSE:
        raise ImproperlyConfigured(f"{name}={value!r} is neither {'/'.join(TRUE)} nor {'/'.join(FALSE)}")
    return value in TRUE


def number(name: str, default: int, minimum: int = 0, maximum: int = 2**31 - 1) -> int:
    value = text(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,10}", value) or not minimum <= int(value) <= maximum:
        raise ImproperlyConfigured(f"{name}={value!r} is not a whole number from {minimum} to {maximum}")
    return int(value)


def choice(name: str, default: str, choices: Collection[str], *, fold: bool = False) -> str:
    """One of the choices; with `fold` in any case, and in lower case then."""
    value = text(name, default)
    value = value.lower() if fold else value
    if value not in choices:
        raise ImproperlyConfigured(f"{name}={value!r} is none of: {', '.join(filter(None, choices))}")
    return value


def words(name: str) -> list[str]:
    """A comma-separated list."""
    return [word for word in (part.strip() for part in text(name).split(",")) if word]


def address(name: str, default: str) -> str:
    """One mailbox, with or without a display name: `Flasky Admin <flasky@example.com>`."""
    value = text(name, default)
    parsed = getaddresses([value])
    if len(parsed) != 1:
        raise ImproperlyConfigured(f"{name}={value!r} is not one address, such as Flasky Admin <flasky@example.com>")
    _validate_address(name, parsed[0][1])
    return value


def addresses(name: str) -> list[str]:
    """Comma-separated mailboxes, each once, in the order given."""
    value = text(name)
    found = list(dict.fromkeys(address for _, address in getaddresses([value]))) if value else []
    for each in found:
        _validate_address(name, each)
    return found


def _validate_address(name: str, value: str) -> None:
    if not re.fullmatch(r"[^@\s<>,;]+@[^@\s<>,;]+", value):
        raise ImproperlyConfigured(f"{name}: {value!r} is not an email address, such as admin@example.com")


def url(name: str, default: str) -> str:
    """An http or https address without the slash at its end."""
    value = text(name, default).rstrip("/")
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", value):
        raise ImproperlyConfigured(f"{name}={value!r} is not an address such as https://flasky.example.com")
    return value


def database(name: str, default: str) -> dict[str, object]:
    """Django's dictionary for a database URL."""
    value, parsed = text(name, default), {}
    # The value holds the database's password: neither it nor what others say of it is shown.
    with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
        parsed = _env.db_url_config(value)
    if "." not in str(parsed.get("ENGINE")):  # an unknown scheme stands there as it is
        raise ImproperlyConfigured(f"{name} is not a database URL such as postgres://user@host/name")
    return parsed


def proxy(server: str) -> Secret:
    """The proxy's URL on the way to the server, or "" for the direct way.

    MAIL_PROXY (the word `direct` means none), else ALL_PROXY unless NO_PROXY covers the server.
    """
    name = "MAIL_PROXY"
    value = text(name)
    if value == "direct":
        return Secret("")
    if not value:
        name = "ALL_PROXY" if text("ALL_PROXY") else "all_proxy"
        bypass = text("NO_PROXY") or text("no_proxy")
        value = "" if proxy_bypass_environment(server, {"no": bypass}) else text(name)
    if value and "://" not in value:
        value = f"http://{value}"
    if value:
        _validate_proxy(name, value)
    return Secret(value)


def _validate_proxy(name: str, value: str) -> None:
    form = "socks5://user:password@host:port, socks5h://… or http://… (MAIL_PROXY=direct for no proxy)"
    try:
        parsed = urlsplit(value)
        complete = bool(parsed.hostname and parsed.port)
    except ValueError:
        complete = False
    # The value may hold the proxy's password: it is not shown.
    if not complete or parsed.scheme not in ("socks5", "socks5h", "http"):
        raise ImproperlyConfigured(f"{name} is not a proxy address; write {form}")


def time_zone(name: str, default: str) -> str:
    value = text(name, default)
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ImproperlyConfigured(f"{name}={value!r} is not a time zone such as UTC or Asia/Shanghai") from error
    return value
