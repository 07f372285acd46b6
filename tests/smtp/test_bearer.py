"""Logging in with an access token: which mechanism, what a refusal is answered, and the token in no text."""

import base64
import json
import smtplib
from typing import Any

import pytest
from django.views.debug import ExceptionReporter

from notify.smtp.failure import from_exception
from notify.smtp.secret import Secret
from tests.smtp.conftest import Make
from tests.smtp.scripted import CLOSE, HANG, Scripted
from tests.smtp.test_login import b64

USER = "ann@example.com"
TOKEN = "ya29.k4n4r-V0gel_0123456789~abcdefghijklmnopqrstuvwxyz"
OTHER = "ya29.the-second-0123456789"
SAID = b64(f"user={USER}\1auth=Bearer {TOKEN}\1\1")
BAD = "334 " + b64(json.dumps({"status": "401", "schemes": "bearer", "scope": "https://mail.google.com/"}))


class Tokens:
    """A project's callable: one token after the other, the last one for ever."""

    def __init__(self, *values: Any) -> None:
        self.left = list(values)
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        value = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(value, Exception):
            raise value
        return value


def refused(make: Make, relay: Scripted, token: Any, phase: str = "auth", timeout: float = 5) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        make(relay.port, username=USER, token=token, timeout=timeout).open()
    assert from_exception(caught.value).phase == phase
    return caught.value


@pytest.mark.parametrize("offered", ["AUTH LOGIN PLAIN XOAUTH2", "AUTH OAUTHBEARER XOAUTH2", "auth=xoauth2"])
def test_xoauth2_is_said_in_one_line(make_backend: Make, offered: str) -> None:
    with Scripted(extensions=(offered,)) as relay:
        assert make_backend(relay.port, username=USER, token=lambda: TOKEN).open()
    assert relay.lines[1:] == [f"AUTH XOAUTH2 {SAID}"]


def test_oauthbearer_is_used_where_it_is_all_there_is(make_backend: Make) -> None:
    with Scripted(extensions=("AUTH PLAIN OAUTHBEARER",)) as relay:
        assert make_backend(relay.port, username="a,n=n@example.com", token=lambda: TOKEN).open()
        said = f"n,a=a=2Cn=3Dn@example.com,\1host=127.0.0.1\1port={relay.port}\1auth=Bearer {TOKEN}\1\1"
    assert relay.lines[1:] == [f"AUTH OAUTHBEARER {b64(said)}"]


def test_a_token_longer_than_a_command_goes_along_with_the_command(make_backend: Make) -> None:
    with Scripted(extensions=("AUTH XOAUTH2",)) as relay:
        assert make_backend(relay.port, username=USER, token=lambda: "x" * 4000).open()
    assert len(relay.lines[1]) > 5000


def test_a_token_longer_than_any_command_waits_to_be_asked_for(make_backend: Make) -> None:
    long = b64(f"user={USER}\1auth=Bearer {'x' * 9999}\1\1")
    with Scripted({"AUTH": "334 ", long.upper(): "235 Ok"}, extensions=("AUTH XOAUTH2",)) as relay:
        assert make_backend(relay.port, username=USER, token=lambda: "x" * 9999).open()
    assert relay.lines[1:] == ["AUTH XOAUTH2", long]


def test_a_token_is_said_alone_where_it_is_not_taken_with_the_command(make_backend: Make) -> None:
    replies = {"AUTH": ["501 5.5.4 Syntax", "334 "], SAID.upper(): "235 Ok"}
    with Scripted(replies, extensions=("AUTH XOAUTH2",)) as relay:
        assert make_backend(relay.port, username=USER, token=lambda: TOKEN).open()
    assert relay.lines[1:] == [f"AUTH XOAUTH2 {SAID}", "AUTH XOAUTH2", SAID]


@pytest.mark.parametrize(("mechanism", "answer"), [("XOAUTH2", ""), ("OAUTHBEARER", "AQ==")])
def test_an_error_in_a_challenge_is_answered_and_told(make_backend: Make, mechanism: str, answer: str) -> None:
    replies = {"AUTH": BAD, answer.upper(): "535 5.7.8 Username and Password not accepted."}
    with Scripted(replies, extensions=(f"AUTH {mechanism}",)) as relay:
        error = refused(make_backend, relay, lambda: TOKEN)
    assert relay.lines[2:] == [answer]
    assert from_exception(error).words == (
        "535 5.7.8 Username and Password not accepted. "
        f"({mechanism}: status 401, schemes bearer, scope https://mail.google.com/)"
    )


@pytest.mark.parametrize("challenge", ["!?", b64("[1]"), b64("nonsense"), b64("{}"), ""])
def test_a_challenge_that_tells_nothing_ends_in_the_refusal(make_backend: Make, challenge: str) -> None:
    replies = {"AUTH": f"334 {challenge}", "": "535 No", SAID.upper(): "535 No"}
    with Scripted(replies, extensions=("AUTH XOAUTH2",)) as relay:
        assert from_exception(refused(make_backend, relay, lambda: TOKEN)).words == "535 No (XOAUTH2)"


