"""The dashboard: what it shows, who may see it, and what its buttons do, for whom, and on whose record."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone, translation

from notify import dispatch
from notify.admin import dashboard, rows
from notify.delivery import breaker, counts
from notify.delivery.retry import Decision
from notify.models import Alert, Event, Message, Outcome, Relay, Window
from notify.operations import actions
from tests.delivery.test_claims import queue

pytestmark = pytest.mark.django_db

PAGE = "/admin/notify/relay/"
VERBS = ["pause", "resume", "probe", "test"]
DOWN, HOLD = Decision(outcome=Outcome.DOWN, delay=300), Decision(outcome=Outcome.HOLD, delay=900)


def fail(decision: Decision, *, diagnosis: str = "", reason: str = "535 5.7.8 wrong") -> None:
    Relay.current()
    breaker.report_failure(breaker.Permit(), decision, reason=reason, diagnosis=diagnosis)


def put_into(state: str) -> None:
    Relay.current()
    Relay.objects.update(state=state)


def page_of(client: Client, path: str = PAGE) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def buttons(page: str) -> list[str]:
    return re.findall(r'action="/admin/notify/relay/(\w+)/"', page)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody delivers here: no button waits for what comes of it."""
    monkeypatch.setattr(dashboard, "PATIENCE_SECONDS", 0)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have something happen while a button waits."""

    def happens(change: Callable[[], object]) -> None:
        def wait(happened: Callable[[], bool], seconds: float) -> bool:
            change()
            return happened()

        monkeypatch.setattr(actions, "wait_until", wait)

    return happens


@pytest.fixture
def staff(client: Client) -> Any:
    """A client logged in as staff with these permissions alone."""

    def log_in(*codenames: str, email: str = "") -> Client:
        user = User.objects.create_user("ann", email, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    calls: list[bool] = []
    monkeypatch.setattr(dispatch, "wake", lambda: calls.append(True))
    return calls


# --- The page -----------------------------------------------------------------------------------------------------


def test_the_page_says_what_waits_what_was_sent_and_what_comes(admin_client: Client, settings: Any) -> None:
    settings.NOTIFY_INTERVAL = 300
    now = timezone.now()
    fail(HOLD, diagnosis="bad-credentials")
    queue(3)
    queue(2, state="failed")
    counts.add("sent", count=1234, seconds=1)
    counts.add("fail", count=2, seconds=1)
    Window.objects.create(topic="order", opened_at=now - timedelta(seconds=60))
    Event.objects.create(topic="order", key="1", subject="New", summary="Order 1")
    text = " ".join(re.sub(r"<[^>]+>", " ", page_of(admin_client)).split())
    for words in (
        "Delivery is on hold: action required. The mail server did not accept the user name and password.",
        "Server replied 535 5.7.8 wrong",
        "Waiting 3 the oldest was due 1 minute ago",
        "Sent in 24 h 1,234",
        "Failed 2 2 in 24 h",
        "In the next digest 1 order: in 3 minutes",
        "Next probe in 14 minutes",
        "Last success never",
        "localhost:25",
    ):
        assert words in text


def test_events_that_no_worker_has_seen_yet_are_not_denied(admin_client: Client) -> None:
    assert "no events waiting" in page_of(admin_client)
    Event.objects.create(topic="order", key="1", subject="New", summary="Order 1")
    assert "no events waiting" not in page_of(admin_client)


def verdict_of(client: Client) -> tuple[str, str]:
    page = page_of(client)
    [mood] = re.findall(r'class="desk-panel desk-(\w+)"', page)
    [headline] = re.findall(r'<h2 id="desk-verdict"[^>]*>(.*?)</h2>', page)
    return mood, headline


def test_it_is_amber_while_some_mail_failed_lately(admin_client: Client) -> None:
    breaker.report_success(breaker.Permit())
    now = timezone.now()
    [row] = queue(state="failed", reply="550 5.1.1 No <such> user", diagnosis="no-such-recipient", due_at=now)
    assert verdict_of(admin_client) == ("slow", "Some mail failed permanently: action required.")
    page = page_of(admin_client)
    assert "550 5.1.1 No &lt;such&gt; user" in page
    assert "The recipient does not exist." in page
    assert f'href="/admin/notify/message/{row.pk}/change/"' in page
    Message.objects.update(due_at=now - timedelta(hours=25))
    assert verdict_of(admin_client)[0] != "slow"


def test_it_is_amber_while_the_newest_messages_are_deferred(admin_client: Client) -> None:
    now = timezone.now()
    Relay.current()
    Relay.objects.update(last_success=now)
    queue(attempts=1, reply="451 4.7.1 Later", diagnosis="greylisted", due_at=now + timedelta(minutes=1))
    assert verdict_of(admin_client) == ("slow", "The newest mail was deferred; retrying automatically.")
    queue(19, state="sent")
    assert verdict_of(admin_client)[0] == "slow"
    queue(1, state="sent")
    assert verdict_of(admin_client) == ("good", "Mail works.")


def test_the_number_of_messages_that_wait_leads_to_them(admin_client: Client) -> None:
    waiting = queue(3)
    [link] = re.findall(r'href="([^"]*)">3</a>', page_of(admin_client))
    assert link == "/admin/notify/message/?state=waiting"
    assert {row.pk for row in admin_client.get(link).context["cl"].result_list} == {row.pk for row in waiting}


def test_a_refresh_leaves_messages_for_the_page(admin_client: Client) -> None:
    admin_client.post(f"{PAGE}pause/")
    for path in (PAGE, "/admin/", "/admin/notify/", "/admin/notify/message/"):
        assert "nothing is sent until" not in admin_client.get(path, headers={"X-Live": "yes"}).content.decode()
    assert "nothing is sent until" in page_of(admin_client)


def test_the_number_of_failed_messages_leads_to_them(admin_client: Client) -> None:
    queue(3)
    failed = queue(2, state="failed")
    [link] = re.findall(r'href="([^"]*)">2</a>', page_of(admin_client))
    assert set(admin_client.get(link).context["cl"].queryset.values_list("pk", flat=True)) == {row.pk for row in failed}


def test_the_chart_says_the_same_in_bars_in_words_and_in_a_table(admin_client: Client) -> None:
    counts.add("sent", count=7, seconds=1)
    counts.add("retry", count=2, seconds=1)
    page = page_of(admin_client)
    [svg] = re.findall(r'<svg class="desk-picture".*?</svg>', page, re.DOTALL)
    assert 'role="img" aria-labelledby="desk-chart-title" aria-describedby="desk-chart-desc"' in svg
    assert "In total 7 sent (above the line), 2 to be retried and 0 failed permanently (below it)." in svg
    assert svg.count("<g>") == 48
    assert svg.count('rect class="desk-sent"') == svg.count('rect class="desk-retried"') == 1
    assert re.search(r"<td>7</td><td>2</td><td>0</td>", page)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_nothing_on_the_page_needs_an_inline_style_or_script(admin_client: Client, language: str) -> None:
    counts.add("sent", count=1234, seconds=1)
    with translation.override(language):
        page = admin_client.get(PAGE, headers={"accept-language": language}).content.decode()
    [content] = re.findall(r'<div id="content-main".*?<!-- END Content -->', page, re.DOTALL)
    assert not re.search(r"style=|<style|<script|\son\w+=", content)
    assert not re.search(r'\s(?:x|y|width|height)="[^"]*[^0-9"][^"]*"', content)


def test_a_hostile_reply_is_shown_as_text(admin_client: Client) -> None:
    fail(HOLD, reason="<script>alert(1)</script>")
    assert "<script>alert(1)" not in page_of(admin_client)
    assert "&lt;script&gt;alert(1)" in page_of(admin_client)
    breaker.pause("<img src=x>")
    assert "<img src=x" not in page_of(admin_client)


@pytest.mark.parametrize("path", ["/admin/", "/admin/notify/"])
def test_it_stands_where_operators_land(admin_client: Client, path: str) -> None:
    fail(HOLD, diagnosis="bad-credentials")
    assert "The mail server did not accept the user name and password." in page_of(admin_client, path)
    assert f'href="{PAGE}"' in page_of(admin_client, path)


def test_its_buttons_work_there_too(admin_user: User) -> None:
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(admin_user)
    [token] = set(re.findall(r'csrfmiddlewaretoken" value="(\w+)"', page_of(careful, "/admin/")))
    assert careful.post(f"{PAGE}pause/", {"csrfmiddlewaretoken": token}).status_code == 302
    assert Relay.current().state == "paused"


def test_what_is_configured_wrongly_is_said_with_its_remedy(admin_client: Client, settings: Any) -> None:
    assert "desk-problems" not in page_of(admin_client)
    settings.FLASKY_ADMIN = []
    assert "FLASKY_ADMIN is not set: no one is notified of new visitors." in page_of(admin_client)
    assert "Set FLASKY_ADMIN=you@example.com" in page_of(admin_client)


def test_it_does_not_stand_with_other_apps(admin_client: Client) -> None:
    assert "desk-verdict" not in page_of(admin_client, "/admin/auth/")


def test_the_relays_own_page_is_the_overview(admin_client: Client) -> None:
    relay = Relay.current()
    assert admin_client.get(f"{PAGE}{relay.pk}/change/")["Location"] == PAGE
    assert admin_client.get(f"{PAGE}add/").status_code == 403
    assert admin_client.post(f"{PAGE}{relay.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Relay.objects.exists()


def test_what_it_asks_the_database_does_not_grow(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    admin_client.get(PAGE)
    with django_assert_max_num_queries(20) as few:
        admin_client.get(PAGE)
    queue(30)
    queue(30, state="failed")
    with django_assert_max_num_queries(len(few)):
        admin_client.get(PAGE)


@pytest.mark.parametrize(
    ("left", "words"), [(-5, "at any moment"), (30, "within a minute"), (125, "in 2 minutes"), (7300, "in 2 hours")]
)
def test_the_time_until_something_is_said_in_its_larger_unit(left: int, words: str) -> None:
    assert rows.away(timezone.now() + timedelta(seconds=left)).replace("\xa0", " ") == words


@pytest.mark.parametrize(("gone", "words"), [(-5, "just now"), (30, "just now"), (125, "2 minutes ago")])
def test_the_time_since_something_is_said_in_its_larger_unit(gone: int, words: str) -> None:
    assert rows.ago(timezone.now() - timedelta(seconds=gone)).replace("\xa0", " ") == words


# --- The buttons --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("open", ["test", "pause"]),
        ("down", ["probe", "test", "pause"]),
        ("held", ["probe", "test", "pause"]),
        ("paused", ["resume"]),
    ],
)
def test_only_buttons_that_make_sense_are_shown(admin_client: Client, state: str, shown: list[str]) -> None:
    put_into(state)
    assert buttons(page_of(admin_client)) == shown
    assert buttons(page_of(admin_client, "/admin/")) == shown


def press(client: Client, verb: str, **fields: str) -> str:
    """Push a button and return what the page then says."""
    answer = client.post(f"{PAGE}{verb}/", fields, follow=True)
    assert answer.redirect_chain == [(PAGE, 302)]
    return " ".join(str(message) for message in answer.context["messages"])


def test_pause_keeps_the_reason_and_who_gave_it(staff: Any) -> None:
    client = staff("view_relay", "operate_outbox")
    assert "Mail is paused" in press(client, "pause", reason=" the provider\nmoves  ")
    assert (Relay.current().state, Relay.current().reason) == ("paused", "ann: the provider moves")
    press(client, "resume")
    press(client, "pause")
    assert Relay.current().reason == "Paused by ann"


def test_a_reason_of_any_length_is_kept_short(staff: Any) -> None:
    press(staff("operate_outbox"), "pause", reason="x" * 5_000)
    assert len(Relay.current().reason) == len("ann: ") + 200


def test_resume_sends_what_waits_at_once(
    admin_client: Client, woken: list[bool], django_capture_on_commit_callbacks: Any
) -> None:
    breaker.pause("x")
    with django_capture_on_commit_callbacks(execute=True):
        assert "Sending has resumed" in press(admin_client, "resume")
    assert (Relay.current().state, woken) == ("open", [True])


@pytest.mark.parametrize("decision", [DOWN, HOLD])
def test_probe_tries_the_relay_now(
    admin_client: Client, woken: list[bool], django_capture_on_commit_callbacks: Any, decision: Decision
) -> None:
    queue()
    fail(decision)
    assert breaker.admit() is None
    with django_capture_on_commit_callbacks(execute=True):
        assert "is being tried; the outcome will appear here" in press(admin_client, "probe")
    assert woken == [True]
    assert breaker.admit() == breaker.Permit(probe=True, failures=1)


def test_what_comes_of_a_probe_is_told(admin_client: Client, meanwhile: Any) -> None:
    queue()
    fail(HOLD)
    probe = breaker.Permit(probe=True, failures=1)
    meanwhile(lambda: breaker.report_failure(probe, HOLD, reason="535 5.7.8 wrong", diagnosis=""))
    assert "was tried, and nothing has changed" in press(admin_client, "probe")
    meanwhile(lambda: breaker.report_failure(probe, DOWN, reason="refused", diagnosis="refused"))
    assert press(admin_client, "probe").startswith(
        "<div>The mail server was tried again, with another result:</div>"
        "<div>Delivery is interrupted; retrying automatically.</div><div>refused</div>"
        "<div>The mail server refuses the connection"
    )
    meanwhile(lambda: breaker.report_success(probe))
    assert "The mail server works again" in press(admin_client, "probe")


def test_a_probe_without_a_mail_waits_for_one(admin_client: Client) -> None:
    fail(HOLD)
    assert "No mail is due" in press(admin_client, "probe")
    queue()
    assert breaker.admit() == breaker.Permit(probe=True, failures=1)


@pytest.mark.parametrize(("state", "why"), [("open", "The mail server is working"), ("paused", "Mail is paused")])
def test_a_relay_that_is_not_in_trouble_is_not_probed(admin_client: Client, state: str, why: str) -> None:
    put_into(state)
    assert press(admin_client, "probe").startswith(f"{why}: there is nothing to probe")
    assert (Relay.current().state, Relay.current().next_probe) == (state, None)
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("of_flasky", "name"), [(True, "FLASKY_ADMIN"), (False, "ADMINS")])
def test_the_field_suggests_the_administrators_by_the_name_of_their_setting(
    admin_client: Client, settings: Any, of_flasky: bool, name: str
) -> None:
    settings.ADMINS = settings.FLASKY_ADMIN = ["ann@example.com"]
    if not of_flasky:
        del settings.FLASKY_ADMIN
    page = admin_client.get(PAGE).content.decode()
    assert f'<option value="ann@example.com" label="{name}">' in page


def test_a_test_mail_goes_to_who_asks_for_it(staff: Any) -> None:
    client = staff("operate_outbox", "view_message", email="ann@example.com")
    said = press(client, "test")
    message = Message.objects.get()
    assert (message.recipient, message.subject) == ("ann@example.com", "[Flasky] Test")
    assert f'<a href="/admin/notify/message/{message.pk}/change/">ann@example.com: queued' in said


def test_what_comes_of_a_test_mail_is_told(admin_client: Client, meanwhile: Any) -> None:
    meanwhile(lambda: Message.objects.update(state="sent", reply="250 2.0.0 <b>Ok"))
    answer = admin_client.post(f"{PAGE}test/", follow=True)
    [said] = answer.context["messages"]
    assert said.level_tag == "success"
    assert "sent 250 2.0.0 &lt;b&gt;Ok" in str(said)
    assert "The test mail to admin@example.com was sent." in str(said)


def test_a_test_mail_that_was_not_sent_is_no_success(admin_client: Client, meanwhile: Any) -> None:
    meanwhile(lambda: Message.objects.update(state="failed", reply="550 No", diagnosis="no-such-recipient"))
    [said] = admin_client.post(f"{PAGE}test/", follow=True).context["messages"]
    assert said.level_tag == "error"
    for words in ("was not sent", "admin@example.com: failed", "550 No", "does not exist", "Correct the address"):
        assert words in str(said)
    later = timezone.now() + timedelta(seconds=30)
    meanwhile(lambda: Message.objects.update(state="queued", attempts=1, reply="451 Later", due_at=later))
    [said] = admin_client.post(f"{PAGE}test/", follow=True).context["messages"]
    assert (said.level_tag, "It was deferred; retrying automatically." in str(said)) == ("warning", True)
    meanwhile(lambda: fail(HOLD, diagnosis="bad-credentials"))
    [said] = admin_client.post(f"{PAGE}test/", follow=True).context["messages"]
    assert said.level_tag == "error"
    for words in ("is on hold", "535 5.7.8 wrong", "did not accept the user name and password", "Check MAIL_USERNAME"):
        assert words in str(said)


def test_a_test_mail_goes_to_the_address_that_is_typed(admin_client: Client) -> None:
    press(admin_client, "test", to="bob@example.com; cid@example.com bob@example.com")
    assert set(Message.objects.values_list("recipient", flat=True)) == {"bob@example.com", "cid@example.com"}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("nonsense", "nonsense is not an email address."),
        (",".join(f"a{number}@example.com" for number in range(11)), "At most 10 addresses, please."),
    ],
)
def test_what_is_no_address_is_said(admin_client: Client, typed: str, words: str) -> None:
    assert press(admin_client, "test", to=typed) == words
    assert not Message.objects.exists()


def test_a_wait_ends_with_what_it_waits_for_or_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, looks = [0.0], iter([False, False, True])
    monkeypatch.setattr(actions.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(actions.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    assert actions.wait_until(lambda: next(looks), 3)
    assert clock[0] == pytest.approx(2 * actions.POLL_SECONDS)
    assert not actions.wait_until(lambda: False, 3)
    assert clock[0] == pytest.approx(3 + 2 * actions.POLL_SECONDS, abs=actions.POLL_SECONDS)


def test_a_test_mail_goes_to_the_administrators_where_who_asks_has_no_address(staff: Any, settings: Any) -> None:
    settings.FLASKY_ADMIN = ["admin@example.com", "boss@example.com"]
    said = press(staff("operate_outbox"), "test")
    assert set(Message.objects.values_list("recipient", flat=True)) == set(settings.FLASKY_ADMIN)
    assert "admin@example.com, boss@example.com" in said
    assert "<a " not in said, "who may not see messages gets no link to one"


def test_where_there_is_no_one_to_send_to_an_address_is_typed(staff: Any, settings: Any) -> None:
    settings.FLASKY_ADMIN = []
    client = staff("view_relay", "operate_outbox")
    assert buttons(page_of(client)) == ["test", "pause"]
    assert "There is no recipient" in press(client, "test")
    assert not Message.objects.exists()


def test_a_test_mail_is_tried_at_once_also_while_the_relay_is_in_trouble(admin_client: Client) -> None:
    fail(HOLD)
    press(admin_client, "test")
    assert breaker.admit() == breaker.Permit(probe=True, failures=1)


def test_every_action_is_written_down(admin_client: Client, admin_user: User) -> None:
    queue()
    fail(HOLD)
    for verb in ("probe", "test", "pause", "resume"):
        press(admin_client, verb, reason="moving")
    entries = LogEntry.objects.order_by("pk")
    assert [(entry.user, entry.action_flag, entry.object_id) for entry in entries] == [
        (admin_user, CHANGE, str(Relay.current().pk))
    ] * 4
    assert [entry.change_message for entry in entries] == [
        "Mail server probed",
        "Test mail queued: admin@example.com",
        "Mail paused: moving",
        "Mail resumed",
    ]
    assert [entry.object_repr for entry in entries] == [
        *("Mail server probed", "Test mail queued", "Mail paused", "Mail resumed")
    ]
    page = page_of(admin_client, f"{PAGE}{Relay.current().pk}/history/")
    assert "<h1>Audit log</h1>" in page
    assert "Mail paused: moving" in page
    assert "Mail paused: moving" in page_of(admin_client, "/admin/")


def test_the_audit_log_is_in_the_readers_language(admin_client: Client) -> None:
    press(admin_client, "pause", reason="moving")
    for path in (f"{PAGE}{Relay.current().pk}/history/", "/admin/"):
        page = admin_client.get(path, headers={"accept-language": "zh-hans"}).content.decode()
        assert "邮件已暂停: moving" in page
        assert "Mail paused" not in page


def test_an_audit_log_without_an_entry_says_what_will_appear(admin_client: Client) -> None:
    assert "Each action will appear here" in page_of(admin_client, f"{PAGE}{Relay.current().pk}/history/")


# --- Who may do what ----------------------------------------------------------------------------------------------


def test_who_may_only_look_sees_no_button(staff: Any) -> None:
    client = staff("view_relay", "view_message")
    for state in Relay.State.values:
        put_into(state)
        for path in (PAGE, "/admin/"):
            assert buttons(page_of(client, path)) == []
            assert "desk-verdict" in page_of(client, path)


@pytest.mark.parametrize("verb", VERBS)
def test_who_may_only_look_is_refused(staff: Any, verb: str) -> None:
    fail(HOLD)
    before = Relay.objects.values().get()
    client = staff("view_relay", "view_message", "change_relay", "delete_message")
    assert client.post(f"{PAGE}{verb}/").status_code == 403
    assert Relay.objects.values().get() == before
    assert not Message.objects.exists()
    assert not LogEntry.objects.exists()


def test_who_may_operate_may_look(staff: Any) -> None:
    client = staff("operate_outbox")
    assert buttons(page_of(client)) == ["test", "pause"]
    assert "/admin/notify/message/" not in page_of(client)


def test_who_may_neither_sees_nothing(staff: Any) -> None:
    client = staff("view_visitor")
    assert client.get(PAGE).status_code == 403
    assert "desk-panel" not in page_of(client, "/admin/")


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_done_by_a_link_without_a_login_or_without_a_token(
    client: Client, admin_user: User, verb: str
) -> None:
    path = f"{PAGE}{verb}/"
    assert client.post(path)["Location"].startswith("/admin/login/")
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(admin_user)
    assert careful.get(path).status_code == 405
    assert careful.post(path).status_code == 403
    assert Relay.current().state == "open"
    assert not Message.objects.exists()


def test_machines_that_disagree_are_named(admin_client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    breaker.notice_configuration()
    monkeypatch.setattr(breaker.socket, "gethostname", lambda: "elsewhere")
    settings.FLASKY_MAIL_SENDER = "Other <other@example.com>"
    breaker.notice_configuration()
    page = page_of(admin_client)
    assert "Workers have different mail settings: " in page
    assert "elsewhere (working)" in page


def test_a_client_secret_that_ends_soon_is_told(admin_client: Client, use_transport: Any, settings: Any) -> None:
    plan = {"host": "smtp.gmail.com", "port": 587, "username": "a@gmail.com", "oauth_client_id": "x"}
    use_transport("notify.smtp.backend.EmailBackend", **plan)
    settings.MAIL_OAUTH_EXPIRES = timezone.localdate() + timedelta(days=14)
    assert f"The OAuth client secret expires on {settings.MAIL_OAUTH_EXPIRES}" in page_of(admin_client)
    settings.MAIL_OAUTH_EXPIRES += timedelta(days=1)
    assert "client secret" not in page_of(admin_client)


def test_the_last_alert_is_shown_with_where_it_went_and_what_came_of_it(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    assert "Last alert" not in page_of(client)
    now = timezone.now()
    results = [
        {"mark": "a", "to": "Slack", "state": "sent", "said": ""},
        {"mark": "b", "to": "JSON hooks.example", "state": "failed", "said": "error=403 <no>"},
    ]
    about = Alert.About.DELIVERY
    Alert.objects.create(about=about, kind="held", since=now, created_at=now, title="It broke", results=results)
    Alert.objects.create(about="heartbeat", kind="works", since=now, created_at=now, title="")
    shown = " ".join(re.sub(r"<[^>]+>", " ", page_of(client).partition("Last alert")[2].partition("</dd>")[0]).split())
    assert re.fullmatch(
        r"It broke · .* Slack : sent JSON hooks\.example : not accepted: error=403 &lt;no&gt;", shown
    ), shown
