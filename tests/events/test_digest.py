"""Notified at once, never flooded: what the worker mails of waiting events, with the time passed in."""

import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import InternalError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from notify.events import digest
from notify.events.digest import notify_due
from notify.mail import notify_admins
from notify.models import Event, Message, Window
from notify.rendering import message as rendering
from notify.visitors import signals
from notify.visitors.models import Visitor
from tests.events.conftest import START, Clock
from tests.events.test_record import together
from tests.samples import parsed, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _intervals(settings: Any) -> None:
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = 2, 60


def tell(*keys: object, topic: str = "order", template: str = "notify/mail/test") -> None:
    for key in keys:
        notify_admins(
            topic, "New order", template, key=str(key), summary=f"Order {key}", url=f"https://x.example/{key}"
        )


def subjects() -> list[str]:
    return list(Message.objects.order_by("id").values_list("subject", flat=True))


def waiting() -> list[str]:
    return list(Event.objects.waiting().order_by("id").values_list("key", flat=True))


# --- one by one, then folded --------------------------------------------------------------------------------------


def test_the_first_event_opens_an_interval_and_takes_its_first_slot(clock: Clock) -> None:
    tell(1)
    assert notify_due(clock.at(1)) == 1
    window = Window.objects.get()
    assert (window.topic, window.opened_at, window.singles) == ("order", clock.now, 1)
    event = Event.objects.get()
    assert (event.notified_at, event.message_id) == (clock.now, Message.objects.get().message_id)


def test_the_first_of_a_burst_come_one_by_one_and_the_rest_in_one_digest(clock: Clock) -> None:
    for number in range(5):
        tell(number)
        notify_due(clock.now)
    assert subjects() == ["[Flasky] New order: Order 0", "[Flasky] New order: Order 1"]
    assert notify_due(clock.at(59.9)) == 0
    assert notify_due(clock.at(60)) == 1
    assert subjects()[2:] == ["[Flasky] 3 × New order: Order 4, Order 3, Order 2"]
    assert notify_due(clock.at(61)) == 0
    assert waiting() == []


def test_names_in_a_digests_subject_are_no_links(clock: Clock) -> None:
    for number in range(2):
        tell(number)
    notify_due(clock.at(0))
    for name in ("evil.com", "me@evil.example.com", "a。b", "Mr. Ann", "J.R. Smith..."):
        notify_admins("order", "New order", "notify/mail/test", key=name, summary=name, url="https://x.example/")
    notify_due(clock.at(60))
    subject = subjects()[-1]
    assert subject.startswith("[Flasky] 5 × New order: J.\u200bR. Smith.")
    assert "Mr. Ann, a。\u200bb, me@evil.\u200bexample.\u200b…" in subject


@pytest.mark.parametrize(
    ("summary", "subject"),
    [
        ("Ada Lovelace", "[Flasky] New order: Ada Lovelace"),
        ("evil.com", "[Flasky] New order: evil.\u200bcom"),
        ("Ann\r\nBcc: v@x.example", "[Flasky] New order: Ann Bcc: v@x.\u200bexample"),
        ("x" * 200, f"[Flasky] New order: {'x' * 55}…"),
        ("New order", "[Flasky] New order"),
        ("", "[Flasky] New order"),
    ],
)
def test_a_single_mails_subject_names_what_happened(clock: Clock, summary: str, subject: str) -> None:
    notify_admins("order", "New order", "notify/mail/test", key="1", summary=summary, url="https://x.example/")
    notify_due(clock.now)
    assert subjects() == [subject]
    assert len(subject) <= 76


def test_a_burst_that_a_worker_finds_at_once_is_mailed_as_one_that_it_saw_coming(clock: Clock) -> None:
    tell(*range(5))
    assert notify_due(clock.now) == 2
    assert waiting() == ["2", "3", "4"]
    assert notify_due(clock.at(60)) == 1
    assert len(subjects()) == 3


def test_the_oldest_are_mailed_first(clock: Clock) -> None:
    tell(*range(3))
    notify_due(clock.now)
    by_mail = dict(Event.objects.values_list("message_id", "key"))
    assert [by_mail[row.message_id] for row in Message.objects.order_by("id")] == ["0", "1"]


