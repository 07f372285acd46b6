"""The presets: found by every name they have, and never in the way of what is said explicitly."""

from collections import Counter
from typing import Any

import pytest

from notify.smtp.providers import presets
from notify.smtp.providers.presets import PROVIDERS, Provider, Route

NOTHING: dict[str, Any] = {"service": "", "username": "", "server": "", "port": None, "use_tls": None, "use_ssl": None}


def route(**given: Any) -> Route:
    return presets.route(**(NOTHING | given))


def way(**given: Any) -> tuple[str, int, str]:
    found = route(**given)
    return found.host, found.port, "tls" if found.use_ssl else "starttls" if found.use_tls else "plain"


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("gmail", ("smtp.gmail.com", 587, "starttls")),
        ("163", ("smtp.163.com", 465, "tls")),
        ("126", ("smtp.126.com", 465, "tls")),
        ("qq", ("smtp.qq.com", 465, "tls")),
        ("exmail", ("smtp.exmail.qq.com", 465, "tls")),
        ("outlook365", ("smtp.office365.com", 587, "starttls")),
        ("outlook", ("smtp-mail.outlook.com", 587, "starttls")),
        ("hotmail", ("smtp-mail.outlook.com", 587, "starttls")),
        ("icloud", ("smtp.mail.me.com", 587, "starttls")),
        ("yahoo", ("smtp.mail.yahoo.com", 465, "tls")),
        ("zoho", ("smtp.zoho.com", 465, "tls")),
        ("fastmail", ("smtp.fastmail.com", 465, "tls")),
        ("sendgrid", ("smtp.sendgrid.net", 587, "starttls")),
        ("mailgun", ("smtp.mailgun.org", 465, "tls")),
        ("ses-eu-west-1", ("email-smtp.eu-west-1.amazonaws.com", 587, "starttls")),
        ("SendinBlue", ("smtp-relay.brevo.com", 587, "starttls")),
        ("GMail", ("smtp.gmail.com", 587, "starttls")),
    ],
)
def test_a_preset_is_found_by_its_name(service: str, expected: tuple[str, int, str]) -> None:
    assert way(service=service) == expected


@pytest.mark.parametrize(
    ("username", "host"),
    [
        ("x@163.com", "smtp.163.com"),
        ("x@Foxmail.com", "smtp.qq.com"),
        ("x@yahoo.co.uk", "smtp.mail.yahoo.com"),
        ("x@web.de", "smtp.web.de"),
        ("x@my-company.example", "localhost"),
        ("apikey", "localhost"),
        ("", "localhost"),
    ],
)
def test_a_preset_is_found_by_the_address_one_logs_in_with(username: str, host: str) -> None:
    assert route(username=username).host == host


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("smtp.gmail.com", "gmail"),
        ("SMTP.googlemail.com.", "gmail"),
        ("email-smtp.us-east-1.amazonaws.com", "ses"),
        ("email-smtp.eu-west-1.amazonaws.com", "ses-eu-west-1"),
    ],
)
def test_a_preset_is_found_by_its_host(host: str, name: str) -> None:
    found = presets.find(host=host)
    assert found
    assert found.name == name


@pytest.mark.parametrize("host", ["relay.test", "localhost", "127.0.0.1"])
def test_a_host_of_ones_own_is_no_preset(host: str) -> None:
    assert presets.find(host=host) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("localhost", 25, "plain")),
        ({"service": "gmail", "port": 465}, ("smtp.gmail.com", 465, "tls")),
        ({"service": "gmail", "use_ssl": True}, ("smtp.gmail.com", 465, "tls")),
        ({"service": "163", "use_tls": True}, ("smtp.163.com", 465, "starttls")),
        ({"service": "163", "port": 994}, ("smtp.163.com", 994, "tls")),
        ({"service": "163", "port": 25}, ("smtp.163.com", 25, "plain")),
        ({"service": "163", "port": 2525}, ("smtp.163.com", 2525, "starttls")),
        ({"service": "qq", "port": 587}, ("smtp.qq.com", 587, "starttls")),
        ({"service": "ses", "port": 2465}, ("email-smtp.us-east-1.amazonaws.com", 2465, "tls")),
        ({"service": "mailpit"}, ("127.0.0.1", 1025, "plain")),
        ({"service": "gmail", "server": "relay.test"}, ("relay.test", 587, "starttls")),
        ({"service": "gmail", "use_tls": False}, ("smtp.gmail.com", 587, "plain")),
        ({"server": "smtp.163.com"}, ("smtp.163.com", 465, "tls")),
        ({"server": "relay.test", "username": "x@gmail.com"}, ("relay.test", 25, "plain")),
        ({"server": "relay.test", "use_tls": True}, ("relay.test", 25, "starttls")),
        ({"server": "relay.test", "port": 465, "use_ssl": True}, ("relay.test", 465, "tls")),
        ({"username": "x@qq.com", "port": 587, "use_tls": True}, ("smtp.qq.com", 587, "starttls")),
    ],
)
def test_what_is_given_wins_over_the_preset(given: dict[str, Any], expected: tuple[str, int, str]) -> None:
    assert way(**given) == expected


def test_both_modes_at_once_are_left_for_a_check_to_name() -> None:
    found = route(service="gmail", use_tls=True, use_ssl=True)
    assert found.use_tls
    assert found.use_ssl


@pytest.mark.parametrize(
    ("service", "username", "expected"),
    [
        ("163", "x@163.com", True),
        ("gmail", "x@gmail.com", True),
        ("outlook365", "x@company.example", True),
        ("163", "x", False),
        ("sendgrid", "apikey", False),
        ("", "x@company.example", False),
    ],
)
def test_the_login_is_the_sender_where_that_is_the_rule(service: str, username: str, expected: bool) -> None:
    assert route(service=service, username=username).sender_is_login is expected


@pytest.mark.parametrize("name", ["163", "126", "qq", "exmail", "yeah", "mail.ru"])
def test_some_take_no_other_sender_than_the_login(name: str) -> None:
    found = presets.find(service=name)
    assert found
    assert found.sender == "login"


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_every_preset_is_complete(provider: Provider) -> None:
    assert provider.hosts
    assert all(isinstance(port, int) for port in provider.ports)
    assert set(provider.ports.values()) <= {"tls", "starttls", "plain"}
    assert provider.login in presets.LOGINS
    assert provider.sender in presets.SENDERS
    assert provider.name == provider.name.lower()


@pytest.mark.parametrize("kind", ["names", "domains"])
def test_no_word_means_two_presets(kind: str) -> None:
    words = presets.names() if kind == "names" else [domain for each in PROVIDERS for domain in each.domains]
    assert [word for word, count in Counter(words).items() if count > 1] == []


def test_the_list_names_every_preset_and_what_it_wants() -> None:
    text = "\n".join(presets.lines())
    assert all(f"{name}" in text for name in presets.names())
    assert "qq (or foxmail): smtp.qq.com 465 tls, 587 starttls\n    MAIL_PASSWORD: an authorization code" in text
    assert "MAIL_USERNAME=apikey; MAIL_PASSWORD: an API key" in text
