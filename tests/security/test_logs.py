"""Logs and error mails: what a stranger sends is a line on stderr and no mail; a fault of ours is both."""

import contextlib
import io
import logging
import re
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import DisallowedHost

from flasky.secrecy import Line
from notify.smtp.secret import Secret
from tests.site import Site

ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: ")
FORGED = "x\n2026-11-27 00:00:00,000 INFO root: forged\r\x1b[2J\x85\u2028\u202e"


@pytest.fixture
def log() -> Any:
    """A logger that writes in the site's way, and what it wrote."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Line(django_settings.LOGGING["formatters"]["line"]["format"]))
    made: list[logging.Logger] = []

    def logger(name: str) -> logging.Logger:
        made.append(logging.getLogger(name))
        made[-1].addHandler(handler)
        return made[-1]

    yield logger, stream.getvalue
    for each in made:
        each.removeHandler(handler)


@pytest.mark.parametrize("name", ["notify.delivery", "django.request", "django.security.DisallowedHost", "other"])
def test_a_record_is_one_line_whatever_its_message_holds(log: Any, name: str) -> None:
    logger, written = log
    logger(name).warning("relay: %s", FORGED)
    assert not ACTS.search(written())
    assert written().count("\n") == 1
    assert RECORD.match(written())


def test_a_traceback_is_indented_and_forges_no_record(log: Any) -> None:
    logger, written = log
    try:
        raise ValueError(FORGED)
    except ValueError:
        logger("other").exception("failed", stack_info=True)
    first, *rest = written().rstrip("\n").split("\n")
    assert RECORD.match(first)
    assert "    Traceback (most recent call last):" in rest
    assert all(line.startswith("    ") for line in rest)
    assert not ACTS.search(written())


def test_what_django_security_logs_has_no_traceback(log: Any) -> None:
    logger, written = log
    try:
        raise DisallowedHost("Invalid HTTP_HOST header: 'evil.com'")
    except DisallowedHost as error:
        logger("django.security.DisallowedHost").error(str(error), exc_info=error)
    assert written().count("\n") == 1


def test_a_traceback_holds_no_password(log: Any, settings: Any) -> None:
    settings.MAIL_PASSWORD = Secret("k4n4r!enV0gel")
    logger, written = log
    try:
        raise ValueError("they said k4n4r!enV0gel")
    except ValueError:
        logger("other").exception("failed at k4n4r%21enV0gel")
    assert "V0gel" not in written()
    assert "ValueError: they said ***" in written()


def test_a_secret_that_was_meant_to_be_an_address_and_is_none_is_masked_as_a_whole(log: Any, settings: Any) -> None:
    settings.CELERY_BROKER_URL = Secret("amqp://ann:k4n4r!enV0gel@[::1//")
    logger, written = log
    logger("other").warning("no broker at %s", str(settings.CELERY_BROKER_URL))
    assert "V0gel" not in written()
    assert "no broker at ***" in written()


# --- From outside, in production mode -----------------------------------------------------------------------------

PARTS = b"".join(
    b'--b\r\nContent-Disposition: form-data; name="f%d"; filename="x"\r\n\r\nx\r\n' % n for n in range(150)
)
COOKIE = f"csrftoken={'a' * 32}"  # with which the body is read
FIELDS = b"&".join(b"f%d=1" % number for number in range(1500))


def post(body: bytes, kind: bytes = b"application/x-www-form-urlencoded", **headers: str) -> bytes:
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()).encode()
    return b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n%s" % (
        kind,
        len(body),
        more,
        body,
    )


FORGED_PATH = b"a%0a2026-11-27%2000:00:00,000%20INFO%20root:%20forged"
HOSTILE = {
    "another host": b"GET / HTTP/1.1\r\nHost: evil.com\r\n\r\n",
    "a host with a line break's escape": b"GET / HTTP/1.1\r\nHost: evil.com\x1b[2J\r\n\r\n",
    "a host that is none": b"GET / HTTP/1.1\r\nHost: a b/c\r\n\r\n",
    "no host": b"GET / HTTP/1.0\r\n\r\n",
    "many fields": post(FIELDS, Cookie=COOKIE),
    "many files": post(PARTS + b"--b--\r\n", b"multipart/form-data; boundary=b", Cookie=COOKIE),
    "a large body": post(b"name=" + b"x" * 70_000, Cookie=COOKIE),
    "no CSRF token": post(b"name=Ann"),
    "a bad CSRF token": post(b"name=Ann&csrfmiddlewaretoken=x", Cookie="csrftoken=y"),
    "a bad referer": post(b"name=Ann", Origin="http://evil.com", Referer="http://evil.com"),
    "a boundary that is none": post(b"x", b"multipart/form-data"),
    "a broken multipart": post(b"--b\r\nContent-Disposition: form-data; name=", b"multipart/form-data; boundary=b"),
    "base64 that is none": post(
        b'--b\r\nContent-Disposition: form-data; name="n"\r\nContent-Transfer-Encoding: base64\r\n\r\n!a\r\n--b--\r\n',
        b"multipart/form-data; boundary=b",
        Cookie=COOKIE,
    ),
    "a line break in the path": b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % FORGED_PATH,
    "control characters in the path": b"GET /%1b[2J%c2%85%e2%80%a8%e2%80%ae%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a path that is no UTF-8": b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "the path's parents": b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "the static files' parents": b"GET /static/../../flasky/settings.py HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a forged cookie": b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: greeting=a:b:c; sessionid=../x\r\n\r\n",
    "a method of its own": b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a redirect elsewhere": b"GET /admin/login/?next=//evil.com HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


def ask(site: Site, request: bytes) -> int:
    """The status of the answer; 0 for none."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as connection:
        connection.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                answer += piece
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def messages(site: Site) -> list[str]:
    """What administrators get, or will get once a worker has built it."""
    database = str(site.variables["DATABASE_URL"]).removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return [
            subject
            for (subject,) in connection.execute(
                "SELECT subject FROM notify_message UNION ALL SELECT subject || ' ' || summary FROM notify_event"
            )
        ]


