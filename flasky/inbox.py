"""MAIL_BACKEND=inbox: delivered mails become files in var/inbox, and /inbox/ shows them on the developer's own machine.

Files, not rows of the outbox: they show what the transport was given, also by `sendtestmail`, which bypasses the
outbox. Any process may deliver: a file appears complete or not at all.
"""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends import dummy
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import split_domain_port
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import get_language
from django.views.decorators.cache import cache_control
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import condition, require_safe

from notify.admin import display, message_page
from notify.outbox import bare_address

KEPT = 200  # mails, the newest
HEAD = 16_384  # bytes of a mail that the list reads
LOOPBACK = ("127.0.0.1", "::1")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
# A proxy adds at least one of them. Behind it every client has the proxy's address, which may be a loopback one.
OF_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
NAME = r"[0-9]{20}-[0-9a-f]{8}"  # nanoseconds since 1970, and a random part


class EmailBackend(dummy.EmailBackend):
    """Keeps each message as a file in `folder`, with its envelope on top; the newest KEPT remain. Raises OSError.

    A dummy, for what asks whether mail leaves this machine.
    """

    def __init__(self, folder: str, fail_silently: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fail_silently = fail_silently
        self.last_reply = ""
        self._folder = Path(folder)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            name = self._keep(_envelope(message) + message.message().as_bytes())
            self.last_reply = f"kept in the inbox as {name}"
        for path in _newest_first(self._folder)[KEPT:]:
            path.unlink(missing_ok=True)
        return len(email_messages)

    def _keep(self, mail: bytes) -> str:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.eml"
        unfinished = self._folder / f".{name}"
        try:
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(mail)
            unfinished.rename(self._folder / name)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        return name


def _envelope(message: EmailMessage) -> bytes:
    """The header fields that the last mail server adds (RFC 5321 4.4, RFC 9228)."""
    fields = {"Return-Path": f"<{bare_address(message.from_email)}>", "Delivered-To": ", ".join(message.recipients())}
    return "".join(f"{name}: {' '.join(value.split())}\r\n" for name, value in fields.items()).encode()


class Mail(NamedTuple):
    """One of the list. `name` is its file's, without the ending."""

    name: str
    subject: str
    sender: str
    recipient: str
    at: datetime


def is_open_to(request: HttpRequest) -> bool:
    """Whether there is an inbox, and the client is on this machine and uses a local host name."""
    return (
        settings.DEBUG
        and settings.MAIL_BACKEND == "inbox"
        and request.META.get("REMOTE_ADDR") in LOOPBACK
        and not any(name in request.headers for name in OF_PROXIES)
        and split_domain_port(request.get_host())[0] in LOCAL_HOSTS
    )


def link(request: HttpRequest) -> dict[str, str]:
    """For templates: `inbox_url` where there is an inbox for this client."""
    return {"inbox_url": reverse("inbox")} if is_open_to(request) else {}


def _etag(request: HttpRequest) -> str | None:
    """Changes with the mails, the language, and every minute, because ages are shown."""
    if not is_open_to(request):
        return None
    shown = [*(path.name for path in _newest_first(_folder())), get_language(), str(int(time.time()) // 60)]
    return f'"{sha256(repr(shown).encode()).hexdigest()[:32]}"'


@require_safe
@cache_control(private=True, no_cache=True)
@condition(etag_func=_etag)
def index(request: HttpRequest) -> HttpResponse:
    """The mails that were delivered, newest first."""
    if not is_open_to(request):
        raise Http404
    mails = [mail for path in _newest_first(_folder()) if (mail := _listed(path))]
    return render(request, "inbox/index.html", {"mails": mails})


@require_safe
@cache_control(private=True, no_store=True)
def mail(request: HttpRequest, name: str) -> HttpResponse:
    """One mail: HTML in a frame, text, attachments and headers."""
    context = message_page.content(*_beginning(request, name))
    return render(request, "inbox/mail.html", {**context, "mail": _described(name, context["content"].headers)})


@require_safe
@xframe_options_sameorigin
@cache_control(private=True, no_store=True)
def html(request: HttpRequest, name: str) -> HttpResponse:
    """The HTML part for the frame, made inert."""
    return message_page.framed(display.read(_beginning(request, name)[0]).html or "", addresses=False)


@require_safe
@cache_control(private=True, no_store=True)
def raw(request: HttpRequest, name: str) -> HttpResponse:
    """The bytes of the mail, or the first of them, as text."""
    return message_page.as_text(*_beginning(request, name))


@require_safe
@cache_control(private=True, no_store=True)
def download(request: HttpRequest, name: str) -> HttpResponse:
    """The mail as a file that mail programs open."""
    with _opened(request, name) as file:
        return message_page.as_file(file.read(), f"{name}.eml")


def _folder() -> Path:
    return Path(settings.NOTIFY_TRANSPORT["OPTIONS"]["folder"])


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*.eml") if re.fullmatch(NAME, path.stem)), reverse=True)


def _beginning(request: HttpRequest, name: str) -> tuple[bytes, int]:
    """The first bytes of a mail, as many as its pages read, and its size. Raises Http404."""
    with _opened(request, name) as file:
        return file.read(message_page.SHOWN), os.fstat(file.fileno()).st_size


def _opened(request: HttpRequest, name: str) -> BinaryIO:
    """The file of a mail; the URL pattern has matched its name against NAME. Raises Http404."""
    if not is_open_to(request):
        raise Http404
    try:
        return (_folder() / f"{name}.eml").open("rb")
    except OSError as error:
        raise Http404 from error


def _listed(path: Path) -> Mail | None:
    """None for one that another process has just removed."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return _described(path.stem, display.read(file.read(HEAD)).headers)
    return None


def _described(name: str, headers: list[tuple[str, str]]) -> Mail:
    first = {field.lower(): value for field, value in reversed(headers)}
    at = datetime.fromtimestamp(int(name.partition("-")[0]) / 1e9, UTC)
    return Mail(name, first.get("subject", ""), first.get("from", ""), first.get("delivered-to", ""), at)
