"""Who issues the tokens, to which client, for which mailbox: from the options of the email backend."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from notify.smtp.providers import presets
from notify.smtp.secret import Secret

NONE = Secret("")


@dataclass(frozen=True, kw_only=True)
class Authority:
    """An authorization server. `scope`: for a person's mailbox. `app_scope`: for the app alone; None: not possible.

    `device_url`, `authorize_url`, `revoke_url`: "" where the provider has none for mail. `parameters`: further ones of
    the authorization request. `redirect_host`: this machine's name that it takes with any port (RFC 8252 7.3).
    """

    token_url: str
    authorize_url: str = ""
    device_url: str = ""
    revoke_url: str = ""
    scope: str = ""
    app_scope: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    redirect_host: str = "127.0.0.1"

    @property
    def host(self) -> str:
        return urlsplit(self.token_url).hostname or ""


# By a preset's word: where people sign in, where their mail is.
_MICROSOFT = {
    "microsoft": ("login.microsoftonline.com", "outlook.office.com"),
    "microsoft-china": ("login.partner.microsoftonline.cn", "partner.outlook.cn"),
}


def _microsoft(login: str, mail: str, tenant: str) -> Authority:
    base = f"https://{login}/{tenant}/oauth2/v2.0"
    return Authority(
        token_url=f"{base}/token",
        authorize_url=f"{base}/authorize",
        device_url=f"{base}/devicecode",
        redirect_host="localhost",
        scope=f"https://{mail}/SMTP.Send offline_access",
        app_scope=None if tenant == "consumers" else f"https://{mail.replace('office.com', 'office365.com')}/.default",
    )


_GOOGLE = Authority(
    token_url="https://oauth2.googleapis.com/token",  # noqa: S106  # nosec  (an address)
    authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
    revoke_url="https://oauth2.googleapis.com/revoke",
    scope="https://mail.google.com/",
    parameters={"access_type": "offline", "prompt": "consent"},  # without these no refresh token is issued
)


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One client and one mailbox at one authority. `refresh_token`: given by the operator, who has one already."""

    authority: Authority
    username: str
    client_id: str
    client_secret: Secret = NONE
    refresh_token: Secret = NONE
    proxy: Secret = NONE

    @property
    def key(self) -> str:
        """Distinguishes the tokens of this configuration from those of others."""
        words = "\n".join([self.authority.token_url, self.client_id, self.username])
        return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def app_alone(self) -> bool:
        """Whether the client can have a token without a person: client credentials (RFC 6749 4.4)."""
        return bool(self.client_secret) and self.authority.app_scope is not None


def from_options(options: Mapping[str, Any]) -> Configuration | None:
    """The configuration in an email backend's options, or None.

    Raises ImproperlyConfigured, naming the variable, if something is missing.
    """
    # All of them Secrets here: error pages show local variables.
    given = {name: Secret(str(value).strip()) for name, value in options.items() if name.startswith("oauth_") and value}
    if not given:
        return None
    username = str(options.get("username") or "")
    if not given.get("oauth_client_id"):
        raise ImproperlyConfigured(_("MAIL_OAUTH_CLIENT_ID is not set, but other MAIL_OAUTH_ variables are."))
    if not username:
        raise ImproperlyConfigured(_("MAIL_USERNAME is not set: OAuth needs the mailbox that signs in."))
    return Configuration(
        authority=_authority(str(options.get("host") or ""), given),
        username=username,
        client_id=str(given["oauth_client_id"]),
        client_secret=given.get("oauth_client_secret", NONE),
        refresh_token=given.get("oauth_refresh_token", NONE),
        proxy=Secret(options.get("proxy") or ""),
    )


def _authority(host: str, given: Mapping[str, Secret]) -> Authority:
    if token_url := str(given.get("oauth_token_url", "")):
        scope, authorize_url = str(given.get("oauth_scope", "")), str(given.get("oauth_authorize_url", ""))
        for name, url in (("TOKEN", token_url), ("AUTHORIZE", authorize_url)):
            if url and not _is_private(url):
                raise ImproperlyConfigured(_("%s is not an https address.") % f"MAIL_OAUTH_{name}_URL")
        return Authority(
            token_url=token_url,
            authorize_url=authorize_url,
            scope=scope,
            app_scope=None if authorize_url else scope,
        )
    provider = presets.find(host=host)
    if provider and provider.oauth == "google":
        return _GOOGLE
    if provider and provider.oauth:
        return _microsoft(*_MICROSOFT[provider.oauth], given.get("oauth_tenant") or _usual_tenant(provider, given))
    raise ImproperlyConfigured(_("MAIL_OAUTH_TOKEN_URL is not set, and there is no OAuth preset for MAIL_SERVER."))


def _usual_tenant(provider: presets.Provider, given: Mapping[str, Secret]) -> str:
    """If none is set: that of private accounts, or any organization's; an app with a secret belongs to one tenant."""
    if provider.name == "outlook":
        return "consumers"
    if given.get("oauth_client_secret"):
        raise ImproperlyConfigured(_("MAIL_OAUTH_TENANT is not set: an app with a secret belongs to one tenant."))
    return "organizations"


def _is_private(url: str) -> bool:
    """Whether no one on the network can read what is sent: it is https, or this machine. False for no address."""
    try:
        parsed = urlsplit(url)
        return bool(parsed.hostname and parsed.port != 0) and (
            parsed.scheme == "https"
            or (parsed.scheme == "http" and parsed.hostname in ("127.0.0.1", "::1", "localhost"))
        )
    except ValueError:
        return False
