"""`notify_admins` in the caller's transaction: one INSERT and a wake-up, in a flood or not; nobody waits for it."""

import re
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models.signals import post_save
from django.test import Client
from django.test.signals import template_rendered
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy

from notify import dispatch
from notify.events.digest import notify_due
from notify.mail import notify_admins
from notify.models import Event, Message, Window
from notify.rendering import message as rendering
from notify.visitors import signals
from notify.visitors.models import Visitor

pytestmark = pytest.mark.django_db


def tell(key: str = "1", topic: str = "order", template: str = "notify/mail/test", **given: Any) -> None:
    given = {"summary": f"Order {key}", "url": "https://x.example/", **given}
    notify_admins(topic, "New order", template, key=key, **given)


def statements(queries: CaptureQueriesContext) -> list[str]:
    """Verb and table of each."""
    return [
        " ".join([query["sql"].split()[0], *re.findall(r'"(notify_\w+)"', query["sql"])[:1]])
        for query in queries.captured_queries
    ]


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One for each wake-up: whether it came within a transaction."""
    wakes: list[bool] = []
    monkeypatch.setattr(dispatch, "wake", lambda: wakes.append(connection.in_atomic_block))
    return wakes


# --- what is kept -------------------------------------------------------------------------------------------------


def test_all_that_the_worker_needs_is_kept() -> None:
    before = timezone.now()
    notify_admins("order", "New", "mail/own", key="7", summary="Order 7", url="https://x.example/7", price=3)
    event = Event.objects.get()
    assert (event.topic, event.key, event.subject, event.template) == ("order", "7", "New", "mail/own")
    assert (event.summary, event.url, event.context) == ("Order 7", "https://x.example/7", '{"price": 3}')
    assert (event.notified_at, event.message_id, event.failures, event.retry_at, event.error) == (None, "", 0, None, "")
    assert before <= event.created_at <= timezone.now()


def test_the_same_topic_and_key_are_one_event_as_it_was_first() -> None:
    tell("1", summary="first")
    tell("1", summary="second")
    tell("1", topic="refund")
    assert sorted(Event.objects.values_list("topic", "summary")) == [("order", "first"), ("refund", "Order 1")]


def test_an_event_that_was_notified_is_not_notified_again() -> None:
    tell()
    notify_due()
    tell()
    assert notify_due() == 0
    assert (Event.objects.count(), Message.objects.count()) == (1, 1)


LIMITS = {"topic": 100, "key": 200, "url": 500, "template": 200}


@pytest.mark.parametrize(("name", "limit"), LIMITS.items())
def test_what_is_longer_than_its_column_is_refused_on_every_database(name: str, limit: int) -> None:
    tell(**{name: "x" * limit})
    assert getattr(Event.objects.get(), name) == "x" * limit
    with pytest.raises(ValueError, match=f"^notify_admins: {name} has {limit + 1} characters, {limit} at most$"):
        tell(**{name: "x" * (limit + 1)})
    assert Event.objects.count() == 1


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("evil", ["a\0b", "a\ud800b"], ids=ascii)
def test_what_not_every_database_takes_is_refused_on_all(name: str, evil: str) -> None:
    with pytest.raises(ValueError, match=f"^notify_admins: {name} contains NUL or a lone surrogate$"):
        tell(**{name: evil})
    assert not Event.objects.exists()


@pytest.mark.parametrize("name", ["topic", "key", "url", "template", "summary"])
@pytest.mark.parametrize("value", [7, None])
def test_what_is_not_text_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^notify_admins: {name} is a {type(value).__name__}, not a string$"):
        tell(**{name: value})
    assert not Event.objects.exists()


def test_so_is_a_subject_that_is_none() -> None:
    with pytest.raises(TypeError, match=r"^notify_admins: subject is a NoneType, not a string$"):
        notify_admins("order", None, "notify/mail/test", key="1", summary="", url="")  # type: ignore[arg-type]


def test_what_is_shown_is_cut_made_one_line_and_storable() -> None:
    notify_admins("order", "s" * 300, "notify/mail/test", key="1", summary="x" * 600, url="https://x.example/")
    notify_admins("order", "S\0\ud800", "notify/mail/test", key="2", summary="a\r\n\x0bb\u2028\0\ud800c", url="")
    first, second = Event.objects.order_by("id")
    assert (first.subject, first.summary) == ("s" * 200, "x" * 500)
    assert (second.subject, second.summary) == ("S?", "a b ?c")


def test_a_lazy_subject_is_kept_in_the_sites_language(settings: Any) -> None:
    settings.LANGUAGE_CODE = "zh-hans"
    with translation.override("en"):
        notify_admins("x", gettext_lazy("New visitor"), "notify/mail/test", key="1", summary="s", url="")
    assert Event.objects.get().subject == "新访客"


def test_without_administrators_nobody_is_notified_now_or_later(settings: Any) -> None:
    administrators, settings.FLASKY_ADMIN = settings.FLASKY_ADMIN, []
    tell()
    assert Event.objects.get().notified_at
    assert notify_due() == 0
    settings.FLASKY_ADMIN = administrators
    tell()
    assert notify_due() == 0
    assert not Message.objects.exists()


# --- what it costs ------------------------------------------------------------------------------------------------


def no_event_yet() -> None:
    """Nobody was ever notified: the topic has no row."""


def slots_are_left() -> None:
    Window.objects.create(topic=signals.TOPIC, opened_at=timezone.now(), singles=1)


def slots_are_taken() -> None:
    Window.objects.create(topic=signals.TOPIC, opened_at=timezone.now(), singles=5)


def the_interval_is_over() -> None:
    Window.objects.create(topic=signals.TOPIC, opened_at=timezone.now() - timedelta(seconds=301), singles=5)


def a_digest_is_due() -> None:
    the_interval_is_over()
    Event.objects.create(topic=signals.TOPIC, key="waiting", subject="s", summary="s")


def a_flood_waits() -> None:
    slots_are_taken()
    Event.objects.bulk_create(
        Event(topic=signals.TOPIC, key=f"waiting {number}", subject="s", summary="s") for number in range(500)
    )


SITUATIONS = [no_event_yet, slots_are_left, slots_are_taken, the_interval_is_over, a_digest_is_due, a_flood_waits]


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Mails that were built."""
    built: list[Any] = []
    build = rendering.build
    monkeypatch.setattr(rendering, "build", lambda *args, **kwargs: built.append(args) or build(*args, **kwargs))
    return built


