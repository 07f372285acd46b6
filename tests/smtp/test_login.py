"""Logging in: one try with what the server knows, and the password in nobody's words."""

import base64
import hashlib
import hmac
import smtplib
import socket

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


class Asking(Scripted):
    """Puts one question after the other, as they are given, and takes what it got after the last."""

    def __init__(self, mechanism: str, *questions: str, last: str = "235 Ok") -> None:
        self.answers: list[str] = []
        self._turns = [f"334 {question}".encode() for question in questions]
        self._last = last.encode()
        super().__init__(extensions=(f"AUTH {mechanism}",))

    def _say(self, client: socket.socket, key: str) -> bool:
        if key == "AUTH" or (self.answers and key not in ("*", "QUIT")):
            self.answers.append(self.lines[-1])
            self._said = self._turns[len(self.answers) - 1] if len(self.answers) <= len(self._turns) else self._last
            client.sendall(self._said + b"\r\n")
            return True
        return super()._say(client, key)


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


NAME = b64("ann@example.com")


@pytest.mark.parametrize(
    ("questions", "answers"),
    [
        (["VXNlcm5hbWU6", "UGFzc3dvcmQ6"], [NAME, ENCODED]),
        (["dXNlcm5hbWU6", "cGFzc3dvcmQ6"], [NAME, ENCODED]),
        # draft-murchison-sasl-login
        ([b64("User Name\0"), b64("Password\0")], [NAME, ENCODED]),
        # xhit/go-simple-mail#117, rnwood/smtp4dev#17: the name is asked for again, whatever came before
        (["VXNlcm5hbWU6", "VXNlcm5hbWU6", "UGFzc3dvcmQ6"], [NAME, NAME, ENCODED]),
        (["UGFzc3dvcmQ6", "VXNlcm5hbWU6"], [ENCODED, NAME]),
        (["UGFzc3dvcmQ6"], [ENCODED]),
        (["", ""], [NAME, ENCODED]),
        (["Username:", "Password:"], [NAME, ENCODED]),  # not encoded
        (["User:", "Passwd:"], [NAME, ENCODED]),
        (["!?", "!?"], [NAME, ENCODED]),
        ([b64(b"\x00\x93\xfe"), b64(b"\x01\xff")], [NAME, ENCODED]),
        ([b64("Benutzername:"), b64("Kennwort:")], [NAME, ENCODED]),
        ([b64("用户名:"), b64("密码:")], [NAME, ENCODED]),
        ([b64("用户名:".encode("gbk")), b64("密码:".encode("gbk"))], [NAME, ENCODED]),
        ([b64("ユーザー名"), b64("パスワード")], [NAME, ENCODED]),
        ([b64("Nom d'utilisateur"), b64("Mot de passe")], [NAME, ENCODED]),
        ([b64("Käyttäjätunnus"), b64("Salasana")], [NAME, ENCODED]),
        ([b64("Käyttäjätunnus"), b64("Käyttäjätunnus"), b64("Salasana")], [NAME, NAME, ENCODED]),
        ([b64("Password for user ann@example.com:")], [ENCODED]),
    ],
)
def test_login_answers_what_is_asked(make_backend: Make, questions: list[str], answers: list[str]) -> None:
    with Asking("LOGIN", *questions) as relay:
        assert make_backend(relay.port, **LOGIN).open()
    assert relay.answers == ["AUTH LOGIN", *answers]


@pytest.mark.parametrize(
    ("questions", "answers"),
    [
        ([], []),
        ([""], [PLAIN]),  # does not take the initial response
        (["VXNlcm5hbWU6", "UGFzc3dvcmQ6"], [NAME, ENCODED]),  # takes every mechanism for LOGIN
    ],
)
def test_plain_answers_what_is_asked(make_backend: Make, questions: list[str], answers: list[str]) -> None:
    with Asking("PLAIN", *questions) as relay:
        assert make_backend(relay.port, **LOGIN).open()
    assert relay.answers == [f"AUTH PLAIN {PLAIN}", *answers]


@pytest.mark.parametrize("refusal", ["501 5.5.4 Syntax: AUTH mechanism", "500 5.5.2 Line too long"])
def test_plain_without_an_initial_response_is_tried_where_it_is_not_understood(
    make_backend: Make, refusal: str
) -> None:
    replies = {"AUTH": [refusal, "334 "], PLAIN.upper(): "235 Ok"}
    with Scripted(replies, extensions=("AUTH PLAIN",)) as relay:
        assert make_backend(relay.port, **LOGIN).open()
    assert relay.lines[1:] == [f"AUTH PLAIN {PLAIN}", "AUTH PLAIN", PLAIN]


def test_a_password_too_long_for_a_command_waits_to_be_asked_for(make_backend: Make) -> None:
    with Asking("PLAIN", "") as relay:
        assert make_backend(relay.port, username="ann@example.com", password="x" * 500).open()
    assert relay.answers == ["AUTH PLAIN", b64("\0ann@example.com\0" + "x" * 500)]


@pytest.mark.parametrize("mechanism", ["LOGIN", "PLAIN", "CRAM-MD5"])
@pytest.mark.parametrize("question", ["VXNlcm5hbWU6", b64("Tunnus"), "User:", "", "!?"])
def test_no_password_is_given_for_a_name_and_questions_end(make_backend: Make, mechanism: str, question: str) -> None:
    with Asking(mechanism, *[question] * 20) as relay:
        refused(make_backend, relay)
    assert relay.lines[-1] == "*" or relay.lines[-2:] == ["*", "QUIT"]
    assert len(relay.answers) <= 6
    if mechanism == "LOGIN" and question not in ("", "!?"):
        assert ENCODED not in relay.answers


@pytest.mark.parametrize(
    "offered",
    [
        ("auth plain login",),  # curl#18588, aiosmtpd#542
        ("Auth Plain",),
        ("AUTH=LOGIN PLAIN",),
        ("AUTH=plain",),
        ("AUTH= PLAIN",),
        ("AUTH\tPLAIN\tLOGIN",),
        ("AUTH   PLAIN   LOGIN  ",),
        ("AUTH PLAIN\t",),
        ("AUTH NTLM", "AUTH PLAIN"),
        ("AUTH NTLM", "AUTH=PLAIN", "AUTH=PLAIN"),
        ("AUTH", "auth=plain"),
        ("X-UNHEARD-OF=x y", "_", "", "AUTH PLAIN", "PIPELINING", "pipelining", "SIZE", "XAUTH LOGIN"),
    ],
    ids=" | ".join,
)
def test_what_is_offered_has_no_case_and_any_spacing(make_backend: Make, offered: tuple[str, ...]) -> None:
    with Scripted(extensions=(*offered, "8bitmime")) as relay:
        assert make_backend(relay.port, **LOGIN).open()
    assert relay.lines[1:] == [f"AUTH PLAIN {PLAIN}"]


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
