"""The app in projects whose settings are unlike Flasky's: each a process with a settings module and a database."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.outbox import create_postgresql, drop_postgresql
from tests.relays import Relay
from tests.site import ROOT, environment

Run = Callable[..., list[str]]

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service("postgresql"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database; the test runs once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/db.sqlite3"
        return
    name = f"flasky_unlike_{os.getpid()}"
    yield create_postgresql(name)
    drop_postgresql(name)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(settings, code, **environment)`: the lines that the code printed, with Flasky's settings and these lines."""

    def run(settings: str, code: str, *, migrate: bool = True, **variables: object) -> list[str]:
        (tmp_path / "unlike.py").write_text(f"from flasky.settings import *\n{settings}\n")
        begin = "import django; django.setup()\nfrom django.core.management import call_command\n"
        begin += "call_command('migrate', verbosity=0)\n" * migrate
        done = subprocess.run(
            [sys.executable, "-c", begin + code],
            cwd=ROOT,
            env=environment(
                DJANGO_SETTINGS_MODULE="unlike",
                PYTHONPATH=f"{tmp_path}:{ROOT}",
                NOTIFY_DISPATCH="worker",
                FLASKY_ADMIN="admin@example.com",
                **{"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3", **variables},
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        assert done.returncode == 0
        return done.stdout.splitlines()

    return run


USE_TZ_OFF = """
from datetime import timedelta
from django.core.mail import send_mail
from django.test import Client
from django.contrib.auth.models import User
from django.utils import timezone
from notify.mail import notify_admins
from notify.models import *
send_mail("Hello", "Text", "ann@example.com", ["bob@example.com"])
notify_admins("order", "New order", "notify/mail/test", key="1", summary="One", url="")
call_command("deliver")
call_command("outbox", "status")
message = Message.objects.first()
assert abs(timezone.now() - message.created_at) < timedelta(minutes=1), message.created_at
assert abs(timezone.now() - message.sent_at) < timedelta(minutes=1), message.sent_at
HourlyCount.objects.update(hour=timezone.now() - timedelta(days=9))
from notify.oauth import configuration, grants, store
options = {"username": "a@example.com", "oauth_client_id": "x", "oauth_token_url": "https://id.example/token"}
configured = configuration.from_options(options)
answer = grants.Answer(access_token=grants.Secret("t"), lifetime=3600, refresh_token=grants.Secret("r"))
row = store.read(configured)
assert store.claim(row, 5) and not store.claim(row, 5)
store.authorize(configured, answer)
assert store.access(store.read(configured)).token == "t"
assert abs(store.read(configured).expires_at - timezone.now() - timedelta(hours=1)) < timedelta(minutes=1)
call_command("outbox", "purge")
client = Client()
client.force_login(User.objects.create_superuser("root"))
for page in ["/metrics", "/readyz", "/mailz", "/admin/", "/admin/notify/relay/", "/admin/notify/message/",
             "/admin/notify/event/", f"/admin/notify/message/{message.pk}/change/", "/admin/notify/message/previews/"]:
    assert client.get(page).status_code == 200, page
"""


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Regina"])
def test_without_time_zones_mails_are_stored_and_delivered_at_once_and_again_when_they_are_due(
    zone: str, run: Run, relay: Relay, url: str
) -> None:
    lines = run(
        f"USE_TZ, TIME_ZONE = False, {zone!r}\nALLOWED_HOSTS = ['*']",
        USE_TZ_OFF,
        DATABASE_URL=url,
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=relay.port,
    )
    assert "sent 2, retry 0, failed 0, waiting 0" in lines
    offset = {"Asia/Shanghai": "+0800", "America/Regina": "-0600"}[zone]
    for envelope in relay.wait_for(2):
        assert str(envelope.message["Date"]).endswith(offset)


BARE = """
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "notify"]
MIDDLEWARE, ROOT_URLCONF, NOTIFY_BURST = [], "notify.urls", 1
"""
DIGEST = """
from datetime import timedelta
from django.utils import timezone
from notify.events.digest import notify_due
from notify.mail import notify_admins
from notify.models import *
call_command("check")
for key in "123":
    notify_admins("order", "New order", "notify/mail/test", key=key, summary=f"Order {key}", url="")
assert notify_due() == 1
assert notify_due(timezone.now() + timedelta(minutes=10)) == 1
[digest] = Message.objects.filter(subject__contains="2 × New order")
print(bytes(digest.body.mime).decode())
"""


def test_without_an_admin_check_finds_no_fault_and_digests_have_no_link_to_it(run: Run) -> None:
    lines = run(BARE, DIGEST)
    assert "System check identified no issues (0 silenced)." in lines
    assert "Order 3" in "\n".join(lines)
    assert "Open the list" not in "\n".join(lines)


def test_without_an_admin_health_answers_and_a_mail_leaves(run: Run, relay: Relay) -> None:
    code = """
from django.core.mail import send_mail
from django.test import Client
send_mail("Hello", "Text", "ann@example.com", ["bob@example.com"])
call_command("deliver")
call_command("outbox", "status")
print(Client().get("/readyz").status_code)
"""
    lines = run(f"{BARE}ALLOWED_HOSTS = ['*']", code, MAIL_SERVER="127.0.0.1", MAIL_PORT=relay.port)
    assert "sent 1, retry 0, failed 0, waiting 0" in lines
    assert lines[-1] == "200"


SITES = {
    "under another path and name": (
        "from notify.models import Event\nsite = admin.AdminSite(name='desk')\nsite.register(Event)\n",
        "path('desk/', site.urls)",
        "http://127.0.0.1:8000/desk/notify/event/?message_id=",
    ),
    "beside the default one, which has no such page": (
        "from notify.models import Event\nsite = admin.AdminSite(name='desk')\nsite.register(Event)\n"
        "admin.site.unregister(Event)\n",
        "path('admin/', admin.site.urls), path('desk/', site.urls)",
        "http://127.0.0.1:8000/desk/notify/event/?message_id=",
    ),
    "without the tables of notify": ("site = admin.AdminSite(name='desk')\n", "path('desk/', site.urls)", None),
}


@pytest.mark.parametrize("case", SITES)
def test_digests_link_to_the_admin_site_that_has_the_events(case: str, run: Run, tmp_path: Path) -> None:
    code, paths, link = SITES[case]
    (tmp_path / "own_urls.py").write_text(
        f"from django.contrib import admin\nfrom django.urls import path\n{code}urlpatterns = [{paths}]\n"
    )
    lines = run("ROOT_URLCONF, NOTIFY_BURST = 'own_urls', 1", DIGEST)
    assert [line for line in lines if "/?message_id=" in line] != [] if link else "Open the list" not in lines
    assert link is None or any(line.startswith(link) for line in lines)


@pytest.mark.parametrize(
    ("method", "answer"),
    [("db_for_write", "'other'"), ("db_for_read", "'other'"), ("allow_migrate", "False")],
)
def test_check_refuses_a_router_that_moves_its_tables(method: str, answer: str, run: Run, tmp_path: Path) -> None:
    arguments = {"allow_migrate": "db, app_label"}.get(method, "model")
    (tmp_path / "own_router.py").write_text(
        f"class Router:\n    def {method}(self, {arguments}, **hints):\n        return {answer}\n"
    )
    settings = (
        "DATABASES['other'] = {**DATABASES['default'], 'NAME': ':memory:'}\nDATABASE_ROUTERS = ['own_router.Router']"
    )
    code = """
from django.core.checks import run_checks
print([(error.id, error.msg) for error in run_checks() if error.id.startswith("notify.")])
"""
    assert run(settings, code, migrate=False)[-1] == str(
        [
            (
                "notify.E011",
                "A database router moves tables of notify out of the database 'default', "
                "or reads them from another one.",
            )
        ]
    )


ASYNC = """
import asyncio, logging
from django.core.mail import send_mail
from django.utils.log import AdminEmailHandler
from notify.models import Event, Message
from notify.operations.errors import AdminEventHandler

async def view():
    print(send_mail("Silent", "Text", "ann@example.com", ["bob@example.com"]))
    for handler in (AdminEmailHandler(), AdminEventHandler()):
        logger = logging.getLogger(type(handler).__name__)
        logger.addHandler(handler)
        logger.propagate = False
        logger.error("Broken")

asyncio.run(view())
print([message.subject for message in Message.objects.order_by("id")], Event.objects.count())
"""


def test_mails_and_reports_from_an_event_loop_are_stored(run: Run, url: str) -> None:
    assert run("", ASYNC, DATABASE_URL=url) == ["1", "['Silent', '[Flasky] ERROR: Broken'] 1"]


ROLLBACK = """
import logging, threading
from django.core.mail import mail_admins, send_mail
from django.db import connection, transaction
from django.utils.log import AdminEmailHandler
from notify.models import Event, Message
from notify.operations.errors import AdminEventHandler

class Undone(Exception):
    pass

try:
    with transaction.atomic():
        send_mail("Hello", "Text", "ann@example.com", ["bob@example.com"])
        mail_admins("New order", "Text")
        for handler in (AdminEmailHandler(), AdminEventHandler()):
            logger = logging.getLogger(type(handler).__name__)
            logger.addHandler(handler)
            logger.propagate = False
            for number in range(3):
                logger.error("Broken %d", number)
        raise Undone
except Undone:
    pass
for thread in threading.enumerate():
    if thread.name == "store-reports":
        thread.join()
print([message.subject for message in Message.objects.order_by("id")], Event.objects.count())
"""


def test_reports_of_errors_outlive_the_transaction_they_report_and_nothing_else_does(run: Run, url: str) -> None:
    [line] = run("", ROLLBACK, DATABASE_URL=url)
    assert line == f"{[f'[Flasky] ERROR: Broken {number}' for number in range(3)]} 3"
