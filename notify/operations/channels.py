"""Where alerts go: the addresses in NOTIFY_ALERT_URLS, as Apprise reads them, and the heartbeat's address.

Both are secrets. Only the service is shown, and the host where it is a real one.
"""

import contextlib
import hashlib
import hmac
import logging
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

from notify import conf
from notify.smtp.failure import printable
from notify.smtp.secret import MASK, Secret, hush

DEADLINE = 20.0  # seconds, for all channels together
SAID_LENGTH = 300
SHORTEST_TOKEN = 8  # characters; a shorter part of an address is not a token
LONGEST_WORD = 15  # letters; a part of at most so many may be a word, such as "services"
_SEPARATOR = re.compile(r"[\s,]+(?=[A-Za-z0-9]{1,20}://)")  # as Apprise has it: a URL may hold commas
# Services that do not take /fail at the end of the path for the report of a failure.
_KNOW_NO_FAIL = re.compile(r"/api/push/|^https?://(?:[\w-]+\.)*(?:cronitor\.(?:io|link)|nosnch\.in)(?:[/:]|$)|\?")


@dataclass(frozen=True)
class Channel:
    """One of the addresses."""

    url: Secret

    @property
    def mark(self) -> str:
        """An id that reveals nothing about the address."""
        return hmac.new(settings.SECRET_KEY.encode(), self.url.encode(), hashlib.sha256).hexdigest()[:12]

    @cached_property
    def _service(self) -> Any:
        """Apprise's object for the address; None if Apprise does not understand it or is not installed."""
        if not is_installed():
            return None
        for name in ("apprise", "urllib3.connectionpool", "urllib3.util.retry"):
            logging.getLogger(name).addFilter(_mask)  # once: it is the same one
        apprise = import_module("apprise")
        # Else it sends from a pool of threads, which takes nothing any more once the main thread of a command is over;
        # `_within` bounds the time.
        asset = apprise.AppriseAsset(async_mode=False, service_timeout=0)
        return apprise.Apprise.instantiate(str(self.url), asset=asset, suppress_exceptions=True)

    @property
    def is_understood(self) -> bool:
        """Whether Apprise can use it."""
        return self._service is not None

    @property
    def name(self) -> str:
        """For people, without a secret: `Mattermost chat.example.com`, `Telegram`, or the scheme."""
        if not self.is_understood:
            return f"{self.url.partition('://')[0]}://{MASK}"
        host = str(self._service.host or "")
        known = _is_real(host) and any("{host}" in template for template in self._service.templates)
        return f"{self._service.service_name} {host}" if known else str(self._service.service_name)

    def send(self, title: str, text: str, *, kind: str) -> str:
        """Returns "" if the service accepted it, else why it did not. `kind`: failure, success or info."""
        if not is_installed():
            return missing()
        if not self.is_understood:
            return _("Apprise does not understand this address.")
        apprise = import_module("apprise")
        sender = apprise.Apprise()
        sender.add(self._service)
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:
            taken = sender.notify(title=title, body=text, notify_type=kind, body_format="text")
            words = " ".join(said.getvalue().split())
        return "" if taken else words or _("The service did not accept it.")


def configured() -> list[Channel]:
    """The channels of NOTIFY_ALERT_URLS: a list, or one text with commas or blanks between."""
    value = conf.NOTIFY_ALERT_URLS or ""
    urls = _SEPARATOR.split(value.strip()) if isinstance(value, str) else value
    return [Channel(Secret(url.strip(" ,"))) for url in dict.fromkeys(urls) if url.strip(" ,")]


def is_installed() -> bool:
    """Whether Apprise is installed."""
    return find_spec("apprise") is not None


def missing() -> str:
    """What to do if Apprise is not installed."""
    return _("NOTIFY_ALERT_URLS needs the package apprise, which is not installed: pip install apprise")