def test_challenges_without_end_are_cancelled(make_backend: Make) -> None:
    with Scripted({"AUTH": "334 ", "": "334 ", SAID.upper(): "334 "}, extensions=("AUTH XOAUTH2",)) as relay:
        refused(make_backend, relay, lambda: TOKEN)
    assert relay.lines.count(SAID) == 1
    assert "*" in relay.lines
    assert len(relay.lines) < 10


def test_a_refused_token_is_replaced_once(make_backend: Make) -> None:
    tokens = Tokens(TOKEN, OTHER)
    with Scripted({"AUTH": ["535 5.7.8 Expired", "235 Ok"]}, extensions=("AUTH XOAUTH2",)) as relay:
        assert make_backend(relay.port, username=USER, token=tokens).open()
    second = b64(f"user={USER}\1auth=Bearer {OTHER}\1\1")
    assert relay.lines[1:] == [f"AUTH XOAUTH2 {SAID}", f"AUTH XOAUTH2 {second}"]


def test_a_second_refusal_is_the_last(make_backend: Make) -> None:
    tokens = Tokens(TOKEN, OTHER, "third")
    with Scripted({"AUTH": "535 5.7.3 No"}, extensions=("AUTH XOAUTH2",)) as relay:
        error = refused(make_backend, relay, tokens)
    assert from_exception(error).words == "535 5.7.3 No (XOAUTH2)"
    assert (tokens.calls, relay.verbs.count("AUTH")) == (2, 2)


def test_the_same_token_is_not_said_twice(make_backend: Make) -> None:
    with Scripted({"AUTH": "535 5.7.8 No"}, extensions=("AUTH XOAUTH2",)) as relay:
        refused(make_backend, relay, lambda: TOKEN)
    assert relay.verbs.count("AUTH") == 1


def test_a_deferred_login_keeps_its_token(make_backend: Make) -> None:
    tokens = Tokens(TOKEN, OTHER)
    with Scripted({"AUTH": "454 4.7.0 Later"}, extensions=("AUTH XOAUTH2",)) as relay:
        refused(make_backend, relay, tokens)
    assert tokens.calls == 1


@pytest.mark.parametrize(
    ("offered", "words"),
    [
        (("AUTH PLAIN LOGIN",), "The relay offers PLAIN, LOGIN to log in with: none takes a token."),
        ((), "SMTP AUTH extension not supported by server."),
    ],
)
def test_no_token_is_fetched_for_a_relay_that_takes_none(
    make_backend: Make, offered: tuple[str, ...], words: str
) -> None:
    tokens = Tokens(TOKEN)
    with Scripted(extensions=offered) as relay:
        error = refused(make_backend, relay, tokens)
    assert isinstance(error, smtplib.SMTPNotSupportedError)
    assert str(error) == words
    assert (tokens.calls, "AUTH" in relay.verbs) == (0, False)


@pytest.mark.parametrize(
    ("value", "kind", "broken"),
    [
        (TimeoutError("no answer"), ConnectionError, True),
        (OSError("away"), ConnectionError, True),
        (RuntimeError("a mistake"), RuntimeError, False),
        ("", ValueError, False),
        (None, ValueError, False),
        (b"bytes", ValueError, False),
    ],
)
def test_a_callable_that_fails_is_a_failure_of_the_phase_token(
    make_backend: Make, value: Any, kind: type[Exception], broken: bool
) -> None:
    with Scripted(extensions=("AUTH XOAUTH2",)) as relay:
        error = refused(make_backend, relay, Tokens(value), phase="token")
    assert type(error) is kind
    assert from_exception(error).broken is broken
    assert "AUTH" not in relay.verbs


def test_the_observer_hears_where_the_token_is_from_before_the_login(make_backend: Make) -> None:
    heard: list[tuple[str, str]] = []
    with Scripted(extensions=("AUTH XOAUTH2",)) as relay:
        backend = make_backend(relay.port, username=USER, token=Tokens(TOKEN))
        backend.observer = lambda phase, detail, ms: heard.append((phase, detail))
        backend.open()
    assert heard[-2:] == [("token", "from Tokens"), ("auth", f"as {USER}, XOAUTH2")]


@pytest.mark.parametrize(
    "reply",
    [f"535 wrong: {TOKEN}", f"535 {SAID}", "334 " + b64(json.dumps({"status": TOKEN, "scope": TOKEN})), HANG, CLOSE],
    ids=["plain", "line", "challenge", "silent", "broken"],
)
def test_the_token_stands_in_no_error_and_on_no_error_page(make_backend: Make, reply: str) -> None:
    with Scripted({"AUTH": reply, "": f"535 {TOKEN}"}, extensions=("AUTH XOAUTH2",)) as relay:
        error = refused(make_backend, relay, Tokens(Secret(TOKEN)), timeout=1)
    page = ExceptionReporter(None, type(error), error, error.__traceback__).get_traceback_html()
    assert "log_in_with_token" in page
    for secret in (TOKEN, SAID, base64.b64encode(TOKEN.encode()).decode()):
        assert not any(secret in text for text in (str(error), repr(error), repr(vars(error)), page))


def test_the_connection_forgets_the_token(make_backend: Make) -> None:
    with Scripted(extensions=("AUTH XOAUTH2",)) as relay:
        backend = make_backend(relay.port, username=USER, token=lambda: TOKEN)
        backend.open()
        assert TOKEN not in repr(vars(backend.connection)) + repr(vars(backend))
