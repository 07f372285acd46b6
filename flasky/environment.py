"""Readers of environment variables that fail loudly: used by settings, and by nothing else.

Every reader takes the variable's name and its default. Unset and empty are the same. A value that does not
parse raises ImproperlyConfigured with the variable's name and what it should look like, in one line.
"""

import contextlib
import difflib
import os
import re
import warnings
from collections.abc import Collection, Iterator
from datetime import date as Date
from email.utils import getaddresses, quote
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # since 2.6
from zoneinfo import ZoneInfo

import environ
from django.core.exceptions import ImproperlyConfigured

from flasky import dotenv
from notify.smtp import envelope
from notify.smtp.secret import Secret

_env = environ.FileAwareEnv()

TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")
MANY = 20  # choices: where one of them is meant, the others are not listed
PREFIXES = ("MAIL_", "NOTIFY_", "FLASKY_")  # of our variables, nearly all
OF_OTHERS = ("NOTIFY_SOCKET",)  # systemd's
OF_FLASK_MAIL = {"MAIL_DEFAULT_SENDER": "FLASKY_MAIL_SENDER", "MAIL_SUPPRESS_SEND": "MAIL_BACKEND"}
_SEPARATORS = ";；，、︐﹐､"  # typed where a comma is meant, most of them by Chinese keyboards

_read: set[str] = set()  # the names that were asked for
_in_file: dict[str, dotenv.Line] = {}  # what a .env file says
_from_file: set[str] = set()  # the names whose value is the file's, as the real environment has none


def load(path: Path) -> None:
    """Read a .env file; the real environment wins over it. Raises ImproperlyConfigured, see `dotenv`."""
    real = {name for name, value in os.environ.items() if value and name not in _from_file}
    for line in dotenv.read(path):
        if line.name.endswith("_FILE") and line.name.removesuffix("_FILE") in real:
            continue  # NAME_FILE wins over NAME only within one of the two
        if line.name not in os.environ or line.name in _from_file:
            os.environ[line.name] = line.value
            _from_file.add(line.name)
        _in_file[line.name] = line


def is_from_file(name: str) -> bool:
    """Whether the variable's value is the .env file's, and not the real environment's."""
    return name in _from_file


def doubts() -> list[str]:
    """A line for each variable that is probably a mistake. To be called when all variables are read."""
    return [*_unknown(), *_with_hash()]


def _unknown() -> Iterator[str]:
    """Unknown names: all with our prefixes, and those in the .env file that resemble a known name."""
    known = sorted(_read | {f"{name}_FILE" for name in _read})
    ours = {name for name in os.environ if name.startswith(PREFIXES)}
    for name in sorted(ours.union(_in_file).difference(known, OF_OTHERS)):
        close = difflib.get_close_matches(name, known, 1, 0.7 if name in ours else 0.8)
        near = OF_FLASK_MAIL.get(name) or "".join(close)
        if name in ours or (near and not name.endswith(f"_{near}")):
            where = " (.env)" if name in _in_file else ""
            advice = f"did you mean {near}?" if near else ".env.example lists those there are"
            yield f"{name}{where} is set, but Flasky reads no such variable: {advice}"


def _with_hash() -> Iterator[str]:
    for name in sorted(_from_file & _read):
        if _in_file[name].has_hash:
            yield (
                f"{name} (.env line {_in_file[name].number}) holds a #, which belongs to the value: "
                "put the value into quotes, or the comment on its own line"
            )


def text(name: str, default: str = "") -> str:
    """The value without surrounding blanks. If NAME_FILE is set, the value is read from that file."""
    _read.add(name)
    try:
        # Not env.str(): that reads a leading $ as another variable's name, and passwords may begin so.
        value = _env.ENVIRON.get(name) or ""
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{name}_FILE: {error}") from error
    return value.strip() or default


def _plain(name: str) -> str:
    """As text(), without surrounding quotes, which Docker's --env-file does not remove."""
    value = text(name)
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1].strip() if quoted else value


def secret(name: str, default: str = "") -> Secret:
    """As text(); error pages and logs do not show it."""
    return Secret(text(name, default))


def secrets(name: str) -> list[Secret]:
    """A comma-separated list of secrets, which no error message shows."""
    return [Secret(word.strip()) for word in text(name).split(",") if word.strip()]


