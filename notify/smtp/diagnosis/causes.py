"""The causes of failures, and what to do about each: texts for people, chosen by `rules`."""

from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.utils.functional import Promise, lazy
from django.utils.translation import gettext_lazy as _

DAY = 86400
THROTTLED = 900  # seconds; providers speak of "later"
FRESH_SESSION = 60  # seconds; the next connection starts clean


@dataclass(frozen=True)
class Diagnosis:
    """`relay`: no message will get through until a person or time mends it; otherwise it concerns one message.

    `pause`: seconds to leave the relay alone, where the provider is known to want that, else None. `cause` and `fix`
    are translated when they are shown.
    """

    id: str
    cause: str | Promise
    fix: str | Promise
    pause: int | None = None
    relay: bool = False


def _name_what_is_set(fix: Promise) -> str:
    service = getattr(settings, "MAIL_SERVICE", "") and not getattr(settings, "MAIL_SERVER", "")
    return str(fix).replace("MAIL_SERVER", "MAIL_SERVICE") if service else str(fix)


# A fix that names MAIL_SERVER; if the server was chosen by MAIL_SERVICE, it names that instead.
_named: Callable[[Promise], Promise] = lazy(_name_what_is_set, str)  # type: ignore[assignment]  # stubs: str
_AUTHORIZATION_CODE = _(
    "In the webmail's settings switch on SMTP, make an authorization code (授权码) and put it into MAIL_PASSWORD."
)
_USE_STARTTLS = _("Set MAIL_USE_TLS=true and MAIL_USE_SSL=false (usual on ports 587 and 25).")
_WAIT = _("No action needed; retrying automatically. If it persists, check the network.")
_CA = _(
    "Configure the mail server to send its full certificate chain, or set SSL_CERT_FILE to a file with the authority's certificate."
)

