"""Logging in: with the mechanisms both sides know, and without a trace of the password in any error (RFC 4954)."""

import base64
import hmac
import smtplib
from collections.abc import Callable
from typing import Any

from notify.smtp.secret import Secret
from notify.smtp.wire import Wire

MECHANISMS = ("CRAM-MD5", "PLAIN", "LOGIN")  # smtplib's; OAuth needs more than a password can be (docs/providers.md)
CHALLENGES = 5  # of one mechanism; LOGIN, the longest, has two
# What the server says of the name and the password, and not of the mechanism: the next one has the same two.
FINAL = (421, 454, 530, 534, 535)


class Login(Wire):
    """A wire that can log in: smtplib's mechanisms, asked for in our own way."""

    _refusal: smtplib.SMTPAuthenticationError | None = None

    def log_in(self, username: str, password: str) -> None:
        """Raises SMTPAuthenticationError, SMTPNotSupportedError where AUTH is not offered, or what the wire raises."""
        password = Secret(password)
        self.secrets = [password]
        with self.phase("auth") as say:
            offered = self.esmtp_features.get("auth", "").upper().split()
            if offered and not set(offered) & set(MECHANISMS):
                raise smtplib.SMTPNotSupportedError(
                    f"The relay offers {', '.join(offered)} to log in with: none takes user and password."
                )
            try:
                self.login(username, password)
            except OSError as error:
                # Without the frames below: they hold what was said, and error pages show frames.
                raise error.with_traceback(None) from None
            finally:
                self.user = self.password = ""
                self._refusal = None
            say(f"as {username}")

    def auth(
        self, mechanism: str, authobject: Callable[..., str | None], *, initial_response_ok: bool = True
    ) -> tuple[int, bytes]:
        """As smtplib's, but in UTF-8, and with 235 as the only success: it takes 503, "not available", for one.

        smtplib tries every mechanism. A password that was refused is not offered again: that locks accounts, and
        where the server has hung up meanwhile, its reason would be lost.
        """
        if self._refusal:
            raise self._refusal
        initial = authobject() if initial_response_ok else None
        code, text = self.docmd("AUTH", mechanism if initial is None else f"{mechanism} {_encoded(initial)}")
        self._auth_challenge_count = int(initial is not None)
        while code == 334 and self._auth_challenge_count <= CHALLENGES:
            self._auth_challenge_count += 1
            code, text = self.docmd(_encoded(authobject(base64.decodebytes(text)) or ""))
        if code == 235:
            return code, text
        refusal = smtplib.SMTPAuthenticationError(code, text)
        if code in FINAL and mechanism != "CRAM-MD5":  # offered by servers that cannot do it: worth a second way
            self._refusal = refusal
        raise refusal

    def auth_cram_md5(self, challenge: Any = None) -> Any:
        if challenge is None:
            return None
        return f"{self.user} {hmac.new(self.password.encode(), challenge, 'md5').hexdigest()}"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
