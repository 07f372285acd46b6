"""Access tokens for the email backend: cached in the process, shared through the store, renewed before they expire."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from notify.models import OAuthToken
from notify.oauth import configuration as configurations
from notify.oauth import grants, store
from notify.oauth.configuration import Configuration
from notify.oauth.endpoint import TokenRefused, TokenUnavailable
from notify.oauth.grants import Answer
from notify.oauth.store import Access
from notify.smtp.backend import AccessToken
from notify.smtp.dial import Deadline
from notify.smtp.failure import one_line
from notify.smtp.secret import Secret

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0  # for a token in total, and never longer than the attempt has left
LEASE_BEYOND = 5.0  # seconds that a lease outlives the request it is for
_POLL = 0.1

_cache: dict[str, Access] = {}
_unsaved: dict[str, Callable[[], None]] = {}  # what the database failed to store: it holds the only valid refresh token
_lock = threading.Lock()  # one thread renews the token, the others wait


class Tokens:
    """Called with the attempt's deadline and the token that the mail server refused ("" for none).

    Raises TokenRefused (action required), TokenUnavailable (it is retried), RuntimeError inside a transaction.
    """

    def __init__(self, configuration: Configuration) -> None:
        require_packages()
        self._configuration = configuration

    def __call__(self, deadline: Deadline, refused: str = "") -> AccessToken:
        left = deadline.remaining()
        own = Deadline(REQUEST_SECONDS if left is None else min(REQUEST_SECONDS, left))
        if not _lock.acquire(timeout=own.remaining() or -1):
            raise TokenUnavailable("another thread is still waiting for the token")
        try:
            found = _cache.get(self._configuration.key)
            origin = "cached"
            if found is None or not _fresh(found, refused):
                found, origin = self._renewed(own, refused)
                _cache[self._configuration.key] = found
        except (DatabaseError, InterfaceError) as error:
            raise TokenUnavailable(f"the database does not answer: {one_line(str(error))}") from None
        except TimeoutError:
            raise TokenUnavailable("another process is still renewing the token") from None
        finally:
            _lock.release()
        minutes = max(0, (found.expires_at - timezone.now()).total_seconds()) / 60
        return AccessToken(found.token, f"{origin}, valid for {minutes:.0f} min")

    def _renewed(self, deadline: Deadline, refused: str) -> tuple[Access, str]:
        """A token that another process has stored, or a new one. One process asks at a time; the others wait for it."""
        self._save_what_is_left()
        while True:
            row = store.read(self._configuration)
            stored = store.access(row)
            if stored and _fresh(stored, refused):
                return stored, "stored"
            left = deadline.remaining() or REQUEST_SECONDS
            if claim := store.claim(row, left + LEASE_BEYOND):
                break
            time.sleep(min(_POLL, left))
        try:
            used = store.refresh_token(row, self._configuration)
            if used:
                answer = grants.by_refresh_token(self._configuration, used, deadline)
            elif self._configuration.app_alone:
                answer = grants.by_client_credentials(self._configuration, deadline)
            else:
                raise TokenRefused("no refresh token: sign in once with manage.py mailauth")
        except (TokenRefused, TokenUnavailable) as error:
            store.failed(row, claim, str(error))
            if isinstance(error, TokenUnavailable) and stored and stored.token != refused:
                logger.warning("the access token could not be renewed and is used until it ends: %s", error)
                return stored, "stored"
            raise
        self._save(row, used, answer)
        return store.access_in(answer), f"from {self._configuration.authority.host}"

    def _save(self, row: OAuthToken, used: Secret, answer: Answer) -> None:
        """Now; if the database fails, before the next renewal."""
        _unsaved[self._configuration.key] = lambda: store.save(row, self._configuration, used, answer)
        try:
            self._save_what_is_left()
        except (DatabaseError, InterfaceError) as error:
            logger.error("the renewed token could not be stored, which is tried again: %s", one_line(str(error)))

    def _save_what_is_left(self) -> None:
        if save := _unsaved.get(self._configuration.key):
            save()
            del _unsaved[self._configuration.key]


def require_packages() -> None:
    """Raises ImproperlyConfigured, naming the package, if one is missing."""
    for package in ("oauthlib", "cryptography"):
        if find_spec(package) is None:
            raise ImproperlyConfigured(
                f"OAuth needs the package {package}, which is not installed: pip install oauthlib cryptography"
            )


def from_options(options: Mapping[str, Any]) -> Tokens | None:
    """For an email backend's options; None if they do not configure OAuth. Raises ImproperlyConfigured."""
    found = configurations.from_options(options)
    return Tokens(found) if found else None


def forget() -> None:
    """Empty the process's cache."""
    with _lock:
        _cache.clear()


def _fresh(access: Access, refused: str) -> bool:
    return access.token != refused and timezone.now() < access.renew_at
