"""What an operator goes through: refused, 535, 550 for one recipient, 451, silence, mended. In both languages, live."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e import axe
from tests.faults.scripted import OK, Hang, ScriptedRelay
from tests.site import Browser, Site

pytestmark = pytest.mark.service("chromium")

DASHBOARD = "admin/notify/relay/"
PASSWORD = "a long password of no use elsewhere"
SECONDS = 25_000  # milliseconds, in which a change must be seen without a reload
WITH_LOGIN = "250-relay.test\r\n250-8BITMIME\r\n250 AUTH PLAIN"
WORDS = {
    "en-GB": {
        "nothing": "Nothing has been sent yet.",
        "interrupted": "Delivery is interrupted; retrying automatically.",
        "refused": "nothing listens on that port",
        "probe": "Probe now",
        "other": "with another result",
        "on hold": "Delivery is on hold: action required.",
        "credentials": "The mail server did not accept the user name and password.",
        "failed": "Some mail failed permanently: action required.",
        "no such": "The recipient does not exist.",
        "test": "Send a test mail",
        "not yet": "The test mail to ann@example.com is in the outbox, and not sent yet.",
        "deferred": "It was deferred; retrying automatically.",
        "waits": "Why it waits",
        "silent": "The mail server did not answer in time",
        "sent": "The test mail to ann@example.com was sent.",
        "retry": "Retry now",
        "newest": "The newest mail was deferred; retrying automatically.",
        "works": "Mail works.",
        "audit log": "Audit log",
        "probed": "Mail server probed",
    },
    "zh-CN": {
        "nothing": "还没有发送过邮件。",
        "interrupted": "邮件暂时发不出去，系统会自动重试。",
        "refused": "端口",
        "probe": "立即探测",
        "other": "现在的情况不同了",
        "on hold": "邮件发不出去：需要人工处理。",
        "credentials": "用户名",
        "failed": "有邮件彻底失败：需要人工处理。",
        "no such": "那里没有这个收件人。",
        "test": "发送测试邮件",
        "not yet": "发给 ann@example.com 的测试邮件在发件箱中，尚未发出。",
        "deferred": "这封邮件被推迟，系统会自动重试。",
        "waits": "等待原因",
        "silent": "MAIL_TIMEOUT",
        "sent": "发给 ann@example.com 的测试邮件已发送。",
        "retry": "立即重试",
        "newest": "最新的邮件被推迟，系统会自动重试。",
        "works": "邮件发送正常。",
        "audit log": "操作记录",
        "probed": "已探测邮件服务器",
    },
}


def log_in(page: Page, site: Site) -> None:
    made = site.manage(
        *("createsuperuser", "--noinput", "--username", "ann", "--email", "ann@example.com"),
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
    )
    assert made.returncode == 0, made.stderr
    page.goto(f"{site.url}{DASHBOARD}")
    page.locator("#id_username").fill("ann")
    page.locator("#id_password").fill(PASSWORD)
    page.locator("[type=submit]").click()
    expect(page).to_have_url(f"{site.url}{DASHBOARD}")


def reads(page: Page, words: str) -> None:
    """The headline says so, without a reload."""
    expect(page.locator("#desk-verdict")).to_have_text(words, timeout=SECONDS)


def answered(page: Page, words: str, level: str) -> None:
    """What a button did is said, and how well it went."""
    said = page.locator(f".messagelist li.{level}")
    expect(said).to_contain_text(words, timeout=SECONDS)


@pytest.mark.parametrize(
    "context",
    [{"java_script_enabled": True, "locale": locale, "bypass_csp": True} for locale in WORDS],
    indirect=True,
    ids=list(WORDS),
)
def test_an_operator_is_told_the_truth_from_the_first_refusal_to_the_repair(
    context: BrowserContext, make_site: Callable[..., Site], free_port: int, request: pytest.FixtureRequest
) -> None:
    say: dict[str, Any] = WORDS[request.node.callspec.id]
    page = context.new_page()
    site = make_site(
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=free_port,
        MAIL_TIMEOUT=2,
        MAIL_USERNAME="flasky",
        MAIL_PASSWORD="not the right one",
        FLASKY_ADMIN="gone@example.com,admin@example.com",
    ).start()
    log_in(page, site)
    reads(page, say["nothing"])
    Browser(site).post("Ada Lovelace")

    reads(page, say["interrupted"])
    expect(page.locator(".desk-cause")).to_contain_text(say["refused"])
    with ScriptedRelay({"ehlo": WITH_LOGIN, "auth": "535 5.7.8 Error: authentication failed"}, port=free_port) as relay:
        page.get_by_role("button", name=say["probe"]).click()
        answered(page, say["other"], "warning")
        answered(page, say["credentials"], "warning")
        reads(page, say["on hold"])
        expect(page.locator(".desk-words")).to_contain_text("535 5.7.8 Error: authentication failed")

        relay.script["auth"] = OK["auth"]
        relay.script["rcpt"] = ["550 5.1.1 No such user", OK["rcpt"]]
        page.get_by_role("button", name=say["probe"]).click()
        reads(page, say["failed"])
        expect(page.locator(".desk-panel")).to_have_class(re.compile("desk-slow"))
        expect(page.locator(".desk-cause")).to_have_text(say["no such"])
        relay.wait_until("taken")
        page.locator(".desk-about a").click()
        expect(page.locator(".message-subject")).to_have_text("[Flasky] New visitor: Ada Lovelace")
        expect(page.locator(".message-decision-fail")).to_be_visible()
        page.get_by_role("button", name=say["retry"]).click()  # the address exists now
        expect(page.locator(".message-accepted")).to_contain_text("250 2.0.0 Ok: queued as 1", timeout=SECONDS)
        page.goto(f"{site.url}{DASHBOARD}")
        reads(page, say["works"])

        relay.script["rcpt"] = "451 4.7.1 Greylisted, try again"
        page.get_by_role("button", name=say["test"]).click()
        answered(page, say["not yet"], "warning")
        answered(page, say["deferred"], "warning")
        assert page.locator(".messagelist li.success").count() == 0
        page.locator(".messagelist a").click()
        expect(page.get_by_role("heading", name=say["waits"])).to_be_visible()
        expect(page.locator("#why-it-waits")).to_contain_text(say["deferred"])
        assert axe.violations(page) == []

        relay.script["rcpt"] = OK["rcpt"]
        relay.script["mail"] = Hang(8)
        page.goto(f"{site.url}{DASHBOARD}")
        page.locator("#desk-to").fill("bob@example.com")
        page.get_by_role("button", name=say["test"]).click()
        expect(page.locator(".messagelist li").first).to_contain_text("bob@example.com", timeout=SECONDS)
        reads(page, say["newest"])
        expect(page.locator(".desk-cause")).to_contain_text(say["silent"], timeout=SECONDS)

        relay.script.update(OK, ehlo=WITH_LOGIN)
        page.locator("#desk-to").fill("ann@example.com")
        page.get_by_role("button", name=say["test"]).click()
        answered(page, say["sent"], "success")
        answered(page, "250 2.0.0 Ok: queued as 1", "success")
        page.locator(".desk-tiles a").first.click()  # to the messages that wait
        page.wait_for_load_state()  # then Django's script unchecks nothing any more
        page.locator("#action-toggle").check()
        page.locator("select[name=action]").select_option("retry")
        page.locator(".actions button[name=index]").click()
        page.goto(f"{site.url}{DASHBOARD}")
        reads(page, say["works"])
        assert axe.violations(page) == []
        page.goto(f"{site.url}admin/notify/message/?q=bob")
        page.locator(".field-subject a").click()
        expect(page.locator(".message-accepted")).to_contain_text("250 2.0.0 Ok: queued as 1")
        page.goto(f"{site.url}{DASHBOARD}")
    page.get_by_role("link", name=say["audit log"]).click()
    expect(page.get_by_role("main")).to_contain_text(say["probed"])
