"""The slots of an interval: its boundaries, who gets one, and that nobody waits for them."""

import re
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.signals import post_save
from django.test import Client
from django.test.signals import template_rendered
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from notify import digest, mail, signals, windows
from notify.digest import Sweep
from notify.models import Event, Message, Visitor, Window

pytestmark = pytest.mark.django_db
START = timezone.now().replace(microsecond=0)


def at(seconds: float) -> Any:
    return START + timedelta(seconds=seconds)


@pytest.fixture(autouse=True)
def _intervals(settings: Any) -> None:
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = 2, 60


def happened(key: object, topic: str = "order") -> Event:
    return Event.objects.create(topic=topic, key=str(key), subject="New order", summary=f"Order {key}")


def told(key: object, topic: str = "order") -> Event:
    event = happened(key, topic)
    Event.objects.filter(pk=event.pk).update(notified_at=START)
    return event


def take_slot(event: Event, now: Any) -> bool:
    """As in a visitor's transaction."""
    with transaction.atomic():
        return windows.take_slot(event, now)


def test_the_first_event_opens_an_interval_and_takes_its_first_slot() -> None:
    assert take_slot(told(1), at(0))
    window = Window.objects.get()
    assert (window.topic, window.opened_at, window.singles) == ("order", at(0), 1)


def test_a_burst_has_so_many_slots_and_no_more() -> None:
    assert [take_slot(told(number), at(number)) for number in range(4)] == [True, True, False, False]
    assert Window.objects.get().singles == 2


@pytest.mark.parametrize(("seconds", "taken"), [(59.999, False), (60, True), (1000, True)])
def test_an_interval_ends_the_moment_it_is_over(seconds: float, taken: bool) -> None:
    for number in range(2):
        take_slot(told(number), at(0))
    assert take_slot(told("later"), at(seconds)) == taken


def test_while_others_wait_an_event_joins_them_after_the_end_of_their_interval() -> None:
    take_slot(told(1), at(0))
    happened("waiting")
    assert not take_slot(happened("next"), at(60))


def test_an_event_does_not_wait_for_itself() -> None:
    take_slot(told(1), at(0))
    assert take_slot(happened("only"), at(60))


def test_intervals_of_topics_are_their_own() -> None:
    for number in range(2):
        take_slot(told(number), at(0))
    assert take_slot(told(1, topic="refund"), at(1))


def test_interval_zero_needs_no_window(settings: Any) -> None:
    settings.NOTIFY_INTERVAL = 0
    assert all(take_slot(told(number), at(0)) for number in range(9))
    assert not Window.objects.exists()


def test_a_slot_is_given_back_by_a_rollback() -> None:
    take_slot(told(1), at(0))
    with transaction.atomic():
        assert take_slot(told(2), at(1))
        transaction.set_rollback(True)
    assert Window.objects.get().singles == 1


def test_a_digest_opens_an_interval_with_a_burst_of_its_own() -> None:
    for number in range(2):
        take_slot(told(number), at(0))
    happened("waiting")
    assert Sweep().run(at(60)) == 1
    assert [take_slot(told(f"after {number}"), at(61)) for number in range(3)] == [True, True, False]


def test_an_event_that_found_the_topic_busy_is_told_singly_while_slots_are_left() -> None:
    take_slot(told(1), at(0))
    for number in range(3):
        happened(f"busy {number}")
    assert Sweep().run(at(1)) == 1
    assert Sweep().run(at(2)) == 0
    assert Message.objects.get().subject == "[Flasky] New order"
    assert Event.objects.get(key="busy 0").notified_at == at(1)
    assert Event.objects.waiting().count() == 2
    assert Sweep().run(at(60)) == 1


def test_a_sweep_that_finds_the_events_told_meanwhile_opens_no_interval() -> None:
    take_slot(told(1), at(0))
    assert digest.tell_waiting("order", at(60)) == 0
    assert Window.objects.get().opened_at == at(0)


