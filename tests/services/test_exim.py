"""The main path through Exim: logins under TLS, and answers of a real server to what is wrong."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.services.exim import Exim
from tests.site import Browser, Site, manage

pytestmark = pytest.mark.service("exim")
PASSWORD = "päss word"  # more than ASCII, and a space


def variables(exim: Exim, **others: object) -> dict[str, Any]:
    return {
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": exim.port,
        "MAIL_USE_TLS": "true",
        "MAIL_USERNAME": "flasky@example.com",
        "MAIL_PASSWORD": PASSWORD,
        "SSL_CERT_FILE": exim.authority,
        **others,
    }


@pytest.fixture
def exim(make_exim: Callable[..., Exim]) -> Exim:
    return make_exim(users={"flasky@example.com": PASSWORD})


@pytest.mark.parametrize("wrapped", [False, True], ids=["STARTTLS", "TLS"])
def test_a_mail_arrives_through_a_login_under_tls(make_site: Callable[..., Site], exim: Exim, wrapped: bool) -> None:
    tls = {"MAIL_PORT": exim.tls_port, "MAIL_USE_TLS": "", "MAIL_USE_SSL": "true"} if wrapped else {}
    Browser(make_site(**variables(exim, **tls)).start()).post("Zoë")
    [mail] = exim.maildir.wait_for(1)
    assert mail["Envelope-to"] == "admin@example.com"
    assert mail["Return-path"] == "<flasky@example.com>"
    assert "esmtpsa" in mail["Received"]  # TLS and a login
    assert mail.get_content_type() == "multipart/alternative"


def test_one_refused_administrator_does_not_keep_the_mail_from_the_others(
    make_site: Callable[..., Site], exim: Exim
) -> None:
    administrators = "ann@example.com,nobody@example.com,later@example.com,bob@example.com"
    site = make_site(**variables(exim, FLASKY_ADMIN=administrators)).start()
    Browser(site).post("Zoë")
    mails = exim.maildir.wait_for(2)
    assert sorted(mail["Envelope-to"] for mail in mails) == ["ann@example.com", "bob@example.com"]
    deadline, states = time.monotonic() + 20, {"": "sending"}
    while "sending" in states.values() and time.monotonic() < deadline:
        states = json.loads(site.manage("shell", "-v0", "-c", STATES).stdout)
    assert states == {
        "ann@example.com": "sent",
        "bob@example.com": "sent",
        "later@example.com": "queued",
        "nobody@example.com": "failed",
    }


STATES = """
import json
from notify.models import Message
print(json.dumps(dict(Message.objects.values_list("recipient", "state"))))
"""


def test_the_trial_passes_every_stage(exim: Exim) -> None:
    done = manage("sendtestmail", **variables(exim))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    exim.maildir.wait_for(1)


@pytest.mark.parametrize(
    ("wrong", "stage"),
    [
        ({"MAIL_PASSWORD": "not-it"}, "auth"),
        ({"SSL_CERT_FILE": "/dev/null"}, "tls"),
        ({"MAIL_USERNAME": "", "MAIL_PASSWORD": ""}, "sender"),
    ],
    ids=["password", "certificate", "no login"],
)
def test_the_trial_names_the_stage_that_fails(exim: Exim, wrong: dict[str, str], stage: str) -> None:
    done = manage("sendtestmail", "--check", **variables(exim, **wrong))
    assert done.returncode == 1, done.stdout + done.stderr
    assert next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAIL")) == stage
    assert "not-it" not in done.stdout + done.stderr
