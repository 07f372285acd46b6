"""Several hosts on one PostgreSQL that differ in password, SECRET_KEY or clock; and large numbers of rows."""

import base64
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests import servers
from tests.faults.conftest import Sink
from tests.faults.outbox import Outbox
from tests.faults.scripted import ScriptedRelay
from tests.site import manage
from tests.waiting import until

pytestmark = pytest.mark.service("postgresql")
LOGIN = {"MAIL_USERNAME": "me", "MAIL_PASSWORD": "the new password", "MAIL_TIMEOUT": 10}


class LoginRelay(ScriptedRelay):
    """Takes mail from those who know the new password; counts the others."""

    def __init__(self) -> None:
        super().__init__({"ehlo": "250-relay.test\r\n250 AUTH PLAIN"})
        self.refused = 0
        self._said = threading.local()

    def _note(self, where: list[object], what: object) -> None:
        self._said.last = str(what)
        super()._note(where, what)

    def _do(self, sock: socket.socket, step: str, taking: tuple[str, bytes] | None = None) -> str:
        if step == "auth" and base64.b64decode(self._said.last.split()[-1]) != b"\0me\0the new password":
            self.refused += 1
            sock.sendall(b"535 5.7.8 Wrong password\r\n")
            return "535"
        return super()._do(sock, step, taking)


@pytest.fixture
def login_relay() -> Iterator[LoginRelay]:
    with LoginRelay() as relay:
        yield relay


def wait_for_workers(outbox: Outbox, configurations: int) -> None:
    """Until so many configurations are in use."""
    seen = "SELECT count(*) FROM notify_relay WHERE workers IS NOT NULL"
    until(lambda: outbox.sql(seen) == [(configurations,)], seconds=40)


def test_a_host_with_an_old_password_stops_itself_alone(outbox: Outbox, login_relay: LoginRelay) -> None:
    options = {**LOGIN, "MAIL_PORT": login_relay.port}
    outbox.start("--watch", **options, MAIL_EHLO="one.example.com")
    outbox.start("--watch", **options, MAIL_EHLO="one.example.com")
    outbox.start("--watch", **{**options, "MAIL_PASSWORD": "the old one"}, MAIL_EHLO="one.example.com")
    wait_for_workers(outbox, 2)
    for number in range(30):
        outbox.queue(1, prefix=f"m{number}.")
        time.sleep(0.1)
    outbox.wait_for("state", "sent", seconds=30)
    assert len(login_relay.taken) == 30
    assert login_relay.refused <= 1
    assert {state for [state] in outbox.sql("SELECT state FROM notify_relay")} <= {"open", "held"}


def test_a_worker_with_another_key_does_not_repeat_a_refused_login(outbox: Outbox, login_relay: LoginRelay) -> None:
    wrong = {**LOGIN, "MAIL_PASSWORD": "the old one", "MAIL_PORT": login_relay.port, "MAIL_EHLO": "one.example.com"}
    outbox.queue(3)
    for key in ("first-key" * 8, "second-key" * 8):
        outbox.start("--watch", **wrong, SECRET_KEY=key)
    until(lambda: outbox.sql("SELECT count(*) FROM notify_relay WHERE state = 'held'") == [(1,)])
    for _ in range(3):  # also those that begin now
        assert outbox.deliver(**wrong, SECRET_KEY="third-key" * 8) == "sent 0, retry 0, failed 0, waiting 3"
    assert login_relay.refused <= 2  # both may have begun before the first was refused
    assert outbox.sql("SELECT count(*) FROM notify_relay") == [(1,)]


EVENTS = """from notify.mail import notify_admins
for number in range(100):
    notify_admins("order", "New order", "notify/mail/test", key=f"{number}", summary="Order", url="https://x.example")"""


@pytest.mark.service("faketime")
def test_a_site_whose_clock_is_five_minutes_ahead_floods_no_one_and_delays_nothing(outbox: Outbox, sink: Sink) -> None:
    ahead = {"LD_PRELOAD": servers.faketime(), "FAKETIME": "+300s"}
    settings = {**outbox.options, "FLASKY_ADMIN": "admin@example.com", "NOTIFY_BURST": 5, "NOTIFY_INTERVAL": 60}
    outbox.options = {**settings, "MAIL_PORT": sink.port}
    worker = outbox.start("--watch")
    assert manage("shell", "-v0", "-c", EVENTS, **settings, **ahead).returncode == 0
    assert manage("shell", "-v0", "-c", SEND, **settings, **ahead).returncode == 0
    until(lambda: sink.count() >= 6)
    time.sleep(2)
    assert sink.count() == 6  # five events and the mail, which is not due in five minutes only
    assert outbox.sql("SELECT count(*) FROM notify_event WHERE created_at > now()") == [(0,)]
    worker.terminate()
    _, said = worker.communicate(timeout=30)
    assert "check NTP" not in said
    done = manage("deliver", **outbox.options, **ahead)
    assert "this machine's clock is 300.0 s ahead of the database's: check NTP" in done.stderr.replace("299.9", "300.0")


SEND = 'from notify.mail import send_mail; send_mail("ann@example.com", "Hello", "notify/mail/test")'

FILL = """INSERT INTO notify_event
(topic, key, subject, summary, url, template, context, created_at, message_id, failures, error)
SELECT 'order', n::text, 'New order', 'Order ' || n, '', '', '', now() - interval '1 hour', '', 0, ''
FROM generate_series(1, 200000) AS n"""
SLOWEST = """
import time
from django.db import transaction
from notify.events import digest
longest, real = 0, transaction.Atomic.__exit__
enter = transaction.Atomic.__enter__
def entered(self):
    self.began = time.monotonic()
    return enter(self)
def left(self, *error):
    global longest
    answer = real(self, *error)
    longest = max(longest, time.monotonic() - self.began)
    return answer
transaction.Atomic.__enter__, transaction.Atomic.__exit__ = entered, left
began = time.monotonic()
mails = digest.notify_due()
print(mails, round(longest, 3), round(time.monotonic() - began, 3))
"""


def test_a_digest_of_two_hundred_thousand_events_is_one_mail_and_no_transaction_of_a_second(outbox: Outbox) -> None:
    outbox.sql(FILL)
    done = manage("shell", "-v0", "-c", SLOWEST, **outbox.options, FLASKY_ADMIN="a@example.com", seconds=200)
    assert done.returncode == 0, done.stderr
    mails, longest, seconds = done.stdout.split()
    print(f"{longest} s for the longest transaction, {seconds} s in all")
    assert int(mails) == 1
    assert float(longest) < 1
    assert outbox.sql(
        "SELECT count(*), count(DISTINCT message_id) FROM notify_event WHERE notified_at > now() - interval '1 hour'"
    ) == [(200000, 1)]
    assert outbox.messages("state") == ["queued"]


def test_a_purge_keeps_pace_with_a_thousand_finished_rows_a_second(outbox: Outbox) -> None:
    outbox.queue(20_000)
    outbox.sql("UPDATE notify_message SET state = 'sent', sent_at = now() - interval '100 days'")
    began = time.monotonic()
    done = manage("outbox", "purge", **outbox.options)
    seconds = time.monotonic() - began
    assert done.stdout.startswith("messages 20000"), done.stdout + done.stderr
    print(f"20,000 messages and bodies in {seconds:.1f} s, with the start of Python")
    assert seconds < 20
