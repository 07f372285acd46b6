"""Stores tokens: one row per configuration, encrypted, renewed by one process at a time.

A renewal holds a lease on the row but no transaction, as the request may take seconds. Its result is stored only if the
refresh token is still the one that was used.
"""

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.crypto import salted_hmac

from notify import conf
from notify.models import OAuthToken
from notify.oauth.configuration import Configuration
from notify.oauth.endpoint import TokenRefused
from notify.oauth.grants import Answer
from notify.smtp.secret import Secret

try:
    from cryptography import fernet
except ImportError:
    fernet = None  # type: ignore[assignment]  # see tokens.require_packages

EARLY = timedelta(minutes=5)  # before a token expires it is renewed; at half its lifetime if that is shorter
_SALT = "notify.oauth.store"
_LONGEST_LEASE = timedelta(seconds=60)  # a lease that ends later was set by a clock that was wrong


@dataclass(frozen=True)
class Access:
    """An access token, when it expires, and when to renew it."""

    token: Secret
    expires_at: datetime
    renew_at: datetime


def read(configuration: Configuration) -> OAuthToken:
    """The row, created if missing. RuntimeError inside a transaction: a rollback would undo what is stored."""
    with transaction.atomic(durable=True):
        row, _ = OAuthToken.objects.get_or_create(
            key=configuration.key,
            defaults={
                "username": configuration.username[:320],
                "client_id": configuration.client_id[:255],
                "token_url": configuration.authority.token_url[:500],
            },
        )
    return row


def access(row: OAuthToken) -> Access | None:
    """The stored access token, None if it has expired or cannot be decrypted."""
    if not row.access_token or row.expires_at is None or row.renew_at is None or row.expires_at <= timezone.now():
        return None
    token = _unsealed(row.access_token)
    return Access(token, row.expires_at, row.renew_at) if token else None


def refresh_token(row: OAuthToken, configuration: Configuration) -> Secret:
    """The stored one, or the operator's if that is newer; "" for none. Raises TokenRefused."""
    if configuration.refresh_token and row.seed != _fingerprint(configuration.refresh_token):
        return configuration.refresh_token
    if not row.refresh_token:
        return Secret("")
    token = _unsealed(row.refresh_token)
    if token is None:
        raise TokenRefused("the stored refresh token cannot be decrypted: it was encrypted with another key")
    return token


def claim(row: OAuthToken, seconds: float) -> str:
    """The name of the lease, "" if another process holds one or the row has changed since it was read."""
    name = secrets.token_hex(12)
    taken = OAuthToken.objects.filter(
        Q(claimed_until=None) | Q(claimed_until__lte=Now()) | Q(claimed_until__gt=Now() + _LONGEST_LEASE),
        pk=row.pk,
        access_token=row.access_token,
        refresh_token=row.refresh_token,
    ).update(claim=name, claimed_until=Now() + min(timedelta(seconds=seconds), _LONGEST_LEASE))
    return name if taken else ""


def access_in(answer: Answer) -> Access:
    """The access token of an answer."""
    lifetime = timedelta(seconds=answer.lifetime)
    ends = answer.received_at + lifetime
    return Access(answer.access_token, ends, ends - min(EARLY, lifetime / 2))


def save(row: OAuthToken, configuration: Configuration, used: Secret, answer: Answer) -> None:
    """Store what a renewal with `used` brought, unless another process has stored something since `row` was read."""
    columns = _columns(configuration, answer)
    if used or answer.refresh_token:
        # Also an old one is stored again: it is then encrypted with the newest key.
        columns |= {"refresh_token": _sealed(answer.refresh_token or used)}
    with transaction.atomic(durable=True):
        OAuthToken.objects.filter(pk=row.pk, refresh_token=row.refresh_token).update(**columns)


def authorize(configuration: Configuration, answer: Answer) -> None:
    """Store what a person has just permitted, in place of everything older."""
    row = read(configuration)
    columns = _columns(configuration, answer)
    columns |= {"refresh_token": _sealed(answer.refresh_token), "authorized_at": Now()}
    OAuthToken.objects.filter(pk=row.pk).update(**columns)


def failed(row: OAuthToken, claim: str, words: str) -> None:
    """End the lease, and store why there is no new token."""
    OAuthToken.objects.filter(pk=row.pk, claim=claim).update(claim="", claimed_until=None, error=words, failed_at=Now())


def _columns(configuration: Configuration, answer: Answer) -> dict[str, Any]:
    now, found = answer.received_at, access_in(answer)
    columns: dict[str, Any] = {
        "access_token": _sealed(answer.access_token),
        "expires_at": found.expires_at,
        "renew_at": found.renew_at,
        "renewed_at": now,
        "seed": _fingerprint(configuration.refresh_token) if configuration.refresh_token else "",
        "claim": "",
        "claimed_until": None,
        "error": "",
        "failed_at": None,
    }
    if answer.scope:
        columns["scope"] = answer.scope
    if answer.refresh_token or answer.refresh_lifetime:
        ends = now + timedelta(seconds=answer.refresh_lifetime) if answer.refresh_lifetime else None
        columns["refresh_expires_at"] = ends
    return columns


def _box() -> Any:
    """The first key encrypts, all of them decrypt: MAIL_OAUTH_KEY may be set later, and SECRET_KEY replaced."""
    given = [str(key) for key in (conf.MAIL_OAUTH_KEY, settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS) if key]
    keys = [salted_hmac(_SALT, "", secret=key, algorithm="sha256").digest() for key in given]
    return fernet.MultiFernet([fernet.Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def _sealed(text: Secret) -> str:
    return str(_box().encrypt(text.encode()).decode()) if text else ""


def _unsealed(sealed: str) -> Secret | None:
    try:
        return Secret(_box().decrypt(sealed.encode()).decode())
    except fernet.InvalidToken:
        return None


def _fingerprint(token: Secret) -> str:
    return salted_hmac(_SALT + ".seed", token, algorithm="sha256").hexdigest()
