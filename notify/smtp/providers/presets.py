"""Presets of mail providers: host, port, TLS mode, what to log in with, and which sender they accept."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.utils.translation import gettext_lazy as _

# What MAIL_PASSWORD must be, by the word in the table.
LOGINS = {
    "account": _("the account's password"),
    "api-key": _("an API key"),
    "app-password": _("an app password, created in the account's security settings; not the account password"),
    "bridge": _("the password that the bridge shows"),
    "client-password": _("a client password, created in the account's settings"),
    "code": _("an authorization code (授权码), created in the webmail when SMTP is turned on; not the login password"),
    "email-password": _("the password for e-mail programs, set in the account's settings"),
    "none": _("nothing: no login"),
    "oauth": _("none: manage.py mailauth obtains a token (OAuth 2)"),
    "ses": _("SMTP credentials, created in the SES console; not AWS access keys"),
    "smtp-key": _("an SMTP key"),
    "smtp-password": _("SMTP credentials, created in the provider's console"),
    "token": _("an SMTP token"),
}
# Whose address the sender may be.
SENDERS = {
    "any": "",
    "login": _("the sender must be the login"),
    "own": _("the sender must be the login or an alias of it"),
    "rewritten": _("another sender is replaced by the login"),
    "verified": _("the sender must be verified with the provider"),
}
# What else there is to know.
NOTES = {
    "": "",
    "21vianet": _("Operated by 21Vianet."),
    "bridge": _("The bridge uses a self-signed certificate: export it, and set SSL_CERT_FILE to the file."),
    "directmail": _("The sender address is created in the DirectMail console."),
    "gmail": _(
        "Needs 2-step verification for app passwords. From is rewritten to the login unless it is a verified alias."
    ),
    "microsoft-off": _("Microsoft does not accept passwords here, only OAuth 2."),
    "microsoft-retiring": _(
        "An administrator must allow authenticated SMTP for the mailbox. Passwords are off by default from the end "
        "of December 2026."
    ),
    "proton": _("SMTP tokens are for business plans with a domain; with other plans, run Proton Mail Bridge."),
    "webmail-programs": _("Turn on sending from programs in the webmail."),
    "webmail-smtp": _("Turn on SMTP in the webmail."),
    "workspace": _("For Google Workspace; an administrator must allow it."),
}
# The mode of a port that the provider's own table does not list.
MODES = {465: "tls", 994: "tls", 2465: "tls"}


@dataclass(frozen=True, kw_only=True)
class Provider:
    """What a provider asks for.

    `ports`: port → tls, starttls or plain; the first is the default. `domains`: of its users' addresses. `login`: a key
    of LOGINS. `sender`: a key of SENDERS. `note`: a key of NOTES. `user`: the word to log in as, where it
    is the same for everybody. `oauth`: whose access tokens it takes, a word of notify.oauth.configuration.
    """

    name: str
    hosts: Sequence[str]
    ports: Mapping[int, str]
    domains: Sequence[str] = ()
    aliases: Sequence[str] = ()
    login: str = "account"
    sender: str = "any"
    user: str = ""
    note: str = ""
    oauth: str = ""

    @property
    def host(self) -> str:
        return self.hosts[0]

    @property
    def port(self) -> int:
        return next(iter(self.ports))

    @property
    def mode(self) -> str:
        return self.ports[self.port]

    def mode_of(self, port: int) -> str:
        return self.ports.get(port) or MODES.get(port) or ("starttls" if self.mode == "tls" else self.mode)

    def port_of(self, mode: str) -> int:
        """The port where the provider speaks the mode, else its default port."""
        return next((port for port, its_mode in self.ports.items() if its_mode == mode), self.port)


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where and how mail is handed over. `sender_is_login`: if no sender is set, the login should be used."""

    host: str
    port: int
    use_tls: bool
    use_ssl: bool
    sender_is_login: bool


def _read() -> Iterator[Provider]:
    table: dict[str, dict[str, Any]] = tomllib.loads(
        Path(__file__).with_name("providers.toml").read_text(encoding="utf-8")
    )
    for name, row in table.items():
        regions = row.pop("regions", [])
        ports = {int(port): mode for port, mode in row.pop("ports").items()}
        provider = Provider(name=name, ports=ports, **row)
        yield provider
        for region in regions:
            host = provider.host.replace(regions[0], region)
            yield replace(provider, name=f"{name}-{region}", hosts=[host], aliases=[])


PROVIDERS = tuple(_read())
_BY_NAME = {word: each for each in reversed(PROVIDERS) for word in (each.name, *each.aliases)}
# Of two presets with one host the first: ses is also ses-us-east-1. Loopback addresses belong to no provider.
_BY_HOST = {host: each for each in reversed(PROVIDERS) for host in each.hosts if host != "127.0.0.1"}
_BY_DOMAIN = {domain: each for each in reversed(PROVIDERS) for domain in each.domains}


def names() -> list[str]:
    """Every word that MAIL_SERVICE takes."""
    return [name for provider in PROVIDERS for name in (provider.name, *provider.aliases)]


def find(*, service: str = "", username: str = "", host: str = "") -> Provider | None:
    """The preset by its name or alias, else by its host, else by the domain of the user name."""
    if service:
        return _BY_NAME.get(service.strip().lower())
    if host:
        return _BY_HOST.get(host.strip().rstrip(".").lower())
    return _BY_DOMAIN.get(username.rpartition("@")[2].strip().lower())


def route(
    *, service: str, username: str, server: str, port: int | None, use_tls: bool | None, use_ssl: bool | None
) -> Route:
    """Where to hand mail over: what is given explicitly wins over the preset, the preset over localhost:25.

    A port given alone brings the provider's mode on that port, a mode given alone the provider's port for that mode.
    """
    provider = find(service=service, username=username, host=server)
    given = None
    if use_tls is not None or use_ssl is not None:
        given = "tls" if use_ssl else "starttls" if use_tls else "plain"
    mode = given or "plain"
    if provider:
        mode = given or provider.mode_of(port or provider.port)
        port = port or provider.port_of(mode)
    return Route(
        host=server or (provider.host if provider else "localhost"),
        port=port or 25,
        # Both at once is an error, which a check reports.
        use_tls=bool(use_tls) if given else mode == "starttls",
        use_ssl=bool(use_ssl) if given else mode == "tls",
        sender_is_login=bool(provider and provider.sender in ("login", "own", "rewritten") and "@" in username),
    )


def lines() -> Iterator[str]:
    """The presets as a table for people."""
    for provider in PROVIDERS:
        ports = ", ".join(f"{port} {mode}" for port, mode in provider.ports.items())
        also = f" (or {', '.join(provider.aliases)})" if provider.aliases else ""
        yield f"{provider.name}{also}: {provider.host} {ports}"
        user = f"MAIL_USERNAME={provider.user}; " if provider.user else ""
        rule = f"; {SENDERS[provider.sender]}" if SENDERS[provider.sender] else ""
        yield f"    {user}MAIL_PASSWORD: {LOGINS[provider.login]}{rule}"
        if provider.note:
            yield f"    {NOTES[provider.note]}"
