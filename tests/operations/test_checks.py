"""What `manage.py check` says, with id and hint."""

import re
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.checks import registry as check_registry
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from notify import conf
from notify.oauth import configuration, store
from notify.operations import channels, checks
from notify.smtp.backend import OAUTH_OPTIONS

registry = check_registry.registry


@pytest.fixture
def options(settings: Any) -> dict[str, Any]:
    chosen: dict[str, Any] = {"host": "localhost", "port": 25, "timeout": 30}
    settings.NOTIFY_TRANSPORT = {"BACKEND": "notify.smtp.backend.EmailBackend", "OPTIONS": chosen}
    return chosen


def ids(found: list[Any]) -> list[str]:
    assert all(problem.hint for problem in found)
    return [problem.id for problem in found]


def test_the_defaults_pass(options: dict[str, Any]) -> None:
    assert ids(checks.check_mail_settings(None)) == []


def test_both_tls_modes(options: dict[str, Any]) -> None:
    options |= {"use_tls": True, "use_ssl": True}
    assert ids(checks.check_mail_settings(None)) == ["notify.E001"]


@pytest.mark.parametrize("half", ["username", "password"])
def test_half_a_login(options: dict[str, Any], half: str) -> None:
    options[half] = "x"
    found = checks.check_mail_settings(None)
    assert ids(found) == ["notify.E002"]
    assert f"MAIL_{half.upper()} is set" in found[0].msg


def test_half_a_login_where_options_of_oauth_are_empty(options: dict[str, Any]) -> None:
    options |= {**dict.fromkeys(OAUTH_OPTIONS, ""), "username": "x"}  # as in a project with Django's EMAIL_* settings
    assert ids(checks.check_mail_settings(None)) == ["notify.E002"]


OAUTH = {"host": "smtp.gmail.com", "username": "me@gmail.com", "oauth_client_id": "id"}


def test_a_token_needs_no_password(options: dict[str, Any], settings: Any) -> None:
    settings.FLASKY_MAIL_SENDER = "me@gmail.com"
    options |= OAUTH
    assert ids(checks.check_mail_settings(None)) == []
    for name in OAUTH:
        del options[name]
    options |= {"host": "localhost", "username": "me@gmail.com", "token": lambda: "token"}
    assert ids(checks.check_mail_settings(None)) == []


def test_both_a_password_and_oauth(options: dict[str, Any], settings: Any) -> None:
    options |= OAUTH | {"password": "x"}
    found = checks.check_mail_settings(None)
    assert ids(found) == ["notify.E022"]
    assert found[0].msg == "MAIL_PASSWORD and MAIL_OAUTH_CLIENT_ID are both set, so it is not clear how to sign in."


@pytest.mark.parametrize("name", ["oauth_client_id", "username", "host"])
def test_half_of_oauth(options: dict[str, Any], name: str) -> None:
    options |= OAUTH | {"oauth_scope": "mail", name: ""}
    assert ids(checks.check_mail_settings(None)) == ["notify.E021"]


@pytest.mark.parametrize(("key", "warned"), [("", False), ("short", True), ("x" * 32, False)])
def test_a_key_that_can_be_guessed(options: dict[str, Any], settings: Any, key: str, warned: bool) -> None:
    options |= OAUTH
    settings.FLASKY_MAIL_SENDER, settings.MAIL_OAUTH_KEY = "me@gmail.com", key
    assert ids(checks.check_mail_settings(None)) == ["notify.W026"] * warned