def test_a_digest_opens_the_next_interval_with_its_whole_burst(clock: Clock) -> None:
    tell(*range(3))
    notify_due(clock.now)
    notify_due(clock.at(60))
    window = Window.objects.get()
    assert (window.opened_at, window.singles) == (clock.now, 0)
    clock.at(61)
    tell("a", "b", "c")
    assert notify_due(clock.now) == 2
    assert waiting() == ["c"]


def test_when_it_is_quiet_again_the_next_event_is_mailed_at_once(clock: Clock) -> None:
    tell(*range(3))
    notify_due(clock.now)
    notify_due(clock.at(60))
    clock.at(121)
    tell("later")
    assert notify_due(clock.now) == 1
    assert subjects()[3:] == ["[Flasky] New order: Order later"]


def test_an_event_at_the_end_of_an_interval_joins_the_digest_that_is_due(clock: Clock) -> None:
    tell(*range(3))
    notify_due(clock.now)
    clock.at(60)
    tell(3)
    assert notify_due(clock.now) == 1
    assert subjects()[2] == "[Flasky] 2 × New order: Order 3, Order 2"


def test_a_worker_that_was_away_for_longer_than_an_interval_sends_one_digest(clock: Clock) -> None:
    tell(*range(9))
    assert notify_due(clock.at(60)) == 1
    assert subjects() == ["[Flasky] 9 × New order: Order 8, Order 7, Order 6, Order 5, Order 4, Order…"]


def test_topics_do_not_flood_each_other(clock: Clock) -> None:
    tell(*range(4))
    tell(1, topic="refund")
    assert notify_due(clock.now) == 3
    assert sorted(Window.objects.values_list("topic", "singles")) == [("order", 2), ("refund", 1)]


def test_interval_zero_never_folds_and_needs_no_interval(clock: Clock, settings: Any) -> None:
    settings.NOTIFY_INTERVAL = 0
    tell(*range(9))
    assert notify_due(clock.at(1000)) == 9
    assert subjects() == [f"[Flasky] New order: Order {number}" for number in range(9)]
    assert Window.objects.get().opened_at is None


def test_what_waited_in_an_interval_is_not_folded_once_the_interval_is_zero(clock: Clock, settings: Any) -> None:
    tell(*range(5))
    notify_due(clock.now)
    settings.NOTIFY_INTERVAL = 0
    assert notify_due(clock.at(1)) == 3
    assert subjects() == [f"[Flasky] New order: Order {number}" for number in range(5)]


