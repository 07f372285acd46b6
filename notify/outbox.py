"""Django email backend: stores each message once, rendered for good, in the caller's transaction."""

import contextlib
import copy
import functools
import logging
import re
from collections.abc import Sequence
from email.headerregistry import AddressHeader
from typing import Any

import django
from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as DjangoSMTPBackend
from django.db import DatabaseError, InterfaceError, transaction
from django.utils.functional import Promise

from notify import clock, conf, dispatch
from notify.delivery import attributes, transport
from notify.models import GIVE_UP_AFTER, Body, Message
from notify.rendering.message import SENSITIVE_HEADER, fresh_headers, one_line
from notify.smtp import folding
from notify.storing import store, store_apart

if django.VERSION < (6, 0):
    from django.core.mail.message import sanitize_address

# The token of django.contrib.auth's PasswordResetTokenGenerator within a link: seconds in base 36, half a SHA-256.
# allauth writes the user's number and a hyphen before it.
_RESET_TOKEN = re.compile(r"[/=-][0-9a-z]{6,7}-[0-9a-f]{32}(?![0-9a-f])")
_LINK = re.compile(r"https?://[^\s\"'<>]+")
# What tokens in links are made of: secrets.token_urlsafe and token_hex, django.core.signing, JWT.
_LONG_WORD = re.compile(r"[A-Za-z0-9_-]{20,}")
_NAMED_SO = re.compile(r"[?&;](?:sesame|token|key|code|signature)=[\w:.%-]{16,}")
_HEXADECIMAL = re.compile(r"(?<![0-9a-f])[0-9a-f]{32,}(?![0-9a-f])")


class EmailBackend(BaseEmailBackend):
    """Takes what Django code sends. One row per envelope recipient, so that one refusal is one row's failure.

    Where the transport knows no envelope (an API, a file), a row is a whole message. Options such as `host` or
    `username` that differ from the transport's are a TypeError: mail is sent later, through the transport alone.
    """

    def __init__(self, fail_silently: bool = False, *, alias: str | None = None, **options: Any) -> None:
        super().__init__(**({} if alias is None else {"alias": alias, **options}))
        self.fail_silently = fail_silently
        unused = [
            name
            for name, value in options.items()
            if name[0] != "_" and value not in (None, transport.options().get(name, ""))
        ]
        if unused:
            raise TypeError(
                f"The outbox sends mail through NOTIFY_TRANSPORT and cannot use {', '.join(sorted(unused))} for a "
                "single mail: set it there, or name the backend that is to send this mail without the outbox, as in "
                "get_connection('django.core.mail.backends.smtp.EmailBackend', …)"
            )

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Store the messages, all or none, and wake delivery after the commit. Returns how many were stored.

        Raises what Django's SMTP backend would for a message that cannot be sent (ValueError, mostly), and TypeError
        for an attribute of Anymail's that cannot be kept.
        """
        messages = [message for message in email_messages if message.recipients()]
        stored = [rows_of(message) for message in messages]
        if stored:
            # An error page must not fail because its report cannot be kept, nor a rollback take the report with it.
            reports_errors = all(is_error_report(message) for message in messages)
            try:
                (store_apart if reports_errors else store)(functools.partial(_save, stored))
            except (DatabaseError, InterfaceError):
                if not (self.fail_silently or reports_errors):
                    raise
                return 0
        return len(stored)


@transaction.atomic
def _save(stored: Sequence[Sequence[Message]]) -> None:
    for rows in stored:
        body = rows[0].body
        body.pk = None  # a try that was rolled back has left its ids, which are another mail's by now
        body.save(force_insert=True)
        for row in rows:
            row.pk, row.body = None, body
        Message.objects.bulk_create(rows)
    transaction.on_commit(dispatch.wake, robust=True)


def rows_of(message: EmailMessage) -> list[Message]:
    """The rows to be stored for a message, unsaved: one recipient each, sharing a body. Raises ValueError, TypeError.

    One row for all recipients where the transport knows no envelope: each would get the mail once per row.
    """
    _check_addresses(message)
    recipients = list(dict.fromkeys(bare_address(str(recipient)) for recipient in message.recipients()))
    now = clock.stamp()
    sender = bare_address(str(message.from_email))
    stamped = _without_exotic_breaks(message)
    sensitive = is_sensitive(message)
    stamped.extra_headers = {
        name: value for name, value in stamped.extra_headers.items() if name.lower() != SENSITIVE_HEADER.lower()
    }
    whole = not transport.takes_envelope()
    kept = attributes.dump(stamped, recipients, whole=whole)
    given = {name.lower(): value for name, value in stamped.extra_headers.items()}
    fresh = fresh_headers(sender)
    stamped.extra_headers = {
        **{name: value for name, value in fresh.items() if name.lower() not in given},
        **stamped.extra_headers,
    }
    message_id = str(given.get("message-id", fresh["Message-ID"]))
    body = Body(mime=folding.wire_bytes(stamped), attributes=kept)
    return [
        Message(
            message_id=message_id[:255],
            sender=sender,
            recipient=recipient,
            subject=one_line(str(message.subject)).replace("\0", "")[:1000],
            body=body,
            created_at=now,
            due_at=now,
            expires_at=now + GIVE_UP_AFTER,
            sensitive=sensitive,
        )
        for recipient in ([attributes.in_words(recipients)] if whole else recipients)
    ]


def is_error_report(message: EmailMessage) -> bool:
    """Whether it looks as Django's AdminEmailHandler makes it: to ADMINS, its subject such as `[Django] ERROR: …`."""
    admins = {admin if isinstance(admin, str) else str(admin[1]) for admin in settings.ADMINS}
    subject = str(message.subject).removeprefix(settings.EMAIL_SUBJECT_PREFIX)
    level = re.match(r"(\w+)(?: \((?:EXTERNAL|internal) IP\))?: ", subject)
    return (
        message.from_email == settings.SERVER_EMAIL
        and set(message.to) == admins
        and level is not None
        and level[1] in logging.getLevelNamesMapping()
    )


