"""Posts per client and minute: counted, refused with what to do, and forgotten."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client, RequestFactory
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from notify.visitors import rate_limit
from notify.visitors.models import ClientSlot, Visitor
from tests.poster import together
from tests.site import Browser, Site

pytestmark = pytest.mark.django_db

START = 1_000_000 * 60.0  # the beginning of a minute


def wait(now: float, address: str = "192.0.2.1", forwarded: str = "") -> int:
    headers = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    return rate_limit.wait(RequestFactory().post("/", REMOTE_ADDR=address, **headers), now)


@pytest.fixture(autouse=True)
def _three_a_minute(settings: Any) -> None:
    settings.NOTIFY_RATE_LIMIT = 3


def test_the_post_beyond_the_limit_is_refused_in_the_pages_hand_and_keeps_its_text(client: Client) -> None:
    codes = [client.post("/", {"name": f"Ann {name}"}).status_code for name in "ABC"]
    answer = client.post("/", {"name": "Ann D"})
    page = answer.content.decode()
    assert [*codes, answer.status_code] == [302, 302, 302, 429]
    assert 1 <= int(answer["Retry-After"]) <= 120
    assert f"Please wait {answer['Retry-After']} seconds, then send yours again." in page
    assert 'value="Ann D"' in page
    assert Visitor.objects.count() == 3


def test_refused_names_count_and_refused_posts_do_not() -> None:
    assert [wait(START + second) > 0 for second in range(10)] == [False] * 3 + [True] * 7
    assert ClientSlot.objects.get().posts == 3


@pytest.mark.parametrize("second", [0, 20, 59])
def test_after_the_seconds_that_were_said_a_post_passes_and_not_before(second: int) -> None:
    for _ in range(3):
        assert wait(START + second) == 0
    seconds = wait(START + second)
    assert 60 <= seconds <= 70
    assert wait(START + second + seconds - 1) == 1
    assert wait(START + second + seconds) == 0


@given(st.lists(st.floats(0, 200), max_size=60), st.integers(1, 8))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_sixty_seconds_hold_more_than_the_limit(settings: Any, arrivals: list[float], limit: int) -> None:
    ClientSlot.objects.all().delete()
    settings.NOTIFY_RATE_LIMIT = limit
    passed = [second for second in sorted(arrivals) if wait(START + second) == 0]
    for first in passed:
        assert sum(first <= each < first + 60 for each in passed) <= limit
    assert len(passed) >= min(len(arrivals), limit)


def test_clients_do_not_share_a_limit() -> None:
    assert [wait(START, f"192.0.2.{number % 4}") for number in range(12)] == [0] * 12


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("", "not an address", False),
    ],
)
def test_a_client_is_an_address_or_a_network_of_64_bits(first: str, second: str, same: bool) -> None:
    assert (rate_limit._key(first) == rate_limit._key(second)) is same


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.9", "192.0.2.1"),
        (1, "198.51.100.7, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.7, 203.0.113.9", "198.51.100.7"),
        (2, "203.0.113.9", "192.0.2.1"),
        (1, "", "192.0.2.1"),
        (1, "203.0.113.9:50123", "203.0.113.9"),
        (1, "[2001:db8::1]:50123", "2001:db8::1"),
        (1, "2001:db8::1", "2001:db8::1"),
    ],
)
def test_a_forwarded_address_is_believed_as_far_as_it_was_told(
    settings: Any, proxies: int, forwarded: str, address: str
) -> None:
    settings.NOTIFY_TRUSTED_PROXIES = proxies
    request = RequestFactory().post("/", REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR=forwarded)
    assert rate_limit.client_address(request) == address


def test_nothing_can_be_read_of_an_address_and_old_minutes_go() -> None:
    wait(START)
    assert "192.0.2.1" not in str(ClientSlot.objects.values_list().get())
    wait(START + 300, "192.0.2.2")
    assert ClientSlot.objects.count() == 1


def test_without_a_limit_nothing_is_asked(
    settings: Any, django_assert_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    settings.NOTIFY_RATE_LIMIT = 0
    with django_assert_num_queries(0):
        assert wait(START) == 0


def test_a_database_that_is_away_is_said_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise OperationalError("no such host")

    monkeypatch.setattr(rate_limit, "_count", away)
    assert client.post("/", {"name": "Ann"}).status_code == 503


@pytest.mark.slow
@pytest.mark.service("gunicorn")
def test_several_processes_count_together(make_site: Callable[..., Site]) -> None:
    site = make_site(NOTIFY_RATE_LIMIT=5, NOTIFY_DISPATCH="worker")
    site.start(sys.executable, "-m", "gunicorn", "flasky.wsgi", "--workers=4", "--threads=4", "--bind=127.0.0.1:{port}")
    greeted = []

    def visit(number: int) -> None:
        page = Browser(site).post(f"Visitor {number}")
        assert ("Pleased to meet you!" in page) is not ("Many names came from your address" in page)
        if "Pleased to meet you!" in page:
            greeted.append(number)

    together(24, visit)
    # Posts that meet at the turn of ten seconds may not see each other; four processes on their own would take 20.
    assert 5 <= len(greeted) < 10
