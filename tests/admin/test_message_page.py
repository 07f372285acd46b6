"""The page of one message: what it says, why it failed, what can be done, and what is kept from whom."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from notify.admin import message_page
from notify.admin.display import FRAME_POLICY
from notify.models import Attempt, Event, Message, Relay
from tests.desk import OPERATE, VIEW, login, store

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nobody_is_told(settings: Any) -> None:
    settings.FLASKY_ADMIN = []


def url(row: Message, view: str = "change") -> str:
    return f"/admin/notify/message/{row.pk}/{view}/"


def text_of(client: Client, row: Message, query: str = "") -> str:
    return client.get(url(row) + query).content.decode()


def test_the_page_shows_text_headers_and_a_frame_for_the_html() -> None:
    row = store(said="Grüße")
    page = text_of(login(*VIEW), row)
    assert "Text of the mail" in page
    assert "Grüße" in page
    assert "HTML of the mail" not in page
    [frame] = re.findall(r"<iframe[^>]*>", page)
    assert f'src="{url(row, "html")}"' in frame
    assert re.search(r"\ssandbox\s", frame)


def test_the_frame_is_the_html_under_a_policy_of_its_own() -> None:
    row = store(html="<p>Hi</p><script>alert(1)</script><link rel=preconnect>")
    answer = login(*VIEW).get(url(row, "html"))
    assert re.search(rb'</style><p>Hi</p>\n?<div tabindex="0"', answer.content)
    assert answer["Content-Security-Policy"] == FRAME_POLICY
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert answer["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer["Cache-Control"]


def test_the_source_is_text_and_the_file_is_the_stored_bytes_under_a_safe_name() -> None:
    row = store(said='"../../etc/passwd"; x=\\')
    viewer = login(*VIEW)
    answer = viewer.get(url(row, "source"))
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert answer.content == bytes(row.body.mime)
    file = viewer.get(url(row, "download"))
    assert file["Content-Type"] == "message/rfc822"
    assert file["Content-Disposition"] == f'attachment; filename="message-{row.pk}.eml"'
    assert file.content == bytes(row.body.mime)


def test_a_huge_mail_is_shown_in_part_and_downloaded_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_page, "SHOWN", 5000)
    row = store(text="The beginning\n" + "x\n" * 10_000 + "The end\n", html=None)
    viewer = login(*VIEW)
    page = text_of(viewer, row)
    assert "Only its beginning is read" in page
    assert "The beginning" in page
    assert "The end" not in page
    shown = viewer.get(url(row, "source")).content
    assert len(shown) < 5100
    assert b"truncated" in shown
    assert viewer.get(url(row, "download")).content == bytes(row.body.mime)


def test_failed_attempts_are_told_in_words_with_cause_and_fix() -> None:
    row = store(state="failed", reply="550 5.1.1 No such user", diagnosis="refused")
    Attempt.objects.create(
        message=row, seconds=1.5, phase="connect", text="Connection refused", diagnosis="refused", decision="down"
    )
    Attempt.objects.create(
        message=row, seconds=0.25, phase="recipient", code=550, enhanced="5.1.1", text="5.1.1 No <i>", decision="fail"
    )
    page = text_of(login(*VIEW), row)
    for words in (
        "connecting, after 1.50 s",
        "The mail server refuses the connection",
        "Check MAIL_SERVER and MAIL_PORT",
        "delivery interrupted",
        "sending the recipient, after 0.25 s",
        "<strong>550</strong> 5.1.1 No &lt;i&gt;",
        "failed permanently",
    ):
        assert words in page, words
    assert page.index("connecting, after") < page.index("sending the recipient, after")


def test_the_events_it_told_of_are_linked_for_those_who_may_see_them() -> None:
    row = store()
    event = Event.objects.create(topic="order", key="1", subject="s", summary="Order <1>", message_id=row.message_id)
    link = f"/admin/notify/event/{event.pk}/change/"
    page = text_of(login(*VIEW), row)
    assert link in page
    assert "Order &lt;1&gt;" in page
    assert link not in text_of(login("view_message"), row)


@pytest.mark.parametrize(
    ("state", "verbs"),
    [
        ("queued", {"retry", "cancel"}),
        ("sending", set()),
        ("sent", {"resend"}),
        ("failed", {"retry", "resend"}),
        ("cancelled", {"retry", "resend"}),
    ],
)
def test_an_operator_has_the_buttons_that_fit_the_state(state: str, verbs: set[str]) -> None:
    row = store(state=state)
    assert set(re.findall(r'name="verb" value="(\w+)"', text_of(login(*OPERATE), row))) == verbs
    assert 'name="verb"' not in text_of(login(*VIEW), row)


@pytest.mark.parametrize(
    ("before", "verb", "after"), [("failed", "retry", "queued"), ("queued", "cancel", "cancelled")]
)
def test_a_button_does_what_it_says_and_is_written_down(before: str, verb: str, after: str) -> None:
    row = store(state=before)
    answer = login(*OPERATE).post(url(row, "operate"), {"verb": verb, "confirmed": "1"})
    assert answer["Location"] == url(row)
    row.refresh_from_db()
    assert row.state == after
    assert LogEntry.objects.get().object_id == str(row.pk)


@pytest.mark.parametrize(
    ("before", "verb", "words"),
    [
        ("queued", "cancel", "It will not be sent unless it is retried."),
        ("sent", "resend", "a recipient who already received it receives it twice"),
    ],
)
def test_cancelling_and_sending_again_ask_first(before: str, verb: str, words: str) -> None:
    row = store(state=before)
    asked = login(*OPERATE).post(url(row, "operate"), {"verb": verb}).content.decode()
    assert words in asked
    assert f'<input type="hidden" name="verb" value="{verb}">' in asked
    assert f'href="{url(row)}" class="button cancel-link"' in asked
    row.refresh_from_db()
    assert (row.state, Message.objects.count(), LogEntry.objects.count()) == (before, 1, 0)


@pytest.mark.parametrize(
    ("typed", "recipients"),
    [
        ("", ["ann@example.com"]),
        ("bob@example.com", ["bob@example.com"]),
        ("bob@example.com, cid@example.com", ["bob@example.com", "cid@example.com"]),
    ],
)
def test_a_message_is_sent_again_to_the_typed_addresses_and_the_answer_links_to_it(
    typed: str, recipients: list[str]
) -> None:
    row = store(state="sent", recipient="ann@example.com")
    answer = login(*OPERATE).post(url(row, "operate"), {"verb": "resend", "confirmed": "1", "to": typed}, follow=True)
    copies = list(Message.objects.exclude(pk=row.pk).order_by("pk"))
    assert [copy.recipient for copy in copies] == recipients
    for copy in copies:
        words = f"A new message to {copy.recipient} is in the outbox."
        assert f'<a href="{url(copy)}">{words}</a>' in answer.content.decode()
    entry = LogEntry.objects.get()
    assert entry.change_message == f"Sent again as a new message: {', '.join(recipients)}"


def test_what_is_no_address_is_said_and_nothing_is_sent() -> None:
    row = store(state="sent")
    answer = login(*OPERATE).post(url(row, "operate"), {"verb": "resend", "confirmed": "1", "to": "<b>bob"})
    assert answer.status_code == 422
    assert "&lt;b&gt;bob is not an email address." in answer.content.decode()
    assert 'value="&lt;b&gt;bob"' in answer.content.decode()
    assert Message.objects.count() == 1


def test_what_is_sensitive_is_sent_again_to_its_recipient_alone() -> None:
    row = store(state="sent", recipient="ann@example.com", sensitive=True)
    operator = login(*OPERATE)
    assert 'name="to"' not in operator.post(url(row, "operate"), {"verb": "resend"}).content.decode()
    operator.post(url(row, "operate"), {"verb": "resend", "confirmed": "1", "to": "eve@example.com"})
    assert Message.objects.latest("pk").recipient == "ann@example.com"


def test_the_timeline_ends_with_the_acceptance_and_by_which_attempt() -> None:
    row = store(state="sent", reply="250 2.0.0 queued as 4F1", attempts=2)
    Attempt.objects.create(message=row, seconds=0.1, phase="recipient", code=451, text="4.7.1 Later", decision="retry")
    page = " ".join(re.sub(r"<[^>]+>", " ", text_of(login(*VIEW), row)).split())
    assert re.search(r"Attempt 1 just now .* try again 451 4.7.1 Later Attempt 2 .*sent 250 2.0.0 queued as 4F1", page)


@pytest.mark.parametrize(
    ("columns", "relay", "words"),
    [
        ({}, {}, "It is due, and waits for its turn."),
        (
            {"attempts": 1, "reply": "451 4.7.1 Later", "diagnosis": "greylisted"},
            {},
            "It was deferred; retrying automatically. Next attempt: in 9 minutes 451 4.7.1 Later "
            "The recipient's server defers mail from unknown senders.",
        ),
        (
            {},
            {"state": "held", "diagnosis": "bad-credentials", "reason": "535 No"},
            "It waits because the mail server is on hold. Next attempt: in 4 minutes 535 No "
            "The mail server did not accept the user name and password.",
        ),
        (
            {},
            {"state": "down", "diagnosis": "refused", "reason": "Connection refused"},
            "It waits because the mail server is not usable at the moment. Next attempt: in 4 minutes",
        ),
        ({}, {"state": "paused", "reason": "ann: moving"}, "Mail is paused. ann: moving Resume to send it."),
        ({"state": "sending", "due_at": timezone.now() + timedelta(hours=1)}, {}, "A worker is sending it now."),
    ],
)
def test_a_message_in_the_queue_says_why_it_waits(columns: dict[str, Any], relay: dict[str, Any], words: str) -> None:
    now = timezone.now()
    Relay.current()
    Relay.objects.update(next_probe=now + timedelta(minutes=4.5), **relay)
    row = store(**{"due_at": now + timedelta(minutes=9.5) if "attempts" in columns else now, **columns})
    page = html.unescape(" ".join(re.sub(r"<[^>]+>", " ", text_of(login(*VIEW), row)).split())).replace("\xa0", " ")
    assert f"Why it waits {words}" in page


def test_a_refresh_does_not_take_what_was_revealed() -> None:
    row = store(text="the secret link", sensitive=True)
    operator = login(*OPERATE)
    operator.post(url(row, "reveal"))
    assert "the secret link" not in operator.get(url(row), headers={"X-Live": "yes"}).content.decode()
    assert "the secret link" in text_of(operator, row)


def test_only_an_operator_and_only_a_post_changes_anything() -> None:
    row = store(state="failed")
    assert login(*VIEW).post(url(row, "operate"), {"verb": "retry"}).status_code == 403
    assert login(*OPERATE).get(url(row, "operate")).status_code == 405
    assert login(*OPERATE).post(url(row, "operate"), {"verb": "purge"}).status_code == 302
    row.refresh_from_db()
    assert row.state == "failed"
    assert not LogEntry.objects.exists()


def test_who_may_not_view_gets_nothing() -> None:
    row = store()
    nobody = login("view_visitor")
    for view in ("change", "html", "source", "download"):
        assert nobody.get(url(row, view)).status_code == 403, view
        assert Client().get(url(row, view)).status_code == 302, view


# --- Sensitive messages -----------------------------------------------------------------------------------------


def test_who_may_only_view_does_not_read_what_is_sensitive() -> None:
    row = store(text="the secret link", html="<p>the secret link</p>", sensitive=True)
    viewer = login(*VIEW)
    assert viewer.post(url(row, "reveal")).status_code == 403
    for query in ("", "?reveal=yes"):
        page = text_of(viewer, row, query)
        assert "Hello" in page  # the subject
        assert "only users who may operate" in page
        assert "the secret link" not in page
        assert "<iframe" not in page
    for view in ("html", "source", "download"):
        assert viewer.get(url(row, view)).status_code == 403, view
    assert not LogEntry.objects.exists()


def test_an_operator_reads_it_when_asked_to_and_that_is_written_down() -> None:
    row = store(text="the secret link", sensitive=True)
    operator = login(*OPERATE)
    for query in ("", "?reveal=yes", "?revealed=1"):
        assert "the secret link" not in text_of(operator, row, query)
    assert operator.get(url(row, "reveal")).status_code == 405
    assert not LogEntry.objects.exists()
    assert "the secret link" in operator.post(url(row, "reveal"), follow=True).content.decode()
    assert "the secret link" not in text_of(operator, row)  # it was shown once
    for view in ("html", "source", "download"):
        assert operator.get(url(row, view)).status_code == 200
    assert set(LogEntry.objects.values_list("change_message", flat=True)) == {
        "Content shown",
        "HTML shown",
        "Source shown",
        "File downloaded",
    }
    assert set(LogEntry.objects.values_list("object_id", flat=True)) == {str(row.pk)}


def test_asking_to_read_it_needs_a_form_of_ours() -> None:
    row = store(sensitive=True)
    operator = login(*OPERATE)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(url(row, "reveal")).status_code == 403
    assert 'name="csrfmiddlewaretoken"' in text_of(operator, row)
    assert not LogEntry.objects.exists()


def test_what_was_revealed_of_one_message_reveals_no_other() -> None:
    row, other = store(sensitive=True), store(text="the other secret", sensitive=True)
    operator = login(*OPERATE)
    operator.post(url(row, "reveal"))
    assert "the other secret" not in text_of(operator, other)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_from_elsewhere_reads_nothing_sensitive(site: str) -> None:
    row, plain = store(sensitive=True), store()
    operator = login(*OPERATE)
    for view in ("html", "source", "download"):
        assert operator.get(url(row, view), headers={"Sec-Fetch-Site": site}).status_code == 403, view
        assert operator.get(url(plain, view), headers={"Sec-Fetch-Site": site}).status_code == 200, view
    assert not LogEntry.objects.exists()
    for site in ("same-origin", "none"):
        assert operator.get(url(row, "html"), headers={"Sec-Fetch-Site": site}).status_code == 200
