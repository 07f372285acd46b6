"""What a server repeats of a password, in whatever writing and however much of it, is masked."""

import base64
import html
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.test import RequestFactory
from django.views.debug import technical_500_response

from flasky.secrecy import Filter, Reporter
from notify import dispatch
from notify.delivery import transport
from notify.mail import send_mail
from notify.models import Attempt, Message, Relay
from notify.smtp.secret import MASK, Secret, hush
from tests.smtp.scripted import Listener, Proxy, Scripted

PASSWORD = "k4n4r!en&V<o>gel+?~ü"
USER = "ann@example.com"


def spaced(text: str, between: str = " ") -> str:
    return between.join(text)


RAW = PASSWORD.encode()
BLOB = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
ALONE = base64.b64encode(RAW).decode()
WRITINGS = {
    "as it is": PASSWORD,
    "in capitals": PASSWORD.upper(),
    "its beginning": PASSWORD[:7],
    "its end": PASSWORD[-6:],
    "letter-spaced": spaced(PASSWORD),
    "hyphenated": spaced(PASSWORD, "-"),
    "over many lines": spaced(PASSWORD, "\r\n"),
    "with control characters": spaced(PASSWORD, "\x1b"),
    "with zero-width spaces": spaced(PASSWORD, "\u200b"),
    "percent-encoded": quote(PASSWORD, safe=""),
    "every byte percent-encoded": "".join(f"%{byte:02x}" for byte in RAW),
    "percent-encoded twice": quote(quote(PASSWORD, safe=""), safe=""),
    "in HTML": html.escape(PASSWORD),
    "in numbers of HTML": "".join(f"&#{ord(letter)};" for letter in PASSWORD),
    "in hexadecimal numbers of HTML": "".join(f"&#x{ord(letter):X};" for letter in PASSWORD),
    "in JSON": json.dumps(PASSWORD)[1:-1],
    "in JSON with numbers alone": "".join(f"\\u{ord(letter):04X}" for letter in PASSWORD),
    "as Python's bytes": repr(RAW)[2:-1],
    "in octal": "".join(f"\\{byte:03o}" for byte in RAW),
    "in quoted-printable": "".join(f"={byte:02X}" for byte in RAW),
    "as UTF-8 that was taken for Latin-1": RAW.decode("latin-1"),
    "in hexadecimal": RAW.hex(),
    "in hexadecimal capitals": RAW.hex().upper(),
    "in hexadecimal with colons": RAW.hex(":"),
    "in C's hexadecimal": ", ".join(f"0x{byte:02X}" for byte in RAW),
    "part of its hexadecimal": RAW.hex()[5:20],
    "in base64": ALONE,
    "in base64 without its first letters": ALONE[3:],
    "in base64 without its last letters": ALONE[:-5],
    "the middle of its base64": ALONE[5:13],
    "in base64 in small letters": ALONE.lower(),
    "in base64 letter-spaced": spaced(ALONE),
    "in base64 over two lines": f"{ALONE[:11]}\n{ALONE[11:]}",
    "in the other alphabet of base64": base64.urlsafe_b64encode(b"x" + RAW).decode(),
    "in AUTH PLAIN": BLOB,
    "the end of AUTH PLAIN": BLOB[21:],
    "in base64 percent-encoded": quote(ALONE, safe=""),
}


def shared(text: str) -> list[str]:
    """The runs of six letters of the password and of its encodings that can still be read in the text."""
    read = "".join(letter for letter in text.lower() if letter.isalnum())
    sources = [PASSWORD, RAW.hex(), *(base64.b64encode(b"x" * n + RAW).decode()[n * 2 : -4] for n in range(3))]
    plain = ["".join(letter for letter in each.lower() if letter.isalnum()) for each in sources]
    return [each[at : at + 6] for each in plain for at in range(len(each) - 5) if each[at : at + 6] in read]


@pytest.mark.parametrize("writing", WRITINGS.values(), ids=WRITINGS)
def test_a_password_is_masked_in_every_writing(writing: str) -> None:
    hushed = hush(f"535 5.7.8 You said <{writing}>, and it is wrong", [PASSWORD])
    assert hushed.startswith("535 5.7.8 You said <")
    assert hushed.endswith(">, and it is wrong")
    assert MASK in hushed
    assert not shared(hushed)
    assert len(hushed) < len("535 5.7.8 You said <>, and it is wrong") + 12  # no more than its edges are left


