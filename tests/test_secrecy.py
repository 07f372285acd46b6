"""No secret shows: in no output, log, exception, repr, table or page, whatever servers repeat of what they heard."""

import base64
import html
import io
import json
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.mail import EmailMessage, mail_admins
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import Client, RequestFactory
from django.views.debug import ExceptionReporter, technical_500_response

from notify import dispatch
from notify.delivery import transport
from notify.mail import send_mail
from notify.models import Message
from notify.oauth import tokens
from notify.operations import alerts
from notify.smtp.secret import Secret, hush
from tests.oauth.server import OAuthServer
from tests.parrots import ParrotProxy, ParrotRelay
from tests.plain_environment import PLAIN
from tests.receivers import Receiver
from tests.site import Browser, Site
from tests.smtp.scripted import Proxy

# Each holds what looks different in every spelling: quoted, in HTML, in base64 with its own alphabet.
PASSWORD = "k4n4r!en&V<o>gel+?~ü"
PROXY_PASSWORD = "pr0xy/k4n4r!en@%20&"
OTHERS = {
    name: f"k4n4r!en-{name}-0123456789-0123456789-0123456789"
    for name in PLAIN
    if re.search("SECRET|TOKEN", name) and not name.startswith("MAIL_OAUTH")  # which no one sets beside a password
}
USER = "ann@example.com"
PHASES = ["", "AUTH", "MAIL", "RCPT", "DATA", "."]


def spilled(text: str, *secrets: str) -> list[str]:
    """The secrets that can be read in the text, however they are written."""
    plain = html.unescape(text)
    readings = [text, plain, unquote(plain)]
    for run in set(re.findall(r"[A-Za-z0-9+/_-]{6,}={0,2}", plain)):
        for start in range(4):
            letters = run[start:].rstrip("=").translate(str.maketrans("-_", "+/"))
            with suppress(ValueError):
                readings.append(base64.b64decode(letters + "=" * (-len(letters) % 4)).decode("utf-8", "replace"))
    everything = "\n".join(readings)
    return [secret for secret in secrets or (PASSWORD, PROXY_PASSWORD) if any(w in everything for w in written(secret))]


def written(secret: str) -> set[str]:
    """As programs write texts: as it is, in Python's way, in JSON, as bytes."""
    return {secret, repr(secret)[1:-1], ascii(secret)[1:-1], json.dumps(secret)[1:-1], repr(secret.encode())[2:-1]}


@pytest.mark.parametrize(
    "text",
    [
        PASSWORD,
        quote(PASSWORD),
        quote(PASSWORD, safe=""),
        html.escape(PASSWORD),
        repr(PASSWORD.encode()),
        base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode(),
        base64.b64encode(PASSWORD.encode()).decode(),
        base64.urlsafe_b64encode(f"a{PASSWORD}".encode()).decode(),
        json.dumps(PASSWORD),
    ],
)
def test_what_is_spilled_is_noticed(text: str) -> None:
    assert spilled(f"before {text} after") == [PASSWORD] or ("ü" not in text and spilled(text, PASSWORD[:-1]))


@pytest.mark.parametrize("secret", [PASSWORD, PROXY_PASSWORD, "short", "ab", "a b%20c"])
def test_hush_takes_a_secret_out_however_it_is_written(secret: str) -> None:
    forms = [secret, quote(secret), quote(secret, safe="")]
    forms += [base64.b64encode(words.encode()).decode() for words in (secret, f"\0{USER}\0{secret}", f"u:{secret}")]
    for form in forms if len(secret) > 3 else forms[:4]:
        hushed = hush(f"535 5.7.8 <{form}>: who are you", [secret])
        assert hushed == "535 5.7.8 <***>: who are you"
    assert hush("535 5.7.8 Nothing of the kind", [secret, ""]) == "535 5.7.8 Nothing of the kind"


def test_the_repr_of_a_secret_is_a_mask() -> None:
    assert repr([Secret(PASSWORD)]) == "['***']"
    assert f"{Secret(PASSWORD)}" == PASSWORD == Secret(PASSWORD)


