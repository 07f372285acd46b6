"""The list of messages: what it shows, how it is narrowed, and that its cost does not grow with the history."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from notify.admin import changelist
from notify.admin.messages import MessageAdmin
from notify.models import Event, Message
from tests.delivery.test_claims import queue
from tests.desk import OPERATE, VIEW, login, store

pytestmark = pytest.mark.django_db
LIST = "/admin/notify/message/"


@pytest.fixture(autouse=True)
def _nobody_is_told(settings: Any) -> None:
    settings.FLASKY_ADMIN = []


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MessageAdmin, "list_per_page", 3)


def shown(client: Client, query: str = "") -> list[int]:
    return [row.pk for row in client.get(LIST + query).context["cl"].result_list]


def test_a_row_has_its_state_its_cause_in_words_and_its_age(admin_client: Client) -> None:
    store(state="failed", diagnosis="refused", uncertain=True, created_at=timezone.now() - timedelta(hours=3))
    page = admin_client.get(LIST).content.decode()
    assert '<span class="message-state message-state-failed">failed</span>' in page
    assert "outcome unknown" in page
    assert "The mail server refuses the connection" in page
    [age] = re.findall(r'<time datetime="[^"]+" title="[-0-9]+ [:0-9]+ UTC">([^<]+)</time>', page)
    assert age == "3\xa0hours ago"


def test_a_cause_nobody_knows_is_shown_in_the_relays_own_words(admin_client: Client) -> None:
    store(state="failed", reply="550 " + "x" * 100)
    assert "550 " + "x" * 75 + "…" in admin_client.get(LIST).content.decode()


def test_pages_lead_back_and_forth_without_a_count_or_an_offset(
    admin_client: Client, small_pages: None, django_assert_max_num_queries: Any
) -> None:
    rows = [row.pk for row in queue(8)][::-1]
    with django_assert_max_num_queries(14) as captured:
        cl = admin_client.get(LIST).context["cl"]
    statements = [query["sql"].upper() for query in captured.captured_queries]
    assert not [sql for sql in statements if "COUNT(" in sql or ("OFFSET" in sql and "NOTIFY_MESSAGE" in sql)]
    assert [row.pk for row in cl.result_list] == rows[:3]
    assert cl.newer is None
    second = admin_client.get(LIST + cl.older_url).context["cl"]
    assert [row.pk for row in second.result_list] == rows[3:6]
    third = admin_client.get(LIST + second.older_url).context["cl"]
    assert [row.pk for row in third.result_list] == rows[6:]
    assert third.older is None
    back = admin_client.get(LIST + third.newer_url).context["cl"]
    assert [row.pk for row in back.result_list] == rows[3:6]
    first = admin_client.get(LIST + back.newer_url).context["cl"]
    assert [row.pk for row in first.result_list] == rows[:3]
    assert first.newer is None


@pytest.mark.parametrize("key", ["x", "-1", "٣", "9" * 30])
def test_a_page_that_is_none_is_the_first(admin_client: Client, key: str) -> None:
    [row] = queue(1)
    assert shown(admin_client, f"?before={key}") == [row.pk]


def test_filters_begin_on_the_first_page(admin_client: Client, small_pages: None) -> None:
    rows = queue(5, state="failed")
    page = admin_client.get(f"{LIST}?before={rows[2].pk}")
    links = re.findall(r'<a href="(\?[^"]*)"', page.content.decode())
    assert [link for link in links if "state=" in link]
    assert not [link for link in links if "state=" in link and "before=" in link]


@pytest.mark.parametrize("state", list(Message.State.values))
def test_messages_are_narrowed_by_state(admin_client: Client, state: str) -> None:
    rows = {each: queue(state=each)[0].pk for each in Message.State.values}
    assert shown(admin_client, f"?state={state}") == [rows[state]]


def test_what_waits_is_what_is_queued_or_being_sent(admin_client: Client) -> None:
    rows = {each: queue(state=each)[0].pk for each in Message.State.values}
    assert shown(admin_client, "?state=waiting") == [rows["sending"], rows["queued"]]


@pytest.mark.parametrize(
    ("query", "words"), [("", "Each mail that this site sends will appear here"), ("?q=x", "No message matches.")]
)
def test_an_empty_list_says_what_will_appear(admin_client: Client, query: str, words: str) -> None:
    assert words in admin_client.get(LIST + query).content.decode()


def test_messages_are_narrowed_by_cause_and_only_by_causes_there_are(admin_client: Client) -> None:
    [refused] = queue(state="failed", diagnosis="refused")
    queue(state="failed", diagnosis="too-large")
    answer = admin_client.get(LIST + "?diagnosis=refused")
    assert [row.pk for row in answer.context["cl"].result_list] == [refused.pk]
    [causes] = [spec for spec in answer.context["cl"].filter_specs if spec.parameter_name == "diagnosis"]
    assert [value for value, words in causes.lookup_choices] == ["refused", "too-large"]


def test_messages_are_narrowed_by_topic_through_the_events_they_told_of(admin_client: Client) -> None:
    [told] = queue(message_id="<a@example.com>")
    queue(message_id="<b@example.com>")
    Event.objects.create(topic="order", key="1", subject="s", summary="s", message_id="<a@example.com>")
    Event.objects.create(topic="visit", key="1", subject="s", summary="s", message_id="<b@example.com>")
    assert shown(admin_client, "?topic=order") == [told.pk]


def test_messages_are_narrowed_by_time(admin_client: Client) -> None:
    now = timezone.now()
    ages = [30 * 24, 6 * 24, 20, 0.5]
    rows = [queue(created_at=now - timedelta(hours=age))[0].pk for age in ages]
    assert shown(admin_client, "?since=1h") == rows[3:]
    assert shown(admin_client, "?since=24h") == rows[:1:-1]
    assert shown(admin_client, "?since=168h") == rows[:0:-1]
    assert shown(admin_client, "?since=nonsense") == rows[::-1]


def test_the_first_key_of_a_moment_is_found_by_halving(django_assert_max_num_queries: Any) -> None:
    now = timezone.now()
    rows = [queue(created_at=now - timedelta(days=100 - day))[0].pk for day in range(100)]
    with django_assert_max_num_queries(12):
        found = changelist.first_key_since(now - timedelta(days=10))
    assert rows[88] < found <= rows[90]
    assert changelist.first_key_since(now + timedelta(days=1)) > rows[-1]


def test_nothing_is_stored_and_every_list_answers(admin_client: Client) -> None:
    for query in ("", "?state=sent", "?q=x", "?since=1h", "?topic=x", "?before=5", "?after=5&q=x"):
        assert shown(admin_client, query) == []


@pytest.mark.parametrize("query", ["q=rare", "topic=order", "state=sent&q=rare"])
def test_what_no_index_finds_is_looked_for_in_bounds_and_the_page_says_so(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(changelist, "SPAN", 10)
    [rare] = queue(message_id="<rare@example.com>", subject="A rare one", state="sent")
    Event.objects.create(topic="order", key="1", subject="s", summary="s", message_id="<rare@example.com>")
    last = queue(25, state="sent")[-1].pk
    answer = admin_client.get(f"{LIST}?{query}")
    cl = answer.context["cl"]
    assert (list(cl.result_list), cl.looked_down_to) == ([], last + 1 - 10)
    assert "were not searched" in answer.content.decode()
    steps = 0
    while not cl.result_list:
        cl, steps = admin_client.get(LIST + cl.older_url).context["cl"], steps + 1
    assert (shown(admin_client, f"?{query}&before={rare.pk + 1}"), steps) == ([rare.pk], 2)
    cl = admin_client.get(f"{LIST}?{query}&after={rare.pk}").context["cl"]
    assert cl.newer == rare.pk + 10


@pytest.mark.parametrize("query", ["state=failed", "state=cancelled", "state=queued", "diagnosis=refused", "q=<i@x.y>"])
def test_what_an_index_finds_is_found_wherever_it_is(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(changelist, "SPAN", 10)
    state = query.partition("state=")[2] or "failed"
    [rare] = queue(message_id="<i@x.y>", state=state, diagnosis="refused")
    queue(25, state="sent")
    cl = admin_client.get(f"{LIST}?{query}").context["cl"]
    assert ([row.pk for row in cl.result_list], cl.looked_down_to, cl.older) == ([rare.pk], None, None)


INDEXED = {
    "?state=failed": "message_unsent",
    "?state=cancelled": "message_unsent",
    "?state=queued": "message_unfinished",
    "?diagnosis=refused": "message_cause",
}


def test_the_plan_of_a_filter_is_a_walk_along_its_index(admin_client: Client) -> None:
    queue(3_000, state="sent")
    for state in ("failed", "cancelled", "queued"):
        queue(20, state=state, diagnosis="refused")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE notify_message")
    for query, index in INDEXED.items():
        plan = admin_client.get(LIST + query).context["cl"].queryset[:101].explain()
        assert index in plan, (query, plan)
        assert "Seq Scan on notify_message" not in plan, (query, plan)


def test_health_and_claims_read_the_same_index(admin_client: Client) -> None:
    queue(3_000, state="sent")
    queue(20)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE notify_message")
    assert "message_unfinished" in Message.objects.due().order_by("due_at")[:1].explain()
    assert "message_unfinished" in Message.objects.cancellable().order_by().explain()


def test_words_are_looked_for_in_subject_and_recipient(admin_client: Client) -> None:
    [row] = queue(subject="New Visitor", recipient="ann@example.com")
    for query in ("visitor", "ANN@", "new ann", "example.com"):
        assert shown(admin_client, f"?q={query}") == [row.pk], query
    assert shown(admin_client, "?q=new bob") == []


# --- What is done to messages -----------------------------------------------------------------------------------


def act(client: Client, action: str, rows: Any, query: str = "", **fields: Any) -> Any:
    chosen = {"action": action, "index": "0", "_selected_action": [row.pk for row in rows], "select_across": "0"}
    return client.post(LIST + query, {**chosen, **fields}, follow=True)


def states() -> dict[int, str]:
    return dict(Message.objects.values_list("pk", "state"))


def test_a_selection_is_retried_and_each_message_has_its_entry() -> None:
    operator = login(*OPERATE)
    failed, other = queue(2, state="failed")
    [sent] = queue(state="sent")
    answer = act(operator, "retry", [failed, sent])
    assert "Retry now: 1 message." in answer.content.decode()
    assert states() == {failed.pk: "queued", other.pk: "failed", sent.pk: "sent"}
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (str(failed.pk), "Retried")


def test_a_selection_is_cancelled() -> None:
    rows = queue(2)
    act(login(*OPERATE), "cancel", rows[:1])
    assert states() == {rows[0].pk: "cancelled", rows[1].pk: "queued"}
    assert LogEntry.objects.get().change_message == "Cancelled"


def test_sending_again_asks_first_and_makes_a_new_message() -> None:
    operator = login(*OPERATE)
    row = store(state="sent")
    asked = act(operator, "resend", [row])
    assert "This concerns 1 message." in asked.content.decode()
    assert Message.objects.count() == 1
    act(operator, "resend", [row], confirmed="1")
    copy = Message.objects.latest("id")
    assert (Message.objects.count(), copy.state, copy.recipient) == (2, "queued", row.recipient)
    assert copy.message_id != row.message_id
    assert LogEntry.objects.get().object_id == str(row.pk)


@pytest.mark.parametrize(
    ("path", "state", "said"),
    [
        ("", "failed", {"action": "retry", "index": "0"}),
        ("{}/operate/", "failed", {"verb": "retry"}),
        ("{}/operate/", "sent", {"verb": "resend", "to": "you@example.com", "confirmed": "1"}),
    ],
)
def test_what_cannot_be_written_down_is_not_done(
    monkeypatch: pytest.MonkeyPatch, path: str, state: str, said: dict[str, str]
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("database or disk is full")

    [row] = queue(state=state)
    operator = login(*OPERATE)
    monkeypatch.setattr("notify.admin.audit.of_messages", full)
    with pytest.raises(OperationalError):
        operator.post(LIST + path.format(row.pk), {**said, "_selected_action": [row.pk]})
    assert states() == {row.pk: state}


def test_all_that_match_are_told_by_their_number_and_done_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notify.operations.actions.CHANGED_AT_ONCE", 3)
    operator = login(*OPERATE)
    failed = queue(8, state="failed", subject="mine")
    others = queue(2, state="failed", subject="other")
    everywhere = {"select_across": "1"}
    asked = act(operator, "retry", failed[:1], "?q=mine", **everywhere)
    assert "This concerns 8 messages." in asked.content.decode()
    assert "failed" in states().values()
    told = act(operator, "retry", failed[:1], "?q=mine", confirmed="1", **everywhere)
    assert "Retry now: 8 messages." in told.content.decode()
    assert {states()[row.pk] for row in failed} == {"queued"}
    assert {states()[row.pk] for row in others} == {"failed"}
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr, entry.change_message) == (None, "8 messages: q=mine", "Retried")


def test_the_page_that_asks_holds_what_the_answer_needs() -> None:
    operator = login(*OPERATE)
    rows = queue(3)
    page = act(operator, "cancel", rows, select_across="1").content.decode()
    for name, value in (("action", "cancel"), ("select_across", "1"), ("confirmed", "1")):
        assert f'<input type="hidden" name="{name}" value="{value}">' in page
    assert page.count('name="_selected_action"') == 1


def test_more_than_a_thousand_are_not_sent_again_at_once() -> None:
    operator = login(*OPERATE)
    rows = queue(1001, state="sent")
    asked = act(operator, "resend", rows[:1], select_across="1").content.decode()
    assert "At most 1000 messages can be sent again at once" in asked
    assert "No, take me back" in asked
    act(operator, "resend", rows[:1], select_across="1", confirmed="1")
    assert Message.objects.count() == 1001


@pytest.mark.parametrize("action", ["retry", "cancel", "resend"])
def test_who_may_only_view_sees_no_action_and_is_refused(action: str) -> None:
    viewer = login(*VIEW)
    [row] = queue(state="failed")
    page = viewer.get(LIST).content.decode()
    assert 'name="action"' not in page
    assert act(viewer, action, [row], confirmed="1").status_code == 403
    assert states() == {row.pk: "failed"}
    assert not LogEntry.objects.exists()