def test_oauth_without_its_packages(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    options |= OAUTH
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    found = checks.check_mail_settings(None)
    assert ids(found) == ["notify.E023"]
    assert found[0].msg == "OAuth needs packages that are not installed: oauthlib, cryptography."
    assert found[0].hint == "Run: pip install oauthlib cryptography"


def in_days(number: int) -> date:
    return timezone.localdate() + timedelta(days=number)


@pytest.mark.parametrize(
    ("days", "words"), [(15, ""), (14, "expires on"), (0, "expires on"), (-1, "expired on"), (None, "")]
)
def test_a_client_secret_that_ends_soon(options: dict[str, Any], settings: Any, days: int | None, words: str) -> None:
    options |= OAUTH
    settings.MAIL_OAUTH_EXPIRES = None if days is None else in_days(days)
    found = checks.check_secret_expiry(None)
    assert ids(found) == ["notify.W024"] * bool(words)
    if words and days is not None:
        assert found[0].msg == f"The OAuth client secret {words} {in_days(days)} (MAIL_OAUTH_EXPIRES)."


def test_the_hint_for_a_client_secret_names_the_setting_of_the_project(options: dict[str, Any], settings: Any) -> None:
    options |= OAUTH
    settings.MAIL_OAUTH_EXPIRES = in_days(1)
    del settings.FLASKY_ADMIN
    assert "set oauth_client_secret of NOTIFY_TRANSPORT to its value" in checks.check_secret_expiry(None)[0].hint


def test_a_date_says_nothing_of_a_password(options: dict[str, Any], settings: Any) -> None:
    settings.MAIL_OAUTH_EXPIRES = in_days(1)
    assert ids(checks.check_secret_expiry(None)) == []


@pytest.mark.django_db
@pytest.mark.parametrize(("days", "words"), [(15, ""), (13, "ends on"), (-1, "ended on"), (None, "")])
def test_a_permission_that_ends_soon(options: dict[str, Any], days: int | None, words: str) -> None:
    options |= OAUTH
    configured = configuration.from_options(options)
    assert configured
    row = store.read(configured)
    row.refresh_expires_at = None if days is None else timezone.now() + timedelta(days=days)
    row.save()
    found = checks.check_permission_expiry(None)
    assert ids(found) == ["notify.W025"] * bool(words)
    if words and days is not None:
        assert found[0].msg == f"The permission to send as me@gmail.com {words} {in_days(days)}."
    options |= {"username": "other@gmail.com"}
    assert ids(checks.check_permission_expiry(None)) == []


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_without_a_database_nothing_is_known_of_permissions(options: dict[str, Any], error: type[Exception]) -> None:
    def away(*args: Any) -> Any:
        raise error("away")

    options |= OAUTH
    with connection.execute_wrapper(away):
        assert checks.check_permission_expiry(None) == []


def test_nobody_to_tell(options: dict[str, Any], settings: Any) -> None:
    settings.FLASKY_ADMIN = []
    assert ids(checks.check_mail_settings(None)) == ["notify.W003"]


def test_a_sender_the_provider_will_refuse(options: dict[str, Any], settings: Any) -> None:
    options |= {"host": "smtp.163.com", "username": "me@163.com", "password": "x"}
    found = checks.check_mail_settings(None)
    assert ids(found) == ["notify.E004"]
    assert "flasky@example.com" in found[0].msg
    settings.FLASKY_MAIL_SENDER = "Flasky Admin <ME@163.com>"
    assert ids(checks.check_mail_settings(None)) == []


@pytest.mark.parametrize(("backend", "problem"), [("", "notify.E014"), (conf.OUTBOX, "notify.E015")])
def test_a_transport_that_cannot_be_one(settings: Any, backend: str, problem: str) -> None:
    settings.NOTIFY_TRANSPORT = {"BACKEND": backend}
    assert ids(checks.check_mail_settings(None)) == [problem]


def test_only_flasky_is_told_that_there_are_no_administrators(options: dict[str, Any], settings: Any) -> None:
    del settings.FLASKY_ADMIN
    settings.ADMINS = []
    assert ids(checks.check_mail_settings(None)) == []


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("NOTIFY_INTERVAL", "300", 0),
        ("NOTIFY_BURST", None, 0),
        ("NOTIFY_KEEP_DAYS", -1, 0),
        ("NOTIFY_CONNECTIONS", 0, 1),
    ],
)
def test_a_setting_that_is_no_number(settings: Any, name: str, value: Any, least: int) -> None:
    assert checks.check_values(None) == []
    setattr(settings, name, value)
    [found] = checks.check_values(None)
    assert ids([found]) == ["notify.E032"]
    assert found.msg == f"{name} is {value!r}, not a number of at least {least}."
    assert found.hint == f"Set it to a number, such as {conf.DEFAULTS[name]}."