@pytest.fixture
def configured(
    use_transport: Callable[..., None], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Settings as flasky.settings would make them for that relay and that proxy."""
    monkeypatch.setattr(dispatch, "disable", lambda: None)
    settings.SECRET_KEY = Secret(OTHERS["SECRET_KEY"])

    def configure(port: int, proxy: str = "", **options: Any) -> None:
        settings.MAIL_PASSWORD = Secret(PASSWORD)
        login = {"username": USER, "password": settings.MAIL_PASSWORD}
        plan = {"host": "127.0.0.1", "port": port, "use_tls": False, "use_ssl": False, "timeout": 5}
        ours = {"proxy": Secret(proxy), "local_hostname": "me.test"}
        use_transport("notify.smtp.backend.EmailBackend", **plan, **login, **ours, **options)

    return configure


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """All that was logged, at every level, and printed."""
    caplog.set_level(logging.DEBUG)
    return lambda: "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records), *capfd.readouterr()])


def tables() -> str:
    """Every column of every row there is."""
    cells: list[Any] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            cells += [cell for row in cursor.fetchall() for cell in row]
    raw = [bytes(cell) if isinstance(cell, memoryview) else cell for cell in cells]
    return "\n".join(cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell) for cell in raw)


def pages() -> str:
    """Every page that can be asked for without knowing more than numbers, as a superuser sees it."""
    client = Client()
    client.force_login(User.objects.get_or_create(username="root", is_superuser=True, is_staff=True)[0])
    found = ["/", "/readyz", "/mailz", "/livez", "/metrics", "/admin/"]
    for model in apps.get_app_config("notify").get_models():
        base = f"/admin/notify/{model._meta.model_name}/"
        found += [base, f"{base}add/"]
        for key in model._default_manager.values_list("pk", flat=True)[:20]:
            found += [f"{base}{key}/change/", f"{base}{key}/history/"]
    return "\n".join(client.get(path, follow=True).content.decode("utf-8", "replace") for path in found)


def run(*words: str) -> str:
    out = io.StringIO()
    try:
        call_command(*words, stdout=out, stderr=out)
    except SystemExit:
        pass
    except CommandError as error:
        out.write(str(error))
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("mechanism", "code"),
    [
        ("PLAIN", 554),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in [("PLAIN", 454), ("LOGIN", 454), ("LOGIN", 554)]),
    ],
)
@pytest.mark.parametrize("phase", PHASES)
def test_a_relay_that_repeats_the_password_is_not_repeated(
    configured: Callable[..., None], said: Callable[[], str], phase: str, code: int, mechanism: str
) -> None:
    with ParrotRelay(mechanism, phase=phase, code=code) as relay:
        configured(relay.port)
        send_mail("you@example.com", "Hello", "notify/mail/test")
        texts = [
            run("sendtestmail", "you@example.com"),
            run("sendtestmail", "you@example.com", "--json"),
            run("sendtestmail", "you@example.com", "--check"),
            run("deliver"),
            run("outbox", "status"),
            run("outbox", "status", "--json"),
            run("check"),
        ]
        assert relay.was_told
        texts += [tables(), pages(), said()]
    assert "***" in texts[0] + texts[7]  # it did repeat it
    assert [spilled(text) for text in texts] == [[]] * len(texts)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("debug", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("phase", PHASES[1:])
def test_no_exception_and_no_error_page_tells_it(
    configured: Callable[..., None], settings: Any, phase: str, debug: bool
) -> None:
    settings.DEBUG = debug
    with ParrotRelay(phase=phase, code=554) as relay:
        configured(relay.port)
        backend = transport.connect()
        shown = everything_shown_of(lambda: backend.send_messages([message()]))
    assert spilled("\n".join([*shown, repr(backend), repr(getattr(backend, "connection", ""))])) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("debug", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_repeats_its_password_is_not_repeated(
    configured: Callable[..., None], said: Callable[[], str], settings: Any, scheme: str, debug: bool
) -> None:
    settings.DEBUG = debug
    with ParrotProxy() if scheme == "http" else Proxy(1, login="some:body") as proxy:
        configured(25, f"{scheme}://user:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:{proxy.port}")
        send_mail("you@example.com", "Hello", "notify/mail/test")
        texts = [run("sendtestmail", "a@example.com"), run("sendtestmail", "a@example.com", "--json"), run("deliver")]
        texts += [run("outbox", "status"), tables(), pages(), said()]
        texts += everything_shown_of(lambda: transport.connect().open())
    assert "FAIL proxy" in texts[0]
    secrets = (PASSWORD, PROXY_PASSWORD, quote(PROXY_PASSWORD, safe=""))
    assert [spilled(text, *secrets) for text in texts] == [[]] * len(texts)


# What an authorization server says: who it is that asks, in whatever words; {} is the form it was sent.
SAID = [
    (400, '{"error": "invalid_grant", "error_description": "unknown: {}"}'),
    (401, '{"error": "{}"}'),
    (500, "{}"),
    (200, '{"access_token": "{}\\u0001", "refresh_token": "{}"}'),
    (302, "{}"),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("phase", "said_there", "debug"),
    [
        ("AUTH", None, False),
        pytest.param("", SAID[0], True, marks=pytest.mark.slow),
        pytest.param("", None, True, marks=pytest.mark.slow),
        *(pytest.param("", each, False, marks=pytest.mark.slow) for each in SAID),
    ],
)
def test_no_token_is_told_by_anyone(
    configured: Callable[..., None],
    said: Callable[[], str],
    settings: Any,
    said_there: tuple[int, str] | None,
    phase: str,
    debug: bool,
) -> None:
    settings.DEBUG = debug
    with OAuthServer(secret=PASSWORD) as oauth, ParrotRelay("XOAUTH2", phase=phase) as relay:
        given = Secret(oauth.permit())
        options = {name: Secret(value) for name, value in oauth.options.items()}
        configured(relay.port, oauth_refresh_token=given, **options)
        settings.NOTIFY_TRANSPORT["OPTIONS"]["password"] = ""
        if said_there:
            form = f"{PASSWORD} {given} {quote(PASSWORD)} {base64.b64encode(given.encode()).decode()}"
            answer = said_there[0], said_there[1].replace("{}", form)
            oauth.faults.extend([answer] * 99)
        send_mail("you@example.com", "Hello", "notify/mail/test")
        texts = [
            run("sendtestmail", "you@example.com"),
            run("sendtestmail", "you@example.com", "--json"),
            run("deliver"),
            run("outbox", "status"),
            run("mailauth", "--status"),
            run("check", "--database", "default"),
            *(everything_shown_of(lambda: transport.connect().open()) if said_there or phase else []),
            run("mailauth", "--revoke"),
        ]
        texts += [tables(), pages(), said()]
        assert relay.was_told is not bool(said_there)
        secrets = (PASSWORD, str(given), *oauth.validator.refresh, *oauth.validator.access)
    assert [spilled(text, *secrets) for text in texts] == [[]] * len(texts)
    tokens.forget()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("debug", [False, True])
def test_an_error_in_a_view_tells_no_secret_to_the_page_or_the_administrators(
    configured: Callable[..., None], settings: Any, said: Callable[[], str], debug: bool
) -> None:
    settings.DEBUG = debug
    url = f"socks5://user:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:1"
    configured(25, url)
    settings.CELERY_BROKER_URL = Secret(f"amqp://guest:{quote(PROXY_PASSWORD, safe='')}@rabbit//")
    request = RequestFactory().get("/", **{"ALL_PROXY": url, "DATABASE_URL": f"postgres://u:{PASSWORD}@db/x"})
    shown = everything_shown_of(lambda: 1 / 0, request)
    logging.getLogger("django.request").error("It broke", exc_info=ZeroDivisionError("x"), extra={"request": request})
    mail_admins("Report", "\n".join(shown), fail_silently=False)
    assert Message.objects.exists()
    secrets = (PASSWORD, PROXY_PASSWORD, quote(PROXY_PASSWORD, safe=""), OTHERS["SECRET_KEY"])
    assert spilled("\n".join([*shown, tables(), said()]), *secrets) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("debug", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("status", [pytest.param(200, marks=pytest.mark.slow), 403])
def test_addresses_for_alerts_and_the_heartbeat_are_told_to_their_services_alone(
    configured: Callable[..., None], settings: Any, said: Callable[[], str], status: int, debug: bool
) -> None:
    settings.DEBUG, token, beat = debug, "t0k3n-k4n4r!en-0123", "b3at-k4n4r!en-0123"
    with ParrotRelay(phase="AUTH", code=535) as relay, Receiver() as receiver:
        receiver.status, host = status, f"127.0.0.1:{receiver.port}"
        configured(relay.port)
        first = f"json://ann:{quote(PROXY_PASSWORD, safe='')}@{host}/{token}"
        settings.NOTIFY_ALERT_URLS = Secret(f"{first} mmost://{host}/{token} slack://{token}/{token}/{token}")
        settings.NOTIFY_HEARTBEAT_URL = Secret(f"http://{host}/ping/{beat}")
        send_mail("you@example.com", "Hello", "notify/mail/test")
        run("deliver")
        alerts.look()
        paths = [request.path for request in receiver.requests]
        assert {f"/{token}", f"/hooks/{token}", f"/ping/{beat}/fail"} <= set(paths)
        texts = [run("outbox", "alert"), run("outbox", "alert", "--test"), run("outbox", "alert", "--test", "--json")]
        texts += [
            run("outbox", "status"),
            run("outbox", "status", "--json"),
            run("check"),
            run("diffsettings", "--all"),
        ]
        texts += [tables(), pages(), said()]
        environ = {
            "NOTIFY_ALERT_URLS": str(settings.NOTIFY_ALERT_URLS),
            "NOTIFY_HEARTBEAT_URL": str(settings.NOTIFY_HEARTBEAT_URL),
        }
        texts += everything_shown_of(lambda: 1 / 0, RequestFactory().get("/", **environ))
    secrets = (PROXY_PASSWORD, quote(PROXY_PASSWORD, safe=""), token, beat)
    assert [spilled(text, *secrets) for text in texts] == [[]] * len(texts)


def test_the_mark_of_the_configuration_changes_with_the_password(use_transport: Callable[..., None]) -> None:
    marks = []
    for password in ("one", "two"):
        use_transport("notify.smtp.backend.EmailBackend", password=Secret(password))
        marks.append(transport.fingerprint())
    assert marks[0] != marks[1]
    assert all("one" not in mark and "two" not in mark for mark in marks)


@pytest.mark.slow
def test_the_running_site_and_its_commands_tell_nothing(make_site: Callable[..., Site]) -> None:
    login = {"MAIL_USERNAME": USER, "MAIL_PASSWORD": PASSWORD, "MAIL_TIMEOUT": 5, "FLASKY_MAIL_SENDER": USER}
    secrets = (PASSWORD, PROXY_PASSWORD, quote(PROXY_PASSWORD, safe=""), *OTHERS.values())
    with ParrotRelay(phase=".", code=554) as relay, ParrotProxy() as proxy:
        url = f"http://user:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:{proxy.port}"
        site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=relay.port, DEBUG="true", **login, **OTHERS).start()
        texts = [Browser(site).post("Zoë"), Browser(site).get()]
        for words, variables in (
            (["sendtestmail", "--via", "outbox"], {}),
            (["sendtestmail"], {"MAIL_PROXY": url}),
            (["sendtestmail", "--json"], {"ALL_PROXY": url}),
            (["outbox", "status"], {"MAIL_PROXY": url}),
            (["deliver"], {"MAIL_PROXY": url}),
            (["check", "--deploy"], {"MAIL_PROXY": url}),
            (["diffsettings", "--all"], {"MAIL_PROXY": url}),
            (["sendtestmail"], {"MAIL_USE_TLS": "perhaps"}),
            (["sendtestmail"], {"MAIL_PROXY": f"ftp://user:{PROXY_PASSWORD}@h"}),
            (["check"], {"DATABASE_URL": f"nothing://u:{PASSWORD}@h/x"}),
        ):
            done = site.manage(*words, **variables)
            texts += [done.stdout, done.stderr]
        texts.append(site.output())
    assert relay.was_told
    assert [spilled(text, *secrets) for text in texts] == [[]] * len(texts)


def message() -> EmailMessage:
    return EmailMessage("Hi", "Text", USER, ["you@example.com"])


def everything_shown_of(action: Callable[[], Any], request: Any = None) -> list[str]:
    """What people may see of the exception: its words, its repr, and both of Django's reports, in text and HTML."""
    request = request or RequestFactory().get("/")
    try:
        action()
    except Exception as error:
        reporter = ExceptionReporter(request, type(error), error, error.__traceback__)
        page = technical_500_response(request, type(error), error, error.__traceback__).content.decode()
        words = [str(error), repr(error), repr(vars(error)), repr(error.__cause__)]
        return [*words, reporter.get_traceback_html(), reporter.get_traceback_text(), page]
    raise AssertionError("nothing was raised")
