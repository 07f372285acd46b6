"""From options to an authorization server: presets, tenants, scopes, and what is missing."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.views.debug import ExceptionReporter

from notify.oauth.configuration import Configuration, from_options
from notify.smtp.secret import Secret

CLIENT = {"oauth_client_id": "id", "username": "ann@example.com"}


def configured(**options: Any) -> Configuration:
    found = from_options({**CLIENT, **options})
    assert found
    return found


@pytest.mark.parametrize("options", [{}, {"host": "smtp.gmail.com", "username": "ann", "password": "x"}])
def test_no_option_is_no_configuration(options: dict[str, Any]) -> None:
    assert from_options(options) is None
    assert from_options({**options, "oauth_client_id": "", "oauth_scope": None}) is None


def test_a_microsoft_app_alone() -> None:
    app = configured(host="smtp.office365.com", oauth_client_secret="s", oauth_tenant="contoso.example")
    assert app.app_alone
    assert app.authority.token_url == "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token"
    assert app.authority.app_scope == "https://outlook.office365.com/.default"


@pytest.mark.parametrize(
    ("host", "tenant", "base", "scope"),
    [
        ("smtp.office365.com", "", "login.microsoftonline.com/organizations", "outlook.office.com"),
        ("smtp.office365.com", "t", "login.microsoftonline.com/t", "outlook.office.com"),
        ("smtp-mail.outlook.com", "", "login.microsoftonline.com/consumers", "outlook.office.com"),
        ("smtp.partner.outlook.cn", "t", "login.partner.microsoftonline.cn/t", "partner.outlook.cn"),
    ],
)
def test_a_microsoft_mailbox(host: str, tenant: str, base: str, scope: str) -> None:
    mailbox = configured(host=host, oauth_tenant=tenant)
    assert not mailbox.app_alone
    assert mailbox.authority.device_url == f"https://{base}/oauth2/v2.0/devicecode"
    assert mailbox.authority.authorize_url == f"https://{base}/oauth2/v2.0/authorize"
    assert mailbox.authority.scope == f"https://{scope}/SMTP.Send offline_access"


def test_a_private_account_has_no_app_alone() -> None:
    assert not configured(host="smtp-mail.outlook.com", oauth_client_secret="s").app_alone


@pytest.mark.parametrize("host", ["smtp.gmail.com", "smtp-relay.gmail.com", "smtp.googlemail.com"])
def test_google(host: str) -> None:
    google = configured(host=host, oauth_client_secret="s")
    assert not google.app_alone
    assert google.authority.host == "oauth2.googleapis.com"
    assert google.authority.scope == "https://mail.google.com/"
    assert google.authority.parameters == {"access_type": "offline", "prompt": "consent"}
    assert google.authority.device_url == ""


@pytest.mark.parametrize(("authorize", "alone"), [("", True), ("https://id.example/authorize", False)])
def test_any_provider_by_its_addresses(authorize: str, alone: bool) -> None:
    found = configured(
        host="smtp.gmail.com",
        oauth_token_url="https://id.example/token",
        oauth_authorize_url=authorize,
        oauth_client_secret="s",
        oauth_scope="mail",
    )
    assert (found.authority.host, found.authority.scope, found.app_alone) == ("id.example", "mail", alone)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            {"oauth_client_id": "", "oauth_tenant": "t"},
            "MAIL_OAUTH_CLIENT_ID is not set, but other MAIL_OAUTH_ variables are.",
        ),
        ({"username": ""}, "MAIL_USERNAME is not set: OAuth needs the mailbox that signs in."),
        (
            {"host": "smtp.163.com"},
            "MAIL_OAUTH_TOKEN_URL is not set, and there is no OAuth preset for MAIL_SERVER.",
        ),
        (
            {"host": "smtp.office365.com", "oauth_client_secret": "s"},
            "MAIL_OAUTH_TENANT is not set: an app with a secret belongs to one tenant.",
        ),
        ({"oauth_token_url": "http://id.example/token"}, "MAIL_OAUTH_TOKEN_URL is not an https address."),
        ({"oauth_token_url": "https:///token"}, "MAIL_OAUTH_TOKEN_URL is not an https address."),
        ({"oauth_token_url": "https://[::1/token"}, "MAIL_OAUTH_TOKEN_URL is not an https address."),
        ({"oauth_token_url": "https://id.example:port/token"}, "MAIL_OAUTH_TOKEN_URL is not an https address."),
        (
            {"oauth_token_url": "https://id.example/token", "oauth_authorize_url": "ftp://id.example"},
            "MAIL_OAUTH_AUTHORIZE_URL is not an https address.",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        configured(**options)
    assert str(caught.value) == complaint


def test_another_client_mailbox_or_authority_has_other_tokens() -> None:
    google = {"host": "smtp.gmail.com"}
    keys = {
        configured(**google).key,
        configured(**google, oauth_client_id="other").key,
        configured(**google, username="bob@example.com").key,
        configured(host="smtp.office365.com").key,
    }
    assert len(keys) == 4
    assert configured(**google, oauth_client_secret="s").key in keys


def test_no_error_page_shows_a_secret_where_something_is_missing() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        configured(host="smtp.office365.com", oauth_client_secret=Secret("k4n4r"), oauth_refresh_token=Secret("v0gel"))
    assert caught.value.__traceback__
    raised_in = caught.value.__traceback__.tb_next  # not this test
    page = ExceptionReporter(None, ImproperlyConfigured, caught.value, raised_in).get_traceback_html()
    assert "_usual_tenant" in page
    assert "k4n4r" not in page
    assert "v0gel" not in page


def test_its_repr_shows_no_secret() -> None:
    found = configured(host="smtp.gmail.com", oauth_client_secret="k4n4r", oauth_refresh_token="k4n4r", proxy="k4n4r")
    assert "k4n4r" not in repr(found)
