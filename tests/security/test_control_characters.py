"""Control characters where none belong: PostgreSQL takes no NUL for text, and a stranger's 500 is mail to somebody."""

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.test import Client

pytestmark = pytest.mark.django_db

PAGES = ["/", "/readyz", "/livez", "/admin/login/"]
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
