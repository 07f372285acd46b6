"""Server errors are events: the first of a kind is mailed at once, the others are counted, so that none can flood."""

import logging
import logging.config
import sys
from typing import Any

import django
import pytest
from django.contrib.auth.models import Permission, User
from django.db import DatabaseError, InterfaceError
from django.test import Client, RequestFactory
from django.utils.log import AdminEmailHandler

from flasky.secrecy import Reporter
from notify import mail
from notify.events.digest import notify_due
from notify.events.record import load_context
from notify.models import Event, Message
from notify.operations.errors import AdminEventHandler, take_over

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _administrators(settings: Any) -> None:
    settings.FLASKY_ADMIN = ["admin@example.com"]
    settings.ADMINS = [("admin", "admin@example.com")] if django.VERSION < (6, 0) else settings.FLASKY_ADMIN
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = 5, 300


@pytest.fixture
def logger() -> Any:
    """As LOGGING has it for django.request where DEBUG is off."""
    found, handler = logging.getLogger("tests.errors"), AdminEventHandler()
    found.addHandler(handler)
    yield found
    found.removeHandler(handler)


def divide(logger: logging.Logger, by: int, path: str = "/divide") -> None:
    try:
        1 / by
    except ZeroDivisionError as error:
        request = RequestFactory().get(path)
        logger.error("Internal Server Error: %s", path, exc_info=error, extra={"request": request, "status_code": 500})


def look_up(logger: logging.Logger) -> None:
    try:
        {}["nothing"]
    except KeyError as error:
        logger.error("Internal Server Error", exc_info=error)


def test_the_first_of_a_kind_is_mailed_at_once_with_the_report_and_the_others_in_a_digest(
    logger: logging.Logger, settings: Any
) -> None:
    for number in range(12):
        divide(logger, 0, f"/divide/{number}")
        if number in (0, 6):
            notify_due()
    assert Message.objects.count() == 1
    first = Message.objects.select_related("body").get()
    assert first.subject.startswith("[Flasky] ZeroDivisionError in divide (test_error_mails.py:")
    assert b"Traceback" in bytes(first.body.mime)
    settings.NOTIFY_INTERVAL = 1
    later = Event.objects.latest("created_at").created_at.replace(year=2100)
    assert notify_due(later) == 1
    digest = Message.objects.latest("id")
    assert digest.subject.startswith("[Flasky] 11 × ZeroDivisionError in divide")
    assert not Event.objects.waiting().exists()
    assert Event.objects.count() == 12


def test_each_kind_is_mailed(logger: logging.Logger) -> None:
    divide(logger, 0)
    look_up(logger)
    divide(logger, 0)
    assert notify_due() == 2
    assert notify_due() == 0


def test_each_report_is_kept_with_its_event(logger: logging.Logger) -> None:
    divide(logger, 0, "/divide?by=nothing")
    event = Event.objects.get()
    assert event.summary == "/divide division by zero"
    report = load_context(event.context)["report"]
    assert "Traceback" in report
    assert "divide?by=nothing" in report


def test_of_those_that_are_counted_one_keeps_its_whole_report_and_the_others_their_traceback(
    logger: logging.Logger,
) -> None:
    divide(logger, 0)
    notify_due()
    for number in range(20):
        divide(logger, 0, f"/divide/{number}")
    reports = [load_context(event.context)["report"] for event in Event.objects.order_by("id")]
    assert ["\nMETA:" in report for report in reports] == [True, True, *[False] * 19]
    assert all("1 / by" in report for report in reports)
    assert "Request URL: http://testserver/divide/19\n" in reports[-1]


def test_each_is_mailed_where_folding_is_off(logger: logging.Logger, settings: Any) -> None:
    settings.NOTIFY_FOLD_ERRORS = False
    for number in range(3):
        divide(logger, 0, f"/divide/{number}")
    assert not Event.objects.exists()
    subject = "[Flasky] ERROR (EXTERNAL IP): Internal Server Error: /divide/"
    assert [message.subject for message in Message.objects.order_by("id")] == [f"{subject}{n}" for n in range(3)]


def test_handlers_of_django_fold_and_those_of_a_project_stay_as_they_are() -> None:
    class Own(AdminEmailHandler):
        pass

    logger, handlers = logging.getLogger("tests.taken.over"), [AdminEmailHandler(include_html=True), Own()]
    handlers[0].setLevel("CRITICAL")
    logger.handlers = list(handlers)
    take_over()
    logger.handlers = []
    assert [type(handler) for handler in handlers] == [AdminEventHandler, Own]
    assert (handlers[0].include_html, handlers[0].level) == (True, logging.CRITICAL)


def test_without_intervals_each_is_mailed_with_its_report(logger: logging.Logger, settings: Any) -> None:
    settings.NOTIFY_INTERVAL = 0
    for _ in range(3):
        divide(logger, 0)
    assert notify_due() == 3
    assert all(b"Traceback" in bytes(message.body.mime) for message in Message.objects.select_related("body"))


def test_the_mail_is_for_operators_as_the_report_is(logger: logging.Logger, client: Client) -> None:
    divide(logger, 0)
    notify_due()
    message = Message.objects.select_related("body").get()
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_message"))
    client.force_login(viewer)
    page = f"/admin/notify/message/{message.pk}"
    assert [client.get(f"{page}/{part}/").status_code for part in ("html", "source", "download")] == [403] * 3
    assert "Traceback" not in client.get(f"{page}/change/").content.decode()
    assert b"X-Flasky" not in bytes(message.body.mime)


@pytest.mark.parametrize("name", ["password", "old_password", "new_password1", "password2", "api_key", "Token"])
def test_a_report_masks_what_forms_send_by_its_name_whether_or_not_the_view_was_reached(name: str) -> None:
    request = RequestFactory().post("/admin/login/", {"username": "ann", name: "open sesame"})
    try:
        raise DatabaseError("before the view")
    except DatabaseError:
        reporter = Reporter(request, *sys.exc_info(), is_email=True)
    for report in (reporter.get_traceback_text(), reporter.get_traceback_html()):
        assert "open sesame" not in report
        assert "ann" in report


def test_a_503_that_a_view_means_is_no_server_error(settings: Any) -> None:
    meant = logging.makeLogRecord({"levelno": logging.ERROR, "exc_info": None})
    fault = logging.makeLogRecord({"levelno": logging.ERROR, "exc_info": (1, 2, 3)})
    configurator = logging.config.DictConfigurator(settings.LOGGING)
    raised = configurator.configure_filter(settings.LOGGING["filters"]["raised"])
    assert "raised" in settings.LOGGING["handlers"]["admins"]["filters"]
    assert not raised.filter(meant)
    assert raised.filter(fault)


@pytest.mark.parametrize("error", [DatabaseError, InterfaceError])
def test_an_error_that_cannot_be_stored_raises_nothing(
    logger: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: type[Exception],
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error("the database is away")

    monkeypatch.setattr(mail, "notify_admins", fail)
    divide(logger, 0)
    assert capsys.readouterr().err == ""
    assert not Event.objects.exists()
