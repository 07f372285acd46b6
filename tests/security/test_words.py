"""A server's words: nothing in them acts on a terminal, breaks a line, or raises."""

import base64
import io
import json
import logging
import re
import smtplib
import ssl
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.core.management import call_command

from notify import dispatch
from notify.delivery import breaker, transport
from notify.mail import send_mail
from notify.models import Attempt, Event, Message, Relay, Window
from notify.smtp import connection
from notify.smtp.failure import decode, from_exception, one_line, printable
from tests.smtp.scripted import Proxy, Scripted

# What no terminal, log or page may get: C0 (but the line feeds of our own), DEL, C1, separators, bidi controls.
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
EVIL = {
    "a terminal's escape": "\x1b[2J\x1b]0;owned\x07",
    "carriage return": "fine\rroot: all is well",
    "backspaces": "no\b\byes",
    "NUL": "a\0b",
    "DEL": "a\x7fb",
    "C1": "a\x9b2Jb\x85c",
    "separators": "a\u2028b\u2029c",
    "bidi": "a\u202eb\u2066c\u200fd\u061ce",
    "tab": "a\tb",
    "form feed": "a\x0bb\x0cc\x1cd",
}
evil = pytest.mark.parametrize("words", EVIL.values(), ids=EVIL)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "disable", lambda: None)


@pytest.fixture
def configure(use_transport: Callable[..., None]) -> Callable[..., None]:
    def configured(port: int, **options: Any) -> None:
        plan = {"host": "127.0.0.1", "port": port, "use_tls": False, "use_ssl": False, "timeout": 5}
        use_transport("notify.smtp.backend.EmailBackend", **plan, **{"local_hostname": "me.test", **options})

    return configured