def test_an_event_that_a_digest_told_meanwhile_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the reading of the event and the slot for it, a sweep may run in another process."""

    def sweep_first(event: Event) -> bool:
        assert Sweep().run(timezone.now() + timedelta(seconds=60)) == 1
        return True

    monkeypatch.setattr(windows, "take_slot", sweep_first)
    mail.notify_admins("order", "New order", "mail/digest", key="1", summary="Order 1", url="https://x.example/")
    assert Message.objects.count() == 1
    assert Event.objects.get().message_id == Message.objects.get().message_id


def test_found_visitors_whose_mail_cannot_be_built_stop_neither_other_topics_nor_delivery(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Window.objects.create(topic=mail.VISITORS, opened_at=at(0))
    Visitor.objects.bulk_create([Visitor(name="Ann")])
    happened("other")
    build = mail.build

    def fail_for_visitors(to: Any, subject: str, *args: Any, **kwargs: Any) -> Any:
        if "visitor" in subject:
            raise ZeroDivisionError
        return build(to, subject, *args, **kwargs)

    monkeypatch.setattr(mail, "build", fail_for_visitors)
    sweep = Sweep()
    assert sweep.run(at(1)) == 1
    assert caplog.text.count("the digest of topic 'new_visitor' was not built") == 1
    assert not Visitor.objects.get().announced
    monkeypatch.undo()
    assert Sweep().run(at(2)) == 1
    assert not Event.objects.waiting().exists()


MOMENTS = st.lists(
    st.tuples(st.sampled_from(["event", "event", "event", "sweep", "break", "mend"]), st.integers(0, 25)), max_size=60
)


@profile(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(burst=st.integers(1, 4), interval=st.integers(1, 40), moments=MOMENTS)
def test_no_interval_has_more_than_its_digest_and_its_burst(
    burst: int, interval: int, moments: list[tuple[str, int]], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NOTIFY_BURST, settings.NOTIFY_INTERVAL = burst, interval
    for model in (Event, Message, Window):
        model.objects.all().delete()  # type: ignore[attr-defined]
    now, broken, mails_of = 0.0, False, Counter[Any]()
    build, stored = mail.build, 0

    def build_or_break(*args: Any, **kwargs: Any) -> Any:
        if broken:
            raise ZeroDivisionError
        return build(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(mail, "build", build_or_break)
        patched.setattr(timezone, "now", lambda: at(now))
        for number, (moment, wait) in enumerate([*moments, ("mend", 0), ("sweep", interval + 1)]):
            now += wait
            waited = Event.objects.waiting().exists()
            live = [windows.is_live(window, at(now)) for window in Window.objects.all()] == [True]
            if moment in ("break", "mend"):
                broken = moment == "break"
            elif moment == "sweep":
                Sweep().run(at(now))
            else:
                mail.notify_admins(
                    "order", "New", "mail/digest", key=str(number), summary="Order", url="https://x.example/"
                )
                if not (broken or waited or live):
                    assert Message.objects.count() == stored + 1, "after a quiet time the next is mailed at once"
            if Message.objects.count() > stored:
                mails_of[Window.objects.get().opened_at] += Message.objects.count() - stored
                stored = Message.objects.count()
    assert not Event.objects.waiting().exists()
    assert all(count <= burst + 1 for count in mails_of.values())
    assert set(Event.objects.values_list("message_id", flat=True)) == set(
        Message.objects.values_list("message_id", flat=True)
    )


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
def test_two_sweeps_at_once_send_one_digest() -> None:
    for round_ in range(5):
        take_slot(told(f"first {round_}"), at(1000 * round_))
        for number in range(3):
            happened(f"{round_} {number}")
        moment = at(1000 * round_ + 60)
        results = together(*[lambda: Sweep().run(moment)] * 3)  # noqa: B023  (called before the next round)
        assert sorted(results) == [0, 0, 1]
    assert Message.objects.count() == 5
    assert Counter(Counter(Event.objects.exclude(message_id="").values_list("message_id", flat=True)).values()) == {
        3: 5
    }


@pytest.mark.django_db(transaction=True)
def test_the_same_event_told_by_many_at_once_is_one_event_and_one_mail() -> None:
    def tell() -> None:
        mail.notify_admins("order", "New order", "mail/digest", key="1", summary="Order 1", url="https://x.example/")

    assert together(*[tell] * 6) == [None] * 6
    Sweep().run()
    assert (Event.objects.count(), Message.objects.count()) == (1, 1)


def nobody_yet() -> None:
    """No event ever: who comes makes the topic's row."""


