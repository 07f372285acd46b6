"""One POST to an authorization server: within a deadline, through the proxy, verified, and of bounded size."""

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from notify.smtp import dial
from notify.smtp.dial import Deadline
from notify.smtp.failure import scrub
from notify.smtp.secret import Secret

ANSWER_LIMIT = 64 * 1024  # bytes
_SHOWN = 1000  # characters of an error that are kept


class TokenUnavailable(ConnectionError):
    """The authorization server could not be reached or gave no usable answer; time may mend it, so it is retried."""

    phase = "token"


class TokenRefused(OSError):
    """The authorization server said no, or there is nothing to ask it with: action required.

    `error`: its word for it (RFC 6749 5.2, RFC 8628 3.5), "" for none. Fix: what `manage.py sendtestmail --check`
    says of it; often `manage.py mailauth`.
    """

    phase = "token"

    def __init__(self, words: str, *, error: str = "") -> None:
        super().__init__(words)
        self.error = error


def post(
    url: str, body: Secret, *, deadline: Deadline, proxy: str, secrets: Sequence[Secret], empty: bool = False
) -> dict[str, Any]:
    """The JSON object that answers the form, its texts as Secrets; with `empty`, {} for any answer of status 200.

    Redirects are not followed: they would send the form elsewhere. Raises TokenUnavailable or TokenRefused, with
    `secrets` masked.
    """
    host = urlsplit(url).hostname or ""
    # What is raised has no frames below: those hold the form and the answer.
    try:
        return _understood(*_exchange(url, body, deadline, proxy), empty=empty)
    except TokenRefused as error:
        raise TokenRefused(scrub(f"{host}: {error}", secrets)[:_SHOWN], error=scrub(error.error, secrets)) from None
    except ssl.SSLCertVerificationError as error:
        raise TokenRefused(scrub(f"{host}: certificate verify failed: {error.verify_message}", secrets)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        kind = "" if isinstance(error, TokenUnavailable) else f"{type(error).__name__}: "
        raise TokenUnavailable(scrub(f"{host}: {kind}{error}", secrets)[:_SHOWN]) from None


def _exchange(url: str, body: str, deadline: Deadline, proxy: str) -> tuple[int, bytes]:
    parsed = urlsplit(url)
    host, secured = parsed.hostname or "", parsed.scheme == "https"
    port = parsed.port or (443 if secured else 80)
    sock = (
        dial.connect_through(proxy, host, port, deadline)
        if proxy
        else dial.connect(dial.resolve(host, port, deadline), deadline)
    )

    def speak() -> tuple[int, bytes]:
        nonlocal sock
        # This limits each read; all of them are limited by bounded().
        sock.settimeout(deadline.remaining())
        if secured:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        kind = http.client.HTTPSConnection if secured else http.client.HTTPConnection
        connection = kind(host, port)
        connection.sock = sock
        connection.request(
            "POST",
            urlunsplit(("", "", parsed.path or "/", parsed.query, "")),
            body.encode(),
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "Connection": "close",
                "User-Agent": "Flasky",
            },
        )
        response = connection.getresponse()
        answer = response.read(ANSWER_LIMIT + 1)
        response.close()
        if len(answer) > ANSWER_LIMIT:
            raise TokenUnavailable(f"HTTP {response.status}, more than {ANSWER_LIMIT} bytes")
        return response.status, answer

    try:
        return dial.bounded(deadline, speak)
    except TimeoutError as error:  # the socket's own may come first
        raise TimeoutError(f"no answer within {deadline.seconds:g} s") from error
    finally:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # ends a thread that still reads from it
        sock.close()


def _understood(status: int, answer: bytes, *, empty: bool) -> dict[str, Any]:
    try:
        said = json.loads(answer)
    except ValueError:  # neither JSON nor Unicode
        said = None
    if isinstance(said, dict) and isinstance(said.get("error"), str):
        words = f"{said['error']}: {said.get('error_description') or 'no description'}"
        if status >= 500 or status == 429 or said["error"] in ("server_error", "temporarily_unavailable"):
            raise TokenUnavailable(f"HTTP {status}, {words}")
        raise TokenRefused(words, error=said["error"])
    if status >= 500 or status == 429:
        raise TokenUnavailable(f"HTTP {status}")
    if 300 <= status < 400:
        raise TokenRefused(f"HTTP {status}, a redirect, which is not followed")
    if status >= 400:
        raise TokenRefused(f"HTTP {status}, and no answer of OAuth 2")
    if empty:
        return {}
    if not isinstance(said, dict):
        raise TokenUnavailable(f"HTTP {status}, and no answer of OAuth 2")
    return {name: Secret(value) if isinstance(value, str) else value for name, value in said.items()}
