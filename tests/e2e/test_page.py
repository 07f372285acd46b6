"""The page in a real browser: keyboard, small screens, contrast, and nothing from elsewhere."""

import re
from typing import Any

import pytest
from django.utils.translation import gettext, override
from playwright.sync_api import BrowserContext, Page, expect

pytestmark = [pytest.mark.service("chromium"), pytest.mark.django_db(transaction=True)]

SIZES = {"small phone": (320, 480), "phone": (390, 844), "tablet": (820, 1180), "wide": (2560, 1300)}
LONG = "Wolfeschlegelsteinhausenbergerdorffwelchevoralternwarengewissenha"[:64]
with_javascript = pytest.mark.parametrize("context", [{"java_script_enabled": True}], indirect=True, ids=["js"])


def type_name(page: Page, name: str) -> None:
    """Without a click: the field has the focus as soon as the page is painted."""
    expect(page.get_by_role("textbox")).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Enter")


def test_a_stranger_types_a_name_with_the_keyboard_alone_and_is_greeted(page: Page, live_server: Any) -> None:
    page.goto(live_server.url)
    expect(page.get_by_role("heading")).to_have_text("Hello, Stranger!")
    expect(page.get_by_label("What is your name?")).to_be_focused()
    type_name(page, "李小龙")
    page.wait_for_load_state()
    expect(page.get_by_role("main")).to_contain_text("Hello, 李小龙! Pleased to meet you!")
    expect(page.get_by_label("What is your name?")).to_be_empty()

    page.keyboard.press("Tab")
    expect(page.get_by_label("What is your name?")).to_be_focused()
    page.keyboard.type("李小龙")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Say hello")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_contain_text("Hello, 李小龙! Happy to see you again!")
    page.reload()
    expect(page.get_by_role("main")).to_contain_text("Hello, 李小龙! Happy to see you again!")


def test_who_types_like_a_robot_is_asked_once_more(page: Page, live_server: Any, settings: Any) -> None:
    settings.NOTIFY_FORM_SECONDS = 60  # however slow the machine
    page.goto(live_server.url)
    type_name(page, "Ann")
    expect(page.get_by_role("alert")).to_have_text("The form was sent too quickly. Please press the button once more.")
    expect(page.get_by_label("What is your name?")).to_have_value("Ann")
    settings.NOTIFY_FORM_SECONDS = 0
    page.get_by_role("button", name="Say hello").click()
    expect(page.get_by_role("heading")).to_have_text("Hello, Ann!")


def test_a_refused_name_stays_with_its_reason_and_the_focus(page: Page, live_server: Any) -> None:
    page.goto(live_server.url)
    type_name(page, "www.example.com")
    field = page.get_by_label("What is your name?")
    expect(field).to_have_accessible_description("A name cannot be a link. Please type just the name.")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("www.example.com")
    expect(field).to_be_focused()
    expect(page).to_have_title(re.compile("^Error:"))
    page.keyboard.press("Control+A")
    type_name(page, "Ann")
    expect(page.get_by_role("heading")).to_have_text("Hello, Ann!")


@pytest.mark.parametrize(
    ("context", "language"),
    [({"locale": "en-GB"}, "en"), ({"locale": "zh-CN"}, "zh-hans"), ({"locale": "fr-FR"}, "en")],
    indirect=["context"],
    ids=["English", "Chinese", "a language it does not speak"],
)
def test_the_page_speaks_the_browsers_language(page: Page, live_server: Any, language: str) -> None:
    page.goto(live_server.url)
    with override(language):
        expect(page.get_by_role("heading")).to_have_text(gettext("Hello, Stranger!"))
        type_name(page, "www.example.com")
        expect(page.get_by_role("textbox")).to_have_accessible_description(
            gettext("A name cannot be a link. Please type just the name.")
        )
        page.keyboard.press("Control+A")
        type_name(page, "李小龙")
        expect(page.get_by_role("main")).to_contain_text(gettext("Pleased to meet you!"))
        expect(page.locator("html")).to_have_attribute("lang", language)


def test_a_name_from_right_to_left_stays_within_its_greeting(page: Page, live_server: Any) -> None:
    page.goto(live_server.url)
    type_name(page, "שרה (2)")
    name = page.get_by_role("heading").locator("bdi")
    expect(name).to_have_text("שרה (2)")
    heading = page.get_by_role("heading").bounding_box()
    shown = name.bounding_box()
    assert heading
    assert shown
    # "Hello, " stands before it, and the exclamation mark is not drawn into it.
    assert shown["x"] > heading["x"]


def test_what_programs_fill_in_is_not_there_for_people(page: Page, live_server: Any) -> None:
    page.goto(live_server.url)
    expect(page.get_by_role("textbox", include_hidden=True)).to_have_count(2)
    expect(page.get_by_role("textbox")).to_have_count(1)
    expect(page.locator("[name=website]")).to_be_hidden()


@pytest.mark.parametrize(
    ("context", "name"),
    [
        ({"viewport": {"width": width, "height": height}}, name)
        for width, height in SIZES.values()
        for name in (LONG, "W" * 65)
    ],
    indirect=["context"],
    ids=[f"{size}-{state}" for size in SIZES for state in ("greeted", "refused")],
)
def test_nothing_scrolls_sideways(context: BrowserContext, live_server: Any, name: str) -> None:
    page = context.new_page()
    page.goto(live_server.url)
    type_name(page, name)
    page.wait_for_load_state()
    if name == LONG:
        expect(page.get_by_role("heading")).to_have_text(f"Hello, {LONG}!")
    else:
        expect(page.get_by_role("textbox", name="What is your name?")).to_have_attribute("aria-invalid", "true")
    wide, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide == room


@with_javascript
def test_nothing_comes_from_elsewhere_and_nothing_fails(page: Page, live_server: Any) -> None:
    requests, failures, complaints = [], [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("response", lambda answer: failures.append(answer.url) if answer.status >= 400 else None)
    page.on("console", lambda message: complaints.append(message.text))
    answer = page.goto(live_server.url)
    assert answer
    assert "'unsafe" not in answer.headers["content-security-policy"]
    assert page.evaluate("getComputedStyle(document.querySelector('button')).cursor") == "pointer"
    type_name(page, "Ann")
    page.wait_for_load_state("networkidle")
    assert all(url.startswith(live_server.url) for url in requests)
    assert any(url.endswith("page.css") for url in requests)
    assert (failures, complaints) == ([], [])


CONTRAST = """selectors => selectors.map(selector => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => channels(colour).slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const element = document.querySelector(selector);
  let ground = element;
  while (channels(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const [a, b] = [light(getComputedStyle(element).color), light(getComputedStyle(ground).backgroundColor)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
})"""


@pytest.mark.parametrize(
    "context",
    [{"java_script_enabled": True, "color_scheme": scheme} for scheme in ("light", "dark")],
    indirect=True,
    ids=["light", "dark"],
)
def test_words_stand_out_from_their_ground(page: Page, live_server: Any) -> None:
    page.goto(live_server.url)
    type_name(page, "Ann")
    expect(page.get_by_role("heading")).to_have_text("Hello, Ann!")
    page.get_by_label("What is your name?").fill("...")
    page.keyboard.press("Enter")
    expect(page.get_by_label("What is your name?")).to_have_attribute("aria-invalid", "true")
    seen = ["h1", ".lead", "label", "input[type=text]", "button", ".error", "footer p", "footer strong"]
    ratios = dict(zip(seen, page.evaluate(CONTRAST, seen), strict=True))
    assert all(ratio >= 4.5 for ratio in ratios.values()), ratios
