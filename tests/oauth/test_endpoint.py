"""The token request on the wire: bounded in time and size, verified, through the proxy, no secret in its errors."""

import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.views.debug import ExceptionReporter

from notify.oauth import grants, tokens
from notify.oauth.configuration import Configuration
from notify.oauth.endpoint import TokenRefused, TokenUnavailable
from notify.smtp.dial import Deadline
from notify.smtp.failure import from_exception
from notify.smtp.secret import Secret
from tests.oauth.server import SECRET, OAuthServer, _handler
from tests.smtp.conftest import authority, server_tls, trusted  # noqa: F401  (fixtures)
from tests.smtp.scripted import Proxy
from tests.waiting import until

Make = Callable[..., Configuration]


def ask(configuration: Configuration, seconds: float = 5) -> grants.Answer:
    return grants.by_client_credentials(configuration, Deadline(seconds))


@pytest.fixture
def app(configured: Make) -> Configuration:
    return configured(oauth_authorize_url="")


def error(text: str, **others: str) -> str:
    return json.dumps({"error": text, **others})


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, error("invalid_grant"), "invalid_grant: no description"),
        (401, error("invalid_client", error_description="No\r\nsuch"), "invalid_client: No such"),
        (200, error("invalid_scope"), "invalid_scope: no description"),  # as some say it
        (400, "<html>", "HTTP 400, and no answer of OAuth 2"),
        (404, "", "HTTP 404, and no answer of OAuth 2"),
        (400, "[]", "HTTP 400, and no answer of OAuth 2"),
        (302, "", "HTTP 302, a redirect, which is not followed"),
        (307, "", "HTTP 307, a redirect, which is not followed"),
    ],
)
def test_a_refusal_is_one_in_its_own_words(
    oauth: OAuthServer, app: Configuration, status: int, body: str, words: str
) -> None:
    oauth.faults.append((status, body))
    with pytest.raises(TokenRefused) as caught:
        ask(app)
    assert str(caught.value) == f"127.0.0.1: {words}"
    assert from_exception(caught.value).broken is False
    assert from_exception(caught.value).phase == "token"
    assert oauth.requests == []


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, "", "HTTP 500"),
        (503, error("temporarily_unavailable"), "HTTP 503, temporarily_unavailable: no description"),
        (400, error("server_error"), "HTTP 400, server_error: no description"),
        (429, error("slow", error_description="down"), "HTTP 429, slow: down"),
        (200, "<html>welcome</html>", "HTTP 200, and no answer of OAuth 2"),
        (200, b"\xff\xfe", "HTTP 200, and no answer of OAuth 2"),
        (200, "[1]", "HTTP 200, and no answer of OAuth 2"),
        (200, "null", "HTTP 200, and no answer of OAuth 2"),
        (200, "{}", "no access token in the answer"),
        (200, '{"access_token": 1}', "no access token in the answer"),
        (200, '{"access_token": ""}', "no access token in the answer"),
        (200, '{"access_token": "a\\u0001b"}', "no access token in the answer"),
        (200, '{"access_token": "a", "refresh_token": ["b"]}', "no access token in the answer"),
        (200, '{"access_token": "a", "expires_in": "soon"}', "no access token in the answer"),
        (200, '{"access_token": "%s"}' % ("x" * 12000), "no access token in the answer"),
        (200, " " * 70000, "HTTP 200, more than 65536 bytes"),
    ],
)
def test_an_answer_that_is_none_is_a_reason_to_try_again(
    oauth: OAuthServer, app: Configuration, status: int, body: str | bytes, words: str
) -> None:
    oauth.faults.append((status, body))
    with pytest.raises(TokenUnavailable) as caught:
        ask(app)
    assert str(caught.value) == f"127.0.0.1: {words}"
    assert from_exception(caught.value).broken is True
    assert from_exception(caught.value).phase == "token"


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [(3599, 3599), ("3599", 3599), (3599.5, 3599), (None, 600), (0, 600), (-5, 600), (10**30, 315360000)],
)
def test_a_lifetime_is_believed_within_reason(
    oauth: OAuthServer, app: Configuration, expires_in: Any, lifetime: int
) -> None:
    oauth.faults.append((200, json.dumps({"access_token": "a", "token_type": "bearer", "expires_in": expires_in})))
    assert ask(app).lifetime == lifetime


@pytest.mark.parametrize("fault", [30, "drip"])
def test_the_deadline_bounds_the_whole_request(oauth: OAuthServer, app: Configuration, fault: Any) -> None:
    oauth.faults.append(fault)
    began = time.monotonic()
    with pytest.raises(TokenUnavailable, match=r"^127\.0\.0\.1: TimeoutError: no answer within 0\.3 s$"):
        ask(app, 0.3)
    assert time.monotonic() - began < 10
    until(lambda: not any(each.name == "dial" for each in threading.enumerate()))  # no thread still reads