def test_interval_zero_mails_a_backlog_in_turns(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.NOTIFY_INTERVAL = 0
    monkeypatch.setattr(digest, "UNFOLDED_AT_ONCE", 4)
    tell(*range(9))
    assert [notify_due() for _ in range(4)] == [4, 4, 1, 0]


@pytest.mark.parametrize(("interval", "mails"), [(0, 9), (60, 2)])
def test_waiting_events_are_read_once_in_a_turn_and_not_for_each_mail(settings: Any, interval: int, mails: int) -> None:
    settings.NOTIFY_INTERVAL = interval
    tell(*range(9))
    with CaptureQueriesContext(connection) as queries:
        assert notify_due() == mails
    reads = [query["sql"] for query in queries if re.match(r'SELECT.* FROM "notify_event"', query["sql"])]
    assert len(reads) == 2  # the topics, and the oldest events of one


def test_what_a_stored_digest_covers_is_not_mailed_singly_by_a_worker_whose_interval_is_zero(settings: Any) -> None:
    settings.NOTIFY_INTERVAL = 0
    tell(1, 2)
    covered, later = Event.objects.order_by("id")
    # Another worker stored it after this one had read its events, and has not marked all of them yet.
    Window.objects.create(topic="order", digest="<digest@example.com>", digest_to=covered.pk)
    assert [digest._mail_singly(event, timezone.now()) for event in (covered, later)] == [0, 1]
    assert subjects() == ["[Flasky] New order: Order 2"]


def test_a_clock_set_back_ends_an_interval_that_has_not_begun(clock: Clock) -> None:
    clock.at(7200)
    tell("future")
    notify_due(clock.now)
    clock.at(0)
    tell("now")
    assert notify_due(clock.now) == 1
    assert Window.objects.get().opened_at == clock.now


def test_a_digest_shows_the_newest_twenty_and_links_to_all(clock: Clock) -> None:
    tell(*range(27))
    notify_due(clock.now)
    notify_due(clock.at(60))
    body = text_of(Message.objects.latest("id"))
    assert "and 5 more" in body
    assert "Order 26" in body
    assert "Order 7\n" in body
    assert "Order 6\n" not in body
    assert "/admin/notify/event/?message_id=" in body


def test_without_administrators_waiting_events_are_notified_to_nobody(clock: Clock, settings: Any) -> None:
    tell(*range(4))
    notify_due(clock.now)
    settings.FLASKY_ADMIN = []
    assert notify_due(clock.at(60)) == 0
    assert len(subjects()) == 2
    assert waiting() == []


def test_one_mail_goes_to_every_administrator(settings: Any) -> None:
    settings.FLASKY_ADMIN = ["a@example.com", "b@example.com"]
    tell(1)
    assert notify_due() == 1
    rows = Message.objects.order_by("id")
    assert {row.recipient for row in rows} == {"a@example.com", "b@example.com"}
    assert {parsed(row)["To"] for row in rows} == {"a@example.com, b@example.com"}
    assert {row.message_id for row in rows} == {Event.objects.get().message_id}


def test_the_mails_of_a_topic_and_day_are_a_thread() -> None:
    tell(1, 2)
    notify_due()
    first, second = map(parsed, Message.objects.order_by("id"))
    assert first["References"] == second["References"] == first["In-Reply-To"]
    assert first["References"].startswith("<order.")
    assert first["List-Id"] == "<order.example.com>"
    assert first["Auto-Submitted"] == "auto-generated"


def test_an_event_of_a_version_that_kept_no_template_is_mailed_by_summary_and_link() -> None:
    Event.objects.create(topic="order", key="1", subject="New order", summary="Order 1", url="https://x.example/1")
    assert notify_due() == 1
    text = text_of(Message.objects.get())
    assert "Order 1" in text
    assert "https://x.example/1" in text
    assert Event.objects.get().error == ""


# --- what fails ---------------------------------------------------------------------------------------------------


@pytest.fixture
def own_template(settings: Any, tmp_path: Path) -> Callable[[str], None]:
    """What the template `own` says: `own_template("Hello")`."""
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path, *settings.TEMPLATES[0]["DIRS"]]}]

    def make(text: str) -> None:
        for kind in ("txt", "html"):
            (tmp_path / f"own.{kind}").write_text(text)

    return make


def failures() -> tuple[int, str]:
    return Event.objects.values_list("failures", "error").get(key="bad")


