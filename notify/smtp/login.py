"""Logging in (RFC 4954): with a mechanism that both sides know, and no trace of the password in any error."""

import base64
import binascii
import contextlib
import hmac
import json
import re
import smtplib
from collections.abc import Callable, Sequence
from typing import Any

from notify.smtp.failure import decode
from notify.smtp.secret import Secret
from notify.smtp.wire import Wire

MECHANISMS = ("CRAM-MD5", "PLAIN", "LOGIN")  # smtplib's, for user and password
BEARER_MECHANISMS = ("XOAUTH2", "OAUTHBEARER")  # for user and access token; the first one offered is used
CHALLENGES = 5  # of one mechanism; LOGIN, the longest, has two
COMMAND_LIMIT = 512  # octets with CRLF (RFC 5321 4.5.3.1.4); a longer initial response is sent when asked for
BEARER_COMMAND_LIMIT = 12288  # octets with CRLF (RFC 4954 4): tokens are long, and not every server asks for them
# These refuse the name and password, not the mechanism: another mechanism would send the same two.
FINAL = (421, 454, 530, 534, 535)

# What servers write into the questions of LOGIN; no standard fixes it. "Password for user ann" asks for a password.
_ASKS_PASSWORD = re.compile(
    r"pass|kennwort|mot de|contrase|\bclave\b|senha|has[łl]o|heslo|парол|密[码碼]|口令|パス|暗証|암호|비밀",
    re.IGNORECASE,
)
_ASKS_NAME = re.compile(
    r"user|name|login|account|benutzer|konto|identifiant|utilisateur|usuario|utente|u[żz]ytkownik|имя|логин|польз|"
    r"用[户戶]|[账帳][号號户戶]|ユーザ|アカウント|사용자|아이디",
    re.IGNORECASE,
)