def flag(name: str, default: bool) -> bool:
    value = _plain(name).lower()
    if not value:
        return default
    if value not in TRUE + FALSE:
        raise ImproperlyConfigured(f"{name}={value!r} is neither {'/'.join(TRUE)} nor {'/'.join(FALSE)}")
    return value in TRUE


def number(name: str, default: int, minimum: int = 0, maximum: int = 2**31 - 1) -> int:
    value = _plain(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,10}", value) or not minimum <= int(value) <= maximum:
        raise ImproperlyConfigured(f"{name}={value!r} is not a whole number from {minimum} to {maximum}")
    return int(value)


def choice(name: str, default: str, choices: Collection[str], *, fold: bool = False) -> str:
    """One of the choices; with `fold` in any case, returned in lower case."""
    value = _plain(name) or default
    value = value.lower() if fold else value
    if value in choices:
        return value
    near = did_you_mean(value, choices)
    if len(choices) > MANY:
        raise ImproperlyConfigured(f"{name}={value!r} is not known{near or ': docs/providers.md lists them'}")
    raise ImproperlyConfigured(f"{name}={value!r} is none of: {', '.join(filter(None, choices))}{near}")


def did_you_mean(value: str, choices: Collection[str]) -> str:
    """`: did you mean gmail?` if one of the choices resembles the value, or a word of it; else ""."""
    words = [word for word in re.split(r"[^a-z0-9-]+", value.lower()) if word in choices and word]
    near = words or difflib.get_close_matches(value.lower(), choices, 1, 0.6)
    return f": did you mean {near[0]}?" if near else ""


def hosts(name: str) -> list[str]:
    """A comma-separated list of host names, as Django's ALLOWED_HOSTS takes them: also `*`, `.example.com`, `[::1]`."""
    found = [word for word in (part.strip() for part in _comma_separated(name).split(",")) if word]
    for each in found:
        if not re.fullmatch(r"\*|\.?[\w.-]+|\[[0-9A-Fa-f:.]+\]", each):
            raise ImproperlyConfigured(
                f"{name}: {each!r} is not a host name such as flasky.example.com, without https:// and port"
            )
    return found


def host(name: str) -> str:
    """A host name or an IP address; "" for none."""
    value = text(name)
    if "@" in value:  # it may be preceded by a password: not shown
        raise ImproperlyConfigured(
            f"{name} is not a host name such as smtp.example.com: a login goes into MAIL_USERNAME and MAIL_PASSWORD"
        )
    if re.fullmatch(r"[^:]*:[0-9]{1,5}", value):
        raise ImproperlyConfigured(f"{name}={value!r} is not a host name: the port goes into MAIL_PORT")
    if value and not re.fullmatch(r"[\w.-]+|\[?(IPv6:)?[0-9A-Fa-f:.]+(%\w+)?\]?", value):
        raise ImproperlyConfigured(f"{name}={value!r} is not a host name such as smtp.example.com")
    return value


def address(name: str, default: str) -> str:
    """One mailbox, with or without a display name: `Flasky Admin <flasky@example.com>`."""
    value = _plain(name) or default
    parsed = getaddresses([value])
    with contextlib.suppress(ValueError):
        if len(parsed) == 1:
            shown, mailbox = parsed[0]
            _validate_address(name, mailbox)
            if "." in shown:  # for which RFC 5322 wants quotes, and most people write none
                value = f'"{quote(shown)}" <{mailbox}>'
            envelope.address(value)  # the display name, too
            return value
    raise ImproperlyConfigured(f"{name}={value!r} is not one address, such as Flasky Admin <flasky@example.com>")


def addresses(name: str) -> list[str]:
    """Comma-separated mailboxes, each once, in the order given."""
    value = _comma_separated(name)
    found = list(dict.fromkeys(address for _, address in getaddresses([value]))) if value else []
    if "" in found:
        raise ImproperlyConfigured(f"{name}={value!r} is no list such as ann@example.com,bob@example.com")
    for each in found:
        _validate_address(name, each)
    return found


def _comma_separated(name: str) -> str:
    value = _plain(name)
    if wrong := re.search(f"[{_SEPARATORS}]", re.sub('"[^"]*"', "", value)):
        raise ImproperlyConfigured(f"{name}={value!r} contains {wrong[0]!r}: separate by commas (,)")
    return value