@pytest.mark.parametrize("interval", [0, 300])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_an_event_is_one_insert_and_nothing_else(
    situation: Callable[[], None], interval: int, settings: Any, rendered: list[Any]
) -> None:
    settings.NOTIFY_INTERVAL = interval
    situation()
    visitor = Visitor(pk=7, name="Ann")
    visitor._state.adding = False
    with CaptureQueriesContext(connection) as queries:
        tell("1", topic=signals.TOPIC, visitor=visitor)
        tell("1", topic=signals.TOPIC, visitor=visitor)
    assert statements(queries) == ["INSERT notify_event"] * 2
    assert rendered == []
    assert not Message.objects.exists()


def posted(client: Client, name: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert client.post("/", {"name": name}).status_code == 302
    return statements(queries)


@pytest.mark.parametrize("interval", [0, 300])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_post_costs_one_insert_more_than_without_mail_and_no_rendering(
    situation: Callable[[], None], interval: int, settings: Any, client: Client
) -> None:
    settings.NOTIFY_INTERVAL = interval
    post_save.disconnect(signals.notify_of_new_visitor, sender=Visitor)
    try:
        without_mail = posted(client, "Ann")
    finally:
        post_save.connect(signals.notify_of_new_visitor, sender=Visitor)
    situation()
    templates: list[Any] = []
    template_rendered.connect(note := lambda **facts: templates.append(facts["template"]))
    try:
        with_mail = posted(client, "Bob")
    finally:
        template_rendered.disconnect(note)
    assert Event.objects.latest("id").summary == "Bob"
    assert "INSERT notify_visitor" in without_mail
    assert Counter(with_mail) - Counter(without_mail) == {"INSERT notify_event": 1}
    assert not Counter(without_mail) - Counter(with_mail)
    assert templates == []


# --- the caller's transaction -------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_rollback_takes_the_event_with_it_and_wakes_nobody(woken: list[bool]) -> None:
    with transaction.atomic():
        tell("lost")
        transaction.set_rollback(True)
    with transaction.atomic():
        tell("kept")
        with transaction.atomic():
            tell("lost too")
            transaction.set_rollback(True)
    assert [event.key for event in Event.objects.all()] == ["kept"]
    assert woken == [False]


@pytest.mark.django_db(transaction=True)
def test_the_worker_is_woken_once_after_the_commit_and_not_before(woken: list[bool]) -> None:
    with transaction.atomic():
        tell()
        assert woken == []
    assert woken == [False]
    tell("without a transaction")
    assert woken == [False] * 2


@pytest.mark.django_db(transaction=True)
def test_a_wake_up_that_fails_is_reported_and_costs_the_caller_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.ADMINS = []  # the report of the error is a mail as well, which wakes, too
    monkeypatch.setattr(dispatch, "wake", lambda: 1 / 0)
    with transaction.atomic():
        tell()
    assert Event.objects.waiting().count() == 1
    assert "division by zero" in caplog.text


def test_an_event_that_cannot_be_stored_is_the_callers_to_know() -> None:
    def fail(*statement: Any) -> Any:
        raise DatabaseError("disk full")

    with connection.execute_wrapper(fail), pytest.raises(DatabaseError, match="disk full"):
        tell()


# --- many at once -------------------------------------------------------------------------------------------------


def together(*works: Callable[[], Any]) -> list[Any]:
    """Run these at the same moment, a thread and a connection each; what they returned."""
    barrier, results = threading.Barrier(len(works)), []

    def run(work: Callable[[], Any]) -> None:
        try:
            barrier.wait()
            results.append(work())
        except Exception as error:
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
def test_the_same_event_recorded_by_many_at_once_is_one_event_and_one_mail() -> None:
    assert together(*[tell] * 6) == [None] * 6
    notify_due()
    assert (Event.objects.count(), Message.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("holder", ["visitor", "worker"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_visitors_wait_neither_for_each_other_nor_for_a_worker(situation: Callable[[], None], holder: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    situation()
    holds, done = threading.Event(), threading.Event()
    act: dict[str, Callable[[], Any]] = {"visitor": lambda: Visitor.objects.create(name="Holder"), "worker": notify_due}

    def hold() -> None:
        with transaction.atomic():
            act[holder]()
            holds.set()
            done.wait(10)

    def pass_by() -> None:
        holds.wait(10)
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '1ms'")  # whoever waits for a lock at all fails
                Visitor.objects.create(name="Passer-by")
                cursor.execute("SET LOCAL lock_timeout = 0")
        finally:
            done.set()

    assert together(hold, pass_by) == [None, None]
    later = timezone.now() + timedelta(seconds=1000)
    while notify_due(later):
        pass
    assert not Event.objects.waiting().exists()
