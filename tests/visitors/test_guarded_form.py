"""The part of the form that tells people from programs, through the page."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core import signing
from django.test import Client

from notify.visitors import forms
from notify.visitors.models import Visitor

pytestmark = pytest.mark.django_db

SOON, LATE = "sent too quickly", "was open for too long"


def stamp(page: str) -> str:
    found = re.search(r'name="served" value="([^"]+)"', page)
    assert found
    return found[1]


def served(seconds_ago: float) -> str:
    return forms._signer.sign(f"{time.time() - seconds_ago:.2f}")


@pytest.mark.parametrize(("age", "words"), [(0, SOON), (0.5, SOON), (1.5, ""), (86_000, ""), (86_500, LATE)], ids=str)
def test_a_form_is_good_from_a_second_to_a_day_after_it_was_served(client: Client, age: float, words: str) -> None:
    answer = client.post("/", {"name": "Ann", "served": served(age)})
    assert answer.status_code == (422 if words else 302)
    assert Visitor.objects.exists() is not bool(words)
    if words:
        page = answer.content.decode()
        assert words in page
        assert 'value="Ann"' in page
        assert 'role="alert"' in page


def test_a_form_that_came_back_too_early_is_good_a_moment_later(client: Client, settings: Any) -> None:
    settings.NOTIFY_FORM_SECONDS = 60
    first = stamp(client.get("/").content.decode())
    again = stamp(client.post("/", {"name": "Ann", "served": first}).content.decode())
    assert again == first
    settings.NOTIFY_FORM_SECONDS = 0
    assert client.post("/", {"name": "Ann", "served": again}).status_code == 302


@pytest.mark.parametrize(
    "make",
    [lambda: served(90_000), lambda: "forged:stamp", lambda: signing.Signer(salt="other").sign("1"), lambda: "x\n"],
    ids=["old", "forged", "of another form", "none at all"],
)
def test_a_form_that_is_too_old_or_forged_comes_back_with_a_fresh_stamp(
    client: Client, make: Callable[[], str]
) -> None:
    page = client.post("/", {"name": "Ann", "served": make()}).content.decode()
    assert LATE in page
    assert 'value="Ann"' in page
    age = time.time() - float(forms._signer.unsign(stamp(page)))
    assert -1 < age < 60


def test_a_stamp_may_be_used_more_than_once(client: Client) -> None:
    old = served(100)
    for name in ("Ann", "Bob"):
        assert client.post("/", {"name": name, "served": old}).status_code == 302


def test_a_post_without_a_stamp_is_taken(client: Client) -> None:
    assert client.post("/", {"name": "Ann"}).status_code == 302


def test_zero_seconds_let_anybody_post_at_once(client: Client, settings: Any) -> None:
    settings.NOTIFY_FORM_SECONDS = 0
    assert client.post("/", {"name": "Ann", "served": served(0)}).status_code == 302


def test_who_fills_in_what_people_do_not_see_gets_the_form_again_with_it_emptied(client: Client) -> None:
    answer = client.post("/", {"name": "Ann", "website": "https://spam.example", "served": served(5)})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "hidden field" in page
    assert 'value="Ann"' in page
    assert "spam.example" not in page
    assert not Visitor.objects.exists()


def test_people_do_not_meet_the_field_with_keyboard_or_screen_reader(client: Client) -> None:
    page = client.get("/").content.decode()
    [around] = re.findall(r'<div class="aside" aria-hidden="true">(.*?)</div>', page)
    assert 'tabindex="-1"' in around
    assert 'autocomplete="off"' in around
    assert "Please leave this empty" in around


def test_a_clock_that_was_set_back_delays_nobody_for_longer_than_a_moment(client: Client, settings: Any) -> None:
    page = client.post("/", {"name": "Ann", "served": served(-3600)}).content.decode()
    assert SOON in page
    settings.NOTIFY_FORM_SECONDS = 0
    assert client.post("/", {"name": "Ann", "served": stamp(page)}).status_code == 302


def test_what_is_no_text_is_a_filled_trap_too(client: Client) -> None:
    page = client.post("/", {"name": "Ann", "website": "\0"}).content.decode()
    assert "hidden field" in page
    assert not Visitor.objects.exists()


def test_a_project_that_sets_nothing_has_the_page_with_a_second_and_no_limit(client: Client, settings: Any) -> None:
    for name in ("NOTIFY_FORM_SECONDS", "NOTIFY_RATE_LIMIT", "NOTIFY_TRUSTED_PROXIES"):
        delattr(settings, name)
    assert [client.post("/", {"name": "Ann", "served": served(age)}).status_code for age in (0.5, 1.5)] == [422, 302]
