"""The main path through a real mail transfer agent into a Maildir."""

import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services.logins import logins
from tests.services.postfix import Postfix
from tests.site import Browser, Site, manage

pytestmark = pytest.mark.service("postfix")


def test_a_name_typed_into_the_page_lands_in_the_maildir(make_site: Callable[..., Site], postfix: Postfix) -> None:
    site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=postfix.port, FLASKY_ADMIN="ann@example.com,bob@example.com")
    Browser(site.start()).post("O'Brien")

    mails = postfix.maildir.wait_for(2)
    assert sorted(mail["Delivered-To"] for mail in mails) == ["ann@example.com", "bob@example.com"]
    assert len({mail["Message-ID"] for mail in mails}) == 1
    for mail in mails:
        assert mail.get_content_type() == "multipart/alternative"
        text, alternative = mail.get_payload()
        assert "O'Brien" in text.get_payload(decode=True).decode()
        assert "O'Brien" in html.unescape(alternative.get_payload(decode=True).decode())
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


PASSWORD = "päss word"
LOGIN = {"MAIL_USERNAME": "ann@example.com", "MAIL_PASSWORD": PASSWORD, "FLASKY_MAIL_SENDER": "ann@example.com"}
# Only who has logged in under TLS may send, and only as themselves.
LOGIN_NEEDED = {
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_sasl_type": "dovecot",
    "smtpd_tls_auth_only": "yes",
    "mynetworks": "192.0.2.0/24",
    "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
    "smtpd_sender_login_maps": "inline:{ann@example.com=ann@example.com, bob@example.com=bob@example.com}",
    "smtpd_sender_restrictions": "reject_sender_login_mismatch",
}


@pytest.fixture
def guarded(open_folder: Path) -> Iterator[Postfix]:
    """A Postfix that asks for a login."""
    users = {"ann@example.com": PASSWORD, "bob@example.com": "other"}
    path = open_folder / "logins"
    with logins(path, users), Postfix(open_folder / "postfix", smtpd_sasl_path=str(path), **LOGIN_NEEDED) as server:
        yield server


@pytest.mark.parametrize("wrapped", [False, True], ids=["STARTTLS", "TLS"])
def test_a_mail_goes_through_a_login_under_tls(guarded: Postfix, wrapped: bool) -> None:
    way = {"MAIL_PORT": guarded.tls_port, "MAIL_USE_SSL": "true"} if wrapped else {"MAIL_USE_TLS": "true"}
    trusted = {"MAIL_SERVER": "localhost", "MAIL_PORT": guarded.port, "SSL_CERT_FILE": guarded.authority}
    done = manage("sendtestmail", "bob@example.com", **{**trusted, **LOGIN, **way})
    assert done.returncode == 0, done.stdout + done.stderr
    [mail] = guarded.maildir.wait_for(1)
    assert "ESMTPSA" in mail["Received"]


@pytest.mark.parametrize(
    ("wrong", "words", "cause"),
    [
        ({"MAIL_PASSWORD": "other"}, "FAIL auth 535 5.7.8 Error: authentication failed", "bad-credentials"),
        (
            {"MAIL_USE_TLS": ""},
            "FAIL auth SMTPNotSupportedError: SMTP AUTH extension not supported",
            "auth-not-offered",
        ),
        (
            {"MAIL_USERNAME": "", "MAIL_PASSWORD": "", "FLASKY_MAIL_SENDER": "else@example.com"},
            "FAIL recipient admin@example.com: 554 5.7.1 <admin@example.com>: Recipient address rejected",
            "",
        ),
        (
            {"FLASKY_MAIL_SENDER": "bob@example.com"},
            "FAIL recipient admin@example.com: 553 5.7.1 <bob@example.com>: Sender address rejected: "
            "not owned by user ann@example.com",
            "sender-not-login",
        ),
        (
            {"MAIL_USERNAME": "", "MAIL_PASSWORD": ""},
            "FAIL recipient admin@example.com: 553 5.7.1 <ann@example.com>: Sender address rejected: not logged in",
            "sender-not-login",
        ),
    ],
    ids=["password", "TLS off", "no login", "another sender", "no login as somebody"],
)
def test_what_it_says_of_logins_is_understood(guarded: Postfix, wrong: dict[str, str], words: str, cause: str) -> None:
    way = {"MAIL_SERVER": "localhost", "MAIL_PORT": guarded.port, "MAIL_USE_TLS": "true"}
    done = manage("sendtestmail", "--json", **{**way, "SSL_CERT_FILE": guarded.authority, **LOGIN, **wrong})
    assert done.returncode == 1, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert [problem["diagnosis"] for problem in facts["problems"]] == [cause]
    [failed] = [stage for stage in facts["stages"] if stage["status"] == "FAIL"]
    assert f"FAIL {failed['name']} {failed['detail']}".startswith(words)