def run(*words: str) -> str:
    out = io.StringIO()
    with suppress(SystemExit):
        call_command(*words, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


@evil
def test_words_are_printable_wherever_they_come_in(words: str) -> None:
    for encoding in ("utf-8", "latin-1") if words.isascii() or "\x9b" in words else ("utf-8",):
        raw = words.encode(encoding)
        error = smtplib.SMTPDataError(554, raw)
        for text in (decode(raw), from_exception(error).text, from_exception(OSError(words)).text, one_line(words)):
            assert not ACTS.search(text)
            assert "\n" not in text
    assert len(printable(words)) > len(words)  # nothing was dropped: it is written out


@pytest.mark.parametrize(
    ("reply", "joined"),
    [
        ("5.7.8 Wrong\n5.7.8 password", "5.7.8 Wrong password"),
        ("5.7.8 Wrong\n5.7.1 and more", "5.7.8 Wrong 5.7.1 and more"),
        ("first \r\n\n  second", "first second"),
        ("No\n2026-11-27 00:00:00,000 INFO root: all is well", "No 2026-11-27 00:00:00,000 INFO root: all is well"),
        ("plain ünï 请使用授权码", "plain ünï 请使用授权码"),
    ],
)
def test_the_lines_of_a_reply_are_joined_by_blanks(reply: str, joined: str) -> None:
    assert one_line(reply) == joined


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@evil
@pytest.mark.parametrize(
    "verb", ["greeting", ".", *(pytest.param(each, marks=pytest.mark.slow) for each in ("EHLO", "MAIL", "RCPT"))]
)
def test_commands_and_logs_print_nothing_of_a_reply_raw(
    configure: Callable[..., None], caplog: pytest.LogCaptureFixture, verb: str, words: str
) -> None:
    caplog.set_level(logging.INFO)
    reply = f"554-5.7.1 no {words}\r\n554 5.7.1 2026-11-27 INFO root: forged\r\n".encode()
    with Scripted({verb: reply, "HELO": reply}) as relay:
        configure(relay.port)
        send_mail("you@example.com", "Hello", "notify/mail/test")
        texts = [run("sendtestmail", "a@example.com"), run("sendtestmail", "a@example.com", "--json"), run("deliver")]
        texts += [run("outbox", "status"), run("outbox", "status", "--json")]
    texts += [record.getMessage() for record in caplog.records if record.name.startswith("notify")]
    kept = [Message.objects.get().reply, Relay.current().reason, *Attempt.objects.values_list("text", flat=True)]
    assert "FAIL" in texts[0]
    assert not [text for text in [*texts, *kept] if ACTS.search(text)]
    assert not [text for text in [*kept, *texts[5:]] if "\n" in text]
    assert not [line for text in texts for line in text.split("\n") if line.startswith("2026")]


@pytest.mark.django_db(transaction=True)
@evil
def test_a_proxys_status_line_is_printable(configure: Callable[..., None], words: str) -> None:
    with Proxy(1, refuse=f"HTTP/1.1 502 {words}") as proxy:
        configure(25, proxy=f"http://127.0.0.1:{proxy.port}")
        said = run("sendtestmail", "a@example.com")
    assert "502" in said
    assert not ACTS.search(said)


@pytest.mark.django_db(transaction=True)
@evil
def test_what_was_kept_or_typed_before_is_printed_no_rawer(configure: Callable[..., None], words: str) -> None:
    words = words.replace("\0", "\x01")  # no database keeps NUL
    configure(1)
    Event.objects.create(topic=f"topic {words}", key="1", subject="New", summary="Order 1")
    Window.objects.all().delete()
    breaker.pause(f"ann: {words}\nforged: line")
    texts = [run("outbox", "status"), run("outbox", "status", "--json"), run("deliver")]
    assert not [text for text in texts if ACTS.search(text)]
    assert not [line for text in texts for line in text.split("\n") if line.startswith("forged")]
    assert json.loads(texts[1])["relay"]["reason"] == f"ann: {words}\nforged: line"


def test_a_certificates_name_is_printable(server_certificate: str) -> None:
    assert not ACTS.search(server_certificate)


@pytest.fixture
def server_certificate(monkeypatch: pytest.MonkeyPatch) -> str:
    class Socket(ssl.SSLSocket):
        def __init__(self) -> None:
            pass

        def __del__(self) -> None:
            pass

        def getpeercert(self, binary_form: bool = False) -> Any:
            return {"subjectAltName": (("DNS", "evil\x1b[2J.example.com"),), "notAfter": "never"}

        def cipher(self) -> Any:
            return ("TLS", "", 1)

        def version(self) -> str:
            return "TLSv1.3"

    return connection.describe_tls(Socket.__new__(Socket))


@pytest.mark.parametrize(
    ("extension", "taken"),
    [
        ("SIZE 10", False),
        ("SIZE 00000000000000000010", False),
        ("SIZE 0", True),
        ("SIZE", True),
        ("SIZE ²", True),
        ("SIZE ٥", True),
        ("SIZE １０", True),
        ("SIZE -5", True),
        ("SIZE +5", True),
        ("SIZE 1_0", True),
        ("SIZE 5 5", True),
        ("SIZE 0x10", True),
        (f"SIZE {'1' * 21}", True),
        (f"SIZE {'9' * 5000}", True),
        (f"SIZE {'9' * 20}", True),
        ("SIZE \x1b[2J", True),
        ("PIPELINING ² ³", True),
        ("8BITMIME \udcff", True),
        ("²", True),
        ("", True),
        ("-", True),
        (" SIZE 10", False),
        ("AUTH=" + "x" * 4000, True),
        ("AUTH \x85\xa0", True),
        ("STARTTLS\x00", True),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_nothing_in_the_answer_to_ehlo_raises(
    configure: Callable[..., None], extension: str, taken: bool, encoding: str
) -> None:
    reply = b"250-relay.test\r\n250-" + extension.encode(encoding, "replace") + b"\r\n250 HELP\r\n"
    with Scripted({"EHLO": reply}) as relay:
        configure(relay.port)
        backend = transport.connect()
        wanted: Any = nullcontext() if taken else pytest.raises(smtplib.SMTPDataError, match="552")
        with closing(backend), wanted:
            assert backend.send_messages([EmailMessage("Hi", "Text", "a@example.com", ["b@example.com"])]) == 1


@pytest.mark.parametrize(
    "reply",
    [
        "²50 ok",
        "٢٥٠ ok",
        "2５0 ok",
        "+25 ok",
        "-25 ok",
        "2 5 ok",
        "2_5 ok",
        "25",
        "250\x1b",
        "99 ok",
        "999 ok",
        "000 ok",
    ],
)
@pytest.mark.parametrize("verb", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "."])
def test_a_code_that_is_none_is_no_yes_and_raises_what_the_wire_raises(
    configure: Callable[..., None], verb: str, reply: str
) -> None:
    replies: dict[str, Any] = {verb: f"{reply}\r\n".encode()}
    if verb == "EHLO":
        replies["HELO"] = replies["EHLO"]
    with Scripted(replies) as relay:
        configure(relay.port)
        backend = transport.connect()
        with suppress(OSError):
            sent = backend.send_messages([EmailMessage("Hi", "Text", "a@example.com", ["b@example.com"])])
            assert (sent, reply) == (1, "250\x1b")  # a code all the same
        backend.close()


@pytest.mark.parametrize("challenge", ["a", "a===", "²", "=", "YQ", "\x1b[2J", "*" * 3000])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_challenge_that_is_no_base64_is_a_refusal(
    configure: Callable[..., None], mechanism: str, challenge: str
) -> None:
    with Scripted({"AUTH": f"334 {challenge}"}, extensions=(f"AUTH {mechanism}",)) as relay:
        configure(relay.port, username="ann", password="k4n4r!enV0gel")
        with pytest.raises(smtplib.SMTPException) as caught:
            transport.connect().open()
    facts = from_exception(caught.value)
    assert facts.phase == "auth"
    assert base64.b64encode(b"k4n4r!enV0gel").decode() not in repr(caught.value)


@pytest.mark.parametrize("which", ["username", "password"])
def test_a_login_that_cannot_be_written_is_said_without_it(configure: Callable[..., None], which: str) -> None:
    with Scripted(extensions=("AUTH PLAIN LOGIN",)) as relay:
        configure(relay.port, **{"username": "ann", "password": "k4n4r!enV0gel", which: "k4n4r!en\udcff"})
        with pytest.raises(OSError, match="cannot be written in UTF-8") as caught:
            transport.connect().open()
    assert "k4n4r" not in repr([caught.value, caught.value.__cause__, vars(caught.value)])
    assert from_exception(caught.value).phase == "auth"


@pytest.mark.parametrize("enhanced", ["5.٧.8 No", "5.7.²  No", "5.7.8888 No", "٥.7.8 No"])
def test_an_enhanced_code_is_ascii(enhanced: str) -> None:
    assert from_exception(smtplib.SMTPDataError(554, enhanced.encode())).enhanced == ""
