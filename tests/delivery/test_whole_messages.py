"""Rows that stand for a whole message: sent once by a backend without an envelope, shared out for SMTP, told apart."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone

from notify.delivery import claims, outcome
from notify.delivery.worker import Tally, deliver_due
from notify.models import Body, Message, Relay
from notify.operations import actions
from tests.relays import Relay as MailServer

pytestmark = pytest.mark.django_db(transaction=True)

ALL = ["a@example.com", "b@example.com", "c@example.com"]


def send(**attributes: Any) -> None:
    message = EmailMessage("Hi", "Text", "Me <me@example.com>", ["Ann <a@example.com>"], cc=ALL[1:2], bcc=ALL[2:])
    vars(message).update(attributes)
    message.send()


def rows() -> list[tuple[str, str, str, str]]:
    return list(Message.objects.order_by("id").values_list("recipient", "state", "reply", "diagnosis"))


@pytest.fixture
def api(use_transport: Callable[..., None]) -> type:
    """A transport as Anymail's are; what it says of recipients is in `verdicts`."""
    use_transport(f"{__name__}.Api")
    return Api


@pytest.fixture(autouse=True)
def _nothing_sent_yet() -> None:
    Api.verdicts, mail.outbox = {}, []


class Verdict:
    def __init__(self, status: str, message_id: str | None) -> None:
        self.status, self.message_id = status, message_id


class Api(BaseEmailBackend):
    verdicts: dict[str, str] = {}

    def send_messages(self, email_messages: Any) -> int:
        for message in email_messages:
            mail.outbox.append(message)
            said = {each: self.verdicts.get(each, "queued") for each in message.recipients()}
            status = {each: Verdict(word, "<1@api>" if word == "queued" else None) for each, word in said.items()}
            message.anymail_status = type("Status", (), {"recipients": status})()
        return len(email_messages)


@pytest.mark.usefixtures("api")
def test_a_whole_message_is_sent_once_with_all_it_was_given() -> None:
    send(template_id="welcome", tags=["a"])
    assert deliver_due() == Tally(sent=1)
    [sent] = mail.outbox
    assert (sent.to, sent.cc, sent.bcc) == (["Ann <a@example.com>"], ["b@example.com"], ["c@example.com"])
    assert (sent.template_id, sent.tags) == ("welcome", ["a"])
    assert rows() == [("a@example.com, b@example.com, c@example.com", "sent", "queued <1@api>", "")]


def test_what_a_subclass_keeps_has_any_name_that_django_does_not_use(api: Any) -> None:
    send(envelope={"sender": "bounces@example.com"})
    assert deliver_due() == Tally(sent=1)
    [sent] = mail.outbox
    assert sent.envelope == {"sender": "bounces@example.com"}


def test_recipients_the_provider_does_not_take_have_rows_that_failed(api: Any) -> None:
    api.verdicts = {"b@example.com": "rejected"}
    send()
    assert deliver_due() == Tally(sent=1, failed=1)
    assert rows() == [
        ("a@example.com, c@example.com", "sent", "queued rejected <1@api>", ""),
        ("b@example.com", "failed", "rejected", "recipient-refused-by-api"),
    ]
    assert Body.objects.count() == 1


def test_one_of_them_is_tried_again_alone(api: Any) -> None:
    api.verdicts = {"b@example.com": "rejected"}
    send()
    deliver_due()
    api.verdicts, mail.outbox = {}, []
    actions.retry(Message.objects.filter(state="failed"))
    assert deliver_due() == Tally(sent=1)
    [sent] = mail.outbox
    assert (sent.recipients(), sent.to, sent.cc, sent.bcc) == (["b@example.com"], ["b@example.com"], [], [])


def test_a_message_that_no_recipient_is_taken_of_fails(api: Any) -> None:
    api.verdicts = dict.fromkeys(ALL, "failed")
    send()
    assert deliver_due() == Tally(failed=1)
    words = "a@example.com: failed, b@example.com: failed, c@example.com: failed"
    assert rows() == [(", ".join(ALL), "failed", words, "recipient-refused-by-api")]
    assert Relay.current().state == "open"


def test_what_was_stored_whole_is_shared_out_once_smtp_is_the_transport(
    api: Any, use_transport: Callable[..., None], relay: MailServer
) -> None:
    send()
    use_transport("notify.smtp.backend.EmailBackend", host="127.0.0.1", port=relay.port, timeout=5)
    assert deliver_due() == Tally(sent=3)
    envelopes = relay.wait_for(3)
    assert sorted(envelope.recipients for envelope in envelopes) == [[each] for each in ALL]
    assert {envelope.sender for envelope in envelopes} == {"me@example.com"}
    assert [row[:2] for row in rows()] == [(each, "sent") for each in ALL]


def test_what_was_stored_for_smtp_reaches_each_recipient_once_by_an_api(use_transport: Callable[..., None]) -> None:
    send(tags=["a"])
    use_transport(f"{__name__}.Api")
    assert deliver_due() == Tally(sent=3)
    sent = sorted((message.to, message.cc, message.bcc, message.tags) for message in mail.outbox)
    assert sent == [
        (["Ann <a@example.com>"], [], [], ["a"]),
        (["b@example.com"], [], [], ["a"]),
        (["c@example.com"], [], [], ["a"]),
    ]


@pytest.mark.usefixtures("api")
def test_a_lost_claim_shares_nothing_out_and_records_nothing() -> None:
    send()
    [held] = claims.claim(1)
    Message.objects.update(claim="another")
    assert claims.share_out(held, ALL) is None
    assert not outcome.success(held, "queued", 0.1, {"b@example.com": "rejected"}).record(None)  # type: ignore[arg-type]
    assert [row[:2] for row in rows()] == [(", ".join(ALL), "sending")]


@pytest.mark.usefixtures("api")
def test_what_is_sent_again_has_its_attributes_and_a_new_message_id() -> None:
    send(tags=["a"], extra_headers={"Message-ID": "<old@example.com>", "X-A": "1"})
    deliver_due()
    Message.objects.update(sent_at=timezone.now())
    actions.resend(Message.objects.all())
    deliver_due()
    first, second = mail.outbox
    assert (first.tags, second.tags) == (["a"], ["a"])
    assert (first.extra_headers["Message-ID"], first.extra_headers["X-A"]) == ("<old@example.com>", "1")
    assert second.extra_headers["Message-ID"] == Message.objects.latest("id").message_id != "<old@example.com>"


@pytest.mark.usefixtures("api")
def test_what_is_sent_again_to_another_address_goes_to_no_one_else() -> None:
    send(tags=["a"])
    deliver_due()
    mail.outbox = []
    actions.resend(Message.objects.all(), to=["ops@example.com"])
    assert deliver_due() == Tally(sent=1)
    [sent] = mail.outbox
    assert (sent.recipients(), sent.to, sent.cc, sent.bcc) == (["ops@example.com"], ["ops@example.com"], [], [])
    assert sent.tags == ["a"]


def test_what_is_sent_again_goes_to_those_who_were_taken_alone(api: Any) -> None:
    api.verdicts = {"b@example.com": "rejected"}
    send()
    deliver_due()
    mail.outbox = []
    actions.resend(Message.objects.filter(state="sent"))
    deliver_due()
    assert sorted(address for sent in mail.outbox for address in sent.recipients()) == [
        "a@example.com",
        "c@example.com",
    ]