@pytest.mark.parametrize("offset", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("cut", range(6))
def test_base64_is_masked_at_any_offset_and_wherever_it_is_cut(offset: int, cut: int) -> None:
    word = base64.b64encode(b"user="[:offset] + RAW + b"&x").decode()[cut : 28 - cut]
    assert hush(f"<{word}>", [PASSWORD]) == f"<{MASK}>"


@pytest.mark.parametrize(
    ("secret", "text", "hushed"),
    [
        ("pass", "Username and Password not accepted: pass", "Username and Password not accepted: ***"),
        ("pass", "PASS was wrong", "*** was wrong"),
        ("key", "monkeys, keys and key.", "monkeys, keys and ***."),
        ("abcd", f"AUTH PLAIN {base64.b64encode(b'ann abcd').decode()}", "AUTH PLAIN ***"),
        ("ab", "available, absent", "available, absent"),
        ("s3cr3t", "try s3cr3 again", "try s3cr3 again"),
        (PASSWORD, "250 2.0.0 Ok: queued as 4F3A2B1C9D", "250 2.0.0 Ok: queued as 4F3A2B1C9D"),
        (PASSWORD, "535 5.7.8 Username and Password not accepted", "535 5.7.8 Username and Password not accepted"),
    ],
)
def test_innocent_words_stay_also_where_the_password_is_short(secret: str, text: str, hushed: str) -> None:
    assert hush(text, [secret]) == hushed


@pytest.mark.parametrize(
    "text", ["a" * 200_000, "&amp;%41" * 25_000, "k4n4r" * 40_000, "k4n4r!" * 33_000, "=" * 200_000]
)
def test_a_long_reply_takes_time_in_proportion(text: str) -> None:
    def seconds(part: str) -> float:
        started = time.process_time()
        hush(part, [PASSWORD])
        return time.process_time() - started

    seconds(text[:100])
    assert seconds(text) < max(40 * min(seconds(text[: len(text) // 10]) for _ in range(2)), 1.0)


class Echo(Listener):
    """A relay that refuses the login and repeats what it was told in a writing."""

    def __init__(self, writing: str) -> None:
        super().__init__()
        self._writing = writing.replace("\r", "").split("\n")

    def talk(self, client: Any) -> None:
        stream = client.makefile("rb")
        client.sendall(b"220 echo\r\n")
        while line := stream.readline():
            if line.upper().startswith(b"EHLO"):
                client.sendall(b"250-echo\r\n250 AUTH PLAIN\r\n")
            elif line.startswith(b"AUTH"):
                lines = ["5.7.8 you said", *self._writing, "and that is wrong"]
                told = [f"535-{each}" for each in lines[:-1]] + [f"535 {lines[-1]}"]
                client.sendall("".join(f"{each}\r\n" for each in told).encode())
            else:
                client.sendall(b"221 bye\r\n")


@pytest.fixture
def configure(use_transport: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr(dispatch, "disable", lambda: None)

    def configured(port: int, **options: Any) -> None:
        login = {"username": USER, "password": Secret(PASSWORD), "use_tls": False, "use_ssl": False, "timeout": 5}
        ours = {"proxy": Secret(""), "local_hostname": "me.test"}
        use_transport(
            "notify.smtp.backend.EmailBackend", **{"host": "127.0.0.1", "port": port, **login, **ours, **options}
        )

    return configured


def run(*words: str) -> str:
    out = io.StringIO()
    with suppress(SystemExit):
        call_command(*words, stdout=out, stderr=out)
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "writing",
    [
        pytest.param(
            writing, id=name, marks=[] if name in ("over many lines", "the end of AUTH PLAIN") else pytest.mark.slow
        )
        for name, writing in WRITINGS.items()
    ],
)
def test_a_refused_login_that_repeats_it_is_kept_and_printed_without(
    configure: Callable[..., None], caplog: pytest.LogCaptureFixture, writing: str
) -> None:
    with Echo(writing) as relay:
        configure(relay.port)
        send_mail("you@example.com", "Hello", "notify/mail/test")
        texts = [run("sendtestmail", "you@example.com"), run("deliver"), run("outbox", "status"), caplog.text]
    texts += [str(values) for model in (Message, Attempt, Relay) for values in model._default_manager.values_list()]
    assert "and that is wrong" in texts[0]
    assert [shared(text) for text in texts] == [[]] * len(texts)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("after", [b"250-2.0.0 you said %s\r\n", b"250-2.0.0 %s", b"250-%s\r\n" * 101])
def test_the_page_of_debug_shows_no_piece_of_a_reply_that_ends_in_the_middle(
    configure: Callable[..., None], settings: Any, after: bytes
) -> None:
    settings.DEBUG = True
    reply = after.replace(b"%s", ALONE[3:].encode())

    class Cut(Scripted):
        def _say(self, client: Any, key: str) -> bool:
            return super()._say(client, key) and key != "MAIL"

    with Cut({"MAIL": reply}, extensions=("AUTH PLAIN",)) as relay:
        configure(relay.port)
        assert not shared(page_of(lambda: transport.connect().send_messages([message()])))


TOKEN = "t0ken-0f-a-pr0xy"


@pytest.fixture(params=["http", "socks5"])
def token_proxy(request: pytest.FixtureRequest) -> Iterator[str]:
    with Proxy(1, login="some:body") as proxy:
        yield f"{request.param}://{TOKEN}@127.0.0.1:{proxy.port}"


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("debug", [False, True])
def test_the_user_of_a_proxys_address_is_masked_also_without_a_password(
    configure: Callable[..., None], caplog: pytest.LogCaptureFixture, settings: Any, token_proxy: str, debug: bool
) -> None:
    configure(25, proxy=Secret(token_proxy))
    send_mail("you@example.com", "Hello", "notify/mail/test")
    texts = [run("sendtestmail", "you@example.com"), run("deliver"), run("outbox", "status"), caplog.text]
    settings.DEBUG = debug
    request = RequestFactory().get("/", ALL_PROXY=token_proxy)
    texts.append(page_of(lambda: transport.connect().open(), request))
    assert "FAIL proxy" in texts[0]
    assert TOKEN not in "\n".join(texts)


@pytest.mark.parametrize("echo", [TOKEN, TOKEN[3:], base64.b64encode(f"{TOKEN}:".encode()).decode()])
@pytest.mark.django_db(transaction=True)
def test_a_proxy_that_repeats_its_token_is_not_repeated(configure: Callable[..., None], echo: str) -> None:
    with Proxy(1, refuse=f"HTTP/1.1 403 who is {echo}") as proxy:
        configure(25, proxy=Secret(f"http://{TOKEN}@127.0.0.1:{proxy.port}"))
        said = run("sendtestmail", "you@example.com")
    assert "403 who is ***" in said
    assert TOKEN[3:] not in said


@pytest.mark.parametrize(
    ("shown", "masked"),
    [
        ("http://TOKEN@proxy:1", "http://********************@proxy:1"),
        ("http://user:@proxy:1", "http://********************@proxy:1"),
        ("http://user:pa/ss@proxy:1", "http://********************@proxy:1"),
        ("socks5h://a@b:c@proxy:1 and more", "socks5h://********************@proxy:1 and more"),
        ("https://example.com/about", "https://example.com/about"),
        ("Ann <ann@example.com>", "Ann <ann@example.com>"),
    ],
)
def test_addresses_on_error_pages_have_no_login(shown: str, masked: str) -> None:
    assert Filter().cleanse_setting("ANYTHING", shown) == masked


@pytest.mark.slow
@pytest.mark.parametrize("debug", [False, True])
def test_an_exception_and_its_frames_are_shown_without_what_they_repeat(
    configure: Callable[..., None], settings: Any, debug: bool
) -> None:
    settings.DEBUG = debug
    configure(25)

    def fail() -> None:
        heard = [ALONE[3:], {"reply": html.escape(PASSWORD)}]
        raise ValueError(f"they said {PASSWORD[2:]} {len(heard)}")

    assert "they said ***" in page_of(fail)
    assert not shared(page_of(fail))


def message() -> Any:
    return EmailMessage("Hi", "Text", USER, ["you@example.com"])


def page_of(action: Callable[[], Any], request: Any = None) -> str:
    """DEBUG's page of the exception and the report that is mailed."""
    request = request or RequestFactory().get("/")
    try:
        action()
    except Exception as error:
        reporter = Reporter(request, type(error), error, error.__traceback__)
        page = technical_500_response(request, type(error), error, error.__traceback__).content.decode()
        return "\n".join([page, reporter.get_traceback_html(), reporter.get_traceback_text()])
    raise AssertionError("nothing was raised")
