"""The page, through Django's test client."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import Mock

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.staticfiles import finders
from django.db import InterfaceError, OperationalError
from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notify.events.digest import notify_due
from notify.models import Event, Message
from notify.visitors.models import Visitor

pytestmark = pytest.mark.django_db


def test_a_first_visit_greets_a_stranger(client: Client) -> None:
    assert "Hello, Stranger!" in client.get("/").content.decode()


def test_a_new_name_is_greeted_after_a_redirect_and_still_after_a_reload(client: Client) -> None:
    answer = client.post("/", {"name": "Ann"})
    assert (answer.status_code, answer["Location"]) == (302, "/")
    for _ in range(2):
        page = client.get("/").content.decode()
        assert "Hello, Ann! Pleased to meet you!" in page
        assert 'value="Ann"' not in page


def test_a_known_name_is_met_again(client: Client) -> None:
    Visitor.objects.create(name="Ann")
    client.post("/", {"name": "  Ann "})
    assert "Hello, Ann! Happy to see you again!" in client.get("/").content.decode()
    assert Visitor.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "Please type a name."),
        ("x" * 65, "That name is too long: at most 64 characters, please."),
        ("www.example.com", "A name cannot be a link."),
        ("\u3164", "cannot be displayed"),
        ("...", "at least one letter"),
    ],
)
def test_a_refused_name_comes_back_with_a_word(client: Client, name: str, words: str) -> None:
    answer = client.post("/", {"name": name})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert words in page
    assert f'value="{name}"' in page or not name
    assert 'aria-invalid="true"' in page
    assert 'aria-describedby="id_name_error"' in page
    assert not Visitor.objects.exists()


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_name_that_cannot_be_kept_is_said_so_honestly(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(Visitor.objects, "get_or_create", Mock(side_effect=error("no such host")))
    answer = client.post("/", {"name": "Ann"})
    page = answer.content.decode()
    assert answer.status_code == 503
    assert 'value="Ann"' in page
    assert "could not be saved" in page
    assert "aria-invalid" not in page
    assert not Visitor.objects.exists()
    assert not Event.objects.filter(topic="new_visitor").exists()


def test_the_greeting_and_a_refusal_need_no_database(
    client: Client, django_assert_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    client.post("/", {"name": "Ann"})
    with django_assert_num_queries(0):
        assert "Hello, Ann!" in client.get("/").content.decode()
        assert "A name cannot be a link." in client.post("/", {"name": "www.example.com"}).content.decode()


@pytest.mark.parametrize("value", ["", "Ann", "eyJuYW1lIjoiQW5uIn0:1:x"], ids=["empty", "plain", "forged"])
def test_a_greeting_that_is_not_ours_greets_a_stranger(client: Client, value: str) -> None:
    client.cookies["greeting"] = value
    assert "Hello, Stranger!" in client.get("/").content.decode()


def test_without_a_database_the_admin_asks_to_come_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessionStore, "load", _out_of_order)
    client.cookies["sessionid"] = "a" * 32
    client.raise_request_exception = False
    answer = client.get("/admin/")
    assert answer.status_code == 503
    assert "We will be back in a moment" in answer.content.decode()


def _out_of_order(*args: object, **kwargs: object) -> None:
    raise OperationalError("no such host")


def test_a_name_that_somebody_else_keeps_at_this_moment_is_a_known_one(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    Visitor.objects.create(name="Ann")
    get, misses = QuerySet.get, ["the first look"]

    def get_too_early(self: QuerySet[Visitor], *args: object, **kwargs: object) -> Visitor:
        if self.model is Visitor and misses:
            misses.pop()
            raise Visitor.DoesNotExist
        return get(self, *args, **kwargs)

    monkeypatch.setattr(QuerySet, "get", get_too_early)
    assert client.post("/", {"name": "Ann"}).status_code == 302
    assert "Hello, Ann! Happy to see you again!" in client.get("/").content.decode()
    assert Visitor.objects.count() == 1


def test_a_refused_name_leaves_the_last_greeting(client: Client) -> None:
    client.post("/", {"name": "Ann"})
    assert "Hello, Ann! Pleased to meet you!" in client.post("/", {"name": "..."}).content.decode()


@pytest.mark.parametrize(
    ("name", "focus"), [(None, True), ("Ann", False), ("...", True)], ids=["stranger", "greeted", "refused"]
)
def test_the_field_takes_the_focus_except_from_a_greeting(client: Client, name: str | None, focus: bool) -> None:
    answer = client.post("/", {"name": name}, follow=True) if name else client.get("/")
    assert (" autofocus" in answer.content.decode()) is focus


def test_html_in_a_name_is_text(client: Client) -> None:
    client.post("/", {"name": "<b>Ann</b>"})
    page = client.get("/").content.decode()
    assert "&lt;b&gt;Ann&lt;/b&gt;" in page
    assert "<b>" not in page


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=80))
def test_no_text_at_all_breaks_the_page(client: Client, name: str) -> None:
    assert client.post("/", {"name": name.encode("utf-8", "surrogatepass").decode("utf-8", "replace")}).status_code in (
        302,
        422,
    )
    notify_due()
    for row in Message.objects.all():
        assert b"\nBcc:" not in bytes(row.body.mime)
    Message.objects.all().delete()  # the next example reads its own


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_other_methods_are_not_allowed(client: Client, method: str) -> None:
    assert getattr(client, method)("/").status_code == 405


def test_what_is_not_there_is_said_in_the_pages_hand(client: Client) -> None:
    for answer in (client.get("/nothing"), client.post("/nothing", b"x", "multipart/form-data")):
        assert answer.status_code == 404
        assert "There is nothing here" in answer.content.decode()


def test_what_cannot_be_read_is_said_in_the_pages_hand() -> None:
    client = Client(enforce_csrf_checks=True)
    client.get("/")  # for the cookie: with it the token, and with that the body, is looked for
    answer = client.post("/", b"a=1&" * 1001, "application/x-www-form-urlencoded")
    assert answer.status_code == 400
    assert "That request could not be read" in answer.content.decode()


def test_a_fault_of_ours_is_said_in_the_pages_hand(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Visitor.objects, "get_or_create", fail)
    client.raise_request_exception = False
    answer = client.post("/", {"name": "Ann"})
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.content.decode()


@pytest.mark.parametrize("template", ["400", "403", "403_csrf", "404", "413", "429", "500", "503"])
def test_error_pages_need_neither_request_nor_database(
    template: str, django_assert_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    with django_assert_num_queries(0):
        page = render_to_string(f"{template}.html")
    assert "flasky/page.css" in page
    assert 'href="/"' in page
    assert "<style" not in page
    assert " style=" not in page


def test_the_page_brings_all_it_needs_and_is_small(client: Client) -> None:
    client.post("/", {"name": "Ann"})
    page = client.get("/").content
    files = re.findall(r'(?:href|src)="([^"]+)"', page.decode())
    assert files == ["/static/flasky/icon.svg", "/static/flasky/page.css"]
    size = len(page)
    for file in files:
        path = finders.find(file.removeprefix("/static/"))
        assert path
        content = Path(path).read_bytes()
        assert b"url(" not in content
        assert b"@import" not in content
        size += len(content)
    assert size < 20_000
    for forbidden in (b"<script", b"<style", b" style=", b" onclick"):
        assert forbidden not in page


def test_a_form_without_its_token_is_answered_kindly() -> None:
    answer = Client(enforce_csrf_checks=True).post("/", {"name": "Ann"})
    assert answer.status_code == 403
    assert "This page has expired" in answer.content.decode()


def test_health_answers(client: Client) -> None:
    assert client.get("/livez").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")


def test_browsers_that_look_for_an_icon_find_it(client: Client) -> None:
    assert client.get("/favicon.ico").headers["Location"] == "/static/flasky/icon.svg"