@pytest.fixture
def production(make_site: Callable[..., Site]) -> Callable[..., Site]:
    """Under gunicorn with DEBUG off; the worker's modules may be other ones than flasky's."""

    def start(module: str = "flasky.wsgi", **environment: object) -> Site:
        site = make_site(DEBUG="false", NOTIFY_DISPATCH="worker", ALLOWED_HOSTS="localhost", **environment)
        site.url = site.url.replace("127.0.0.1", "localhost")
        return site.start(sys.executable, "-m", "gunicorn", module, "--threads=4", "--bind=127.0.0.1:{port}")

    return start


@pytest.mark.slow
@pytest.mark.service("gunicorn")
def test_no_hostile_request_becomes_a_mail_or_more_than_a_line(production: Callable[..., Site]) -> None:
    site = production()
    for name, request in HOSTILE.items():
        before = len(site.output())
        statuses = [ask(site, request) for _ in range(3)]
        said = site.output()[before:]
        assert all(status < 500 for status in statuses), (name, statuses, said)
        assert not ACTS.search(said), (name, said)
        assert said.count("\n") <= 6, (name, said)  # the CSRF check and the answer may both speak
        assert not [line for line in said.split("\n") if line.endswith("forged") and not RECORD.match(line)], name
        assert "Traceback" not in said, (name, said)
    assert messages(site) == []
    assert "django.security.DisallowedHost: Invalid HTTP_HOST header: 'evil.com'" in site.output()
    assert "django.security.TooManyFieldsSent" in site.output()
    assert "django.security.TooManyFilesSent" in site.output()


BROKEN = """
from flasky.wsgi import application  # noqa: F401
from django.http import HttpRequest
from django.urls import re_path
from flasky import urls

def fail(request: HttpRequest) -> None:
    raise RuntimeError("it broke at " + request.path)

urls.urlpatterns.insert(0, re_path(r"^broken/", fail))
"""


@pytest.mark.slow
@pytest.mark.service("gunicorn")
def test_a_fault_of_ours_is_mailed_and_leaves_its_traceback(production: Callable[..., Site], tmp_path: Path) -> None:
    (tmp_path / "broken_site.py").write_text(BROKEN)
    site = production("broken_site", PYTHONPATH=f"{tmp_path}:.")
    assert ask(site, b"GET /broken/" + FORGED_PATH + b"%1b[2J HTTP/1.1\r\nHost: localhost\r\n\r\n") == 500
    said = site.output()
    assert [subject for subject in messages(site) if "RuntimeError" in subject and "/broken/a" in subject]
    assert "    Traceback (most recent call last):\n" in said
    assert r"    RuntimeError: it broke at /broken/a" in said
    assert (
        "django.request: Internal Server Error: /broken/a\\n2026-11-27 00:00:00,000 INFO root: forged\\x1b[2J\n" in said
    )
    assert not ACTS.search(said)
    assert not re.search(r"^2026-11-27 00:00:00,000", said, re.MULTILINE)