def test_a_connection_that_breaks_is_a_reason_to_try_again(oauth: OAuthServer, app: Configuration) -> None:
    oauth.faults.append("close")
    with pytest.raises(TokenUnavailable, match="RemoteDisconnected"):
        ask(app)


def test_a_server_that_is_away_is_a_reason_to_try_again(configured: Make, free_port: int) -> None:
    away = configured(oauth_token_url=f"http://127.0.0.1:{free_port}/token", oauth_authorize_url="")
    with pytest.raises(TokenUnavailable, match="ConnectionRefusedError"):
        ask(away)


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_the_request_goes_through_the_proxy(oauth: OAuthServer, configured: Make, scheme: str) -> None:
    with Proxy(oauth.port) as proxy:
        via = configured(
            proxy=f"{scheme}://127.0.0.1:{proxy.port}",
            oauth_token_url=f"http://localhost:{oauth.port}/token",
            oauth_authorize_url="",
        )
        assert oauth.takes(ask(via).access_token)
    assert proxy.asked == [f"localhost:{oauth.port}"]


def test_a_proxy_that_fails_is_named(configured: Make, free_port: int) -> None:
    via = configured(proxy=f"http://127.0.0.1:{free_port}", oauth_authorize_url="")
    with pytest.raises(TokenUnavailable, match=rf"^127\.0\.0\.1: ProxyFailed: proxy 127\.0\.0\.1:{free_port}: "):
        ask(via)


class TestOverTls:
    @pytest.fixture
    def secured(self, oauth: OAuthServer, server_tls: Callable[..., ssl.SSLContext]) -> Any:  # noqa: F811
        http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(oauth))
        http.socket = server_tls("localhost").wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, args=[0.05], daemon=True)
        thread.start()
        yield http.server_address[1]
        http.shutdown()
        http.server_close()

    @pytest.mark.usefixtures("trusted")
    def test_a_certificate_that_is_good_is_taken(self, oauth: OAuthServer, secured: int, configured: Make) -> None:
        good = configured(oauth_token_url=f"https://localhost:{secured}/token", oauth_authorize_url="")
        assert oauth.takes(ask(good).access_token)

    @pytest.mark.usefixtures("trusted")
    def test_one_for_another_name_is_refused(self, secured: int, configured: Make) -> None:
        other = configured(oauth_token_url=f"https://127.0.0.1:{secured}/token", oauth_authorize_url="")
        with pytest.raises(TokenRefused, match="certificate verify failed: IP address mismatch"):
            ask(other)

    def test_one_that_nobody_vouches_for_is_refused(self, secured: int, configured: Make) -> None:
        unknown = configured(oauth_token_url=f"https://localhost:{secured}/token", oauth_authorize_url="")
        with pytest.raises(TokenRefused, match="certificate verify failed"):
            ask(unknown)


@pytest.mark.parametrize(
    "answer",
    [
        (400, error("invalid_grant", error_description=f"{SECRET} and {{token}} are wrong")),
        (400, error("{token}")),
        (500, error(SECRET)),
        (200, json.dumps({"access_token": SECRET + "\1", "refresh_token": "{token}"})),
        "close",
    ],
)
def test_no_secret_is_in_an_error_or_on_its_page(oauth: OAuthServer, configured: Make, answer: Any) -> None:
    token = Secret("r3fr3sh-" + "0123456789" * 3)
    oauth.faults.append((answer[0], answer[1].replace("{token}", token)) if isinstance(answer, tuple) else answer)
    with pytest.raises((TokenRefused, TokenUnavailable)) as caught:
        _renew(configured(), token)
    found = caught.value
    traceback = found.__traceback__
    page = ExceptionReporter(None, type(found), found, traceback and traceback.tb_next).get_traceback_html()
    assert "by_refresh_token" in page
    assert not any(secret in text for secret in (SECRET, token) for text in (str(found), repr(vars(found)), page))


def _renew(configuration: Configuration, token: Secret) -> None:
    grants.by_refresh_token(configuration, token, Deadline(5))


@pytest.mark.parametrize("name", ["oauthlib", "cryptography"])
def test_a_missing_library_is_named(configured: Make, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(tokens, "find_spec", lambda package: None if package == name else package)
    with pytest.raises(ImproperlyConfigured, match=f"OAuth needs the package {name}, which is not installed"):
        tokens.Tokens(configured())
