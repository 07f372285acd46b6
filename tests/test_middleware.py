"""What every answer carries, and what no request may bring."""

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory

from flasky.middleware import set_policies

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/", "/nothing", "/admin/login/", "/livez"])
def test_every_page_says_that_it_loads_nothing_from_elsewhere(client: Client, path: str) -> None:
    answer = client.get(path)
    policy = dict(part.split(" ", 1) for part in answer["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "camera=()" in answer["Permissions-Policy"]


def test_a_view_may_have_a_stricter_policy_of_its_own() -> None:
    request = RequestFactory().get("/")
    answer = set_policies(lambda _: HttpResponse(headers={"Content-Security-Policy": "sandbox"}))(request)
    assert answer["Content-Security-Policy"] == "sandbox"


def test_djangos_debug_pages_keep_their_styles(client: Client, settings: Any) -> None:
    settings.DEBUG = True
    assert "Content-Security-Policy" not in client.get("/nothing").headers
    assert "Content-Security-Policy" in client.get("/").headers


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("path", ["/", "/admin/login/"])
def test_a_large_body_is_refused_unread(client: Client, settings: Any, kind: str, path: str) -> None:
    settings.MAX_BODY_BYTES = 1000
    answer = client.generic("POST", path, b"x" * 1001, content_type=kind)
    assert answer.status_code == 413
    assert "That request was too large" in answer.content.decode()


@pytest.mark.parametrize("length", ["-1", "+1", "1_0", " 1", "1.0", "0x1", "many", "\xb2", "1\n", "٣", "9" * 5000])
def test_a_length_that_is_none_is_refused(client: Client, length: str) -> None:
    assert client.get("/", CONTENT_LENGTH=length).status_code == 400


def test_a_length_beyond_all_measure_is_too_large(client: Client) -> None:
    assert client.get("/", CONTENT_LENGTH="9" * 90).status_code == 413
