"""Guessing: passwords at the admin's login, keys, and passwords that travel in clear."""

import io
import sys
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from notify.operations import checks
from notify.visitors import rate_limit
from notify.visitors.models import ClientSlot
from tests.site import manage

LOGIN = "/admin/login/"


@pytest.fixture
def _ann(settings: Any) -> None:
    settings.NOTIFY_RATE_LIMIT = 5
    User.objects.create_superuser("ann", password="right")


def log_in(client: Client, password: str, **headers: str) -> Any:
    return client.post(LOGIN, {"username": "ann", "password": password, "next": "/admin/"}, **headers)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit.time, "time", lambda: 1_000_000_000.0)


@pytest.mark.django_db
@pytest.mark.usefixtures("_ann")
def test_after_as_many_wrong_passwords_the_right_one_waits_too(client: Client) -> None:
    statuses = [log_in(client, f"wrong {number}").status_code for number in range(60)]
    answer = log_in(client, "right")
    assert statuses == [200] * 5 + [429] * 55
    assert answer.status_code == 429
    assert 1 <= int(answer["Retry-After"]) <= 70
    assert "Please wait a minute or two" in answer.content.decode()
    assert "sessionid" not in client.cookies


@pytest.mark.django_db
@pytest.mark.usefixtures("_ann")
def test_then_it_passes_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        answer = log_in(client, f"wrong {number}")
    later = 1_000_000_000.0 + int(answer["Retry-After"])
    monkeypatch.setattr(rate_limit.time, "time", lambda: later)
    assert log_in(client, "right").status_code == 302


@pytest.mark.django_db
@pytest.mark.usefixtures("_ann")
def test_logins_that_succeed_do_not_count_nor_do_names_nor_other_clients(client: Client) -> None:
    assert [log_in(Client(), "right").status_code for _ in range(20)] == [302] * 20
    assert [client.post("/", {"name": f"Ann {n}"}).status_code for n in range(6)] == [302] * 5 + [429]
    assert [log_in(client, "wrong").status_code for _ in range(6)] == [200] * 5 + [429]
    assert log_in(client, "right", REMOTE_ADDR="192.0.2.9").status_code == 302


@pytest.mark.django_db
@pytest.mark.usefixtures("_ann")
def test_the_page_of_the_login_is_shown_all_the_same(client: Client) -> None:
    for _ in range(6):
        log_in(client, "wrong")
    assert client.get(LOGIN).status_code == 200
    assert client.get("/admin/").status_code == 302


@pytest.mark.django_db
@pytest.mark.usefixtures("_ann")
def test_without_a_limit_nothing_is_counted(client: Client, settings: Any) -> None:
    settings.NOTIFY_RATE_LIMIT = 0
    assert [log_in(client, "wrong").status_code for _ in range(20)] == [200] * 20
    assert log_in(client, "right").status_code == 302
    assert not ClientSlot.objects.exists()


@pytest.mark.parametrize(
    "key",
    [
        "0123456789" * 4 + "012345678",
        *(
            pytest.param(key, marks=pytest.mark.slow)
            for key in ("short", "x" * 50, "abcd" * 20, "django-insecure-" + "0123456789abcdef" * 4)
        ),
    ],
)
def test_a_key_that_can_be_guessed_stops_the_start_with_how_to_make_one(key: str) -> None:
    done = manage("check", SECRET_KEY=key, DEBUG="false")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("SECRET_KEY can be guessed: ")
    assert "Make one: python -c 'import secrets; print(secrets.token_urlsafe(50))'" in line
    assert key not in line


@pytest.mark.slow
def test_a_short_key_will_do_for_debug_and_a_fresh_one_for_a_server() -> None:
    assert manage("check", SECRET_KEY="short", DEBUG="true").returncode == 0
    assert manage("check", SECRET_KEY="0123456789" * 5, DEBUG="false").returncode == 0


@pytest.mark.slow
@pytest.mark.service("gunicorn")
def test_gunicorn_does_not_start_with_a_short_key(make_site: Any) -> None:
    site = make_site(SECRET_KEY="short", DEBUG="false")
    command = (sys.executable, "-m", "gunicorn", "flasky.wsgi", "--bind=127.0.0.1:{port}")
    with pytest.raises(AssertionError, match="did not start"):
        site.start(*command)
    assert "SECRET_KEY can be guessed" in site.output()


CLEAR = {"host": "smtp.example.com", "username": "ann", "password": "x"}


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (CLEAR, True),
        (CLEAR | {"host": "192.0.2.1"}, True),
        (CLEAR | {"host": "localhost.example.com"}, True),
        (CLEAR | {"host": "localhost", "proxy": "http://proxy:8080"}, True),
        (CLEAR | {"use_tls": True}, False),
        (CLEAR | {"use_ssl": True}, False),
        (CLEAR | {"password": ""}, False),
        (CLEAR | {"host": "localhost"}, False),
        (CLEAR | {"host": "127.0.0.2"}, False),
        (CLEAR | {"host": "::1"}, False),
        ({}, False),
    ],
)
def test_a_password_over_plain_smtp_to_another_machine_is_warned_of(
    settings: Any, options: dict[str, Any], warned: bool
) -> None:
    settings.NOTIFY_TRANSPORT = {"BACKEND": "notify.smtp.backend.EmailBackend", "OPTIONS": options}
    found = checks.check_password_in_clear(None)
    assert [problem.id for problem in found] == ["notify.W010"] * warned
    assert all("MAIL_USE_TLS=true" in str(problem.hint) for problem in found)


def test_sendtestmail_warns_of_it_too(use_transport: Any, free_port: int) -> None:
    options = {"host": "198.51.100.1", "port": free_port, "username": "ann", "password": "x", "timeout": 0.1}
    use_transport("notify.smtp.backend.EmailBackend", **options, use_tls=False, use_ssl=False)
    out = io.StringIO()
    with suppress(SystemExit):
        call_command("sendtestmail", "you@example.com", stdout=out, no_color=True)
    assert "WARN config MAIL_PASSWORD is sent to 198.51.100.1 unencrypted" in out.getvalue()
