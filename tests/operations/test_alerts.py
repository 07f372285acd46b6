"""What is reported outside of mail, when, how often, and by which of several processes."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from notify.delivery import breaker
from notify.models import Alert, Attempt, Event, Message, Outcome, Relay
from notify.operations import alerts, channels
from notify.operations.channels import Channel
from tests.delivery.test_claims import queue
from tests.operations.test_status import fail

pytestmark = pytest.mark.django_db
URLS = "json://one.example/t0ken-0123456789 json://two.example"


class Services:
    """In place of the real ones: what each was sent, and what it answers ("" for accepted)."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str, str]] = []
        self.answers: dict[str, str] = {}
        self.meanwhile: Callable[[], None] = lambda: None

    def send(self, chosen: Sequence[Channel], title: str, text: str, *, kind: str) -> dict[str, str]:
        self.meanwhile()
        for channel in chosen:
            self.sent.append((channel.url, title, text, kind))
        return {channel.mark: self.answers.get(channel.url, "") for channel in chosen}

    @property
    def titles(self) -> list[str]:
        return [title for url, title, _, _ in self.sent if "one" in url]


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Services:
    settings.NOTIFY_ALERT_URLS, settings.NOTIFY_ALERT_AFTER = URLS, 300
    found = Services()
    monkeypatch.setattr(channels, "send", found.send)
    return found


def ago(seconds: float) -> datetime:
    return timezone.now() - timedelta(seconds=seconds)


def pass_time(seconds: float) -> None:
    """All that was noted is so much longer ago."""
    past = timedelta(seconds=seconds)
    Relay.objects.update(since=F("since") - past, last_success=F("last_success") - past)
    Alert.objects.update(since=F("since") - past, created_at=F("created_at") - past, due_at=F("due_at") - past)
    Attempt.objects.update(at=F("at") - past)


def deliver_all() -> None:
    Message.objects.filter(state="queued").update(state="sent", sent_at=timezone.now())
    Relay.objects.update(last_success=timezone.now())


HELD = "[Flasky] Delivery is on hold: action required."
DOWN = "[Flasky] Delivery is interrupted; retrying automatically."
WORKS = "[Flasky] Mail works again."


def test_a_hold_is_reported_at_once_to_every_channel_with_cause_fix_and_link(services: Services) -> None:
    queue(2)
    fail(Outcome.HOLD, diagnosis="bad-credentials")
    alerts.look()
    assert [(url, title, kind) for url, title, _, kind in services.sent] == [
        ("json://one.example/t0ken-0123456789", HELD, "failure"),
        ("json://two.example", HELD, "failure"),
    ]
    status = Alert.objects.get()
    assert services.sent[0][2].split("\n\n")[2:] == [
        "2 mails are queued.",
        "http://flasky.example.com/admin/notify/relay/",
    ]
    assert "MAIL_PASSWORD" in services.sent[0][2]
    assert "535" not in services.sent[0][2]
    assert (status.kind, status.due_at, status.attempts) == ("held", None, 1)


def test_the_words_of_the_mail_server_are_sent_where_the_cause_is_unknown(services: Services) -> None:
    fail(Outcome.HOLD, reason="599 what is this")
    alerts.look()
    assert services.sent[0][2].startswith("The cause is unknown.\n\n599 what is this\n\n0 mails are queued.")


def test_an_interruption_is_reported_when_it_has_lasted(services: Services) -> None:
    fail(Outcome.DOWN)
    pass_time(290)
    alerts.look()
    assert services.sent == []
    pass_time(11)
    alerts.look()
    assert services.titles == [DOWN]


def test_each_change_is_reported_once_however_often_it_is_looked_at(services: Services) -> None:
    fail(Outcome.DOWN)
    pass_time(301)
    for _ in range(3):
        alerts.look()
    Relay.objects.update(state="held")
    for _ in range(3):
        alerts.look()
    Relay.objects.update(state="down")  # for the better, and yet it does not work
    alerts.look()
    assert services.titles == [DOWN, HELD]


def test_its_end_is_reported_once_with_the_mails_delivered_since(services: Services) -> None:
    queue(37)
    fail(Outcome.HOLD, diagnosis="bad-credentials")
    alerts.look()
    pass_time(100)
    breaker.resume()
    alerts.look()
    assert services.titles == [HELD]  # nothing has proved yet that it works
    deliver_all()
    queue(3, state="sent", sent_at=timezone.now(), created_at=timezone.now())  # these had not queued
    for _ in range(3):
        alerts.look()
    assert services.titles == [HELD, WORKS]
    _, _, text, kind = services.sent[-1]
    assert kind == "success"
    assert text.startswith("37 queued mails were delivered.\n\nMail had not worked since 20")


