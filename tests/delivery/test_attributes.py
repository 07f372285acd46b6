"""What a message has beside its bytes: kept as JSON, given back as it was, or refused when it is sent."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.utils import timezone
from django.utils.translation import gettext_lazy

from notify.delivery import attributes


def built(**given: Any) -> EmailMessage:
    message = EmailMessage("Hi", "Text", "me@example.com", ["a@example.com"])
    vars(message).update(given)
    return message


def kept(message: EmailMessage, *, whole: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = attributes.load(attributes.dump(message, ["a@example.com"], whole=whole))["attributes"]
    return found


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("template_id", "welcome"),
        ("template_id", 42),
        ("tags", ["a", "b"]),
        ("metadata", {"order": 7, "note": "Grüße\0"}),
        ("merge_data", {"a@example.com": {"name": "Ann", "deep": [{"x": None}]}}),
        ("merge_global_data", {"shop": "x"}),
        ("merge_metadata", {"a@example.com": {"id": 1}}),
        ("merge_headers", {"a@example.com": {"List-Unsubscribe": "<https://x.example/u/1>"}}),
        ("track_opens", False),
        ("track_clicks", None),
        ("envelope_sender", "bounces@example.com"),
        ("esp_extra", {"MessageStream": "broadcast"}),
        ("send_at", 1_800_000_000),
        ("send_at", datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_what_anymail_reads_is_kept_whatever_the_transport(name: str, value: Any, whole: bool) -> None:
    assert kept(built(**{name: value}), whole=whole) == {name: value}


def test_what_json_writes_otherwise_is_kept_as_json_has_it() -> None:
    message = built(tags=("a", gettext_lazy("name")), metadata={"n": gettext_lazy("name")})
    assert kept(message) == {"tags": ["a", "name"], "metadata": {"n": "name"}}


def test_a_time_without_a_zone_is_in_the_zone_of_the_call() -> None:
    """As Anymail reads it when it is called; a worker has another."""
    with timezone.override("Asia/Tokyo"):
        message = built(send_at=datetime(2027, 1, 2, 3, 4, 5))
        day = built(send_at=date(2027, 1, 2))
        times = [attributes.dump(each, ["a@example.com"], whole=True) for each in (message, day)]
    assert [attributes.load(each)["attributes"]["send_at"] for each in times] == [
        datetime(2027, 1, 1, 18, 4, 5, tzinfo=UTC),
        datetime(2027, 1, 1, 15, 0, tzinfo=UTC),
    ]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("metadata", {"when": datetime(2027, 1, 1, tzinfo=UTC)}, "a datetime is not JSON"),
        ("esp_extra", {"file": b"x"}, "a bytes is not JSON"),
        ("tags", {"a", "b"}, "a set is not JSON"),
        ("merge_data", {"a@example.com": {"price": float("nan")}}, "Out of range float values are not JSON compliant"),
        ("merge_global_data", {("a", 1): 2}, "keys must be str, int, float, bool or None, not tuple"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_name_and_the_reason(
    name: str, value: Any, why: str, whole: bool
) -> None:
    with pytest.raises(TypeError) as caught:
        attributes.dump(built(**{name: value}), ["a@example.com"], whole=whole)
    assert str(caught.value).startswith(f"The message's {name} cannot be kept until it is sent: {why}")
    assert str(caught.value).endswith("Use strings, numbers, booleans, None, and lists and dicts of these.")


def test_what_contains_itself_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    with pytest.raises(TypeError, match="The message's metadata cannot be kept until it is sent"):
        attributes.dump(built(metadata=circle), ["a@example.com"], whole=True)


def test_attributes_of_other_backends_are_kept_for_a_transport_that_may_read_them() -> None:
    message = built(priority="now", _private=1, render=print, anymail_status=1)
    assert kept(message) == {"priority": "now"}
    assert kept(message, whole=False) == {}


def test_attributes_of_a_class_are_kept_and_unset_ones_are_not() -> None:
    class Receipt(EmailMessage):
        template_id = "receipt"
        tags = type("UNSET", (), {})  # as Anymail's own class has it

    assert kept(Receipt("Hi", "Text", "me@example.com", ["a@example.com"])) == {"template_id": "receipt"}


def test_an_ordinary_mail_by_smtp_has_nothing_beside_its_bytes() -> None:
    assert attributes.dump(built(content_subtype="html"), ["a@example.com"], whole=False) == ""


@pytest.mark.parametrize(
    ("recipients", "words"),
    [
        (["a@x.org"], "a@x.org"),
        (["a@x.org", "b@x.org"], "a@x.org, b@x.org"),
        (["a@x.org"] * 40, "a@x.org, " * 35 + "a@x.…"),
    ],
)
def test_a_row_of_a_whole_message_names_its_recipients(recipients: list[str], words: str) -> None:
    assert attributes.in_words(recipients) == words
    text = attributes.dump(built(), recipients, whole=True)
    assert attributes.whole_message(text, words) == recipients


def test_a_row_of_one_recipient_of_several_is_no_whole_message() -> None:
    text = attributes.dump(built(), ["a@x.org", "b@x.org"], whole=True)
    assert attributes.whole_message(text, "b@x.org") == []
    assert attributes.whole_message("", "b@x.org") == []
    assert attributes.whole_message(attributes.dump(built(tags=["a"]), ["a@x.org"], whole=False), "a@x.org") == []
