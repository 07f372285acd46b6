"""Anymail as the transport: its test backend, and Postmark's and Mailgun's against an API on loopback."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from anymail.backends.test import EmailBackend as AnymailTestBackend
from anymail.message import AnymailMessage
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives

from notify.delivery.worker import Tally, deliver_due
from notify.models import Message, Relay
from tests.services.provider_api import ProviderApi

# ruff: noqa: E501  (a table: a row is a line)
pytestmark = pytest.mark.django_db(transaction=True)

POSTMARK_TOOK = {"ErrorCode": 0, "Message": "OK", "MessageID": "0f3a", "To": "Ann <a@example.com>, b@example.com"}
MAILGUN_TOOK = {"id": "<1@mg.example>", "message": "Queued. Thank you."}
Use = Callable[..., None]


def use_postmark(use_transport: Use, api: ProviderApi) -> None:
    use_transport("anymail.backends.postmark.EmailBackend", server_token="canary-token", api_url=api.url, timeout=1)


def use_mailgun(use_transport: Use, api: ProviderApi) -> None:
    use_transport(
        "anymail.backends.mailgun.EmailBackend",
        api_key="canary-key",
        api_url=api.url + "v3",
        sender_domain="mg.example",
        timeout=1,
    )


def build() -> EmailMultiAlternatives:
    message = EmailMultiAlternatives(
        "Grüße",
        "Text",
        "Ann's shop <ann@shop.example>",
        ["Zoë <a@example.com>", "b@example.com"],
        cc=["C <c@example.com>"],
        bcc=["d@example.com"],
        reply_to=["R <r@shop.example>"],
        headers={"X-Custom": "yes"},
    )
    message.attach_alternative("<p>Grüße</p>", "text/html")
    message.attach("naïve.bin", bytes(range(256)), "application/octet-stream")
    message.attach("fwd.eml", EmailMessage("Inner", "In", "x@example.com", ["y@example.com"]), "message/rfc822")
    return message


def compared(params: dict[str, Any]) -> dict[str, Any]:
    """What Anymail makes of a message, in comparable shape; without the Message-ID, which the outbox adds."""
    plain = dict(params)
    plain["attachments"] = [
        (each.name, each.content_type, each.content_bytes) for each in params.get("attachments", [])
    ]
    plain["extra_headers"] = {name: value for name, value in params["extra_headers"].items() if name != "Message-ID"}
    return {name: [str(each) for each in value] if name in ADDRESSES else value for name, value in plain.items()}


ADDRESSES = ("to", "cc", "bcc", "reply_to")


def test_anymail_is_handed_what_the_caller_built(use_transport: Use) -> None:
    """Through the outbox, and without it."""
    given = {
        "template_id": "welcome",
        "tags": ["a", "b"],
        "metadata": {"order": 7},
        "merge_data": {"a@example.com": {"name": "Zoë"}},
        "merge_global_data": {"shop": "x"},
        "merge_metadata": {"b@example.com": {"n": 1}},
        "merge_headers": {"a@example.com": {"List-Unsubscribe": "<https://x.example/>"}},
        "track_opens": True,
        "track_clicks": False,
        "send_at": 1_800_000_000,
        "envelope_sender": "bounces@shop.example",
        "esp_extra": {"deep": {"er": [1]}},
    }
    through, direct = build(), build()
    for message in (through, direct):
        message.attach_alternative("BEGIN:VCALENDAR\nEND:VCALENDAR\n", "text/calendar; method=REQUEST")
        vars(message).update(given)
    use_transport("anymail.backends.test.EmailBackend")
    mail.outbox = []
    through.send()
    assert deliver_due() == Tally(sent=1)
    AnymailTestBackend().send_messages([direct])
    stored, plain = (compared(message.anymail_test_params) for message in mail.outbox)
    eml, plain_eml = stored["attachments"].pop(), plain["attachments"].pop()
    assert stored == plain
    assert eml[:2] == plain_eml[:2] == ("fwd.eml", "message/rfc822")
    assert b"Subject: Inner" in eml[2]


def test_anymails_own_class_of_message_is_taken(use_transport: Use) -> None:
    use_transport("anymail.backends.test.EmailBackend")
    mail.outbox = []
    message = AnymailMessage("Hi", "Text", "me@shop.example", ["a@example.com"], tags=["a"])
    cid = message.attach_inline_image(b"GIF89a", "logo.gif", "gif")
    message.send()
    assert deliver_due() == Tally(sent=1)
    [sent] = mail.outbox
    params = sent.anymail_test_params
    assert params["tags"] == ["a"]
    [picture] = params["attachments"]
    assert (picture.inline, picture.cid, picture.content) == (True, cid, b"GIF89a")


def test_postmark_gets_one_request_with_all_recipients(use_transport: Use) -> None:
    with ProviderApi((200, POSTMARK_TOOK)) as api:
        use_postmark(use_transport, api)
        message = build()
        message.metadata = {"order": "7"}  # type: ignore[attr-defined]
        message.tags = ["news"]  # type: ignore[attr-defined]
        message.send()
        assert deliver_due() == Tally(sent=1)
    [request] = api.requests
    assert (request.path, request.headers["X-Postmark-Server-Token"]) == ("/email", "canary-token")
    sent = request.json
    assert sent["From"] == "Ann's shop <ann@shop.example>"
    assert (sent["To"], sent["Cc"], sent["Bcc"]) == (
        "Zoë <a@example.com>, b@example.com",
        "C <c@example.com>",
        "d@example.com",
    )
    assert (sent["Subject"], sent["TextBody"], sent["HtmlBody"]) == ("Grüße", "Text", "<p>Grüße</p>")
    assert (sent["ReplyTo"], sent["Metadata"], sent["Tag"]) == ("R <r@shop.example>", {"order": "7"}, "news")
    headers = {header["Name"]: header["Value"] for header in sent["Headers"]}
    row = Message.objects.get()
    assert headers == {"X-Custom": "yes", "Message-ID": row.message_id}
    files = [(each["Name"], each["ContentType"]) for each in sent["Attachments"]]
    assert files == [("naïve.bin", "application/octet-stream"), ("fwd.eml", "message/rfc822")]
    assert base64.b64decode(sent["Attachments"][0]["Content"]) == bytes(range(256))
    assert b"Subject: Inner" in base64.b64decode(sent["Attachments"][1]["Content"])
    assert (row.state, row.reply) == ("sent", "sent 0f3a")


def test_postmarks_template_gets_no_empty_mail(use_transport: Use) -> None:
    with ProviderApi((200, POSTMARK_TOOK)) as api:
        use_postmark(use_transport, api)
        message = EmailMessage("", "", "me@shop.example", ["a@example.com"])
        message.template_id = "welcome"  # type: ignore[attr-defined]
        message.merge_global_data = {"name": "Ann"}  # type: ignore[attr-defined]
        message.send()
        assert deliver_due() == Tally(sent=1)
    [request] = api.requests
    assert request.path == "/email/withTemplate/"
    assert (request.json["TemplateAlias"], request.json["TemplateModel"]) == ("welcome", {"name": "Ann"})
    assert not {"Subject", "TextBody", "HtmlBody"} & set(request.json)


def test_recipients_that_postmark_knows_as_inactive_have_rows_that_failed(use_transport: Use) -> None:
    words = (
        "Message OK, but will not deliver to these inactive addresses: b@example.com. "
        "Inactive recipients are ones that have generated a hard bounce or a spam complaint."
    )
    with ProviderApi((200, {**POSTMARK_TOOK, "Message": words})) as api:
        use_postmark(use_transport, api)
        build().send()
        assert deliver_due() == Tally(sent=1, failed=1)
    found = list(Message.objects.order_by("id").values_list("recipient", "state", "diagnosis"))
    assert found == [
        ("a@example.com, c@example.com, d@example.com", "sent", ""),
        ("b@example.com", "failed", "recipient-refused-by-api"),
    ]


def test_mailgun_gets_one_request_with_all_recipients(use_transport: Use) -> None:
    with ProviderApi((200, MAILGUN_TOOK)) as api:
        use_mailgun(use_transport, api)
        message = build()
        message.track_opens = False  # type: ignore[attr-defined]
        message.tags = ["a", "b"]  # type: ignore[attr-defined]
        message.attach_alternative("BEGIN:VCALENDAR", "text/calendar")
        message.attach_alternative("<html amp4email>", "text/x-amp-html")
        message.alternatives.pop(1)  # Mailgun takes no calendar beside the text
        message.send()
        assert deliver_due() == Tally(sent=1)
    [request] = api.requests
    assert request.path == "/v3/mg.example/messages"
    form = request.form
    assert [str(value) for name, value in form if name in ("to", "cc", "bcc")] == [
        "Zoë <a@example.com>",
        "b@example.com",
        "C <c@example.com>",
        "d@example.com",
    ]
    fields = dict(form)
    assert (fields["from"], fields["subject"], fields["text"]) == ("Ann's shop <ann@shop.example>", "Grüße", "Text")
    assert (fields["html"], fields["amp-html"]) == ("<p>Grüße</p>", "<html amp4email>")
    assert (fields["h:X-Custom"], fields["h:Reply-To"]) == ("yes", "R <r@shop.example>")
    assert [value for name, value in form if name == "o:tag"] == ["a", "b"]
    assert fields["o:tracking-opens"] == "no"
    row = Message.objects.get()
    assert (row.state, row.reply) == ("sent", "queued <1@mg.example>")


REFUSED = "recipient-refused-by-api"
BAD_TOKEN = {"ErrorCode": 10, "Message": "Request does not contain a valid Server token canary-token."}


@pytest.mark.parametrize(
    ("status", "said", "state", "relay", "diagnosis", "uncertain"),
    [
        (401, BAD_TOKEN, "queued", "held", "api-credentials", False),
        (403, {"Message": "no"}, "queued", "held", "api-credentials", False),
        (422, {"ErrorCode": 300, "Message": "Invalid 'To' address: 'a@example.com'."}, "failed", "open", REFUSED, False),
        (422, {"ErrorCode": 406, "Message": "Found inactive addresses: a@example.com. Inactive recipients are"}, "failed", "open", REFUSED, False),
        (422, {"ErrorCode": 300, "Message": "Invalid metadata content."}, "failed", "open", "", False),
        (429, {"Message": "Rate limit exceeded"}, "queued", "down", "api-throttled", False),
        (500, {"Message": "oops"}, "queued", "open", "api-failed", True),
        (503, {"Message": "down for maintenance"}, "queued", "open", "api-failed", True),
        (200, "", "queued", "open", "outcome-unknown", True),
    ],
)  # fmt: skip
def test_what_postmark_refuses_is_classified(
    status: int, said: Any, state: str, relay: str, diagnosis: str, uncertain: bool, use_transport: Use
) -> None:
    with ProviderApi((status, said)) as api:
        use_postmark(use_transport, api)
        EmailMessage("Hi", "Text", "me@shop.example", ["a@example.com"]).send()
        deliver_due()
    assert len(api.requests) == 1
    row = Message.objects.get()
    assert (row.state, row.diagnosis, row.uncertain) == (state, diagnosis, uncertain)
    assert Relay.current().state == relay
    assert "canary" not in row.reply + Relay.current().reason


def test_a_message_that_mailgun_cannot_take_fails_at_once_and_alone(use_transport: Use) -> None:
    with ProviderApi((200, MAILGUN_TOOK)) as api:
        use_mailgun(use_transport, api)
        bad = build()
        bad.attach_alternative("BEGIN:VCALENDAR", "text/calendar")
        bad.send()
        build().send()
        assert deliver_due() == Tally(sent=1, failed=1)
    assert len(api.requests) == 1
    failed = Message.objects.get(state="failed")
    assert failed.diagnosis == "unsupported-by-api"
    assert "Mailgun does not support alternative part with type 'text/calendar'" in failed.reply


def test_a_key_that_was_set_right_reopens_the_relay(use_transport: Use) -> None:
    with ProviderApi((401, "Forbidden"), (200, MAILGUN_TOOK)) as api:
        use_mailgun(use_transport, api)
        build().send()
        deliver_due()
        assert Relay.current().state == "held"
        use_transport(
            "anymail.backends.mailgun.EmailBackend", api_key="right", api_url=api.url + "v3", sender_domain="mg.example"
        )
        assert deliver_due() == Tally(sent=1)
    assert Relay.current().state == "open"
    ids = {dict(request.form)["h:Message-Id"] for request in api.requests}
    assert ids == {Message.objects.get().message_id}