def send(channels: Sequence[Channel], title: str, text: str, *, kind: str) -> dict[str, str]:
    """Send to all of them at once; returns by mark "" or why it failed, after DEADLINE seconds at the latest."""
    return _within(DEADLINE, {channel.mark: partial(channel.send, title, text, kind=kind) for channel in channels})


def ping(url: str) -> str:
    """Request the heartbeat's address. Returns "" for a status below 400, else what was wrong."""

    def ask() -> str:
        request = urllib.request.Request(url, headers={"User-Agent": "flasky-notify"})  # noqa: S310  (settings say http)
        with urllib.request.urlopen(request, timeout=DEADLINE / 2) as answer:  # noqa: S310  # nosec
            answer.read(1000)
        return ""

    return _within(DEADLINE, {"": ask})[""]


def fail_url(url: str) -> str:
    """Where a failure is reported: the address with `/fail` at its end; "" for services without one."""
    return "" if _KNOW_NO_FAIL.search(url) else f"{url.rstrip('/')}/fail"


def secrets() -> list[str]:
    """The parts of these addresses that must not be shown anywhere."""
    urls = [*(channel.url for channel in configured()), conf.NOTIFY_HEARTBEAT_URL or ""]
    return list(dict.fromkeys(part for url in urls for part in _parts(url)))


def _mask(record: logging.LogRecord) -> bool:
    """A filter that redacts our addresses in what libraries log at their lower levels."""
    record.msg, record.args = hush(record.getMessage(), secrets()), ()
    return True


def _parts(url: str) -> Iterator[str]:
    """Passwords, and what looks like a token in host, path, query and fragment; also with escapes undone."""
    rest = url.partition("://")[2]
    *logins, place = rest.rsplit("@", 1)
    user, *passwords = "".join(logins).split(":", 1)
    found = [*filter(None, passwords), *([user] if _is_token(unquote(user)) else [])]  # a user may be a display name
    try:
        # urlsplit() knows no query or fragment of some schemes, and folds the host.
        parsed = urlsplit(f"http://{place}")
        host = re.split(r"[/?#]", place, maxsplit=1)[0]
    except ValueError:  # not an address: redact all of it
        yield rest
        return
    pieces = [] if _is_real(host) else host.split(":")
    pieces += [*parsed.path.split("/"), *parsed.fragment.split("/")]
    pieces += [value for pair in parse_qsl(parsed.query, keep_blank_values=True) for value in pair]
    found += [piece for piece in pieces if _is_token(unquote(piece))]
    for each in found:
        yield each
        yield unquote(each)


def _is_token(piece: str) -> bool:
    if len(piece) < SHORTEST_TOKEN:
        return False
    return len(piece) > LONGEST_WORD or not (piece.isalpha() and (piece.islower() or piece.istitle()))


def _is_real(host: str) -> bool:
    """Whether it is a host name. Addresses of many services have a token in its place, which has no dot."""
    return host.split(":")[0] == "localhost" or "." in host or host.startswith("[")


def _within(seconds: float, calls: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    """What the calls return, or why they did not: raised an exception, or took longer than so many seconds."""
    found: dict[str, str] = {}

    def run(key: str, call: Callable[[], str]) -> None:
        try:
            found[key] = call()
        except Exception as error:  # noqa: BLE001  (a hundred services, each with its own)
            found[key] = f"{type(error).__name__}: {error}"

    threads = [threading.Thread(target=run, args=each, name="alert", daemon=True) for each in calls.items()]
    until = time.monotonic() + seconds
    with contextlib.suppress(RuntimeError):  # there is no room for a thread: no answer
        for thread in threads:
            thread.start()
    for thread in threads:
        if thread.ident:
            thread.join(max(until - time.monotonic(), 0))
    late = _("No answer within %d s.") % seconds
    hidden = secrets()
    return {key: hush(printable(found.get(key, late)), hidden)[:SAID_LENGTH] for key in calls}
