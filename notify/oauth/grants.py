"""The requests and answers of OAuth 2: written and read by oauthlib, which does no I/O."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.utils import timezone

from notify.oauth import endpoint
from notify.oauth.configuration import NONE, Configuration
from notify.oauth.endpoint import TokenUnavailable
from notify.smtp.dial import Deadline
from notify.smtp.secret import Secret

try:
    from oauthlib import oauth2
except ImportError:
    oauth2 = None  # see tokens.require_packages

UNSAID_LIFETIME = 600  # seconds, if the answer does not say how long the token is valid
LONGEST = 10 * 365 * 86400
_TOKEN = re.compile(r"[\x21-\x7e]{1,11000}")  # what fits in a command to the mail server; RFC 6750 2.1 is narrower


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`refresh_token`: "" if none was issued. `refresh_lifetime`: seconds, None if not known."""

    access_token: Secret
    lifetime: int
    refresh_token: Secret = NONE
    refresh_lifetime: int | None = None
    scope: str = ""
    received_at: datetime = field(default_factory=timezone.now)


@dataclass(frozen=True, kw_only=True)
class DeviceCode:
    """What a person enters, and where (RFC 8628 3.2). `interval` and `lifetime` in seconds."""

    device_code: Secret
    user_code: str
    verification_url: str
    interval: int
    lifetime: int


def by_client_credentials(configuration: Configuration, deadline: Deadline) -> Answer:
    """For the app alone (RFC 6749 4.4)."""
    client = oauth2.BackendApplicationClient(configuration.client_id)
    form = {"include_client_id": True, "scope": configuration.authority.app_scope}
    return _token(configuration, deadline, client.prepare_request_body, **form)


def by_refresh_token(configuration: Configuration, refresh_token: Secret, deadline: Deadline) -> Answer:
    """RFC 6749 6. A refresh token in the answer replaces the old one."""
    client = oauth2.WebApplicationClient(configuration.client_id)
    form = {"client_id": client.client_id, "scope": configuration.authority.scope, "refresh_token": refresh_token}
    return _token(configuration, deadline, client.prepare_refresh_body, **form)


def by_code(
    configuration: Configuration, code: Secret, *, redirect_uri: str, verifier: Secret, deadline: Deadline
) -> Answer:
    """The code of a redirect, with the verifier of its request (RFC 6749 4.1.3, RFC 7636 4.5)."""
    client = oauth2.WebApplicationClient(configuration.client_id)
    form = {"code": code, "code_verifier": verifier, "redirect_uri": redirect_uri}
    return _token(configuration, deadline, client.prepare_request_body, **form)


def by_device_code(configuration: Configuration, code: DeviceCode, deadline: Deadline) -> Answer:
    """RFC 8628 3.4. TokenRefused has `error` authorization_pending or slow_down until the person is done."""
    client = oauth2.DeviceClient(configuration.client_id)
    form = {"include_client_id": True, "device_code": code.device_code}
    return _token(configuration, deadline, client.prepare_request_body, **form)


def device_code(configuration: Configuration, deadline: Deadline) -> DeviceCode:
    """RFC 8628 3.1."""
    form: dict[str, Any] = {"client_id": configuration.client_id, "scope": configuration.authority.scope}
    said = _post(configuration, configuration.authority.device_url, deadline, _encoded, **form)
    try:
        return DeviceCode(
            device_code=_text(said["device_code"]),
            user_code=str(_text(said["user_code"])),
            verification_url=str(_text(said.get("verification_uri") or said["verification_url"])),
            interval=max(1, min(int(said.get("interval") or 5), 60)),
            lifetime=max(1, min(int(said["expires_in"]), 3600)),
        )
    except (KeyError, TypeError, ValueError):
        raise TokenUnavailable(f"{configuration.authority.host}: no device code in the answer") from None


def authorization_url(configuration: Configuration, *, redirect_uri: str, state: str, verifier: str) -> str:
    """Where a person's browser goes (RFC 6749 4.1.1, RFC 7636 4.3)."""
    client = oauth2.WebApplicationClient(configuration.client_id)
    address = configuration.authority.authorize_url
    url = client.prepare_request_uri(
        # oauthlib insists on https; the configuration lets http pass on this machine alone.
        address.replace("http:", "https:", 1),
        redirect_uri=redirect_uri,
        scope=configuration.authority.scope,
        state=state,
        code_challenge=client.create_code_challenge(verifier, "S256"),
        code_challenge_method="S256",
        login_hint=configuration.username,
        **configuration.authority.parameters,
    )
    return str(url).replace("https:", urlsplit(address).scheme + ":", 1)


def revoke(configuration: Configuration, token: Secret, deadline: Deadline) -> None:
    """RFC 7009. The answer need not have a body."""
    form = {"client_id": configuration.client_id, "token": token, "token_type_hint": "refresh_token"}
    _post(configuration, configuration.authority.revoke_url, deadline, _encoded, empty=True, **form)


def _encoded(**form: str | None) -> str:
    return urlencode({name: value for name, value in form.items() if value})


def _token(configuration: Configuration, deadline: Deadline, write: Callable[..., str], **form: Any) -> Answer:
    said = _post(configuration, configuration.authority.token_url, deadline, write, **form)
    try:
        # Its result has plain texts, and is not kept: error pages show local variables.
        oauth2.Client(configuration.client_id).parse_request_body_response(json.dumps(said))
        return Answer(
            access_token=_text(said["access_token"]),
            lifetime=_seconds(said.get("expires_in")) or UNSAID_LIFETIME,
            refresh_token=_text(said["refresh_token"]) if said.get("refresh_token") else NONE,
            refresh_lifetime=_seconds(said.get("refresh_token_expires_in")),
            scope=str(said.get("scope") or "")[:1000],
        )
    except (oauth2.OAuth2Error, KeyError, TypeError, ValueError, AttributeError):
        raise TokenUnavailable(f"{configuration.authority.host}: no access token in the answer") from None


def _post(
    configuration: Configuration,
    url: str,
    deadline: Deadline,
    write: Callable[..., str],
    *,
    empty: bool = False,
    **form: Any,
) -> dict[str, Any]:
    """The answer to the form that `write` makes of the values; the Secrets among them are masked in errors."""
    form["client_secret"] = configuration.client_secret or None  # as all providers take it (RFC 6749 2.3.1)
    hidden = [value for value in form.values() if isinstance(value, Secret)]
    body = Secret(write(**form))
    return endpoint.post(url, body, deadline=deadline, proxy=configuration.proxy, secrets=hidden, empty=empty)


def _text(value: Any) -> Secret:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError("no token")
    return Secret(value)


def _seconds(value: Any) -> int | None:
    try:
        seconds = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return min(seconds, LONGEST) if seconds > 0 else None
