"""Logging in: one try with what the server knows, and the password in nobody's words."""

import base64
import hashlib
import hmac
import smtplib

import pytest
from django.views.debug import ExceptionReporter

from notify.smtp.failure import from_exception
from tests.smtp.conftest import CANARY, Make
from tests.smtp.scripted import CLOSE, Scripted

LOGIN = {"username": "ann@example.com", "password": CANARY}
PLAIN = base64.b64encode(f"\0ann@example.com\0{CANARY}".encode()).decode()
ENCODED = base64.b64encode(CANARY.encode()).decode()


def refused(make: Make, relay: Scripted, **options: object) -> BaseException:
    with pytest.raises(OSError) as caught:  # noqa: PT011
        make(relay.port, **(LOGIN | options)).open()
    assert from_exception(caught.value).phase == "auth"
    return caught.value


@pytest.mark.parametrize("offered", ["AUTH PLAIN LOGIN", "AUTH LOGIN PLAIN", "AUTH=PLAIN"])
def test_plain_is_said_in_one_line(make_backend: Make, offered: str) -> None:
    with Scripted(extensions=(offered,)) as relay:
        assert make_backend(relay.port, **LOGIN).open()
    assert f"AUTH PLAIN {PLAIN}" in relay.lines


def test_login_answers_both_questions(make_backend: Make) -> None:
    with Scripted({"AUTH": "334 UGFzc3dvcmQ6", ENCODED.upper(): "235 Ok"}, extensions=("AUTH LOGIN",)) as relay:
        assert make_backend(relay.port, **LOGIN).open()
    assert relay.lines[-2:] == [f"AUTH LOGIN {base64.b64encode(b'ann@example.com').decode()}", ENCODED]


def test_cram_md5_never_sends_the_password(make_backend: Make) -> None:
    challenge = b"<1896.697170952@relay.test>"
    digest = hmac.new(CANARY.encode(), challenge, hashlib.md5).hexdigest()
    answer = base64.b64encode(f"ann@example.com {digest}".encode()).decode()
    replies = {"AUTH": f"334 {base64.b64encode(challenge).decode()}", answer.upper(): "235 Ok"}
    with Scripted(replies, extensions=("AUTH CRAM-MD5 PLAIN",)) as relay:
        assert make_backend(relay.port, **LOGIN).open()
    assert relay.lines[-1] == answer


def test_a_password_beyond_ascii_is_said_in_utf8(make_backend: Make) -> None:
    with Scripted(extensions=("AUTH PLAIN",)) as relay:
        assert make_backend(relay.port, username="jürgen", password="пароль").open()
    assert base64.b64decode(relay.lines[-1].split()[-1]).decode() == "\0jürgen\0пароль"


def test_a_refused_password_is_not_offered_again(make_backend: Make) -> None:
    with Scripted({"AUTH": "535 5.7.8 No"}, extensions=("AUTH PLAIN LOGIN",)) as relay:
        error = refused(make_backend, relay)
    assert isinstance(error, smtplib.SMTPAuthenticationError)
    assert relay.verbs.count("AUTH") == 1


def test_the_reason_is_heard_although_the_server_hangs_up(make_backend: Make) -> None:
    with Scripted({"AUTH": ["535 5.7.8 No", CLOSE]}, extensions=("AUTH PLAIN LOGIN",)) as relay:
        assert from_exception(refused(make_backend, relay)).words == "535 5.7.8 No"


def test_a_mechanism_that_the_server_cannot_really_do_is_not_the_last(make_backend: Make) -> None:
    with Scripted({"AUTH": ["535 No", "235 Ok"]}, extensions=("AUTH CRAM-MD5 PLAIN",)) as relay:
        assert make_backend(relay.port, **LOGIN).open()


def test_a_503_is_no_success(make_backend: Make) -> None:
    with Scripted({"AUTH": "503 5.5.1 Error: authentication not enabled"}, extensions=("AUTH PLAIN",)) as relay:
        assert from_exception(refused(make_backend, relay)).code == 503


def test_challenges_without_end_are_ended(make_backend: Make) -> None:
    with Scripted({"AUTH": "334 ", "": "334 ", PLAIN.upper(): "334 "}, extensions=("AUTH PLAIN",)) as relay:
        refused(make_backend, relay)
        assert len(relay.lines) < 15


def test_a_login_that_is_not_offered_is_an_error(make_backend: Make) -> None:
    with Scripted() as relay:
        error = refused(make_backend, relay)
    assert str(error) == "SMTP AUTH extension not supported by server."


@pytest.mark.parametrize("offered", ["AUTH XOAUTH2 OAUTHBEARER", "AUTH XOAUTH2\r\n250-AUTH=OAUTHBEARER"])
def test_no_password_is_shown_to_a_relay_that_takes_none(make_backend: Make, offered: str) -> None:
    with Scripted(extensions=(offered, "8BITMIME")) as relay:
        error = refused(make_backend, relay)
    assert isinstance(error, smtplib.SMTPNotSupportedError)
    assert "XOAUTH2" in str(error)
    assert str(error).endswith("to log in with: none takes user and password.")
    assert "AUTH" not in relay.verbs


@pytest.mark.parametrize("username", ["", "ann@example.com"])
def test_half_a_login_is_none(make_backend: Make, username: str) -> None:
    with Scripted(extensions=("AUTH PLAIN",)) as relay:
        assert make_backend(relay.port, username=username, password="").open()
    assert "AUTH" not in relay.verbs


@pytest.mark.parametrize(
    "reply",
    [f"535 wrong: {CANARY}", f"535 wrong: {ENCODED}", f"500 unknown command AUTH PLAIN {PLAIN}", CLOSE],
    ids=["plain", "encoded", "line", "broken"],
)
def test_the_password_stands_in_no_error_and_on_no_error_page(make_backend: Make, reply: str) -> None:
    with Scripted({"AUTH": reply}, extensions=("AUTH PLAIN",)) as relay:
        error = refused(make_backend, relay)
    page = ExceptionReporter(None, type(error), error, error.__traceback__).get_traceback_html()
    assert "log_in" in page
    for secret in (CANARY, ENCODED, PLAIN):
        assert not any(secret in text for text in (str(error), repr(error), repr(vars(error)), page))


def test_the_connection_forgets_the_password(make_backend: Make) -> None:
    with Scripted(extensions=("AUTH PLAIN",)) as relay:
        backend = make_backend(relay.port, **LOGIN)
        backend.open()
        assert CANARY not in repr(vars(backend.connection))
        assert CANARY not in repr(backend)