def test_the_end_waits_for_what_had_queued_but_not_for_ever(services: Services) -> None:
    fail(Outcome.HOLD)
    alerts.look()
    queue(1)
    pass_time(100)
    breaker.resume()
    Relay.objects.update(last_success=timezone.now())
    alerts.look()
    assert services.titles == [HELD]
    pass_time(61)
    alerts.look()
    assert services.titles == [HELD, WORKS]


def test_the_end_waits_for_two_attempts_of_a_slow_transport(
    services: Services, use_transport: Callable[..., None]
) -> None:
    use_transport("tests.backends.Scripted", timeout=60)
    fail(Outcome.HOLD)
    alerts.look()
    queue(1)
    pass_time(100)
    breaker.resume()
    pass_time(61)
    alerts.look()
    assert services.titles == [HELD]
    pass_time(60)
    alerts.look()
    assert services.titles == [HELD, WORKS]


def test_a_pause_is_neither_reported_nor_an_end(services: Services) -> None:
    breaker.pause("maintenance")
    alerts.look()
    breaker.resume()
    fail(Outcome.HOLD)
    alerts.look()
    breaker.pause("maintenance")
    alerts.look()
    assert services.titles == [HELD]


def test_a_message_that_no_worker_takes_is_reported_and_its_end(services: Services, settings: Any) -> None:
    settings.NOTIFY_READY_SECONDS = 300
    Relay.current()
    queue(1)
    Message.objects.update(due_at=ago(400), created_at=ago(400))
    alerts.look()
    assert services.titles == []  # the relay was opened just now: what had queued before is being drained
    pass_time(301)
    alerts.look()
    alerts.look()
    assert services.titles == ["[Flasky] Mail is queued, but no worker is running."]
    pass_time(10)
    deliver_all()
    alerts.look()
    alerts.look()
    assert services.titles[1:] == [WORKS]
    assert services.sent[-1][2].startswith("1 queued mail was delivered.")


def test_an_event_that_no_worker_takes_is_reported(services: Services, settings: Any) -> None:
    settings.NOTIFY_READY_SECONDS = 300
    Relay.current()
    pass_time(1000)
    Event.objects.create(topic="visitors", key="1", subject="New visitor", summary="Ann", created_at=ago(290))
    alerts.look()
    assert services.titles == []
    Event.objects.update(created_at=ago(310))
    alerts.look()
    assert services.titles == ["[Flasky] Mail is queued, but no worker is running."]


def test_many_failures_are_reported_and_their_end(services: Services, settings: Any) -> None:
    settings.NOTIFY_ALERT_FAILURES = 4
    Relay.current()
    [message] = queue(1, state="sent")
    for _ in range(5):
        Attempt.objects.create(message=message, seconds=1, phase="rcpt", text="550", decision="fail", diagnosis="x")
    alerts.look()
    alerts.look()
    assert services.titles == ["[Flasky] 5 mails failed permanently within an hour."]
    assert services.sent[0][2].endswith("http://flasky.example.com/admin/notify/message/?state=failed")
    pass_time(3601)
    alerts.look()
    alerts.look()
    assert services.titles[1:] == ["[Flasky] Mails no longer fail."]
    assert services.sent[-1][2].startswith("Many had failed since 20")


def test_what_a_channel_does_not_accept_is_retried_there_alone_for_an_hour(services: Services) -> None:
    services.answers["json://two.example"] = "503 later"
    fail(Outcome.HOLD)
    alerts.look()
    alerts.look()
    assert len(services.sent) == 2
    for _ in range(100):
        pass_time(60)
        alerts.look()
    urls = [url for url, *_ in services.sent]
    assert urls.count("json://one.example/t0ken-0123456789") == 1
    times = urls.count("json://two.example")
    assert 8 <= times <= 9
    alert = Alert.objects.get()
    assert alert.due_at is None
    assert alert.outcomes == [
        ("JSON one.example", "sent", True),
        ("JSON two.example", "not accepted: 503 later", False),
    ]


def test_a_report_that_was_not_accepted_does_not_follow_that_of_the_end(services: Services) -> None:
    services.answers = dict.fromkeys(URLS.split(), "503")
    fail(Outcome.HOLD)
    alerts.look()
    breaker.resume()
    pass_time(61)
    services.answers = {}
    for _ in range(3):
        pass_time(61)
        alerts.look()
    assert services.titles == [HELD, WORKS]