def is_sensitive(message: EmailMessage) -> bool:
    """Whether its content is for operators only: its SENSITIVE_HEADER says yes, or NOTIFY_SENSITIVE does.

    NOTIFY_SENSITIVE is "links" (it holds a link with a token, which may sign in or set a password), "all", or a
    function of the message.
    """
    said = {name.lower(): str(value) for name, value in message.extra_headers.items()}
    if said.get(SENSITIVE_HEADER.lower(), "").strip().lower() == "yes":
        return True
    chosen = conf.NOTIFY_SENSITIVE
    if callable(chosen):
        return bool(chosen(message))
    texts = [str(message.body), *(str(part[0]) for part in getattr(message, "alternatives", []))]
    return chosen == "all" or any(
        _RESET_TOKEN.search(text) or any(_is_token(link) for link in _LINK.findall(text)) for text in texts
    )


def _is_token(link: str) -> bool:
    """Whether a part of the link is named so, hexadecimal, or a long word of capitals, small letters and digits."""
    return bool(_HEXADECIMAL.search(link) or _NAMED_SO.search(link)) or any(
        all(re.search(kind, word) for kind in ("[A-Z]", "[a-z]", "[0-9]")) or len(re.findall("[a-z][A-Z]", word)) > 2
        for word in _LONG_WORD.findall(link)
    )


def _check_addresses(message: EmailMessage) -> None:
    """Raises what Django's SMTP backend raises for sender and recipients when it sends, mostly ValueError.

    Also for several recipients in one text: split up, a text that was typed as one address would send a password reset
    to others, too.
    """
    for mailbox in [str(recipient) for recipient in message.recipients() if "," in str(recipient)]:
        several = 0
        with contextlib.suppress(Exception):  # the library's parser stumbles in many ways; Django's says what is wrong
            several = len(AddressHeader.value_parser(mailbox).all_mailboxes)
        if several > 1:
            raise ValueError(f"{mailbox!r} is more than one recipient: each is an element of `to`, `cc` or `bcc`")
    for address in (message.from_email, *message.recipients()):
        if django.VERSION >= (6, 0):
            DjangoSMTPBackend.prep_address(None, address)  # type: ignore[arg-type]  # it uses nothing of the backend
        else:
            sanitize_address(address, message.encoding or settings.DEFAULT_CHARSET)


def bare_address(mailbox: str) -> str:
    """The address of `Ann <ann@example.com>`. Any other text is returned as it is, for the relay to refuse.

    Not parseaddr(): on older Pythons that takes the first of two, also out of the name (CVE-2023-27043).
    """
    angle = re.search(r"<([^<>]+)>\s*$", mailbox)
    return angle[1] if angle else mailbox.strip()


# Django refuses CR and LF in headers. The generator of Python before 3.11.15 and 3.13.12 breaks lines at these, too
# (CVE-2026-1299), and what follows would begin a new header.
_EXOTIC_BREAKS = str.maketrans(dict.fromkeys("\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", " "))


def _without_exotic_breaks(message: EmailMessage) -> EmailMessage:
    """A copy whose headers hold no line break but those that Django refuses."""

    def clean(value: Any) -> Any:
        return str(value).translate(_EXOTIC_BREAKS) if isinstance(value, (str, Promise)) else value

    copied = copy.copy(message)
    copied.subject, copied.from_email = clean(message.subject), clean(message.from_email)
    for field in ("to", "cc", "bcc", "reply_to"):
        setattr(copied, field, [clean(address) for address in getattr(message, field)])
    copied.extra_headers = {name: clean(value) for name, value in message.extra_headers.items()}
    return copied