# ruff: noqa: E501  (tables: a row is a line)
# fmt: off
_RELAY = [  # no message gets through until this is mended
    # Logging in
    ("app-password-required", _("The account has 2-step verification, so the account password is not accepted here."),
     _("Make an app password in the account's security settings and put it into MAIL_PASSWORD.")),
    ("gmail-credentials", _("Google did not accept the user name and password."),
     _("Set MAIL_USERNAME to the full address and MAIL_PASSWORD to a new app password.")),
    ("browser-login", _("Google flagged the sign-in."),
     _("Log in once in a web browser, then make an app password and put it into MAIL_PASSWORD.")),
    ("authorization-code", _("The provider requires an authorization code (授权码), not the login password."), _AUTHORIZATION_CODE),
    ("smtp-service-off", _("The SMTP service of this mailbox is switched off."), _AUTHORIZATION_CODE),
    ("microsoft-auth-off", _("Microsoft has SMTP AUTH switched off for the tenant or the mailbox."),
     _("An administrator must allow authenticated SMTP for the mailbox (Exchange admin center: Manage email apps); OAuth requires it, too.")),
    ("microsoft-basic-auth-gone", _("Microsoft no longer accepts passwords here, only OAuth."),
     _("Sign in by OAuth 2: set MAIL_OAUTH_CLIENT_ID instead of MAIL_PASSWORD (docs/providers.md).")),
    ("oauth-only", _("The mail server does not accept passwords, only OAuth."),
     _("Sign in by OAuth 2: set MAIL_OAUTH_CLIENT_ID instead of MAIL_PASSWORD (docs/providers.md).")),
    ("ses-credentials", _("Amazon SES did not accept the user name and password; AWS access keys are not SMTP credentials."),
     _named(_("Create SMTP credentials in the SES console, in the same region as MAIL_SERVER."))),
    ("bad-credentials", _("The mail server did not accept the user name and password."),
     _("Check MAIL_USERNAME and MAIL_PASSWORD; many providers require an app password or an authorization code.")),
    ("account-disabled", _("The provider has disabled or locked this account."),
     _("Log in to the webmail or ask the provider why; then check MAIL_USERNAME and MAIL_PASSWORD.")),
    ("not-logged-in", _("The mail server requires a login, but user name or password is empty."),
     _("Set MAIL_USERNAME and MAIL_PASSWORD for the sending process, and restart it.")),
    ("auth-not-offered", _("The mail server offers no login on this connection: TLS is off, or it does not support logins."),
     _("Turn on TLS (MAIL_USE_TLS=true). If it is on, use the mail server's login port (587 or 465), or no login.")),
    ("ehlo-name", _("The mail server does not accept this machine's name in EHLO."),
     _("Set MAIL_EHLO to this machine's full host name, such as www.example.com.")),
    # Access tokens
    ("token-not-authorized", _("No one has signed in for this mailbox yet, so there is no refresh token."),
     _("Run manage.py mailauth once. For a Microsoft app that signs in alone, set MAIL_OAUTH_CLIENT_SECRET.")),
    ("token-grant-ended", _("The permission has ended: the refresh token expired or was revoked, or the account's password was changed."),
     _("Run manage.py mailauth again. If MAIL_OAUTH_REFRESH_TOKEN is set, replace it.")),
    ("google-grant-ended", _("Google has ended the permission. While the project's publishing status is Testing, that happens after 7 days."),
     _("In the Google Cloud console set the publishing status to In production, then run manage.py mailauth again.")),
    ("token-declined", _("The sign-in was declined, or its code expired before it was completed."),
     _("Run manage.py mailauth again and complete the sign-in.")),
    ("token-secret-wrong", _("The client secret is wrong."),
     _("Set MAIL_OAUTH_CLIENT_SECRET to the secret's value (Microsoft: not its Secret ID), and check MAIL_OAUTH_CLIENT_ID.")),
    ("token-secret-expired", _("The client secret has expired."),
     _("Make a new one (Microsoft: Certificates & secrets) and put its value into MAIL_OAUTH_CLIENT_SECRET.")),
    ("token-client-unknown", _("The provider does not know this app, or not in this tenant."),
     _("Check MAIL_OAUTH_CLIENT_ID and, at Microsoft, MAIL_OAUTH_TENANT.")),
    ("token-tenant-unknown", _("Microsoft does not know this tenant."),
     _("Set MAIL_OAUTH_TENANT to the Directory (tenant) ID, or to a domain of the organization.")),
    ("token-no-consent", _("The app's permission to send mail has not been consented to."),
     _("An administrator grants it (API permissions: SMTP.Send, or SMTP.SendAsApp for the app alone), or run manage.py mailauth and accept.")),
    ("token-mfa", _("Microsoft requires a new sign-in with multi-factor authentication."),
     _("Run manage.py mailauth again. An app that signs in alone (SMTP.SendAsApp) needs no person.")),
    ("token-public-client", _("The app requires a client secret and none is set, or it must not use one and MAIL_OAUTH_CLIENT_SECRET is set."),
     _("Set MAIL_OAUTH_CLIENT_SECRET; or unset it and, at Microsoft, allow public client flows under Authentication.")),
    ("token-not-allowed", _("A policy of the organization does not allow this app or this person."),
     _("An administrator must allow it (Microsoft Entra: Conditional Access, and who is assigned to the app).")),
    ("token-app-kind", _("The app may not sign in this way."),
     _("Check its registration: supported account types, platform and redirect address, and API permissions.")),
    ("token-scope-refused", _("The provider does not know the requested scope, or not for this app."),
     _("Check the app's API permissions and, if MAIL_OAUTH_TOKEN_URL is set, MAIL_OAUTH_SCOPE.")),
    ("token-key-changed", _("The stored refresh token was encrypted with another key."),
     _("Put the earlier key into SECRET_KEY_FALLBACKS, or run manage.py mailauth again.")),
    ("token-endpoint-wrong", _("The token address is not that of an OAuth 2 server."),
     _("Check MAIL_OAUTH_TOKEN_URL and MAIL_OAUTH_TENANT.")),
    ("token-certificate", _("The certificate of the authorization server could not be verified."),
     _("Check this machine's clock, and whether a firewall inspects TLS; SSL_CERT_FILE can name a file with the authority's certificate.")),
    ("token-proxy", _("The token request did not get through the proxy."), _("Check MAIL_PROXY (or ALL_PROXY), and that it lets HTTPS through.")),
    ("token-unavailable", _("The authorization server cannot be reached or is temporarily unavailable."), _WAIT),
    ("token-refused", _("No access token was issued."), _("See the error for the reason; manage.py mailauth signs in again.")),
    ("token-not-taken", _("The mail server does not accept access tokens: TLS is off, or it does not support OAuth."),
     _("Turn on TLS (MAIL_USE_TLS=true). If it is on, use MAIL_PASSWORD instead of MAIL_OAUTH_CLIENT_ID.")),
    ("token-not-accepted", _("The mail server did not accept the access token for this user."),
     _("MAIL_USERNAME must be the mailbox that signed in (manage.py mailauth --status), and the scope must be for SMTP.")),
    ("microsoft-app-not-permitted", _("Microsoft accepted the token, but not for this mailbox: Exchange does not know the app, the app has no permission for the mailbox, or SMTP AUTH is off for it."),
     _("In Exchange Online PowerShell: New-ServicePrincipal, Add-MailboxPermission, Set-CASMailbox -SmtpClientAuthenticationDisabled $false (docs/providers.md).")),
    # TLS
    ("starttls-required", _("The mail server requires TLS, but TLS is off."), _USE_STARTTLS),
    ("starttls-not-offered", _("The mail server does not offer STARTTLS. TLS is required here, so nothing is sent unencrypted."),
     _("Check MAIL_PORT; on port 465 set MAIL_USE_SSL=true and MAIL_USE_TLS=false.")),
    ("starttls-on-tls-port", _("The connection already uses TLS, but STARTTLS was requested, too."),
     _("Set MAIL_USE_SSL=true and MAIL_USE_TLS=false (usual on port 465).")),
    ("tls-on-plain-port", _("TLS was used from the first byte, but this port starts unencrypted."), _USE_STARTTLS),
    ("certificate-expired", _("The mail server's certificate has expired."), _("The mail server's operator must renew it; also check this machine's clock.")),
    ("certificate-not-yet-valid", _("The mail server's certificate is not valid yet."), _("Check this machine's clock.")),
    ("certificate-self-signed", _("The mail server's certificate is self-signed, or signed by an unknown authority."), _CA),
    ("certificate-unknown-issuer", _("The mail server's certificate is signed by an unknown authority."), _CA),
    ("certificate-wrong-name", _("The mail server's certificate is for another name."),
     _("Set MAIL_SERVER to a name in the certificate.")),
    ("certificate-refused", _("The mail server's certificate could not be verified."), _CA),
    ("tls-no-common-ground", _("The mail server and this machine have no TLS version or cipher in common."),
     _("The mail server's operator must update its TLS (at least 1.2).")),
    # Who sends, and from where
    ("sender-not-login", _("The sender differs from the account that logged in."),
     _("Set FLASKY_MAIL_SENDER to the address in MAIL_USERNAME.")),
    ("ses-not-verified", _("Amazon SES has not verified this sender or recipient, or not in this region."),
     _named(_("Verify the identity in the region of MAIL_SERVER; in the sandbox the recipients as well."))),
    ("sender-not-verified", _("The provider has not verified this sender."),
     _("Verify the address or its domain with the provider, or set FLASKY_MAIL_SENDER to one that is.")),
    ("sender-unauthenticated", _("The sender's domain is not authenticated for this mail (SPF, DKIM or DMARC)."),
     _("In the DNS of the sender's domain, allow the mail server that sends (SPF) and have it sign (DKIM); or send through the domain's own provider.")),
    ("no-reverse-dns", _("The sending IP address has no valid reverse DNS name (PTR record)."),
     _("Ask the network's operator to set one, or send through a provider you log in to.")),
    ("relay-denied", _("The mail server accepts mail for other domains only from known clients, by their login or network."),
     _("Set MAIL_USERNAME and MAIL_PASSWORD. If they are set, the mail server's operator must allow this account to send.")),
    ("blocklisted", _("The mail server refuses this machine's address: it is on a blocklist or has a bad reputation."),
     _("Send through a provider you log in to, or ask the list that the reply names to remove the address.")),
    # The network
    ("proxy-cannot-reach", _("The proxy works, but cannot reach the mail server."),
     _("Use another proxy, another port of the mail server, or no proxy: MAIL_PROXY=direct.")),
    ("proxy-login", _("The proxy did not accept the user name and password."),
     _("Check both in MAIL_PROXY (or ALL_PROXY); characters such as @ : / are written %40 %3A %2F.")),
    ("proxy-unusable", _("The proxy itself failed, so the mail server was not contacted. Mail never bypasses the proxy."),
     _("Check that it is running and that MAIL_PROXY (or ALL_PROXY) is correct; MAIL_PROXY=direct uses no proxy.")),
    ("unknown-host", _("The mail server's name could not be resolved."), _named(_("Check MAIL_SERVER, and this machine's DNS."))),
    ("refused", _("The mail server refuses the connection: nothing listens on that port, or a firewall blocks it."),
     _named(_("Check MAIL_SERVER and MAIL_PORT, and that the mail server is running."))),
    ("unreachable", _("There is no network route to the mail server."),
     _("Check this machine's network. If only IPv6 fails, set MAIL_SERVER to a name with an IPv4 address.")),
    ("connect-timeout", _("The mail server did not answer in time, often because of a firewall or a blocked port 25."),
     _named(_("Check MAIL_SERVER and MAIL_PORT; try port 587 or 465, or a proxy (MAIL_PROXY)."))),
    ("no-greeting", _("The mail server accepted the connection but sent no greeting: its port may use TLS from the first byte."),
     _("On port 465 set MAIL_USE_SSL=true and MAIL_USE_TLS=false. Otherwise it may be overloaded; retrying automatically.")),
    ("connection-lost", _("The connection was lost before the message was transferred."), _WAIT),
    ("silent", _("The mail server did not answer in time (MAIL_TIMEOUT)."), _WAIT),
    # A mail provider's API
    ("api-credentials", _("The mail provider's API did not accept the key or token."),
     _("Set a valid key that may send, in the transport's OPTIONS or in ANYMAIL, and restart.")),
    ("api-account", _("The mail provider requires payment, or has closed the account."),
     _("Sign in to the provider's website and resolve it there.")),
    ("api-not-found", _("The mail provider's API has no such address: the URL, region or sender domain is wrong."),
     _("Check the transport's OPTIONS and ANYMAIL (api_url, sender_domain) against the provider's documentation.")),
]
_PAUSES = [  # no message gets through for so many seconds
    ("daily-quota", _("The account has used up its daily sending quota."),
     _("No action needed; sending resumes in a day. If it happens often, raise NOTIFY_INTERVAL or use a provider with a higher limit."), DAY),
    ("login-throttled", _("The provider limits the rate of logins, connections or messages."),
     _("No action needed; sending resumes automatically. Fewer processes and NOTIFY_CONNECTIONS=1 help."), THROTTLED),
    ("ses-throttled", _("Amazon SES: the account exceeded its rate of messages per second."),
     _("No action needed; sending resumes automatically. Fewer connections (NOTIFY_CONNECTIONS) help, or a higher rate from Amazon."), 60),
    ("api-throttled", _("The mail provider's API received too many requests."),
     _("No action needed; sending resumes automatically. Fewer processes and NOTIFY_CONNECTIONS=1 help."), 60),
    ("auth-twice", _("The connection was logged in already, and a second login was refused."),
     _("No action needed; the next attempt opens a new connection, with one login."), FRESH_SESSION),
    ("starttls-not-now", _("The mail server offers STARTTLS, but it fails at the moment. Nothing is sent unencrypted."),
     _("No action needed; retrying automatically. If it persists, the mail server's operator must repair its TLS."), 60),
    ("out-of-step", _("The mail server lost track of the session."), _("No action needed; the next attempt opens a new connection."), FRESH_SESSION),
]
_MESSAGE = [  # one message does not get through
    ("outcome-unknown", _("The whole message was sent, but no reply was received: it may have been accepted."),
     _("No action needed; it is sent again with the same Message-ID, so most mailboxes show it once.")),
    ("same-message-id", _("Google has seen this Message-ID too often."), _("Send it as a new message, and less often.")),
    ("looks-like-spam", _("The provider considers the message spam: repeated content, or headers that look incomplete."),
     _("Give it a real sender, recipient and subject, and vary the text.")),
    ("looks-like-spam-for-now", _("The provider considers the message spam at the moment."),
     _("No action needed; retrying automatically. If it persists, vary the text and send less.")),
    ("sender-header-differs", _("The envelope's sender and the From header differ."),
     _("Make them equal: set FLASKY_MAIL_SENDER to the address in MAIL_USERNAME.")),
    ("too-large", _("The message is larger than the mail server accepts."), _("Send a smaller message, or raise the mail server's limit.")),
    ("address-not-ascii", _("The mail server does not accept addresses with non-ASCII characters before the @."),
     _("Use an ASCII address, or a mail server with SMTPUTF8.")),
    ("no-such-recipient", _("The recipient does not exist."), _("Correct the address (FLASKY_ADMIN for administrators).")),
    ("mailbox-disabled", _("The recipient's mailbox is disabled."), _("Ask the recipient, or use another address (FLASKY_ADMIN for administrators).")),
    ("recipient-throttled", _("The recipient gets more mail than their provider accepts at the moment."),
     _("Send less to this recipient; mail that was only deferred is retried automatically.")),
    ("mailbox-full", _("The recipient's mailbox is full."), _("The recipient must free some space.")),
    ("greylisted", _("The recipient's server defers mail from unknown senders."), _("No action needed; retrying automatically.")),
    # A mail provider's API
    ("recipient-refused-by-api", _("The mail provider does not deliver to this recipient: the address is invalid or on its suppression list."),
     _("Correct the address, or take it off the list at the provider.")),
    ("unsupported-by-api", _("The message uses a feature that the mail provider's API does not support."),
     _("Remove it from the message, or make the backend ignore it (Anymail: IGNORE_UNSUPPORTED_FEATURES).")),
    ("api-failed", _("The mail provider's API failed after it received the message: it may have been accepted."),
     _("No action needed; retrying automatically. If it persists, see the provider's status page.")),
]
# fmt: on

# The outbox retries these; a test that bypasses it has to be run again.
PASSING = frozenset(
    {"connection-lost", "silent", "greylisted", "looks-like-spam-for-now", "recipient-throttled", "out-of-step"}
)
CAUSES = {
    each.id: each
    for each in (
        *(Diagnosis(*row, relay=True) for row in _RELAY),
        *(Diagnosis(*row, relay=True) for row in _PAUSES),
        *(Diagnosis(*row) for row in _MESSAGE),
    )
}
