"""What settings make of the environment: each Django's mail settings, the database, and https."""

from typing import Any

import django
import pytest

from tests.test_environment import settings_of

LOGIN = {"MAIL_SERVICE": "163", "MAIL_USERNAME": "me@163.com", "MAIL_PASSWORD": "$ecret"}


def test_django_code_sends_by_the_outbox_and_delivery_by_the_transport() -> None:
    if django.VERSION >= (6, 1):
        mailers = settings_of("MAILERS", **LOGIN)["MAILERS"]
        assert mailers["default"] == {"BACKEND": "notify.outbox.EmailBackend"}
        transport: dict[str, Any] = mailers["transport"]
        assert transport["BACKEND"] == "notify.smtp.backend.EmailBackend"
        options = transport["OPTIONS"]
        shown = [options[name] for name in ("host", "port", "username", "password", "use_tls", "use_ssl", "timeout")]
    else:
        names = "EMAIL_HOST EMAIL_PORT EMAIL_HOST_USER EMAIL_HOST_PASSWORD EMAIL_USE_TLS EMAIL_USE_SSL EMAIL_TIMEOUT"
        found = settings_of("EMAIL_BACKEND", *names.split(), **LOGIN)
        assert found.pop("EMAIL_BACKEND") == "notify.outbox.EmailBackend"
        shown = list(found.values())
    assert shown == ["smtp.163.com", 465, "me@163.com", "$ecret", False, True, 30]


def test_django_itself_writes_in_flaskys_name() -> None:
    shown = settings_of(
        *("DEFAULT_FROM_EMAIL", "SERVER_EMAIL", "EMAIL_SUBJECT_PREFIX", "ADMINS"),
        FLASKY_MAIL_SENDER="Site <site@example.com>",
        FLASKY_MAIL_SUBJECT_PREFIX="[Site]",
        FLASKY_ADMIN="ann@example.com",
    )
    assert shown == {
        "DEFAULT_FROM_EMAIL": "Site <site@example.com>",
        "SERVER_EMAIL": "site@example.com",
        "EMAIL_SUBJECT_PREFIX": "[Site] ",
        "ADMINS": ["ann@example.com"] if django.VERSION >= (6, 0) else [["ann@example.com", "ann@example.com"]],
    }


def test_an_explicit_sender_wins_over_the_login() -> None:
    shown = settings_of("FLASKY_MAIL_SENDER", **LOGIN, FLASKY_MAIL_SENDER="Other <other@163.com>")
    assert shown["FLASKY_MAIL_SENDER"] == "Other <other@163.com>"


@pytest.mark.parametrize(
    ("url", "debug", "secure"),
    [
        ("https://flasky.example.com", "false", True),
        ("https://flasky.example.com", "true", False),
        ("http://flasky.example.com", "false", False),
    ],
)
def test_cookies_insist_on_https_where_the_site_has_it(url: str, debug: str, secure: bool) -> None:
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT", "ALLOWED_HOSTS")
    shown = settings_of(*names, FLASKY_URL=url, DEBUG=debug, ALLOWED_HOSTS="")
    assert shown.pop("ALLOWED_HOSTS") == ["localhost", "127.0.0.1", "[::1]", "flasky.example.com"]
    assert set(shown.values()) == {secure}


def test_a_database_urls_own_options_win(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/x.sqlite3?timeout=3"
    options = settings_of("DATABASES", DATABASE_URL=url)["DATABASES"]["default"]["OPTIONS"]
    assert (int(options["timeout"]), options["transaction_mode"]) == (3, "IMMEDIATE")
    assert "journal_mode=WAL" in options["init_command"]


def test_a_path_to_postgresql_that_dies_silently_is_noticed_within_ten_seconds_unless_the_url_says_otherwise() -> None:
    url = "postgres://flasky@db1:5432,db2:5432/flasky?target_session_attrs=read-write&connect_timeout=9"
    database = settings_of("DATABASES", DATABASE_URL=url)["DATABASES"]["default"]
    options = database["OPTIONS"]
    assert options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"] <= 11
    assert options["tcp_user_timeout"] == 10_000
    assert int(options["connect_timeout"]) == 9
    assert options["target_session_attrs"] == "read-write"
    assert (database["HOST"], database["PORT"]) == ("db1,db2", "5432,5432")


def test_oauth_takes_the_place_of_the_password(tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("k4n4r\n")
    shown = settings_of(
        *("NOTIFY_TRANSPORT", "MAIL_OAUTH_EXPIRES", "MAIL_OAUTH_KEY", "SECRET_KEY_FALLBACKS"),
        MAIL_SERVICE="outlook365",
        MAIL_USERNAME="me@contoso.example",
        MAIL_OAUTH_CLIENT_ID="id",
        MAIL_OAUTH_CLIENT_SECRET_FILE=secret,
        MAIL_OAUTH_TENANT="contoso.example",
        MAIL_OAUTH_EXPIRES="2027-01-31",
        MAIL_OAUTH_KEY="key",
        SECRET_KEY_FALLBACKS="one, two",
    )
    options = shown.pop("NOTIFY_TRANSPORT")["OPTIONS"]
    assert {name: value for name, value in options.items() if name.startswith("oauth")} == {
        "oauth_client_id": "id",
        "oauth_client_secret": "k4n4r",
        "oauth_tenant": "contoso.example",
    }
    assert shown == {
        "MAIL_OAUTH_EXPIRES": "2027-01-31",
        "MAIL_OAUTH_KEY": "key",
        "SECRET_KEY_FALLBACKS": ["one", "two"],
    }
