"""The main path through a real mail transfer agent into a Maildir."""

from collections.abc import Callable

import pytest

from tests.services.postfix import Postfix
from tests.site import Browser, Site

pytestmark = pytest.mark.service("postfix")


def test_a_name_typed_into_the_page_lands_in_the_maildir(make_site: Callable[..., Site], postfix: Postfix) -> None:
    site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=postfix.port, FLASKY_ADMIN="ann@example.com,bob@example.com")
    Browser(site.start()).post("O'Brien")

    mails = postfix.maildir.wait_for(2)
    assert sorted(mail["Delivered-To"] for mail in mails) == ["ann@example.com", "bob@example.com"]
    assert len({mail["Message-ID"] for mail in mails}) == 1
    for mail in mails:
        assert mail.get_content_type() == "multipart/alternative"
        text, html = mail.get_payload()
        assert "O'Brien" in text.get_payload(decode=True).decode()
        assert "O&#x27;Brien" in html.get_payload(decode=True).decode()
        assert mail["Return-Path"] == "<flasky@example.com>"
    assert "250 2.0.0 Ok: queued as" in site.manage("shell", "-v0", "-c", REPLIES).stdout


REPLIES = "from notify.models import Message; print(list(Message.objects.values_list('reply', flat=True)))"


@pytest.mark.parametrize("wrapped", [False, True], ids=["STARTTLS", "TLS"])
def test_the_mail_goes_under_tls_to_a_server_whose_certificate_is_trusted(
    make_site: Callable[..., Site], postfix: Postfix, wrapped: bool
) -> None:
    way = {"MAIL_PORT": postfix.tls_port, "MAIL_USE_SSL": "true"} if wrapped else {"MAIL_USE_TLS": "true"}
    trusting = {"SSL_CERT_FILE": postfix.authority}
    site = make_site(**{"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": postfix.port, **trusting, **way})
    Browser(site.start()).post("Zoë")
    [mail] = postfix.maildir.wait_for(1)
    assert "using TLSv1" in mail["Received"]