def test_that_mail_works_again_is_retried_where_it_was_not_accepted(services: Services) -> None:
    fail(Outcome.HOLD)
    alerts.look()
    breaker.resume()
    deliver_all()
    services.answers = dict.fromkeys(URLS.split(), "503")
    alerts.look()
    services.answers = {}
    pass_time(61)
    alerts.look()
    assert services.titles == [HELD, WORKS, WORKS]


def test_of_two_processes_one_stores_a_change(services: Services) -> None:
    fail(Outcome.HOLD)
    now = timezone.now()
    for _ in range(2):
        alerts._store(Alert.About.DELIVERY, Alert.Kind.HELD, None, now, since=now, title="t", text="")
    assert Alert.objects.count() == 1


def test_of_two_processes_one_sends_it(services: Services) -> None:
    fail(Outcome.HOLD)
    services.meanwhile = alerts.look  # another one looks while this one is sending
    alerts.look()
    assert services.titles == [HELD]


def test_the_end_does_not_overtake_a_report_that_another_process_is_sending(services: Services) -> None:
    fail(Outcome.HOLD)

    def end() -> None:
        services.meanwhile = lambda: None
        breaker.resume()
        Relay.objects.update(last_success=timezone.now())
        alerts.look()

    services.meanwhile = end
    alerts.look()
    assert services.titles == [HELD]
    pass_time(1)
    alerts.look()
    assert services.titles == [HELD, WORKS]


def test_a_report_whose_sender_was_killed_is_not_repeated(services: Services) -> None:
    def die() -> None:
        raise SystemExit

    fail(Outcome.HOLD)
    services.meanwhile = die
    with pytest.raises(SystemExit):
        alerts.look()
    services.meanwhile = lambda: None
    alerts.look()
    pass_time(61)
    alerts.look()
    assert services.sent == []
    alert = Alert.objects.get()
    assert [words for _, words, _ in alert.outcomes] == ["outcome unknown"] * 2
    assert alert.due_at is None


def test_where_mail_works_a_look_is_one_query(
    services: Services, settings: Any, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "ping", lambda url: "")
    settings.NOTIFY_HEARTBEAT_URL = "https://hc-ping.com/0123"
    queue(3)
    alerts.look()
    with django_assert_num_queries(1):
        alerts.look()


@pytest.mark.parametrize("use_tz", [True, False])
def test_a_hold_under_settings_that_no_worker_has_any_more_costs_no_query(
    use_tz: bool, services: Services, settings: Any, django_assert_num_queries: Any
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "America/New_York"
    breaker.notice_configuration()
    Relay.objects.update(state="held")
    settings.FLASKY_MAIL_SENDER = "Another <another@example.com>"
    breaker.notice_configuration()
    assert Relay.objects.count() == 2
    with django_assert_num_queries(1):
        alerts.look()


def test_without_channels_and_heartbeat_nothing_is_asked(settings: Any, django_assert_num_queries: Any) -> None:
    settings.NOTIFY_ALERT_URLS = settings.NOTIFY_HEARTBEAT_URL = ""
    with django_assert_num_queries(0):
        alerts.look()


class Heart:
    def __init__(self) -> None:
        self.pings: list[str] = []

    def ping(self, url: str) -> str:
        self.pings.append(url)
        return ""


@pytest.fixture
def heart(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Heart:
    settings.NOTIFY_HEARTBEAT_URL, settings.NOTIFY_ALERT_URLS = "https://hc-ping.com/0123", ""
    found = Heart()
    monkeypatch.setattr(channels, "ping", found.ping)
    return found


def test_the_heartbeat_is_pinged_once_a_minute_while_mail_works(heart: Heart) -> None:
    for _ in range(13):
        alerts.look()
        pass_time(10)
    assert heart.pings == ["https://hc-ping.com/0123"] * 3
    assert not Alert.objects.exclude(about="heartbeat").exists()


def test_on_hold_the_heartbeat_fails_at_once_and_then_once_a_minute(heart: Heart) -> None:
    alerts.look()
    fail(Outcome.HOLD)
    for _ in range(7):
        alerts.look()
        pass_time(10)
    assert heart.pings[1:] == ["https://hc-ping.com/0123/fail"] * 2


@pytest.mark.parametrize("trouble", ["down", "paused"])
def test_there_is_no_ping_while_mail_does_not_work(heart: Heart, trouble: str) -> None:
    Relay.current()
    Relay.objects.update(state=trouble)
    alerts.look()
    pass_time(1000)
    alerts.look()
    assert heart.pings == []


def test_a_service_that_knows_no_failure_is_not_pinged_on_hold(heart: Heart, settings: Any) -> None:
    settings.NOTIFY_HEARTBEAT_URL = "https://kuma.example/api/push/abc?status=up"
    fail(Outcome.HOLD)
    alerts.look()
    assert heart.pings == []
