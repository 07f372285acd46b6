"""The main path, from a browser to the administrator's mailbox, through the running site."""

import re
import socket
import sys
import threading
import time
from collections.abc import Callable

import pytest

from tests.poster import Poster
from tests.relays import Envelope, Relay
from tests.site import Browser, Site

MakeSite = Callable[..., Site]


def test_a_name_typed_into_the_page_reaches_the_administrator(make_site: MakeSite, relay: Relay) -> None:
    browser = Browser(make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=relay.port, TIME_ZONE="Asia/Shanghai").start())
    assert "Stranger" in browser.get()
    assert "Hello, Zoë! Pleased to meet you!" in browser.post("Zoë")

    [envelope] = relay.wait_for(1)
    message = envelope.message
    assert (envelope.sender, envelope.recipients) == ("flasky@example.com", ["admin@example.com"])
    assert message["Subject"] == "[Flasky] New visitor: Zoë"
    assert message["From"] == "Flasky Admin <flasky@example.com>"
    assert message["Message-ID"]
    assert message["Date"]
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        assert part
        content = part.get_content()
        assert "Zoë" in content
        assert "CST" in content
        assert re.search(r"http://127\.0\.0\.1:8000/admin/visitors/visitor/\d+/change/", content)

    assert "Happy to see you again!" in browser.post(" Zoë ")
    relay.stays_at(1)


@pytest.mark.slow
def test_the_mail_waits_for_a_server_that_starts_ten_seconds_late(make_site: MakeSite, free_port: int) -> None:
    browser = Browser(make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=free_port).start())
    started = time.monotonic()
    browser.post("Late")
    assert time.monotonic() - started < 9
    time.sleep(10)
    with Relay(free_port) as relay:
        [envelope] = relay.wait_for(1, seconds=30)
    assert b"Late" in envelope.content


@pytest.mark.slow
def test_the_mail_survives_a_site_killed_before_the_delivery(make_site: MakeSite, free_port: int) -> None:
    # MAIL_TIMEOUT: killed with the message in hand, the site may take it up again when the lease of 16 s ends.
    site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=free_port, MAIL_TIMEOUT=1).start()
    Browser(site).post("Survivor")
    site.kill()
    with Relay(free_port) as relay:
        site.start()
        [envelope] = relay.wait_for(1, seconds=40)
        relay.stays_at(1)
    assert b"Survivor" in envelope.content


@pytest.mark.slow
def test_the_mail_survives_a_site_killed_while_it_sends(make_site: MakeSite, free_port: int) -> None:
    site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=free_port, MAIL_TIMEOUT=2).start()
    with socket.create_server(("127.0.0.1", free_port)) as silent:
        silent.settimeout(20)
        Browser(site).post("In flight")
        connection, _ = silent.accept()
        site.kill()
        connection.close()
    with Relay(free_port) as relay:
        site.start()
        [envelope] = relay.wait_for(1, seconds=40)
    assert b"In flight" in envelope.content


def test_a_silent_server_does_not_delay_the_form(make_site: MakeSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=silent.getsockname()[1]).start()
        browser = Browser(site)
        started = time.monotonic()
        for number in range(3):
            assert "Pleased to meet you!" in browser.post(f"Hurried {number}")
        assert time.monotonic() - started < 10  # MAIL_TIMEOUT is 30


GUNICORN = [sys.executable, "-m", "gunicorn", "flasky.wsgi", "--workers", "4", "--bind", "127.0.0.1:{port}"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        pytest.param([], id="runserver"),
        pytest.param(GUNICORN, id="gunicorn", marks=pytest.mark.service("gunicorn")),
    ],
)
def test_two_browsers_with_the_same_new_name_make_one_visitor_and_one_mail(
    make_site: MakeSite, relay: Relay, command: list[str]
) -> None:
    site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=relay.port).start(*command)
    together, pages = threading.Barrier(2), []

    def visit() -> None:
        browser = Browser(site)
        browser.get()
        together.wait()
        pages.append(browser.post("Twin"))

    threads = [threading.Thread(target=visit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([page for page in pages if "Hello, Twin!" in page]) == 2
    relay.wait_for(1)
    relay.stays_at(1)
    assert site.manage("shell", "-v0", "-c", COUNT_VISITORS).stdout.strip() == "1"


COUNT_VISITORS = "from notify.visitors.models import Visitor; print(Visitor.objects.count())"


@pytest.mark.slow
@pytest.mark.service("gunicorn")
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["plain", "preload"])
def test_gunicorn_with_several_workers_delivers_each_mail_once(
    make_site: MakeSite, relay: Relay, preload: list[str]
) -> None:
    site = make_site(MAIL_SERVER="127.0.0.1", MAIL_PORT=relay.port, NOTIFY_INTERVAL=0).start(*GUNICORN, *preload)
    browser = Browser(site)
    for number in range(20):
        browser.post(f"Visitor {number}")
    message_ids = {envelope.message["Message-ID"] for envelope in relay.wait_for(20)}
    relay.stays_at(20)
    assert len(message_ids) == 20
    assert site.stop() == 0


@pytest.mark.slow
def test_a_burst_comes_at_once_the_rest_in_one_digest_and_after_a_quiet_time_the_next_at_once(
    make_site: MakeSite, relay: Relay
) -> None:
    seconds = 2
    variables = {"NOTIFY_BURST": 2, "NOTIFY_INTERVAL": seconds, "MAIL_SERVER": "127.0.0.1", "MAIL_PORT": relay.port}
    for _ in range(5):
        relay.envelopes.clear()
        site = make_site(**variables).start()
        poster, began = Poster(site), time.monotonic()
        for name in ("Ann", "Bob", "Cid", "Dan", "Eve"):
            poster.post(name)
        poster.close()
        if time.monotonic() - began < seconds:
            break
        site.stop()  # a machine so busy that five posts are more than an interval: once more

    digest = relay.wait_for(3)[2]
    assert [told_in(envelope) for envelope in relay.envelopes] == [["Ann"], ["Bob"], ["Eve", "Dan", "Cid"]]
    assert digest.message["Subject"] == "[Flasky] 3 × New visitor: Eve, Dan, Cid"
    assert digest.arrived - began > seconds

    relay.stays_at(3, seconds=seconds + 0.5)
    poster.post("Fay")
    poster.close()
    assert told_in(relay.wait_for(4)[3]) == ["Fay"]
    relay.stays_at(4, seconds=seconds + 1.5)
    waited = [float(delay) for delay in site.manage("shell", "-v0", "-c", WAITED).stdout.split()]
    assert max(waited[0], waited[1], waited[5]) < 0.5


# From what happened to the mail's being stored, in seconds.
WAITED = """
from notify.models import Event
for event in Event.objects.order_by("id"):
    print((event.notified_at - event.created_at).total_seconds())
"""


def told_in(envelope: Envelope) -> list[str]:
    """The names in a mail, from its text."""
    text = envelope.message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    return re.findall(r"\b(?:Ann|Bob|Cid|Dan|Eve|Fay)\b", text)
