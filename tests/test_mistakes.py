"""Mistakes in the configuration: each is one line that names the variable, what was wrong, and what it may be."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from flasky import checks, dotenv, start
from flasky.environment import load
from tests import fresh
from tests.fresh import settings_with
from tests.site import ROOT, environment

KEY = "a-key-that-signs-nothing-outside-of-the-tests-at-all-0123456789"


@pytest.fixture(autouse=True)
def _a_start() -> Iterator[None]:
    with fresh.start():
        yield


MISTAKES = [
    ({"FLASKY_ADMIN": "a@x;b@x"}, "FLASKY_ADMIN='a@x;b@x' contains ';': separate by commas (,)"),
    ({"FLASKY_ADMIN": "a@x，b@x"}, "FLASKY_ADMIN='a@x，b@x' contains '，': separate by commas (,)"),
    ({"FLASKY_ADMIN": "a@x、b@x"}, "FLASKY_ADMIN='a@x、b@x' contains '、': separate by commas (,)"),
    ({"FLASKY_ADMIN": "ann"}, "FLASKY_ADMIN: 'ann' is not an email address, such as admin@example.com"),
    ({"FLASKY_ADMIN": "a＠x.com"}, "FLASKY_ADMIN: 'a＠x.com' is not an email address, such as admin@example.com"),
    ({"FLASKY_ADMIN": "“a@x.com”"}, "FLASKY_ADMIN: '“a@x.com”' is not an email address, such as admin@example.com"),
    ({"FLASKY_ADMIN": "a@x b@x"}, "FLASKY_ADMIN='a@x b@x' is no list such as ann@example.com,bob@example.com"),
    (
        {"FLASKY_MAIL_SENDER": "a@example.com, b@example.com"},
        "FLASKY_MAIL_SENDER='a@example.com, b@example.com' is not one address, such as "
        "Flasky Admin <flasky@example.com>",
    ),
    (
        {"ALLOWED_HOSTS": "a.example，b.example"},
        "ALLOWED_HOSTS='a.example，b.example' contains '，': separate by commas (,)",
    ),
    ({"MAIL_PORT": "smtp"}, "MAIL_PORT='smtp' is not a whole number from 1 to 65535"),
    ({"MAIL_PORT": "25  # submission"}, "MAIL_PORT='25  # submission' is not a whole number from 1 to 65535"),
    ({"MAIL_PORT": "２５"}, "MAIL_PORT='２５' is not a whole number from 1 to 65535"),
    ({"MAIL_PORT": "70000"}, "MAIL_PORT='70000' is not a whole number from 1 to 65535"),
    ({"MAIL_OAUTH_EXPIRES": "soon"}, "MAIL_OAUTH_EXPIRES='soon' is not a date such as 2027-01-31"),
    ({"PORT": "http"}, "PORT='http' is not a whole number from 1 to 65535"),
    ({"MAIL_USE_TLS": "ture"}, "MAIL_USE_TLS='ture' is neither true/yes/on/1 nor false/no/off/0"),
    ({"DEBUG": "maybe"}, "DEBUG='maybe' is neither true/yes/on/1 nor false/no/off/0"),
    (
        {"MAIL_SERVER": "smtp.example.com:587"},
        "MAIL_SERVER='smtp.example.com:587' is not a host name: the port goes into MAIL_PORT",
    ),
    (
        {"MAIL_SERVER": "smtp://smtp.example.com"},
        "MAIL_SERVER='smtp://smtp.example.com' is not a host name such as smtp.example.com",
    ),
    (
        {"MAIL_SERVER": "smtp://me:hunter2@smtp.example.com:587"},
        "MAIL_SERVER is not a host name such as smtp.example.com: a login goes into MAIL_USERNAME and MAIL_PASSWORD",
    ),
    (
        {"FLASKY_URL": "https://me:hunter2@example.com/?a"},
        "FLASKY_URL is not an address such as https://flasky.example.com",
    ),
    ({"MAIL_SERVICE": "gmial"}, "MAIL_SERVICE='gmial' is not known: did you mean gmail?"),
    ({"MAIL_SERVICE": "GMail.com"}, "MAIL_SERVICE='gmail.com' is not known: did you mean gmail?"),
    ({"MAIL_SERVICE": "smtp.qq.com"}, "MAIL_SERVICE='smtp.qq.com' is not known: did you mean qq?"),
    ({"MAIL_SERVICE": "163.com"}, "MAIL_SERVICE='163.com' is not known: did you mean 163?"),
    ({"MAIL_SERVICE": "@@@"}, "MAIL_SERVICE='@@@' is not known: docs/providers.md lists them"),
    (
        {"MAIL_BACKEND": "smpt"},
        "MAIL_BACKEND='smpt' is not smtp, inbox, console, file or an importable class: did you mean smtp?",
    ),
    (
        {"MAIL_BACKEND": "no.such.Backend"},
        "MAIL_BACKEND='no.such.Backend' is not smtp, inbox, console, file or an importable class: No module named 'no'",
    ),
    (
        {"MAIL_BACKEND": "notify.outbox.EmailBackend"},
        "MAIL_BACKEND='notify.outbox.EmailBackend' is the outbox: name the backend it hands mail to",
    ),
    (
        {"MAIL_PROXY": "socks4://me:canary@h:1"},
        "MAIL_PROXY is not a proxy address; write socks5://user:password@host:port, socks5h://… or http://… "
        "(MAIL_PROXY=direct for no proxy)",
    ),
    (
        {"ALL_PROXY": "ftp://h"},
        "ALL_PROXY is not a proxy address; write socks5://user:password@host:port, socks5h://… or http://… "
        "(MAIL_PROXY=direct for no proxy)",
    ),
    (
        {"NOTIFY_DISPATCH": "celry"},
        "NOTIFY_DISPATCH='celry' is none of: thread, worker, celery: did you mean celery?",
    ),
    ({"NOTIFY_DISPATCH": "cron"}, "NOTIFY_DISPATCH='cron' is none of: thread, worker, celery"),
    ({"LANGUAGE_CODE": "zh"}, "LANGUAGE_CODE='zh' is none of: en, zh-hans"),
    ({"TIME_ZONE": "Mars/Olympus"}, "TIME_ZONE='Mars/Olympus' is not a time zone such as UTC or Asia/Shanghai"),
    (
        {"DATABASE_URL": "postgres//me:canary@h/n"},
        "DATABASE_URL is not a database URL such as postgres://user@host/name",
    ),
    ({"FLASKY_URL": "flasky"}, "FLASKY_URL='flasky' is not an address such as https://flasky.example.com"),
    ({"FLASKY_URL": "http://[::1"}, "FLASKY_URL='http://[::1' is not an address such as https://flasky.example.com"),
    (
        {"FLASKY_URL": "http://x:http"},
        "FLASKY_URL='http://x:http' is not an address such as https://flasky.example.com",
    ),
    ({"NOTIFY_HEARTBEAT_URL": "http://[x"}, "NOTIFY_HEARTBEAT_URL is not an address such as https://hc-ping.com/…"),
    ({"NOTIFY_HEARTBEAT_URL": "http://x:p/"}, "NOTIFY_HEARTBEAT_URL is not an address such as https://hc-ping.com/…"),
    (
        {"FLASKY_ADMIN": "ann@example..com"},
        "FLASKY_ADMIN: 'ann@example..com' is not an email address, such as admin@example.com",
    ),
    (
        {"FLASKY_MAIL_SENDER": "Flasky <a@example.com"},
        "FLASKY_MAIL_SENDER='Flasky <a@example.com' is not one address, such as Flasky Admin <flasky@example.com>",
    ),
    (
        {"FLASKY_MAIL_SENDER": "A\x0bB <a@example.com>"},
        "FLASKY_MAIL_SENDER='A\\x0bB <a@example.com>' is not one address, such as Flasky Admin <flasky@example.com>",
    ),
    (
        {"ALLOWED_HOSTS": "localhost, https://a.example"},
        "ALLOWED_HOSTS: 'https://a.example' is not a host name such as flasky.example.com, without https:// and port",
    ),
    (
        {"ALLOWED_HOSTS": "a.example:8000"},
        "ALLOWED_HOSTS: 'a.example:8000' is not a host name such as flasky.example.com, without https:// and port",
    ),
    ({"MAIL_EHLO": "mail example"}, "MAIL_EHLO='mail example' is not a host name such as smtp.example.com"),
    (
        {"MAIL_BACKEND": "."},
        "MAIL_BACKEND='.' is not smtp, inbox, console, file or an importable class: Empty module name",
    ),
    (
        {"MAIL_BACKEND": "os.path.join"},
        "MAIL_BACKEND='os.path.join' is not smtp, inbox, console, file or an importable class: it is no email backend",
    ),
    ({"DATABASE_URL": "postgres://localhost"}, "DATABASE_URL is not a database URL such as postgres://user@host/name"),
    ({"DATABASE_URL": "sqlite3:///x"}, "DATABASE_URL is not a database URL such as postgres://user@host/name"),
    ({"DATABASE_URL": "mysql://root@h/n"}, "DATABASE_URL is not a database URL such as postgres://user@host/name"),
    *(
        ({"DATABASE_URL": url}, "DATABASE_URL: write sqlite:///var/db.sqlite3, or sqlite:////srv/db.sqlite3 for /srv")
        for url in ("sqlite://x.db", "sqlite://var/x.db", "sqlite:x.db", "sqlite://", "sqlite:///")
    ),
    ({"DATABASE_URL": "sqlite:///x.db?timeout=soon"}, "DATABASE_URL: timeout is a number of seconds"),
    (
        {"DATABASE_URL": "sqlite:////dev/null/x/y"},
        "DATABASE_URL: [Errno 20] Not a directory: '/dev/null/x'",
    ),
    (
        {"MAIL_PASSWORD_FILE": "/no/such/file"},
        "MAIL_PASSWORD_FILE: [Errno 2] No such file or directory: '/no/such/file'",
    ),
    (
        {"SECRET_KEY": ""},
        "SECRET_KEY is not set. `make run` writes a fresh one into .env; or set DEBUG=true",
    ),
    (
        {"SECRET_KEY": "canary"},
        "SECRET_KEY can be guessed: it needs 50 characters, at least 5 of them different, and no django-insecure- in "
        "front. Make one: python -c 'import secrets; print(secrets.token_urlsafe(50))'",
    ),
]


@pytest.mark.parametrize(("variables", "line"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_value_that_cannot_be_is_one_line(
    variables: dict[str, str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, start.one_line_for_mistakes(exit_code=2):
        settings_with(**variables)
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", f"{line}\n")


LINES = [
    (" MAIL_PORT=25", ".env line 3 ('MAIL_PORT') is not NAME=value: no space before the name or around the ="),
    ("MAIL_PORT = 25", ".env line 3 ('MAIL_PORT') is not NAME=value: no space before the name or around the ="),
    ("MAIL_PORT", ".env line 3 ('MAIL_PORT') is not NAME=value: no space before the name or around the ="),
    (
        "MAIL_PASSWORD: canary",
        ".env line 3 ('MAIL_PASSWORD') is not NAME=value: no space before the name or around the =",
    ),
    ("canary", ".env line 3 is not NAME=value: no space before the name or around the ="),
    ("MAIL_PASSWORD＝canary", ".env line 3 ('MAIL_PASSWORD') is not NAME=value: write an ASCII = instead of ＝"),
    ("MAIL_PASSWORD=“canary”", "MAIL_PASSWORD (.env line 3) begins with “: write straight quotes (' or \"), or none"),
    ("MAIL_PASSWORD=‘canary’", "MAIL_PASSWORD (.env line 3) begins with ‘: write straight quotes (' or \"), or none"),
    (
        "MAIL_PASSWORD='canary",
        "MAIL_PASSWORD (.env line 3) begins with ' and does not end with it: quote the whole value, or nothing; "
        "only a # comment may follow",
    ),
    (
        'MAIL_PASSWORD="canary" again',
        'MAIL_PASSWORD (.env line 3) begins with " and does not end with it: quote the whole value, or nothing; '
        "only a # comment may follow",
    ),
    (
        "MAIL_PASSWORD=can\0ary",
        ".env line 3 ('MAIL_PASSWORD') is not NAME=value: no space before the name or around the =",
    ),
]


@pytest.mark.parametrize(("line", "message"), LINES, ids=[line for line, _ in LINES])
def test_a_line_of_the_file_that_cannot_be_is_named_and_its_value_is_not_shown(
    tmp_path: Path, line: str, message: str
) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# a comment\n\n{line}\n", encoding="utf-8")
    with pytest.raises(ImproperlyConfigured) as raised:
        load(file)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("MAIL_PORT=25\n".encode("utf-16"), ".env cannot be read: it is in UTF-16; save it as UTF-8"),
        (b"# ok\nMAIL_PASSWORD=\xff\n", ".env cannot be read: line 2 is not UTF-8; save it as UTF-8"),
    ],
    ids=["UTF-16", "Latin-1"],
)
def test_a_file_in_another_encoding_is_named(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / ".env").write_bytes(raw)
    with pytest.raises(ImproperlyConfigured) as raised:
        load(tmp_path / ".env")
    assert str(raised.value) == message


def test_a_missing_file_is_no_file(tmp_path: Path) -> None:
    assert dotenv.read(tmp_path / ".env") == []


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("T=pw", "pw"),
        ("T='pw'  # comment", "pw"),
        ('T="pw"# comment', "pw"),
        ("T='pw'  # it's a 'comment", "pw"),
        ("T= 'pw' ", "pw"),
        ("T='it's'", "it's"),
        ("T='p#w'", "p#w"),
        ("T=p#w $x", "p#w $x"),
        (r'T="a\"b\\c"', r'a"b\c'),
        (r"T='a\"b\\c'", r"a\"b\\c"),
        ("T=''", ""),
        ("T=", ""),
        ("export T=pw", "pw"),
    ],
)
@pytest.mark.parametrize(("start", "end"), [("", "\n"), ("\ufeff", "\r\n"), ("  # a comment\n", "")])
def test_a_line_means_what_it_says(tmp_path: Path, line: str, value: str, start: str, end: str) -> None:
    (tmp_path / ".env").write_bytes(f"{start}{line}{end}".encode())
    assert [(found.name, found.value) for found in dotenv.read(tmp_path / ".env")] == [("T", value)]


@pytest.mark.parametrize("sender", ["Flasky Inc. <a@example.com>", '"Flasky Inc." <a@example.com>'])
def test_a_senders_name_with_a_period_needs_no_quotes(sender: str) -> None:
    assert settings_with(FLASKY_MAIL_SENDER=sender)["DEFAULT_FROM_EMAIL"] == '"Flasky Inc." <a@example.com>'


def test_the_sites_own_address_may_be_one_of_ipv6() -> None:
    found = settings_with(FLASKY_URL="http://[2001:db8::1]:8000", ALLOWED_HOSTS="")
    assert found["ALLOWED_HOSTS"][-1] == "[2001:db8::1]"


def test_an_ip_address_may_be_in_brackets_and_ehlo_may_say_one() -> None:
    options = settings_with(MAIL_SERVER="[::1]", MAIL_EHLO="[IPv6:2001:db8::1]")["NOTIFY_TRANSPORT"]["OPTIONS"]
    assert (options["host"], options["local_hostname"]) == ("::1", "[IPv6:2001:db8::1]")


def test_quotes_that_docker_leaves_around_numbers_and_words_are_passed_over() -> None:
    found = settings_with(
        MAIL_PORT='"2525"',
        MAIL_USE_TLS="'true'",
        MAIL_SERVICE='"gmail"',
        NOTIFY_DISPATCH="'worker'",
        TIME_ZONE="UTC",
        FLASKY_ADMIN="'ann@example.com'",
        FLASKY_MAIL_SENDER='"Ann <ann@example.com>"',
        ALLOWED_HOSTS="'.example.com,[::1]'",
    )
    assert (found["FLASKY_ADMIN"], found["FLASKY_MAIL_SENDER"]) == (["ann@example.com"], "Ann <ann@example.com>")
    assert found["ALLOWED_HOSTS"] == [".example.com", "[::1]"]
    options = found["NOTIFY_TRANSPORT"]["OPTIONS"]
    assert (options["host"], options["port"], options["use_tls"]) == ("smtp.gmail.com", 2525, True)
    assert found["NOTIFY_DISPATCH"] == "worker"


@pytest.mark.parametrize("name", ["SECRET_KEY", "MAIL_PASSWORD", "NOTIFY_METRICS_TOKEN", "CELERY_BROKER_URL"])
def test_every_secret_may_be_in_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text(f"{KEY}\r\n")
    assert settings_with(**{f"{name}_FILE": str(tmp_path / "secret")})[name] == KEY


DOUBTS = [
    ("MAIL_SERVISE", "MAIL_SERVISE is set, but Flasky reads no such variable: did you mean MAIL_SERVICE?"),
    ("NOTIFY_RATELIMIT", "NOTIFY_RATELIMIT is set, but Flasky reads no such variable: did you mean NOTIFY_RATE_LIMIT?"),
    ("FLASKY_ADMINS", "FLASKY_ADMINS is set, but Flasky reads no such variable: did you mean FLASKY_ADMIN?"),
    (
        "MAIL_PASWORD_FILE",
        "MAIL_PASWORD_FILE is set, but Flasky reads no such variable: did you mean MAIL_PASSWORD_FILE?",
    ),
    (
        "MAIL_DEFAULT_SENDER",
        "MAIL_DEFAULT_SENDER is set, but Flasky reads no such variable: did you mean FLASKY_MAIL_SENDER?",
    ),
    ("NOTIFY_XYZZY", "NOTIFY_XYZZY is set, but Flasky reads no such variable: .env.example lists those there are"),
]


@pytest.mark.parametrize(("name", "line"), DOUBTS)
def test_a_name_like_ours_that_nothing_reads_is_a_warning(name: str, line: str, settings: Any) -> None:
    settings.ENVIRONMENT_DOUBTS = settings_with(**{name: "canary"})["ENVIRONMENT_DOUBTS"]
    assert [(str(found.msg), found.id) for found in checks.check_environment(None)] == [(line, "flasky.W001")]


def test_names_of_others_are_no_warning(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DJANGO_SUPERUSER_PASSWORD=x\nTEST_DATABASE_URL=x\nHTTP_PROXY=x\nLANGUAGE=en\n")
    load(tmp_path / ".env")
    assert settings_with(NOTIFY_SOCKET="/run/x", MAILCHECK="60", SECRETKEY="x")["ENVIRONMENT_DOUBTS"] == []


def test_in_the_file_every_name_like_ours_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRETKEY=x\nDEBUGG=true\nMAIL_SERVISE=gmail\nDATABASE_ULR=x\n")
    load(tmp_path / ".env")
    assert settings_with()["ENVIRONMENT_DOUBTS"] == [
        f"{wrong} (.env) is set, but Flasky reads no such variable: did you mean {right}?"
        for wrong, right in (
            ("DATABASE_ULR", "DATABASE_URL"),
            ("DEBUGG", "DEBUG"),
            ("MAIL_SERVISE", "MAIL_SERVICE"),
            ("SECRETKEY", "SECRET_KEY"),
        )
    ]


def test_what_may_be_a_comment_and_belongs_to_the_value_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# first\nMAIL_PASSWORD=canary # the app password\nMAIL_USERNAME='a #b'\n")
    del os.environ["MAIL_PASSWORD"]
    load(tmp_path / ".env")
    found = settings_with()
    assert found["MAIL_PASSWORD"] == "canary # the app password"
    assert found["ENVIRONMENT_DOUBTS"] == [
        "MAIL_PASSWORD (.env line 2) holds a #, which belongs to the value: "
        "put the value into quotes, or the comment on its own line"
    ]


@pytest.mark.parametrize(
    ("variables", "backend"),
    [
        ({}, "flasky.inbox.EmailBackend"),
        ({"MAIL_SERVER": ""}, "flasky.inbox.EmailBackend"),
        ({"MAIL_SERVER": "relay.test"}, "notify.smtp.backend.EmailBackend"),
        ({"MAIL_SERVICE": "gmail"}, "notify.smtp.backend.EmailBackend"),
        ({"MAIL_PORT": "2525"}, "notify.smtp.backend.EmailBackend"),
        ({"MAIL_BACKEND": "inbox", "MAIL_SERVICE": "gmail"}, "flasky.inbox.EmailBackend"),
        ({"MAIL_BACKEND": "", "MAIL_SERVICE": "gmail"}, "notify.smtp.backend.EmailBackend"),
    ],
)
def test_the_files_inbox_gives_way_to_a_mail_server_of_the_real_environment(
    tmp_path: Path, variables: dict[str, str], backend: str
) -> None:
    del os.environ["MAIL_BACKEND"]
    os.environ.update(variables)
    (tmp_path / ".env").write_text("MAIL_BACKEND=inbox\n")
    load(tmp_path / ".env")
    assert settings_with()["NOTIFY_TRANSPORT"]["BACKEND"] == backend


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"DEBUG": True}, None),
        (
            {"DEBUG": True, "MAIL_SERVICE": "gmail"},
            "MAIL_SERVICE is set, but MAIL_BACKEND=inbox keeps all mail on this machine.",
        ),
        (
            {"DEBUG": True, "MAIL_SERVER": "relay.test"},
            "MAIL_SERVER is set, but MAIL_BACKEND=inbox keeps all mail on this machine.",
        ),
        (
            {"DEBUG": False},
            "MAIL_BACKEND=inbox sends no mail, and without DEBUG no page shows what it keeps.",
        ),
    ],
)
def test_an_inbox_that_is_probably_not_meant_is_a_warning(
    settings: Any, variables: dict[str, Any], line: str | None
) -> None:
    settings.MAIL_BACKEND = "inbox"
    for name, value in variables.items():
        setattr(settings, name, value)
    found = checks.check_inbox(None)
    assert [str(each.msg) for each in found] == ([line] if line else [])
    assert [each.hint for each in found] == (["To send mail, set MAIL_BACKEND=smtp."] if line else [])


# --- By every way to start ---------------------------------------------------------------------------------------

LAUNCHERS = {
    "manage.py": (["manage.py", "check"], 2),
    "an own command": (["manage.py", "sendtestmail", "--check"], 2),
    "runserver": (["manage.py", "runserver", "127.0.0.1:1"], 2),
    "gunicorn": (["-m", "gunicorn", "flasky.wsgi", "--bind=127.0.0.1:0", "--log-level=critical"], 3),
    "uvicorn": (["-m", "uvicorn", "flasky.asgi:application", "--port=0"], 3),
    "celery": (["-m", "celery", "-A", "flasky", "worker"], 3),
    "celery beat": (["-m", "celery", "-A", "flasky", "beat"], 3),
}


def started(launcher: str, **variables: str) -> subprocess.CompletedProcess[str]:
    words, _ = LAUNCHERS[launcher]
    if "-m" in words and not find_spec(words[1]):
        pytest.skip(f"{words[1]} is not installed")
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment(PYTHONWARNINGS="ignore", **variables),  # gunicorn's own of files it leaves open
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_start_says_it_in_one_line(launcher: str) -> None:
    done = started(launcher, FLASKY_ADMIN="a@x;b@x")
    assert (done.stdout, done.stderr.replace("\r", "")) == (
        "",
        "FLASKY_ADMIN='a@x;b@x' contains ';': separate by commas (,)\n",
    )
    assert done.returncode == LAUNCHERS[launcher][1]


@pytest.mark.slow
def test_a_traceback_is_shown_to_those_who_ask_for_it() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--traceback"],
        cwd=ROOT,
        env=environment(MAIL_PORT="smtp"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" in done.stderr
    assert "MAIL_PORT='smtp' is not a whole number" in done.stderr


@pytest.mark.slow
@pytest.mark.service("gunicorn")
def test_a_server_warns_of_unknown_names(make_site: Callable[..., Any]) -> None:
    site = make_site(MAIL_SERVISE="gmail")
    site.start(sys.executable, "-m", "gunicorn", "flasky.wsgi", "--bind=127.0.0.1:{port}")
    line = "MAIL_SERVISE is set, but Flasky reads no such variable: did you mean MAIL_SERVICE?"
    assert site.output().splitlines().count(line) == 1
