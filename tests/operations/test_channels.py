"""Addresses for alerts and the heartbeat: how they are read, what is shown of them, and what is masked."""

from typing import Any

import pytest

from notify.operations import channels
from notify.operations.channels import Channel
from notify.smtp.secret import Secret, hush

TOKEN = "k4n4r!enT0ken"


def test_addresses_are_separated_by_blanks_commas_or_lines_and_may_hold_commas(settings: Any) -> None:
    settings.NOTIFY_ALERT_URLS = " json://a.example/?x=1,2 ,ntfy://b.example/c,\nslack://A/B/C json://a.example/?x=1,2"
    urls = ["json://a.example/?x=1,2", "ntfy://b.example/c", "slack://A/B/C"]
    assert [channel.url for channel in channels.configured()] == urls
    settings.NOTIFY_ALERT_URLS = urls
    assert [channel.url for channel in channels.configured()] == urls


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"json://ann:{TOKEN}@hooks.example:8080/{TOKEN}", "JSON hooks.example"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general", "Slack"),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "Telegram"),
        ("ntfy://a-topic-that-is-secret", "ntfy"),
        ("mmost://localhost:9/3ccdd113474722377935511fc85d3dd4", "Mattermost localhost"),
        ("wecombot://0123456789-0123456789", "WeCom Bot"),
        (f"nonsense://{TOKEN}", "nonsense://***"),
    ],
)
def test_the_service_and_a_real_host_are_shown(url: str, name: str) -> None:
    assert Channel(Secret(url)).name == name


@pytest.mark.parametrize(
    ("urls", "heartbeat", "secrets"),
    [
        (f"json://ann:{TOKEN}@hooks.example/services/a", "", {TOKEN}),
        (f"json://ann:{TOKEN.replace('!', '%21')}@h.example", "", {TOKEN, TOKEN.replace("!", "%21")}),
        (f"ntfy://{TOKEN}@h.example/topic", "", {TOKEN}),
        ("mmost://Flasky@h.example/3ccdd113474722377935511fc85d3dd4", "", {"3ccdd113474722377935511fc85d3dd4"}),
        ("slack://T1JJ3T3L2/A1BRTD4JD/#general", "", {"T1JJ3T3L2", "A1BRTD4JD"}),
        ("tgram://123456789:abcdefg_hijklmnop/1231", "", {"123456789", "abcdefg_hijklmnop"}),
        (f"json://h.example/x?key={TOKEN}", "", {TOKEN}),
        ("", "https://hc-ping.com/0a1b2c3d-0a1b", {"0a1b2c3d-0a1b"}),
    ],
)
def test_passwords_and_tokens_are_masked_and_words_and_hosts_are_not(
    settings: Any, urls: str, heartbeat: str, secrets: set[str]
) -> None:
    settings.NOTIFY_ALERT_URLS, settings.NOTIFY_HEARTBEAT_URL = urls, heartbeat
    assert set(channels.secrets()) == secrets
    assert "services" in hush("services at hooks.example and general", channels.secrets())


def test_the_mark_of_a_channel_tells_it_from_others_and_nothing_about_it() -> None:
    marks = {Channel(Secret(f"json://h.example/{path}")).mark for path in ("a", "b", "a")}
    assert len(marks) == 2


@pytest.mark.parametrize(
    ("url", "fail"),
    [
        ("https://hc-ping.com/0123", "https://hc-ping.com/0123/fail"),
        ("https://checks.example/ping/0123/", "https://checks.example/ping/0123/fail"),
        ("https://kuma.example/api/push/abc", ""),
        ("https://kuma.example/api/push/abc?status=up&msg=OK", ""),
        ("https://cronitor.link/p/0123/abc", ""),
        ("https://nosnch.in/0123", ""),
    ],
)
def test_a_failure_is_reported_where_the_service_knows_that(url: str, fail: str) -> None:
    assert channels.fail_url(url) == fail


def test_without_apprise_a_send_says_what_to_install(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.NOTIFY_ALERT_URLS = f"json://ann:{TOKEN}@h.example"
    monkeypatch.setattr(channels, "find_spec", lambda name: None)
    [channel] = channels.configured()
    assert channel.name == "json://***"
    said = channels.send([channel], "Title", "Text", kind="info")
    words = "NOTIFY_ALERT_URLS needs the package apprise, which is not installed: pip install apprise"
    assert said == {channel.mark: words}


def test_an_exception_of_a_service_is_a_reason_without_its_secret(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NOTIFY_ALERT_URLS = f"json://ann:{TOKEN}@h.example"

    def fail(self: Channel, title: str, text: str, *, kind: str) -> str:
        raise ValueError(f"what is\n{self.url}?")

    monkeypatch.setattr(Channel, "send", fail)
    [said] = channels.send(channels.configured(), "Title", "Text", kind="info").values()
    assert said == "ValueError: what is\\njson://ann:***@h.example?"
