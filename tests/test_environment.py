"""Reading the environment, as a start does."""

import json
import os
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from flasky import environment as env
from tests import fresh
from tests.site import environment, manage


def settings_of(*names: str, **variables: object) -> dict[str, Any]:
    """What a process with these variables and no others of ours would have in its settings, as JSON."""
    only = environment(**variables)
    with fresh.start():
        os.environ.clear()
        found = fresh.settings_with(**only)
    shown: dict[str, Any] = json.loads(json.dumps({name: found[name] for name in names}, default=str))
    return shown


SHOW = "from django.conf import settings; print(settings.MAIL_SERVER, settings.NOTIFY_DISPATCH, settings.NOTIFY_BURST)"


def test_a_process_has_in_its_settings_what_its_environment_says() -> None:
    done = manage("shell", "-v0", "-c", SHOW, MAIL_SERVER="relay.test", NOTIFY_DISPATCH="celery", NOTIFY_BURST="7")
    assert (done.stdout, done.stderr) == ("relay.test celery 7\n", "")


def test_the_defaults_are_those_of_the_example_file() -> None:
    shown = settings_of(
        "NOTIFY_TRANSPORT", "FLASKY_MAIL_SENDER", "FLASKY_MAIL_SUBJECT_PREFIX", "NOTIFY_BURST", FLASKY_ADMIN=""
    )
    options = shown["NOTIFY_TRANSPORT"]["OPTIONS"]
    assert (options["host"], options["port"], options["use_tls"], options["use_ssl"]) == ("localhost", 25, False, False)
    assert options["timeout"] == 30
    assert shown["FLASKY_MAIL_SENDER"] == "Flasky Admin <flasky@example.com>"
    assert shown["FLASKY_MAIL_SUBJECT_PREFIX"] == "[Flasky]"
    assert shown["NOTIFY_BURST"] == 5


def test_a_preset_and_a_login_are_all_that_163_needs(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("$ecret#1\n")
    shown = settings_of(
        "NOTIFY_TRANSPORT",
        "FLASKY_MAIL_SENDER",
        MAIL_SERVICE="163",
        MAIL_USERNAME="me@163.com",
        MAIL_PASSWORD_FILE=secret,
    )
    options = shown["NOTIFY_TRANSPORT"]["OPTIONS"]
    assert (options["host"], options["port"], options["use_ssl"], options["use_tls"]) == (
        "smtp.163.com",
        465,
        True,
        False,
    )
    assert options["password"] == "$ecret#1"
    assert shown["FLASKY_MAIL_SENDER"] == "Flasky Admin <me@163.com>"


def test_explicit_values_win_over_the_preset() -> None:
    shown = settings_of(
        "NOTIFY_TRANSPORT", MAIL_SERVICE="gmail", MAIL_SERVER="relay.test", MAIL_PORT=2525, MAIL_USE_TLS="false"
    )
    options = shown["NOTIFY_TRANSPORT"]["OPTIONS"]
    assert (options["host"], options["port"], options["use_tls"]) == ("relay.test", 2525, False)


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, ""),
        ({"ALL_PROXY": "socks5://p:1080"}, "socks5://p:1080"),
        ({"ALL_PROXY": "socks5://p:1080", "NO_PROXY": "other.test,.example.org"}, ""),
        ({"ALL_PROXY": "socks5://p:1080", "MAIL_PROXY": "http://q:3128"}, "http://q:3128"),
        ({"ALL_PROXY": "socks5://p:1080", "MAIL_PROXY": "direct"}, ""),
        ({"ALL_PROXY": "p:3128"}, "http://p:3128"),
    ],
)
def test_the_proxy_is_mails_own_or_everybodys(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert env.proxy("mx.example.org") == proxy


def test_a_proxys_password_is_not_shown_when_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PROXY", "socks9://me:canary@p:1")
    with pytest.raises(ImproperlyConfigured) as raised:
        env.proxy("mx.example.org")
    assert "canary" not in str(raised.value)


def test_a_file_means_what_it_says_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("T_DOLLAR", "T_QUOTED", "T_EQUALS", "T_EXPORTED", "T_EMPTY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("T_REAL", "real")
    file = tmp_path / ".env"
    file.write_text("T_DOLLAR=$abc#1\nT_QUOTED='a b'\nT_EQUALS=a=b\nexport T_EXPORTED=yes\nT_EMPTY=\nT_REAL=file\n")
    env.load(file)
    assert [env.text(name) for name in ("T_DOLLAR", "T_QUOTED", "T_EQUALS", "T_EXPORTED")] == [
        "$abc#1",
        "a b",
        "a=b",
        "yes",
    ]
    assert env.text("T_EMPTY", "default") == "default"
    assert env.text("T_REAL") == "real"


@pytest.mark.parametrize(
    "read",
    [
        lambda: env.text("T", "default") == "default",
        lambda: env.flag("T", True) is True,
        lambda: env.number("T", 7, 1, 9) == 7,
        lambda: env.choice("T", "a", ["a", "b"]) == "a",
        lambda: env.hosts("T") == [],
        lambda: env.address("T", "Ann <ann@example.com>") == "Ann <ann@example.com>",
        lambda: env.addresses("T") == [],
        lambda: env.url("T", "https://example.com/") == "https://example.com",
        lambda: env.database("T", "sqlite:///x")["NAME"] == "x",
        lambda: env.time_zone("T", "UTC") == "UTC",
    ],
    ids=["text", "flag", "number", "choice", "hosts", "address", "addresses", "url", "database", "time_zone"],
)
@pytest.mark.parametrize("value", [None, "", "  "], ids=["unset", "empty", "blank"])
def test_every_reader_takes_an_empty_value_for_an_unset_one(
    monkeypatch: pytest.MonkeyPatch, value: str | None, read: Callable[[], bool]
) -> None:
    if value is not None:
        monkeypatch.setenv("T", value)
    assert read()


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda: env.flag("T", True), "2"),
        (lambda: env.number("T", 1), "-1"),
        (lambda: env.number("T", 1), "1.5"),
        (lambda: env.number("T", 1), "٣"),
        (lambda: env.number("T", 1), "9" * 5000),
        (lambda: env.number("T", 1, 1, 9), "10"),
        (lambda: env.choice("T", "a", ["a"]), "b"),
        (lambda: env.address("T", ""), "Ann"),
        (lambda: env.address("T", ""), "Ann, the one <ann@example.com>"),
        (lambda: env.addresses("T"), "ann@example.com; bob@example.com"),
        (lambda: env.addresses("T"), "ann@example.com,,bob@example.com"),
        (lambda: env.url("T", ""), "ftp://example.com"),
        (lambda: env.url("T", ""), "https://example.com/?a=b"),
        (lambda: env.time_zone("T", "UTC"), "../../etc/passwd"),
        (lambda: env.time_zone("T", "UTC"), "Europe"),
    ],
)
def test_every_reader_names_the_variable_it_cannot_read(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], object], value: str
) -> None:
    monkeypatch.setenv("T", value)
    with pytest.raises(ImproperlyConfigured, match=r"^T\b"):
        read()