class Login(Wire):
    """A wire that can log in: smtplib's mechanisms, with our own AUTH command."""

    _refusal: smtplib.SMTPAuthenticationError | None = None
    _asked = ""
    _given = ""
    _host = ""
    _port = 0
    _bearer_error = ""

    def log_in(self, username: str, password: str) -> None:
        """Raises SMTPAuthenticationError, SMTPNotSupportedError where AUTH is not offered, or what the wire raises."""
        self._choose(MECHANISMS, "user and password")
        password = Secret(password)
        self._attempt(username, password, lambda: self.login(username, password), f"as {username}")

    def log_in_with_token(self, username: str, token: str) -> None:
        """With an access token: XOAUTH2 (Google, Microsoft) or OAUTHBEARER (RFC 7628).

        Raises SMTPAuthenticationError, whose reply is followed by the mechanism and what the server said of the token
        in its challenge: `535 5.7.8 No (XOAUTH2: status 401, scope https://mail.google.com/)`.
        """
        mechanism = self.choose_bearer_mechanism()
        self._bearer_error = ""

        def attempt() -> None:
            try:
                self.auth(mechanism, self.auth_xoauth2 if mechanism == "XOAUTH2" else self.auth_oauthbearer)
            except smtplib.SMTPAuthenticationError as error:
                said = error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()
                said += f" ({mechanism}{self._bearer_error})".encode()
                raise smtplib.SMTPAuthenticationError(error.smtp_code, said) from None

        self._attempt(username, Secret(token), attempt, f"as {username}, {mechanism}")

    def choose_bearer_mechanism(self) -> str:
        """The mechanism that takes an access token. Raises SMTPNotSupportedError where the server offers none."""
        return self._choose(BEARER_MECHANISMS, "a token")

    def _choose(self, mechanisms: Sequence[str], proof: str) -> str:
        offered = self.esmtp_features.get("auth", "").split()
        with self.phase("auth"):
            if not offered:
                raise smtplib.SMTPNotSupportedError("SMTP AUTH extension not supported by server.")
            for mechanism in mechanisms:
                if mechanism in offered:
                    return mechanism
            raise smtplib.SMTPNotSupportedError(
                f"The relay offers {', '.join(offered)} to log in with: none takes {proof}."
            )

    def _attempt(self, username: str, secret: Secret, attempt: Callable[[], object], detail: str) -> None:
        self.secrets = [*self.secrets, secret]  # a server may repeat the one it refused before
        with self.phase("auth") as say:
            try:
                self.user, self.password = username, secret
                attempt()
            except OSError as error:
                # Without the frames below: they hold what was said, and error pages show frames.
                raise error.with_traceback(None) from None
            except UnicodeEncodeError:  # halves of characters; the exception holds the whole text
                raise smtplib.SMTPException("User and password, or token, cannot be written in UTF-8.") from None
            finally:
                self.user = self.password = self._given = ""
                self._refusal = None
            say(detail)

    def auth_xoauth2(self, challenge: bytes | None = None) -> str:
        """An error is answered with an empty line; only then does the server send the 535."""
        if self._is_error(challenge):
            return ""
        return f"user={self.user}\1auth=Bearer {self.password}\1\1"

    def auth_oauthbearer(self, challenge: bytes | None = None) -> str:
        """RFC 7628 3.1; an error is answered with one control-A (3.2.3)."""
        if self._is_error(challenge):
            return "\1"
        user = self.user.replace("=", "=3D").replace(",", "=2C")  # RFC 5801 4
        return f"n,a={user},\1host={self._host}\1port={self._port}\1auth=Bearer {self.password}\1\1"

    def _is_error(self, challenge: bytes | None) -> bool:
        """Whether a challenge is the server's error, which is kept, rather than its request for the token."""
        if challenge:
            self._bearer_error = _bearer_facts(self._without_secrets(challenge))
            return True
        asked, self._asked = self._asked, self._asked if challenge is None else "token"
        return bool(asked)  # asked a second time: the token was not accepted, and is not repeated

    def auth(
        self, mechanism: str, authobject: Callable[..., str | None], *, initial_response_ok: bool = True
    ) -> tuple[int, bytes]:
        """As smtplib's, but in UTF-8, and only 235 is success: smtplib also accepts 503, "not available".

        smtplib tries every mechanism. A password that was refused is not offered again: that locks accounts, and
        where the server has hung up meanwhile, its reason would be lost.
        """
        if self._refusal:
            raise self._refusal
        self._asked = self._given = ""
        code, text = self._begin(mechanism, authobject() if initial_response_ok else None)
        challenges = 0
        while code == 334 and challenges < CHALLENGES:
            challenges += 1
            code, text = self.docmd(_encoded(authobject(_decoded(text)) or ""))
        if code == 235:
            return code, text
        refusal = smtplib.SMTPAuthenticationError(code, text)
        if code == 334:
            with contextlib.suppress(OSError):
                self.docmd("*")  # cancels it, or the next command would be taken for an answer (RFC 4954 4)
        if code in FINAL and mechanism != "CRAM-MD5":  # servers offer that without being able to do it: try another
            self._refusal = refusal
        raise refusal

    def _begin(self, mechanism: str, initial: str | None) -> tuple[int, bytes]:
        """AUTH with the initial response; without it if there is none, it is too long, or it is not accepted."""
        command = mechanism if initial is None else f"{mechanism} {_encoded(initial)}"
        limit = BEARER_COMMAND_LIMIT if mechanism in BEARER_MECHANISMS else COMMAND_LIMIT
        if initial is not None and len(command) <= limit - len("AUTH \r\n"):
            code, text = self.docmd("AUTH", command)
            if code not in (500, 501):
                return code, text
        return self.docmd("AUTH", mechanism)

    def auth_plain(self, challenge: Any = None) -> str:
        """RFC 4616. A server that asks for name and password separately, as for LOGIN, gets them separately."""
        question = _question(challenge or b"")
        if _ASKS_PASSWORD.search(question) or _ASKS_NAME.search(question):
            return str(self.auth_login(challenge))
        return f"\0{self.user}\0{self.password}"

    def auth_login(self, challenge: Any = None) -> Any:
        """The answer to the question; if that cannot be read, the name first and then the password.

        The name never goes along with the command: a server that ignores it asks again, and is not to get the
        password in its place. A question that is put twice gets the same answer twice.
        """
        if challenge is None:
            return None
        question = _question(challenge)
        if _ASKS_PASSWORD.search(question):
            self._given = self.password
        elif _ASKS_NAME.search(question):
            self._given = self.user
        elif not question or question != self._asked:
            self._given = self.password if self._given == self.user else self.user
        self._asked = question
        return self._given

    def auth_cram_md5(self, challenge: Any = None) -> Any:
        """RFC 2195."""
        if challenge is None:
            return None
        return f"{self.user} {hmac.new(self.password.encode(), challenge, 'md5').hexdigest()}"


def _bearer_facts(challenge: bytes) -> str:
    """What a server says of a refused token: `: status 401, schemes bearer, scope …`, "" where that is not JSON."""
    try:
        facts = json.loads(challenge)
    except ValueError:
        return ""
    if not isinstance(facts, dict):
        return ""
    said = [f"{name} {facts[name]}" for name in ("status", "schemes", "scope") if facts.get(name)]
    return f": {', '.join(said)}" if said else ""


def _decoded(text: bytes) -> bytes:
    """A challenge. Some servers forget to encode it: then it is used as it is, if it asks for something."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        words = decode(text)
        return text if _ASKS_PASSWORD.search(words) or _ASKS_NAME.search(words) else b""


def _question(challenge: bytes) -> str:
    """A challenge as text, "" if it is not text."""
    text = decode(challenge).rstrip("\0")
    return text if text.isprintable() else ""


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
