"""Server errors are events: the first of a kind is mailed at once, the others are counted, so that none can flood."""

import logging
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import RequestFactory

from notify import mail
from notify.events.context import load
from notify.events.digest import notify_due
from notify.models import Event, Message
from notify.operations.errors import AdminEventHandler

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _administrators(settings: Any) -> None:
    settings.FLASKY_ADMIN = ["admin@example.com"]
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
    report = load(event.context)["report"]
    assert "Traceback" in report
    assert "divide?by=nothing" in report


def test_an_error_that_cannot_be_stored_raises_nothing(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("the database is away")

    monkeypatch.setattr(mail, "notify_admins", fail)
    divide(logger, 0)
    assert capsys.readouterr().err == ""
    assert not Event.objects.exists()
