"""manage.py sendtestmail with OAuth: all that it prints, whole, when it works and when it does not."""

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command

from notify import dispatch
from tests.oauth.server import SCOPE, USER, OAuthServer, TokenRelay

pytestmark = pytest.mark.django_db


@pytest.fixture
def relay(oauth: OAuthServer) -> Iterator[TokenRelay]:
    with TokenRelay(oauth) as server:
        yield server


@pytest.fixture
def use(
    use_transport: Callable[..., None], oauth: OAuthServer, relay: TokenRelay, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    monkeypatch.setattr(dispatch, "disable", lambda: None)

    def configure(**options: Any) -> None:
        mine = {"host": "127.0.0.1", "port": relay.port, "username": USER, "password": "", "timeout": 5}
        plain = {"use_tls": False, "use_ssl": False, "local_hostname": "me.test"}
        use_transport("notify.smtp.backend.EmailBackend", **{**mine, **plain, **oauth.options, **options})

    return configure


def run(*words: str) -> tuple[int, str]:
    """Exit code and output, without what differs from run to run: ports, versions and milliseconds."""
    out, code = io.StringIO(), 0
    try:
        call_command("sendtestmail", *words, stdout=out, no_color=True)
    except SystemExit as ended:
        code = int(str(ended.code))
    text = re.sub(r"\(\d+ ms\)", "(N ms)", out.getvalue())
    return code, re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", re.sub(r"(greeting 220 ).*( \()", r"\1…\2", text))


HEAD = f"""\
PASS config 127.0.0.1:PORT, as {USER}, OAuth 2
SKIP proxy none configured
PASS dns 127.0.0.1 (N ms)
PASS connect 127.0.0.1:PORT (N ms)
PASS greeting 220 … (N ms)
PASS ehlo 8bitmime, auth, help, size, smtputf8 (N ms)
"""


def test_a_good_token(oauth: OAuthServer, use: Callable[..., None]) -> None:
    use(oauth_refresh_token=oauth.permit())
    assert run("you@example.com", "--check") == (
        0,
        HEAD
        + f"""\
PASS token from 127.0.0.1, valid for 60 min (N ms)
PASS auth as {USER}, XOAUTH2 (N ms)
SKIP tls MAIL_USE_TLS and MAIL_USE_SSL are off
PASS sender 250 OK (N ms)
PASS recipient you@example.com: 250 OK (N ms)
SKIP data --check: nothing is sent
""",
    )


def test_no_one_has_signed_in(use: Callable[..., None]) -> None:
    use()
    assert run("you@example.com") == (
        1,
        HEAD
        + """\
FAIL token TokenRefused: no refresh token: sign in once with manage.py mailauth (N ms)
cause: No one has signed in for this mailbox yet, so there is no refresh token.
fix: Run manage.py mailauth once. For a Microsoft app that signs in alone, set MAIL_OAUTH_CLIENT_SECRET.
""",
    )


def test_a_wrong_secret(oauth: OAuthServer, use: Callable[..., None]) -> None:
    use(oauth_authorize_url="", oauth_client_secret="wrong-secret-0123456789")
    assert run("you@example.com") == (
        1,
        HEAD
        + """\
FAIL token TokenRefused: 127.0.0.1: invalid_client: no description (N ms)
cause: The client secret is wrong.
fix: Set MAIL_OAUTH_CLIENT_SECRET to the secret's value (Microsoft: not its Secret ID), and check MAIL_OAUTH_CLIENT_ID.
""",
    )


def test_a_server_of_tokens_that_does_not_work(oauth: OAuthServer, use: Callable[..., None]) -> None:
    oauth.faults.append((500, "<html>"))
    use(oauth_refresh_token=oauth.permit())
    assert run("you@example.com") == (
        1,
        HEAD
        + """\
FAIL token TokenUnavailable: 127.0.0.1: HTTP 500 (N ms)
cause: The authorization server cannot be reached or is temporarily unavailable.
fix: No action needed; retrying automatically. If it persists, check the network.
""",
    )


def test_a_token_for_another_mailbox(oauth: OAuthServer, use: Callable[..., None]) -> None:
    use(oauth_refresh_token=oauth.permit(), username="bob@example.com")
    code, printed = run("you@example.com")
    refusal = f"535 5.7.8 Username and Password not accepted (XOAUTH2: status 401, schemes bearer, scope {SCOPE})"
    assert code == 1
    assert printed == HEAD.replace(USER, "bob@example.com") + (
        "PASS token from 127.0.0.1, valid for 60 min (N ms)\n"
        "PASS token from 127.0.0.1, valid for 60 min (N ms)\n"
        f"FAIL auth {refusal} (N ms)\n"
        f"server said: {refusal}\n"
        "cause: The mail server did not accept the access token for this user.\n"
        "fix: MAIL_USERNAME must be the mailbox that signed in (manage.py mailauth --status), and the scope must be "
        "for SMTP.\n"
    )


def test_both_a_password_and_oauth(use: Callable[..., None]) -> None:
    use(password="x")
    assert run("you@example.com") == (
        2,
        "FAIL config MAIL_PASSWORD and MAIL_OAUTH_CLIENT_ID are both set, so it is not clear how to sign in.\n"
        "fix: Unset MAIL_PASSWORD to sign in by OAuth, or all MAIL_OAUTH_ variables to use the password.\n",
    )


def test_without_oauth_there_is_no_such_stage(use_transport: Callable[..., None], relay: TokenRelay) -> None:
    plan = {"host": "127.0.0.1", "port": relay.port, "username": "", "password": "", "timeout": 5}
    use_transport("notify.smtp.backend.EmailBackend", **plan, use_tls=False, use_ssl=False)
    assert " token " not in run("you@example.com", "--check")[1]
