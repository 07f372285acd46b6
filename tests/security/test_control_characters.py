"""Control characters where none belong: PostgreSQL takes no NUL for text, and a stranger's 500 is mail to somebody."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client, RequestFactory

from flasky import content_type

pytestmark = pytest.mark.django_db

PAGES = ["/", "/readyz", "/mailz", "/livez", "/admin/login/"]
# As they stand in the header: within quotes, http.cookies reads three octal digits as a character.
COOKIES = [
    rf'{name}="\{code}abcdefghijk"'
    for name in ("sessionid", "csrftoken", "greeting", "messages", "django_language")
    for code in ("000", "012", "037", "177")
]


@pytest.mark.parametrize("cookie", COOKIES)
def test_a_cookie_with_a_control_character_is_none(client: Client, cookie: str) -> None:
    for page in PAGES:
        assert client.get(page, headers={"cookie": cookie}).status_code == 200
    assert client.get("/admin/", headers={"cookie": cookie}).status_code == 302
    assert client.get("/metrics", headers={"cookie": cookie}).status_code == 401


def test_cookies_beside_it_are_read(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    session = client.cookies["sessionid"].value
    answer = client.get("/admin/", headers={"cookie": rf'csrftoken="\000abc"; sessionid={session}'})
    assert answer.status_code == 200


@pytest.mark.parametrize("model", ["session", "window", "event"])
def test_a_path_with_nul_leads_nowhere(client: Client, model: str) -> None:
    client.force_login(User.objects.create_superuser("root"))
    kind = ContentType.objects.get(model=model)
    for path in (f"/admin/r/{kind.pk}/%00/", f"/admin/r/{kind.pk}/a%00b/", "/%00", "/admin/auth/user/%00/change/"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "value", ["text/plain; x*=foo''a", "text/plain; x*=undefined''%ff", "multipart/form-data; b*0*=idna''x"]
)
def test_an_extended_parameter_in_a_content_type_is_no_fault(value: str) -> None:
    environ = RequestFactory().get("/livez", HTTP_HOST="localhost").environ | {"CONTENT_TYPE": value}
    answers: list[str] = []
    list(content_type.wsgi(WSGIHandler())(environ, lambda status, headers, *rest: answers.append(status)))
    assert answers == ["200 OK"]


async def _asgi(value: str) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    received = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return received.pop() if len(received) > 1 else await asyncio.sleep(60, received[0])

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", value.encode())]
    scope = {"type": "http", "method": "GET", "path": "/livez", "query_string": b"", "headers": headers}
    await content_type.asgi(ASGIHandler())(scope, receive, send)
    return sent


def test_nor_is_it_in_asgi() -> None:
    assert async_to_sync(_asgi)("text/plain; x*=foo''a")[0]["status"] == 200