def slots_are_left() -> None:
    Window.objects.create(topic=mail.VISITORS, opened_at=timezone.now(), singles=1)


def slots_are_taken() -> None:
    Window.objects.create(topic=mail.VISITORS, opened_at=timezone.now(), singles=2)


def the_interval_is_over() -> None:
    Window.objects.create(topic=mail.VISITORS, opened_at=timezone.now() - timedelta(seconds=61), singles=2)


def a_digest_is_due() -> None:
    the_interval_is_over()
    happened("waiting", mail.VISITORS)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("holder", ["visitor", "sweep"])
@pytest.mark.parametrize(
    "situation", [nobody_yet, slots_are_left, slots_are_taken, the_interval_is_over, a_digest_is_due]
)
def test_visitors_wait_neither_for_each_other_nor_for_a_sweep(situation: Callable[[], None], holder: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    situation()
    holds, done = threading.Event(), threading.Event()
    act = {"visitor": lambda: Visitor.objects.create(name="Holder"), "sweep": lambda: Sweep().run()}[holder]

    def hold() -> None:
        with transaction.atomic():
            act()
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
    assert Sweep().run(timezone.now() + timedelta(seconds=200)) in (0, 1)
    assert not Event.objects.waiting().exists()


@pytest.mark.django_db(transaction=True)
def test_two_that_make_a_topics_first_interval_at_once_make_one_and_nobody_is_left_out() -> None:
    def tell(key: str) -> None:
        mail.notify_admins("order", "New order", "mail/digest", key=key, summary=key, url="https://x.example/")

    assert together(*[lambda key=f"{number}": tell(key) for number in range(6)]) == [None] * 6  # type: ignore[misc]
    Sweep().run()
    assert Window.objects.count() == 1
    # Two come one by one; or each found another at it, and the sweep's digest tells all.
    assert (Message.objects.count(), Event.objects.waiting().count()) in [(2, 4), (1, 0)]


@pytest.mark.django_db
@pytest.mark.parametrize(("seconds_ago", "told_at_once"), [(1, True), (50, False)], ids=["newcomer", "left over"])
def test_only_what_an_ended_interval_left_over_sends_a_newcomer_to_the_digest(
    seconds_ago: int, told_at_once: bool
) -> None:
    now = timezone.now()
    Window.objects.create(topic="order", opened_at=now - timedelta(seconds=100), singles=2)
    waits, comes = (
        Event.objects.create(topic="order", key=key, subject="s", summary=key, created_at=now - timedelta(seconds=ago))
        for key, ago in (("waits", seconds_ago), ("comes", 0))
    )
    assert windows.take_slot(comes, now) is told_at_once
    assert waits.notified_at is None


def statements(client: Client, name: str) -> list[str]:
    """What a post of this name asks of the database: verb and table of each statement."""
    with CaptureQueriesContext(connection) as queries:
        assert client.post("/", {"name": name}).status_code == 302
    return [
        " ".join([query["sql"].split()[0], *re.findall(r'"(notify_\w+)"', query["sql"])[:1]])
        for query in queries.captured_queries
    ]


def test_in_a_flood_a_post_costs_one_insert_more_than_without_mail_one_look_at_a_row_and_no_rendering(
    client: Client,
) -> None:
    post_save.disconnect(signals.tell_of_new_visitor, sender=Visitor)
    try:
        without_mail = statements(client, "Ann")
    finally:
        post_save.connect(signals.tell_of_new_visitor, sender=Visitor)
    slots_are_taken()
    rendered: list[Any] = []
    template_rendered.connect(note := lambda **facts: rendered.append(facts["template"]))
    try:
        in_a_flood = statements(client, "Bob")
    finally:
        template_rendered.disconnect(note)
    assert Event.objects.waiting().get().summary == "Bob"
    assert "INSERT notify_visitor" in without_mail
    more = Counter(in_a_flood) - Counter(without_mail)
    assert more == {"SELECT notify_window": 1, "INSERT notify_event": 1}
    assert not Counter(without_mail) - Counter(in_a_flood)
    assert rendered == []
