"""Django email backend that speaks to the relay: Django's own, with our session in place of smtplib's."""

import smtplib
import ssl
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend as DjangoEmailBackend
from django.utils.functional import cached_property

from notify.smtp import folding
from notify.smtp.connection import Connection, Refusals
from notify.smtp.dial import Deadline, bounded, own_name
from notify.smtp.envelope import Envelope, address, envelope_of
from notify.smtp.failure import marked
from notify.smtp.secret import Secret
from notify.smtp.wire import Observer

_SAME_ATTEMPT_SECONDS = 1.0
OAUTH_OPTIONS = (
    *("oauth_client_id", "oauth_client_secret", "oauth_tenant", "oauth_refresh_token"),
    *("oauth_token_url", "oauth_authorize_url", "oauth_scope"),
)


class AccessToken(NamedTuple):
    """`origin`: where it is from and how long it is valid, in words for the stage `token` of `sendtestmail`."""

    value: str
    origin: str


# Called with the attempt's deadline and the token that the mail server refused, "" for none.
TokenSource = Callable[[Deadline, str], AccessToken]


class EmailBackend(DjangoEmailBackend):
    """Takes what Django's SMTP backend takes, and these options.

    `proxy`: socks5://, socks5h:// or http://[user:password@]host:port, "" for none. `local_hostname`: the name said
    in EHLO, "" for this machine's. `timeout` seconds bound a whole attempt, not one read. Exceptions are OSErrors
    with a `phase`. Where some of several recipients are refused, the others get the mail and SMTPRecipientsRefused
    names the rest.

    `token`: a callable that returns an OAuth 2 access token for `username`, in place of `password`. It is called for
    each connection, and once more where the mail server refuses what it returned. Or, as the variables MAIL_OAUTH_…:
    `oauth_client_id`, `oauth_client_secret`, `oauth_tenant`, `oauth_refresh_token`, `oauth_token_url`,
    `oauth_authorize_url`, `oauth_scope`; then tokens are obtained and renewed. Any of these wins over a password.
    """

    connection: Connection | None
    # Makes a source of these options; set by notify.apps, as what keeps tokens needs the database.
    make_token_source: Callable[[dict[str, Any]], TokenSource | None] | None = None

    def __init__(
        self,
        *args: Any,
        proxy: str = "",
        local_hostname: str = "",
        token: Callable[[], str] | None = None,
        **kwargs: Any,
    ) -> None:
        oauth = {name: kwargs.pop(name) for name in OAUTH_OPTIONS if name in kwargs}
        super().__init__(*args, **kwargs)
        self.password = self.password and Secret(self.password)
        self.proxy = Secret(proxy)
        self.token_source: TokenSource | None = _asking(token) if token else self._obtaining(oauth)
        self.local_hostname = local_hostname
        self.observer: Observer | None = None
        self.last_reply = ""
        self._opened_at = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"

    def _obtaining(self, oauth: dict[str, Any]) -> TokenSource | None:
        if not any(oauth.values()):
            return None
        if not self.make_token_source:
            raise ImproperlyConfigured("OAuth needs the app `notify` in INSTALLED_APPS, which keeps the tokens.")
        return self.make_token_source({**oauth, "host": self.host, "username": self.username, "proxy": self.proxy})

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """Django's trusts no authority when there is a client certificate; this one trusts those of the machine."""
        context = ssl.create_default_context()
        if self.ssl_certfile or self.ssl_keyfile:
            context.load_cert_chain(self.ssl_certfile or "", self.ssl_keyfile, password=_no_password)
        return context

    def open(self) -> bool | None:
        """Connect, secure, log in. True for a new connection, False for an old one, None for a silent failure."""
        if self.connection:
            return False
        connection = Connection(
            local_hostname=self.local_hostname or own_name(), timeout=self.timeout, observer=self.observer
        )
        try:
            with connection.phase("config"):
                # Certificates are files, and files may be far away.
                secured = self.use_tls or self.use_ssl
                tls = bounded(connection.deadline, lambda: self.ssl_context) if secured else None
            connection.connect_to(self.host, self.port, proxy=self.proxy, tls=tls if self.use_ssl else None)
            if tls and not self.use_ssl:
                connection.secure(tls)
            connection.introduce()
            if self.username and self.token_source:
                self._log_in_with_token(connection, self.username, self.token_source)
            elif self.username and self.password:
                connection.log_in(self.username, self.password)
        except BaseException as error:
            connection.close()
            if self.fail_silently and isinstance(error, OSError):
                return None
            raise
        self.connection = connection
        self._opened_at = time.monotonic()
        return True

    def _log_in_with_token(self, connection: Connection, username: str, source: TokenSource) -> None:
        """A token that is refused for good is replaced once: it may have been revoked before its time."""
        connection.choose_bearer_mechanism()  # before a token is fetched
        token = _fetched(connection, source, "")
        try:
            connection.log_in_with_token(username, token)
        except smtplib.SMTPAuthenticationError as error:
            if error.smtp_code < 500:
                raise
            fresh = _fetched(connection, source, token)
            if fresh == token:
                raise
            connection.log_in_with_token(username, fresh)

    def close(self) -> None:
        """QUIT, within two seconds; the relay's opinion of that is not asked."""
        connection, self.connection = self.connection, None
        if connection:
            connection.leave()

    def check(self) -> bool:
        """Whether an open connection still answers."""
        self._opened_at = 0.0
        return bool(self.connection and self.connection.answers())

    def verify(self, sender: str, recipients: list[str]) -> Refusals:
        """What the relay says to sender and recipients, without sending; returns the refused."""
        assert self.connection  # noqa: S101  (open() was called)
        return self.connection.ask(address(sender), [address(each) for each in recipients])

    def _send(self, email_message: EmailMessage) -> bool:
        if not email_message.recipients():
            return False
        data = getattr(email_message, "wire_bytes", None) or folding.wire_bytes(email_message)
        envelope = _envelope(email_message, data)
        assert self.connection  # noqa: S101  (send_messages opened it)
        if time.monotonic() - self._opened_at > _SAME_ATTEMPT_SECONDS:
            self.connection.deadline = Deadline(self.timeout)
        self._opened_at = 0.0
        try:
            refused = self.connection.transact(envelope, data, following=_following(email_message))
            self.last_reply = self.connection.last_reply
            if refused:
                raise marked(smtplib.SMTPRecipientsRefused(refused), "recipient")
        except OSError:
            if not self.fail_silently:
                raise
            return False
        return True