def test_a_template_that_fails_is_reported_and_tried_again_after_thirty_seconds(
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    own_template: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own_template("mended")
    tell("bad", template="own")
    with monkeypatch.context() as broken:
        fail_for("own", broken)
        assert notify_due(clock.now) == 0
    assert failures() == (1, "ZeroDivisionError: division by zero")
    assert caplog.text.count("the notification of event") == 1
    assert notify_due(clock.at(29.9)) == 0
    assert failures()[0] == 1
    assert notify_due(clock.at(30)) == 1
    assert text_of(Message.objects.get()) == "mended\n"


def test_after_the_third_failure_the_event_is_mailed_by_its_summary_and_link(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tell("bad", template="own")
    assert [notify_due(clock.at(seconds)) for seconds in (0, 30, 59, 60)] == [0, 0, 0, 1]
    assert failures() == (3, "TemplateDoesNotExist: own.txt")
    assert list(Event.objects.failing()) == [Event.objects.get()]
    message = Message.objects.get()
    assert message.subject == "[Flasky] New order: Order bad"
    assert "Order bad" in text_of(message)
    assert "https://x.example/bad" in text_of(message)
    assert caplog.text.count("the notification of event") == 3
    assert notify_due(clock.at(1000)) == 0


def test_a_template_that_fails_keeps_no_other_event_of_its_topic(clock: Clock) -> None:
    tell("bad", template="own")
    tell(1)
    assert notify_due(clock.now) == 1
    tell(2, 3)
    assert notify_due(clock.at(1)) == 1  # a failure takes no slot
    assert waiting() == ["bad", "3"]


def test_an_event_that_failed_is_in_the_digest_that_comes_first(clock: Clock) -> None:
    tell("bad", template="own")
    tell(1, 2, 3)
    assert notify_due(clock.now) == 1
    assert notify_due(clock.at(1)) == 1
    assert waiting() == ["bad", "3"]
    assert notify_due(clock.at(60)) == 1
    assert subjects()[-1] == "[Flasky] 2 × New order: Order 3, Order bad"


def test_a_query_that_fails_in_a_template_costs_its_event_only(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A query that times out each time is an OperationalError, as is a database that is away: delivery must go on."""

    def query(text: str) -> Any:
        raise OperationalError("canceling statement due to statement timeout")

    tell("bad")
    with monkeypatch.context() as patched:
        patched.setattr(digest, "load_context", query)
        assert notify_due(clock.now) == 0
    assert failures() == (1, "OperationalError: canceling statement due to statement timeout")
    assert notify_due(clock.at(30)) == 1


def test_a_mail_that_cannot_be_written_is_a_failure_of_its_event(
    clock: Clock, own_template: Callable[[str], None]
) -> None:
    own_template("{{ typed }}")
    notify_admins("order", "New order", "own", key="bad", summary="s", url="https://x.example/", typed="\ud800")
    tell(1)
    assert notify_due(clock.now) == 1
    assert failures()[1].startswith("UnicodeEncodeError: ")
    assert [notify_due(clock.at(seconds)) for seconds in (30, 60)] == [0, 1]
    assert waiting() == []


@pytest.mark.parametrize("error", ["NUL \0 and \ud800", "x" * 5000], ids=["not storable", "long"])
def test_what_a_template_raises_is_kept_whatever_it_says(
    error: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(error)

    monkeypatch.setattr(rendering, "build", fail)
    monkeypatch.setattr(digest.logger, "exception", lambda *args: None)  # pytest-xdist takes no lone surrogates
    tell("bad")
    assert notify_due(clock.now) == 0
    assert failures()[1] == {"N": "RuntimeError: NUL  and ?", "x": "RuntimeError: " + "x" * 1986}[error[0]]


def test_an_event_that_failed_does_not_wait_for_a_clock_that_was_set_back(clock: Clock) -> None:
    clock.at(7200)
    tell("bad", template="own")
    notify_due(clock.now)
    notify_due(clock.at(0))
    assert failures()[0] == 2


def fail_for(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build = rendering.build

    def build_or_fail(to: Any, subject: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        return 1 / 0 if name == template else build(to, subject, name, *args, **kwargs)

    monkeypatch.setattr(rendering, "build", build_or_fail)


def test_a_digest_that_cannot_be_built_leaves_its_events_waiting_and_is_tried_again_after_thirty_seconds(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tell(*range(4))
    notify_due(clock.now)
    with monkeypatch.context() as broken:
        fail_for("notify/mail/digest", broken)
        assert notify_due(clock.at(60)) == 0
        assert waiting() == ["2", "3"]
        assert Window.objects.get().opened_at == START
        assert "the notifications of topic 'order' could not be built; its events wait" in caplog.text
        assert notify_due(clock.at(89)) == 0
        assert caplog.text.count("could not be built") == 1
        assert notify_due(clock.at(90)) == 0
        assert caplog.text.count("could not be built") == 2
    assert notify_due(clock.at(119)) == 0
    assert notify_due(clock.at(120)) == 1
    assert waiting() == []
    assert Window.objects.get().retry_at is None


def test_a_digest_that_cannot_be_built_keeps_no_other_topic(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    Visitor.objects.create(name="Ann")
    tell(*range(3))
    fail_for("notify/mail/digest", monkeypatch)
    assert notify_due(clock.at(60)) == 1
    assert subjects() == ["[Flasky] New visitor: Ann"]


def test_a_digest_does_not_wait_for_a_clock_that_was_set_back(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    clock.at(7200)
    tell(*range(3))
    with monkeypatch.context() as broken:
        fail_for("notify/mail/digest", broken)
        notify_due(clock.at(7260))
    assert Window.objects.get().retry_at
    assert notify_due(clock.at(0)) > 0


def test_both_templates_failing_lose_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    tell("bad", template="own")
    with monkeypatch.context() as broken:
        fail_for("notify/mail/digest", broken)
        for seconds in range(0, 200, 10):
            assert notify_due(clock.at(seconds)) == 0
    assert waiting() == ["bad"]
    assert notify_due(clock.at(230)) == 1


@pytest.mark.parametrize(
    "error",
    [OperationalError("the connection is lost"), InternalError("cannot execute UPDATE in a read-only transaction")],
    ids=["away", "read-only"],
)
def test_a_database_that_is_unavailable_is_the_workers_to_wait_for(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    tell(1)
    with monkeypatch.context() as broken:
        broken.setattr(Message.objects, "bulk_create", fail)
        with pytest.raises(type(error), match=str(error)):
            notify_due()
    event = Event.objects.get()
    assert (event.notified_at, event.failures) == (None, 0)
    assert not Message.objects.exists()
    assert Window.objects.get().opened_at is None
    assert notify_due() == 1


# --- several workers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("meanwhile", ["single", "digest"])
def test_an_event_that_another_worker_mailed_while_this_one_rendered_is_not_mailed_again(
    meanwhile: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = rendering.build
    tell(1)

    def another_first(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(rendering, "build", build)
        if meanwhile == "digest":
            tell(2, 3)
        assert notify_due(clock.at(60 if meanwhile == "digest" else 0)) == 1
        return build(*args, **kwargs)

    monkeypatch.setattr(rendering, "build", another_first)
    assert notify_due(clock.now) == 0
    assert Message.objects.count() == 1
    assert set(Event.objects.values_list("message_id", flat=True)) == {Message.objects.get().message_id}


def test_an_event_waits_if_another_worker_took_the_last_slot_while_this_one_rendered(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = rendering.build
    tell(1, 2)

    def taken_meanwhile(*args: Any, **kwargs: Any) -> Any:
        Window.objects.update(opened_at=clock.now, singles=2)
        return build(*args, **kwargs)

    monkeypatch.setattr(rendering, "build", taken_meanwhile)
    assert notify_due(clock.now) == 0
    assert waiting() == ["1", "2"]
    assert Window.objects.get().singles == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("interval", [0, 60])
def test_workers_at_once_send_one_mail_per_event_and_one_digest(interval: int, settings: Any) -> None:
    settings.NOTIFY_INTERVAL = interval
    for round_ in range(4):
        tell(*(f"{round_} {number}" for number in range(6)))
        now = timezone.now()
        together(*[lambda: notify_due(now)] * 3)  # noqa: B023  (called before the next round)
        while notify_due(now):
            pass
        if interval:
            Window.objects.update(opened_at=now - digest.RETRY_AFTER * 2)
            Event.objects.waiting().update(created_at=now - digest.RETRY_AFTER)
            results = together(*[lambda: notify_due(now)] * 3)  # noqa: B023
            assert sum(each for each in results if isinstance(each, int)) == 1
            Window.objects.all().delete()
    assert waiting() == []
    told = Counter(Event.objects.values_list("message_id", flat=True))
    assert set(told) == set(Message.objects.values_list("message_id", flat=True))
    assert Counter(told.values()) == ({1: 8, 4: 4} if interval else {1: 24})
    assert Message.objects.count() == len(told)


@pytest.mark.django_db(transaction=True)
def test_many_processes_posting_at_once_notify_of_each_event_once(settings: Any) -> None:
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = 3, 3600
    posting = threading.Event()
    waited: list[BaseException] = []

    def post(poster: int) -> None:
        for number in range(6):
            Visitor.objects.create(name=f"Visitor {poster} {number}")
        connection.close()

    def work() -> None:
        while not posting.is_set():
            try:
                notify_due()
            except OperationalError as error:  # SQLite is busy: as for the worker, later
                waited.append(error)
        connection.close()

    posters = [threading.Thread(target=post, args=[number]) for number in range(8)]
    workers = [threading.Thread(target=work) for _ in range(2)]
    for thread in posters + workers:
        thread.start()
    for thread in posters:
        thread.join()
    posting.set()
    for thread in workers:
        thread.join()
    notify_due()
    assert Message.objects.count() == 3
    assert notify_due(timezone.now() + digest.RETRY_AFTER * 121) == 1
    assert not Event.objects.waiting().exists()
    told = Counter(Event.objects.values_list("message_id", flat=True))
    assert sorted(told.values()) == [1, 1, 1, 45]
    assert Message.objects.count() == 4


# --- any order of things ------------------------------------------------------------------------------------------


@profile(suppress_health_check=list(HealthCheck))
@given(
    burst=st.integers(1, 4),
    interval=st.integers(1, 50),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["event", "event", "event", "visitor", "again", "work", "work", "crash", "break", "mend"]),
            st.integers(0, 30),
        ),
        max_size=40,
    ),
)
def test_every_event_is_in_exactly_one_mail_and_no_interval_has_more_than_its_digest_and_its_burst(
    burst: int,
    interval: int,
    steps: list[tuple[str, int]],
    settings: Any,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = burst, interval
    for model in (Event, Message, Window, Visitor):
        model.objects.all().delete()  # type: ignore[attr-defined]
    clock.at(0)
    mails_of: Counter[Any] = Counter()
    counted: set[str] = set()

    def work() -> None:
        notify_due(clock.now)
        topics = dict(Event.objects.exclude(message_id="").values_list("message_id", "topic"))
        for message_id in set(topics) - counted:
            mails_of[topics[message_id], Window.objects.get(topic=topics[message_id]).opened_at] += 1
            counted.add(message_id)

    with monkeypatch.context() as patched:
        for number, (step, wait) in enumerate(steps):
            clock.at(clock.seconds + wait)
            if step == "event":
                tell(number)
            elif step == "again":
                tell(0)
            elif step == "visitor":
                Visitor.objects.create(name=f"V{number}")
            elif step == "crash":
                with transaction.atomic():
                    tell(f"lost {number}")
                    transaction.set_rollback(True)
            elif step == "break":
                fail_for("notify/mail/digest", patched)
            elif step == "mend":
                patched.undo()
            else:
                work()
    for _ in range(2):
        clock.at(clock.seconds + interval + 31)
        work()
    assert waiting() == []
    assert not Event.objects.filter(key__startswith="lost").exists()
    assert set(Event.objects.values_list("message_id", flat=True)) == set(
        Message.objects.values_list("message_id", flat=True)
    )
    assert all(count <= burst + 1 for count in mails_of.values())
    assert Event.objects.filter(topic=signals.TOPIC).count() == Visitor.objects.count()


def test_events_are_overdue_from_the_end_of_their_interval_on(clock: Clock) -> None:
    tell(1)
    assert digest.overdue(clock.now) == 1
    notify_due(clock.now)
    tell(2, 3, 4)
    notify_due(clock.now)
    assert Event.objects.waiting().count() == 2
    assert digest.overdue(clock.at(59.9)) == 0
    assert digest.overdue(clock.at(60)) == 2
    assert notify_due(clock.now) == 1
    assert digest.overdue(clock.now) == 0


# --- very many ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "MARKED_AT_ONCE", 10)


@pytest.mark.parametrize("count", [9, 10, 11, 20, 25])
def test_a_large_digest_is_one_mail_whose_events_are_marked_in_parts(
    count: int, clock: Clock, small_parts: None
) -> None:
    tell(*range(2))
    notify_due(clock.now)
    tell(*range(10, 10 + count))
    assert notify_due(clock.at(60)) == 1
    assert subjects()[-1].startswith(f"[Flasky] {count} × New order: ")
    assert waiting() == []
    told = Event.objects.filter(message_id=Message.objects.latest("id").message_id)
    assert told.count() == count
    assert Window.objects.values_list("digest", "digest_to").get() == ("", None)
    assert notify_due(clock.at(121)) == 0


def test_a_large_digest_whose_worker_died_is_recorded_by_the_next_and_mailed_once(
    clock: Clock, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(*range(25))
    with monkeypatch.context() as patch:
        patch.setattr(digest, "_mark_all", lambda *args: 1 / 0)
        assert notify_due(clock.at(60)) == 0
    assert len(waiting()) == 15
    Window.objects.update(retry_at=None)
    tell("late")
    assert notify_due(clock.at(61)) == 1  # the late one, in the digest's own interval
    assert waiting() == []
    assert [line.partition(": ")[0] for line in subjects()] == ["[Flasky] 25 × New order", "[Flasky] New order"]
    assert Event.objects.filter(message_id=Message.objects.earliest("id").message_id).count() == 25


def test_what_a_stored_digest_covers_is_not_overdue_while_it_is_marked(
    clock: Clock, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(*range(2))
    notify_due(clock.now)
    tell(*range(10, 35))
    tell("other", topic="other")
    monkeypatch.setattr(digest, "_mark_all", lambda *args: False)
    assert notify_due(clock.at(60)) == 2
    assert len(waiting()) == 15
    assert (digest.overdue(clock.now), digest.oldest_due()) == (0, None)
    tell("late")
    late = Event.objects.get(key="late")
    assert (digest.overdue(clock.now), digest.oldest_due()) == (1, late.created_at)
