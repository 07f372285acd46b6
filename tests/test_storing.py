"""Where the caller's transaction will not do: in an event loop, and for reports that outlive a rollback."""

import asyncio
import contextlib
import threading
from typing import Any

import pytest
from django.conf import settings as flasky
from django.core import mail
from django.core.mail import EmailMessage
from django.db import InterfaceError, OperationalError, connection, transaction

from notify import dispatch, outbox, storing
from notify.dispatch.dispatcher import Dispatcher
from notify.models import Message, Relay
from notify.outbox import is_error_report, rows_of

ADMIN = "admin@example.com"


def add(state: str) -> None:
    Relay.objects.create(state=state, fingerprint=state)


@pytest.mark.django_db(transaction=True)
def test_in_an_event_loop_a_thread_writes_and_what_it_raises_is_raised() -> None:
    async def call(write: Any) -> None:
        storing.store(write)

    asyncio.run(call(lambda: add("open")))
    assert Relay.objects.count() == 1
    with pytest.raises(ZeroDivisionError):
        asyncio.run(call(lambda: 1 / 0))


@pytest.mark.django_db
def test_elsewhere_the_caller_writes_in_its_transaction() -> None:
    threads: list[threading.Thread] = []
    storing.store(lambda: threads.append(threading.current_thread()))
    assert threads == [threading.current_thread()]


@pytest.fixture
def outside_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mail, "outbox")


def undo(write: Any) -> None:
    with transaction.atomic():
        add("paused")  # on SQLite no other connection can write from here on
        storing.store_apart(write)
        transaction.set_rollback(True)
    for thread in threading.enumerate():
        if thread.name == "store-reports":
            thread.join(30)


@pytest.mark.django_db(transaction=True)
def test_what_is_written_apart_is_kept_where_the_transaction_is_rolled_back(outside_tests: None) -> None:
    undo(lambda: add("open"))
    assert [relay.state for relay in Relay.objects.all()] == ["open"]


@pytest.mark.django_db(transaction=True)
def test_under_a_test_runner_all_is_rolled_back_with_the_test() -> None:
    undo(lambda: add("open"))
    assert not Relay.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError("database is locked"), InterfaceError("connection already closed")])
def test_a_database_that_is_unavailable_is_tried_again_and_one_that_stays_so_is_logged(
    outside_tests: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(storing, "RETRIES", (0, 0))
    tries: list[int] = []

    def locked(until: int) -> None:
        tries.append(1)
        if len(tries) < until:
            raise error
        add("open")

    undo(lambda: locked(3))
    assert (len(tries), Relay.objects.count()) == (3, 1)
    undo(lambda: locked(9))
    assert (len(tries), Relay.objects.count()) == (6, 1)
    assert f"the report of an error could not be stored: {error}" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_report_that_is_tried_again_takes_no_place_that_another_mail_has_meanwhile(
    outside_tests: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "RETRIES", (0,))
    monkeypatch.setattr(dispatch, "wake", lambda: None)
    [report] = rows_of(EmailMessage("Report", "of an error", to=[ADMIN]))
    tries: list[int] = []

    def write() -> None:
        tries.append(1)
        if len(tries) == 1:
            with contextlib.suppress(OperationalError), transaction.atomic():
                outbox._save([[report]])
                raise OperationalError("disk I/O error")  # as the transaction is committed
            EmailMessage("Hi", "Ann's own", to=["ann@example.com"]).send()
            raise OperationalError("disk I/O error")
        outbox._save([[report]])

    storing._insist(write)
    stored = Message.objects.order_by("subject").values_list("subject", "recipient", "body__mime")
    texts = [(subject, to, bytes(mime).rstrip().rpartition(b"\r\n")[2]) for subject, to, mime in stored]
    assert texts == [("Hi", "ann@example.com", b"Ann's own"), ("Report", ADMIN, b"of an error")]


@pytest.mark.django_db(transaction=True)
def test_a_report_that_cannot_be_written_at_all_keeps_no_other(
    outside_tests: None, caplog: pytest.LogCaptureFixture
) -> None:
    undo(lambda: 1 / 0)
    assert "the report of an error could not be stored: division by zero" in caplog.text
    undo(lambda: add("open"))
    assert Relay.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_process_that_is_ended_by_a_signal_writes_its_reports_first(
    outside_tests: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "RETRIES", (0.3,))
    dispatcher = Dispatcher()
    monkeypatch.setattr(dispatch, "_dispatcher", dispatcher)
    tries: list[int] = []

    def write() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OperationalError("database is locked")
        add("open")

    with transaction.atomic():
        storing.store_apart(write)
    dispatcher.stop()  # what the signal's handler does before it passes the signal on
    assert Relay.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_no_more_reports_wait_than_are_kept_and_the_others_are_in_the_transaction(
    outside_tests: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "KEPT", 0)
    with transaction.atomic():
        storing.store_apart(lambda: add("open"))
        assert Relay.objects.count() == 1
    assert connection.in_atomic_block is False


@pytest.mark.parametrize(
    ("subject", "sender", "to", "is_one"),
    [
        ("ERROR: Broken", "", [ADMIN], True),
        ("CRITICAL: Broken", "", [ADMIN], True),
        ("ERROR (EXTERNAL IP): Internal Server Error: /", "", [ADMIN], True),
        ("WARNING (internal IP): Not Found: /", "", [ADMIN], True),
        ("New order", "", [ADMIN], False),
        ("Order: one chair", "", [ADMIN], False),
        ("ERROR: Broken", "ann@example.com", [ADMIN], False),
        ("ERROR: Broken", "", ["ann@example.com"], False),
        ("ERROR: Broken", "", [ADMIN, "ann@example.com"], False),
    ],
)
def test_a_report_is_known_by_sender_recipients_and_level(
    subject: str, sender: str, to: list[str], is_one: bool
) -> None:
    mail = EmailMessage(flasky.EMAIL_SUBJECT_PREFIX + subject, "", sender or flasky.SERVER_EMAIL, to)
    assert is_error_report(mail) == is_one