def _fetched(connection: Connection, source: TokenSource, refused: str) -> Secret:
    with connection.phase("token") as say:
        token, origin = source(connection.deadline, refused)
        say(origin)
        return Secret(token)


def _asking(token: Callable[[], str]) -> TokenSource:
    """A project's callable as a source. It is called in this thread, and must bound its own time."""

    def source(deadline: Deadline, refused: str) -> AccessToken:
        try:
            found = token()
        except OSError as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from None
        if not found or not isinstance(found, str):
            raise ValueError("the callable that is to return a token returned none")
        return AccessToken(Secret(found), f"from {getattr(token, '__qualname__', type(token).__name__)}")

    return source


def _no_password() -> str:
    """Called for an encrypted key; without it OpenSSL would ask at the terminal, and wait."""
    raise ValueError("the key of the client certificate is encrypted: use one without a passphrase")


def _envelope(message: EmailMessage, data: bytes) -> Envelope:
    """A stored message knows its own."""
    return getattr(message, "wire_envelope", None) or envelope_of(message, data)


def _following(message: EmailMessage) -> Envelope | None:
    """The envelope of the stored message that will be sent after this one, where that is known."""
    following = getattr(message, "following", None)
    try:
        return following and _envelope(following, following.wire_bytes)
    except ValueError:  # an invalid address: an error of that message, in its own turn
        return None