def _validate_address(name: str, value: str) -> None:
    with contextlib.suppress(ValueError):
        found = re.fullmatch(r"[^@\s<>,;“”‘’\uff0c\uff1b\uff20]+@([^@\s<>,;“”‘’\uff0c\uff1b\uff20]+)", value)
        # Because of one ann@example..com Django would refuse a mail to all administrators.
        if found and all(found[1].split(".")):
            envelope.address(value)
            return
    raise ImproperlyConfigured(f"{name}: {value!r} is not an email address, such as admin@example.com")


def date(name: str) -> Date | None:
    """A day, 2027-01-31; None for none."""
    value = _plain(name)
    try:
        return Date.fromisoformat(value) if value else None
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}={value!r} is not a date such as 2027-01-31") from error


def url(name: str, default: str) -> str:
    """An http or https address without the slash at its end."""
    value = text(name, default).rstrip("/")
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", value) or not _names_host(value):
        shown = "" if "@" in value else f"={value!r}"  # an @ may be preceded by a password
        raise ImproperlyConfigured(f"{name}{shown} is not an address such as https://flasky.example.com")
    return value


def secret_url(name: str) -> Secret:
    """An http or https address that is a secret, or nothing."""
    value = secret(name)
    if value and not (re.fullmatch(r"https?://[^\s/?#]+([/?#]\S*)?", value) and _names_host(value)):
        raise ImproperlyConfigured(f"{name} is not an address such as https://hc-ping.com/…")
    return value


def _names_host(url: str) -> bool:
    """Whether the address names a host, and a port only as a number."""
    with contextlib.suppress(ValueError):
        parsed = urlsplit(url)
        return bool(parsed.hostname) and parsed.port != 0
    return False


def database(name: str, default: str) -> dict[str, Any]:
    """Django's dictionary for a database URL."""
    value = text(name, default)
    parsed: dict[str, Any] = {}
    # The value contains the database's password: neither it nor an exception about it is shown.
    with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
        parsed = _env.db_url_config(value)
    is_supported = str(parsed.get("ENGINE")).endswith((".sqlite3", ".spatialite", ".postgresql", ".postgis"))
    if not is_supported or not (parsed["NAME"] or parsed.get("OPTIONS")):  # the options may name a service
        raise ImproperlyConfigured(f"{name} is not a database URL such as postgres://user@host/name")
    if parsed["ENGINE"].endswith((".sqlite3", ".spatialite")):
        # What stands after two slashes would be a host: SQLite would keep everything in memory, or write another file.
        if not re.match(r"\w+://(/[^/]|//|:memory:)", value):
            raise ImproperlyConfigured(f"{name}: write sqlite:///var/db.sqlite3, or sqlite:////srv/db.sqlite3 for /srv")
        if not isinstance(parsed.get("OPTIONS", {}).get("timeout", 0), int | float):
            raise ImproperlyConfigured(f"{name}: timeout is a number of seconds")
    return parsed


def proxy(server: str) -> Secret:
    """The URL of the proxy for this server, or "" for none.

    MAIL_PROXY (`direct` means none), else ALL_PROXY unless NO_PROXY covers the server.
    """
    name = "MAIL_PROXY"
    value = text(name)
    if value == "direct":
        return Secret("")
    if not value:
        name = "ALL_PROXY" if text("ALL_PROXY") else "all_proxy"
        bypass = text("NO_PROXY") or text("no_proxy")
        value = "" if proxy_bypass_environment(server, {"no": bypass}) else text(name)
    if not value:
        return Secret("")
    url = value if "://" in value else f"http://{value}"
    with contextlib.suppress(ValueError):
        parsed = urlsplit(url)
        if parsed.hostname and parsed.port and parsed.scheme in ("socks5", "socks5h", "http"):
            return Secret(url)
    # The value may contain the proxy's password: it is not shown.
    form = "socks5://user:password@host:port, socks5h://… or http://… (MAIL_PROXY=direct for no proxy)"
    raise ImproperlyConfigured(f"{name} is not a proxy address; write {form}")


def time_zone(name: str, default: str) -> str:
    value = text(name, default)
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ImproperlyConfigured(f"{name}={value!r} is not a time zone such as UTC or Asia/Shanghai") from error
    return value