def test_a_timeout_that_is_no_number(options: dict[str, Any], settings: Any) -> None:
    options["timeout"] = "30"
    assert ids(checks.check_values(None)) == ["notify.E032"]
    settings.NOTIFY_TRANSPORT["BACKEND"] = "another.EmailBackend"
    assert ids(checks.check_values(None)) == ["notify.E032"]
    options["timeout"], settings.MAIL_TIMEOUT = 10, "30"
    assert ids(checks.check_values(None)) == ["notify.E032"]
    options["timeout"] = "30"  # said once
    assert ids(checks.check_values(None)) == ["notify.E032"]
    options["timeout"], settings.MAIL_TIMEOUT = None, 30
    assert checks.check_values(None) == []


def test_a_dispatch_that_nothing_knows(settings: Any) -> None:
    settings.NOTIFY_DISPATCH = "Thread"
    [found] = checks.check_values(None)
    assert ids([found]) == ["notify.E033"]
    assert found.hint == "Set it to one of these: thread, worker, celery."


def test_the_databases_in_use_are_supported() -> None:
    assert checks.check_database(None) == []


@pytest.mark.parametrize(("vendor", "problem"), [("mysql", "notify.E009"), ("sqlite", "notify.E008")])
def test_a_database_that_cannot_claim_is_refused(monkeypatch: pytest.MonkeyPatch, vendor: str, problem: str) -> None:
    monkeypatch.setattr(checks, "connection", SimpleNamespace(vendor=vendor))
    monkeypatch.setattr(checks.sqlite3, "sqlite_version_info", (3, 34, 1))
    assert ids(checks.check_database(None)) == [problem]


def test_every_check_is_registered_and_asks_for_nothing_twice() -> None:
    registered = {check.__name__ for check in registry.get_checks(include_deployment_checks=True)}
    ours = {name for name, value in vars(checks).items() if name.startswith("check_") and callable(value)}
    assert ours <= registered
    numbers = re.findall(r'id="notify\.[EW](\d{3})"', Path(checks.__file__).read_text())
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"use_tls": True, "use_ssl": True}, "MAIL_USE_TLS (STARTTLS, port 587) or MAIL_USE_SSL"),
        ({"username": "me"}, "Set MAIL_PASSWORD too"),
        ({"password": "x"}, "Set MAIL_USERNAME too"),
        (
            {"host": "smtp.163.com", "username": "me@163.com", "password": "x"},
            "Unset FLASKY_MAIL_SENDER, or set it to an address such as Flasky Admin <me@163.com>",
        ),
    ],
)
def test_a_hint_names_what_to_set(options: dict[str, Any], change: dict[str, Any], hint: str) -> None:
    options |= change
    [found] = checks.check_mail_settings(None)
    assert hint in str(found.hint)


def test_alerts_without_the_package_that_sends_them(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.NOTIFY_ALERT_URLS = "json://h.example"
    assert ids(checks.check_alerts(None)) == []
    monkeypatch.setattr(channels, "find_spec", lambda name: None)
    found = checks.check_alerts(None)
    assert ids(found) == ["notify.E030"]
    assert found[0].msg == "NOTIFY_ALERT_URLS is set, but the package apprise is not installed: no alert can be sent."
    assert found[0].hint == "Run: pip install apprise"


def test_an_address_for_alerts_that_no_service_has(settings: Any) -> None:
    settings.NOTIFY_ALERT_URLS = "json://h.example nonsense://k4n4r-en"
    found = checks.check_alerts(None)
    assert ids(found) == ["notify.E031"]
    assert found[0].msg == "NOTIFY_ALERT_URLS: Apprise does not understand address 2."