@pytest.mark.parametrize("value", ["hc-ping.com/k4n4r-en", "ftp://h.example/k4n4r-en", "https:///k4n4r-en"])
def test_an_address_that_is_a_secret_is_not_shown_when_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("T_URL", value)
    with pytest.raises(ImproperlyConfigured) as raised:
        env.secret_url("T_URL")
    assert str(raised.value) == "T_URL is not an address such as https://hc-ping.com/…"
    monkeypatch.setenv("T_URL", "https://hc-ping.com/k4n4r-en?x=1")
    assert repr(env.secret_url("T_URL")) == "'***'"


def test_a_file_wins_over_the_variable_and_loses_its_line_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file\n")
    monkeypatch.setenv("T_FIRST", "direct")
    monkeypatch.setenv("T_FIRST_FILE", str(tmp_path / "secret"))
    assert env.text("T_FIRST") == "from the file"
    monkeypatch.setenv("T_SECOND", "direct")
    monkeypatch.setenv("T_SECOND_FILE", "")
    assert env.text("T_SECOND") == "direct"


def test_the_real_variable_wins_over_a_file_that_dotenv_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file\n")
    (tmp_path / ".env").write_text(f"T_REAL_FILE={tmp_path / 'secret'}\nT_UNSET_FILE={tmp_path / 'secret'}\n")
    for name in ("T_REAL_FILE", "T_UNSET_FILE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("T_REAL", "real")
    env.load(tmp_path / ".env")
    assert (env.text("T_REAL"), env.text("T_UNSET")) == ("real", "from the file")


@pytest.mark.parametrize(
    "url",
    [
        "canary",
        "mysqlx://me:canary@host/name",
        "postgres://me:canary@host:port/name",
        "postgres://me:canary/x@host/name",
        "postgres://me:canary@[::1/name",
    ],
)
def test_a_databases_password_is_not_shown_when_its_url_is_refused(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, url: str
) -> None:
    monkeypatch.setenv("T", url)
    with pytest.raises(ImproperlyConfigured, match=r"^T is not a database URL") as raised:
        env.database("T", "")
    assert raised.value.__cause__ is None
    assert "canary" not in "".join(traceback.format_exception(raised.value)).replace(repr(url), "")
    assert not recwarn


def test_administrators_are_told_once_each_in_the_order_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T", 'bob@example.com, "Doe, Ann" <ann@例え.jp>, bob@example.com')
    assert env.addresses("T") == ["bob@example.com", "ann@例え.jp"]


@pytest.mark.parametrize(
    ("backend", "path", "options"),
    [
        ("console", "django.core.mail.backends.console.EmailBackend", set()),
        ("file", "django.core.mail.backends.filebased.EmailBackend", {"file_path"}),
        ("django.core.mail.backends.locmem.EmailBackend", "django.core.mail.backends.locmem.EmailBackend", set()),
        (
            "django.core.mail.backends.smtp.EmailBackend",
            "django.core.mail.backends.smtp.EmailBackend",
            {"host", "port", "username", "password", "use_tls", "use_ssl", "timeout"},
        ),
    ],
)
def test_any_email_backend_gets_the_options_it_takes(backend: str, path: str, options: set[str]) -> None:
    transport = settings_of("NOTIFY_TRANSPORT", MAIL_BACKEND=backend)["NOTIFY_TRANSPORT"]
    assert transport["BACKEND"] == path
    assert set(transport["OPTIONS"]) == options


def test_the_example_file_lists_every_variable_that_settings_read_and_no_other() -> None:
    root = Path(env.__file__).parent.parent
    source = (root / "flasky/settings.py").read_text()
    read = set(re.findall(r'env\.(?!load|proxy)\w+\(\s*"([A-Z_]+)"', source)) | {"MAIL_PROXY"}
    listed = set(re.findall(r"^([A-Z_]+)=", (root / ".env.example").read_text(), re.MULTILINE))
    assert read == listed
