"""The admin of the site: its name and icon, and the dashboard above the rest."""

import re

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


def test_the_dashboard_stands_above_users(admin_client: Client) -> None:
    page = admin_client.get("/admin/").content.decode()
    assert page.index("desk-verdict") < page.index("/admin/auth/user/")
    apps = [app["app_label"] for app in admin_client.get("/admin/").context["app_list"]]
    assert apps[0] == "notify"
    assert apps[1:] == sorted(apps[1:], key=["auth", "visitors"].index)
    assert admin_client.get("/admin/").context["app_list"][0]["models"][0]["name"] == "Dashboard"


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin/notify/message/", "/admin/auth/user/"])
def test_name_and_icon_are_the_sites(admin_client: Client, path: str) -> None:
    client = Client() if "login" in path else admin_client
    page = client.get(path).content.decode()
    assert re.search(r"<title>[^<]* \| Flasky</title>", page)
    assert '<link rel="icon" type="image/svg+xml" href="/static/flasky/icon.svg">' in page
    assert re.search(
        r'<div id="site-name"><a href="/admin/"><img src="/static/flasky/icon.svg" alt=""[^>]*>Flasky</a>', page
    )
    assert "Django" not in re.sub(r"(?s)<script.*?</script>", "", page)
    assert len(re.findall("<h1", page)) == 1
