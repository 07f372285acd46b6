"""docs/adopt.md, followed in projects that know nothing of Flasky."""

import re
import signal
import time
import urllib.request
import zipfile
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.adopt.project import Project, blocks
from tests.relays import Envelope, Relay

SHAPES = Path(__file__).with_name("shapes.py")
COUNT = 19
ALLAUTH = """
INSTALLED_APPS += ["allauth", "allauth.account"]
MIDDLEWARE += ["allauth.account.middleware.AccountMiddleware"]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_SIGNUP_FIELDS = ["email*", "username*", "password1*", "password2*"]
ALLOWED_HOSTS = ["testserver", "127.0.0.1"]
"""
VIEW = """
from django.core.mail import send_mail
from django.http import HttpResponse
from django.urls import path

def send(request):
    return HttpResponse(send_mail("From a view", "Hello", None, ["ann@example.com"]))

urlpatterns += [path("send/", send)]
"""
# Django's own backend beside the outbox, for what is compared.
DIRECT = """
import os
if "DIRECT" in os.environ and "MAILERS" in globals():
    MAILERS["default"] = MAILERS["transport"] | {"BACKEND": "django.core.mail.backends.smtp.EmailBackend"}
elif "DIRECT" in os.environ:
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
"""


def test_the_wheel_has_the_app_and_nothing_of_the_site(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    kinds = {Path(name).suffix for name in names if name.startswith("notify/")}
    assert {".py", ".html", ".txt", ".css", ".js", ".mo", ".toml", ".typed"} == kinds
    assert "notify/migrations/0001_initial.py" in names
    assert not [name for name in names if not name.startswith(("notify/", "flasky_notify-")) or "visitor" in name]


def test_examples_that_are_not_executed_are_python() -> None:
    left_out = [block for block in blocks() if {"celery", "anymail"} & set(block.about)]
    assert len(left_out) == 2
    for block in left_out:
        compile(block.text, block.about[0], "exec")


def test_the_document_is_followed_to_a_mail_of_the_web_process(
    project: Project, mail_server: Relay, free_port: int
) -> None:
    assert re.search(r"^PASS data ", project.printed, re.MULTILINE)
    assert re.search(r"Ran 1 test .*^OK$", project.printed, re.MULTILINE | re.DOTALL)
    project.write("shop/urls.py", VIEW)
    before = len(mail_server.envelopes)
    server = project.serve(free_port)
    try:
        assert asked(f"http://127.0.0.1:{free_port}/send/") == "1"
        mail = mail_server.wait_for(before + 1)[-1]
        assert (mail.recipients, mail.message["Subject"]) == (["ann@example.com"], "From a view")
        assert asked(f"http://127.0.0.1:{free_port}/livez")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)
    assert project.entries_are_as_django_made_them()


def test_nothing_of_visitors_and_no_check_is_in_the_way(project: Project) -> None:
    assert "System check identified no issues (0 silenced)." in project.manage("check", "--database", "default")
    said = project.manage("check", "--deploy")
    assert "notify." not in said
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
    for words in (["showmigrations"], ["sendtestmail", "--help"], ["outbox", "purge", "--help"]):
        assert not re.search("visitor|FLASKY", project.manage(*words), re.IGNORECASE)


def test_every_shape_of_mail_arrives_as_through_djangos_own_backend(project: Project, mail_server: Relay) -> None:
    project.write("shop/settings.py", DIRECT)
    begun = len(mail_server.envelopes)
    project.manage("shell", "-c", SHAPES.read_text(), DIRECT="1")
    direct = mail_server.envelopes[begun:]
    begun = len(mail_server.envelopes)
    project.manage("shell", "-c", SHAPES.read_text())
    project.manage("deliver")
    stored = mail_server.envelopes[begun:]
    through_django, through_outbox = by_shape(direct), by_shape(stored)
    assert len(through_django) == COUNT
    for name, mail in through_django.items():
        assert through_outbox[name] == mail, name


def test_sign_up_and_reset_of_allauth_go_through_it(project: Project, mail_server: Relay) -> None:
    project.write("shop/settings.py", ALLAUTH)
    project.write("shop/urls.py", 'urlpatterns += [path("accounts/", include("allauth.urls"))]\n')
    project.manage("migrate")
    begun = len(mail_server.envelopes)
    said = project.manage("shell", "-c", Path(__file__).with_name("allauth_flow.py").read_text())
    assert "signed up, confirmed, signed in with the new password" in said
    project.manage("deliver")
    subjects = [str(envelope.message["Subject"]) for envelope in mail_server.envelopes[begun:]]
    assert [subject.rpartition("] ")[2] for subject in subjects] == [
        "Please Confirm Your Email Address",
        "Password Reset Email",
    ]


def test_it_can_be_left_again(project: Project) -> None:
    said = project.follow("leave")
    assert re.search(r"waiting 0$", said, re.MULTILINE)
    assert "Unapplying notify.0001_initial... OK" in said
    assert "Applying notify.0001_initial... OK" in project.manage("migrate")  # and taken again


def asked(url: str) -> str:
    until = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def by_shape(envelopes: list[Envelope]) -> dict[str, dict[str, Any]]:
    """What each mail said and to whom, of all its envelopes together."""
    found: dict[str, dict[str, Any]] = {}
    for envelope in envelopes:
        mail = envelope.message
        facts = found.setdefault(
            str(mail["X-Shape"]), {"sender": envelope.sender, "recipients": set(), "parts": parts(mail)}
        )
        assert facts["parts"] == parts(mail)
        facts["recipients"] |= set(envelope.recipients)
    return found


def parts(mail: EmailMessage) -> list[Any]:
    """Headers and decoded content of each part, without what differs from one sending to the next."""
    found = []
    for part in mail.walk():
        left_out = {"date", "content-transfer-encoding"} | ({"message-id"} if mail["X-Shape"] != "own-id" else set())
        headers = {
            name.lower(): re.sub(r'; boundary="[^"]+"', "", " ".join(str(value).split()))
            for name, value in part.items()
            if name.lower() not in left_out
        }
        content = None if part.is_multipart() else part.get_payload(decode=True)
        found.append((headers, content))
    return found
