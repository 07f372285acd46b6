"""An authorization server on loopback, oauthlib's own server side over http.server, and an SMTP server that asks it.

It rotates refresh tokens as strictly as any: the access tokens of before a rotation are void at once, and a refresh
token that comes back after its successor was used revokes the whole family (RFC 9700 4.14.2), which `races` counts.
"""

import base64
import contextlib
import json
import logging
import secrets
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.smtp import SMTP, AuthResult
from oauthlib.oauth2 import DeviceAuthorizationEndpoint, RequestValidator, Server

from tests.relays import Relay

# Its server side names every token at DEBUG; its client side logs nothing.
logging.getLogger("oauthlib").setLevel(logging.WARNING)

CLIENT, SECRET = "flasky-client", "k4n4r-cl13nt~Secret-0123456789"
SCOPE = "mail.send"
USER = "ann@example.com"


@dataclass
class Issued:
    """A refresh token or an access token. `family`: of all that came from one permission."""

    family: str
    ends: float
    replaced_by: str = ""
    used: bool = False
    void: bool = False


@dataclass
class Validator(RequestValidator):  # type: ignore[misc]
    """What the server knows; oauthlib asks it."""

    secret: str = SECRET
    rotates: bool = True
    refresh_lifetime: int | None = None
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)  # device code → state
    refresh: dict[str, Issued] = field(default_factory=dict)
    access: dict[str, Issued] = field(default_factory=dict)
    races: int = 0

    def authenticate_client(self, request: Any, *args: Any, **kwargs: Any) -> bool:
        if request.client_id != CLIENT or (self.secret and request.client_secret != self.secret):
            return False
        request.client = type("Client", (), {"client_id": CLIENT})
        return True

    authenticate_client_id = authenticate_client

    def client_authentication_required(self, request: Any, *args: Any, **kwargs: Any) -> bool:
        return True

    def validate_client_id(self, client_id: str, request: Any, *args: Any, **kwargs: Any) -> bool:
        request.client = type("Client", (), {"client_id": CLIENT})
        return client_id == CLIENT

    def validate_grant_type(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def validate_response_type(self, client_id: str, response_type: str, *args: Any, **kwargs: Any) -> bool:
        return response_type == "code"

    def validate_scopes(self, client_id: str, scopes: list[str], *args: Any, **kwargs: Any) -> bool:
        return set(scopes) <= {SCOPE}

    def get_default_scopes(self, *args: Any, **kwargs: Any) -> list[str]:
        return [SCOPE]

    def get_original_scopes(self, *args: Any, **kwargs: Any) -> list[str]:
        return [SCOPE]

    def validate_redirect_uri(self, client_id: str, redirect_uri: str, *args: Any, **kwargs: Any) -> bool:
        return urlsplit(redirect_uri).hostname == "127.0.0.1"  # RFC 8252 7.3: any port

    def is_pkce_required(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def save_authorization_code(self, client_id: str, code: Any, request: Any, *args: Any, **kwargs: Any) -> None:
        self.codes[code["code"]] = {
            "challenge": request.code_challenge,
            "method": request.code_challenge_method,
            "uri": request.redirect_uri,
        }

    def validate_code(self, client_id: str, code: str, client: Any, request: Any, *args: Any, **kwargs: Any) -> bool:
        request.scopes, request.user = [SCOPE], USER
        return code in self.codes

    def confirm_redirect_uri(self, client_id: str, code: str, redirect_uri: str, *args: Any, **kwargs: Any) -> bool:
        return bool(self.codes[code]["uri"] == redirect_uri)

    def get_code_challenge(self, code: str, request: Any) -> Any:
        return self.codes[code]["challenge"]

    def get_code_challenge_method(self, code: str, request: Any) -> Any:
        return self.codes[code]["method"]

    def invalidate_authorization_code(self, client_id: str, code: str, *args: Any, **kwargs: Any) -> None:
        del self.codes[code]

    def validate_device_code(self, client_id: str, device_code: str, request: Any) -> Any:
        request.scopes, request.user = [SCOPE], USER
        return self.devices.get(device_code)

    def validate_refresh_token(self, refresh_token: str, client: Any, request: Any, *args: Any, **kwargs: Any) -> bool:
        known = self.refresh.get(refresh_token)
        if known is None or known.void or known.ends < time.time():
            return False
        successor = self.refresh.get(known.replaced_by)
        if successor and successor.used:
            self.races += 1
            self.revoke_family(known.family)
            return False
        known.used = True
        request.user = USER
        return True

    def rotate_refresh_token(self, request: Any) -> bool:
        return self.rotates

    def save_bearer_token(self, token: Any, request: Any, *args: Any, **kwargs: Any) -> None:
        old = self.refresh.get(getattr(request, "refresh_token", None) or "")
        family = old.family if old else secrets.token_hex(8)
        if old and self.rotates:
            old.replaced_by = token["refresh_token"]
            for each in self.access.values():
                each.void = each.void or each.family == family
        self.access[token["access_token"]] = Issued(family, time.time() + token["expires_in"])
        if "refresh_token" in token and token["refresh_token"] not in self.refresh:
            self.refresh[token["refresh_token"]] = Issued(family, time.time() + (self.refresh_lifetime or 1e9))
        if self.refresh_lifetime:
            token["refresh_token_expires_in"] = self.refresh_lifetime

    def revoke_token(self, token: str, *args: Any, **kwargs: Any) -> None:
        if token in self.refresh:
            self.revoke_family(self.refresh[token].family)

    def revoke_family(self, family: str) -> None:
        for each in (*self.refresh.values(), *self.access.values()):
            each.void = each.void or each.family == family


class OAuthServer:
    """`with OAuthServer() as server`: its addresses are attributes; `faults` are answered first, one by one.

    A fault is a status with a body, seconds to wait before the answer, or "close" or "drip".
    """

    def __init__(self, *, seconds: int = 3600, **options: Any) -> None:
        self.validator = Validator(**options)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.faults: deque[Any] = deque()
        self._lock = threading.Lock()
        self._seconds = seconds
        self._server = Server(
            self.validator,
            token_expires_in=lambda request: self._seconds,
            token_generator=_token,
            refresh_token_generator=_token,
        )
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.port: int = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.token_url, self.authorize_url = f"{self.url}/token", f"{self.url}/authorize"
        self.device_url, self.revoke_url = f"{self.url}/devicecode", f"{self.url}/revoke"

    @property
    def options(self) -> dict[str, str]:
        """Of the email backend, for a mailbox."""
        return {
            "oauth_client_id": CLIENT,
            "oauth_client_secret": self.validator.secret,
            "oauth_token_url": self.token_url,
            "oauth_authorize_url": self.authorize_url,
            "oauth_scope": SCOPE,
        }

    def permit(self) -> str:
        """A refresh token, as from a person who has agreed."""
        token = _token(None)
        self.validator.refresh[token] = Issued(secrets.token_hex(8), time.time() + 1e9)
        return token

    def takes(self, token: str) -> bool:
        """Whether an access token is good."""
        with self._lock:
            known = self.validator.access.get(token)
            if known is None or known.void or known.ends < time.time():
                return False
            for each in self.validator.refresh.values():
                each.used = each.used or (each.family == known.family and not each.replaced_by)
            return True

    def of(self, path: str) -> list[dict[str, str]]:
        """The forms that were posted there."""
        return [form for where, form in self.requests if where == path]

    def answer(self, method: str, path: str, body: str) -> tuple[dict[str, str], str, int]:
        form = parse_qs(body)
        with self._lock:
            self.requests.append((urlsplit(path).path, {name: values[0] for name, values in form.items()}))
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            match urlsplit(path).path:
                case "/token":
                    return self._server.create_token_response(self.url + path, method, body, headers)  # type: ignore[no-any-return]
                case "/revoke":
                    return self._server.create_revocation_response(self.url + path, method, body, headers)  # type: ignore[no-any-return]
                case "/authorize":
                    return self._authorize(path)
                case "/devicecode":
                    return self._device(path, body, headers)
        return {}, "<html>Not here</html>", 404

    def _authorize(self, path: str) -> tuple[dict[str, str], str, int]:
        # oauthlib insists on https for what a browser asks for.
        uri = f"https://127.0.0.1{path}"
        scopes, credentials = self._server.validate_authorization_request(uri)
        return self._server.create_authorization_response(uri, scopes=scopes, credentials=credentials)  # type: ignore[no-any-return]

    def _device(self, path: str, body: str, headers: dict[str, str]) -> tuple[dict[str, str], str, int]:
        endpoint = DeviceAuthorizationEndpoint(
            self.validator, f"{self.url}/device", expires_in=60, interval=1, user_code_generator=lambda: "WDJB-MJHT"
        )
        headers, data, status = endpoint.create_device_authorization_response(self.url + path, "POST", body, headers)
        if status == 200 and isinstance(data, dict):
            self.validator.devices[data["device_code"]] = "authorization_pending"
            return {}, json.dumps(data), status
        return headers, data, status  # type: ignore[return-value]

    def approve(self, state: str = "authorized") -> None:
        """The person is done with every device code."""
        self.validator.devices = dict.fromkeys(self.validator.devices, state)

    def __enter__(self) -> "OAuthServer":
        threading.Thread(target=self._http.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()


def _token(request: Any) -> str:
    return secrets.token_urlsafe(32)


def _handler(server: OAuthServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            fault = server.faults.popleft() if server.faults else None
            with contextlib.suppress(OSError):
                if fault == "close":
                    self.connection.shutdown(socket.SHUT_RDWR)
                elif fault == "drip":
                    self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
                    while True:
                        self.wfile.write(b" ")
                        time.sleep(0.05)
                elif isinstance(fault, tuple):
                    self._say({"Location": server.token_url} if 300 < fault[0] < 400 else {}, fault[1], fault[0])
                else:
                    time.sleep(fault or 0)
                    self._say(*server.answer("POST", self.path, body))

        def do_GET(self) -> None:
            self._say(*server.answer("GET", self.path, ""))

        def _say(self, headers: dict[str, str], body: str | bytes, status: int) -> None:
            raw = body.encode() if isinstance(body, str) else body or b""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    return Handler


class TokenRelay(Relay):
    """An SMTP server that takes only users with a good access token of the server."""

    def __init__(self, oauth: OAuthServer, port: int = 0) -> None:
        super().__init__(port, auth_require_tls=False, auth_exclude_mechanism=["LOGIN", "PLAIN"])
        self._oauth = oauth
        self.refused = 0

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        # Not aiosmtpd's auth_required: it warns where there is no TLS.
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        return "250 OK"

    async def auth_XOAUTH2(self, server: SMTP, args: list[str]) -> AuthResult:
        said = base64.b64decode(args[1]).decode()
        user, token = said.removeprefix("user=").removesuffix("\1\1").split("\1auth=Bearer ")
        if user == USER and self._oauth.takes(token):
            return AuthResult(success=True, auth_data=user)
        self.refused += 1
        await server.challenge_auth(json.dumps({"status": "401", "schemes": "bearer", "scope": SCOPE}))
        return AuthResult(success=False, handled=False, message="535 5.7.8 Username and Password not accepted")
