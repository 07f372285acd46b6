"""The operator's pages: what they show, and that nobody writes there what only machines write."""

from typing import Any

import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.test import Client
from django.utils import timezone

from notify.events import record
from notify.events.policy import ERRORS
from notify.models import Attempt, Body, Event, Message
from notify.visitors.models import Visitor
from tests.desk import OPERATE, VIEW, login

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _nobody_is_told(settings: Any) -> None:
    settings.FLASKY_ADMIN = []


def message(*, mime: bytes | None = None, **columns: Any) -> Message:
    EmailMessage("Hello", "Text of the mail", "me@example.com", ["ann@example.com"]).send()
    row = Message.objects.latest("id")
    Message.objects.filter(pk=row.pk).update(**columns)
    if mime is not None:
        Body.objects.filter(messages=row).update(mime=mime)
    row.refresh_from_db()
    return row


def event(**columns: Any) -> Event:
    return Event.objects.create(
        **{"topic": "order", "key": "1", "subject": "New order", "summary": "Order 1", "url": "https://x.example/"}
        | columns
    )


@pytest.mark.parametrize("model", ["visitor", "event", "message"])
def test_every_list_and_every_page_answers(admin_client: Client, model: str) -> None:
    row: Any = {"visitor": lambda: Visitor.objects.create(name="Zoë"), "event": event, "message": message}[model]()
    for path in ("", "?q=zo", f"{row.pk}/change/"):
        answer = admin_client.get(f"/admin/{row._meta.app_label}/{model}/{path}")
        assert answer.status_code == 200, path
    assert str(row.pk) in admin_client.get(f"/admin/{row._meta.app_label}/{model}/").content.decode()


@pytest.mark.parametrize("model", ["visitor", "event", "message"])
def test_strangers_are_asked_to_log_in(client: Client, model: str) -> None:
    answer = client.get(f"/admin/{'visitors' if model == 'visitor' else 'notify'}/{model}/")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("model", ["event", "message"])
def test_what_machines_wrote_is_not_to_be_written(admin_client: Client, model: str) -> None:
    row = {"event": event, "message": message}[model]()
    assert admin_client.get(f"/admin/notify/{model}/add/").status_code == 403
    assert admin_client.post(f"/admin/notify/{model}/{row.pk}/change/", {"subject": "Forged"}).status_code == 403
    assert admin_client.post(f"/admin/notify/{model}/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    admin_client.post(f"/admin/notify/{model}/", chosen)
    assert type(row).objects.get().subject == row.subject


@pytest.mark.parametrize(
    ("query", "hits"),
    [("ann@", 1), ("Hello", 1), ("nobody", 0), ("<known@example.com>", 1)],
)
def test_messages_are_found_by_recipient_subject_and_message_id(admin_client: Client, query: str, hits: int) -> None:
    message(message_id="<known@example.com>")
    assert admin_client.get("/admin/notify/message/", {"q": query}).context["cl"].result_count == hits


def test_visitors_are_found_by_name(admin_client: Client) -> None:
    Visitor.objects.create(name="Zoë")
    Visitor.objects.create(name="Ann")
    assert admin_client.get("/admin/visitors/visitor/", {"q": "zo"}).context["cl"].result_count == 1


def test_a_visitor_with_a_bad_name_is_refused_in_words(admin_client: Client) -> None:
    for name in ("", "http://x.example", "x" * 65, "a\u202eb"):
        answer = admin_client.post("/admin/visitors/visitor/add/", {"name": name})
        assert answer.status_code == 200
        assert answer.context["adminform"].form.errors["name"]
    assert not Visitor.objects.exists()


def test_the_link_of_a_digest_lists_the_events_it_told(admin_client: Client) -> None:
    event(key="1", message_id="<d@example.com>", notified_at=timezone.now())
    event(key="2", message_id="<other@example.com>", notified_at=timezone.now())
    answer = admin_client.get("/admin/notify/event/", {"message_id": "<d@example.com>"})
    assert answer.status_code == 200
    assert answer.context["cl"].result_count == 1


def test_events_that_wait_can_be_listed(admin_client: Client) -> None:
    event(key="1")
    event(key="2", notified_at=timezone.now())
    answer = admin_client.get("/admin/notify/event/", {"notified_at__isempty": "1"})
    assert answer.context["cl"].result_count == 1


def test_a_message_shows_its_text_its_reply_and_every_failed_attempt(admin_client: Client) -> None:
    row = message(state="failed", reply="550 5.1.1 No such user")
    Attempt.objects.create(
        message=row, seconds=0.5, phase="recipient", code=550, enhanced="5.1.1", text="No such user", decision="fail"
    )
    page = admin_client.get(f"/admin/notify/message/{row.pk}/change/").content.decode()
    for words in ("Text of the mail", "550 5.1.1 No such user", "recipient", "failed permanently"):
        assert words in page


def test_a_hostile_mail_is_shown_as_text(admin_client: Client) -> None:
    mail = EmailMultiAlternatives(HOSTILE, HOSTILE, "me@example.com", ["ann@example.com"])
    mail.attach_alternative(HOSTILE, "text/html")
    mail.send()
    row = Message.objects.get()
    Message.objects.update(reply=HOSTILE)
    Attempt.objects.create(message=row, seconds=1, phase="end", text=HOSTILE, decision="retry")
    event(summary=HOSTILE, subject=HOSTILE, topic=HOSTILE)
    for path in (f"message/{row.pk}/change/", "message/", "event/", f"event/{Event.objects.get().pk}/change/"):
        page = admin_client.get(f"/admin/notify/{path}").content.decode()
        assert HOSTILE not in page, path
        assert "&lt;script&gt;" in page, path


@pytest.mark.parametrize(
    "mime", [b"", b"\xff\xfe", b"Content-Type: text/plain; charset=unheard-of\r\n\r\nHi\r\n"], ids=repr
)
def test_a_mail_that_cannot_be_read_does_not_break_its_page(admin_client: Client, mime: bytes) -> None:
    row = message(mime=mime)
    assert admin_client.get(f"/admin/notify/message/{row.pk}/change/").status_code == 200


def test_lists_do_without_the_bodies(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    message()
    with django_assert_max_num_queries(12) as queries:
        admin_client.get("/admin/notify/message/")
    assert not [query for query in queries.captured_queries if '"mime"' in query["sql"]]


def test_the_report_of_a_server_error_is_for_operators() -> None:
    report = record.dump_context({"report": "Traceback <b>"})
    row = event(topic=f"{ERRORS}1", context=report)
    page = f"/admin/notify/event/{row.pk}/change/"
    assert "<pre>Traceback &lt;b&gt;</pre>" in login(*OPERATE).get(page).content.decode()
    assert "Traceback" not in login(*VIEW).get(page).content.decode()
