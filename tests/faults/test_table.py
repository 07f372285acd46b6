"""The table of faults, row by row, against real worker processes on both databases."""

import re
import signal
import socket
import sqlite3
import ssl
import time

import psycopg
import pytest
import trustme

from tests.faults.outbox import Outbox
from tests.faults.scripted import Close, Drip, Endless, Hang, ScriptedRelay, Step
from tests.waiting import until

pytestmark = pytest.mark.slow

PASSWORD = "canary-password-7c1f"


def server_tls(name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(name).configure_cert(context)
    return context


def test_row_1_a_relay_that_refuses_is_down_and_no_message_spends_an_attempt(outbox: Outbox, free_port: int) -> None:
    outbox.queue(3)
    assert outbox.deliver(MAIL_PORT=free_port) == "sent 0, retry 1, failed 0, waiting 3"
    assert outbox.messages("state, attempts, claim") == [("queued", 0, "")] * 3
    state, reason = outbox.relay()
    assert state == "down"
    assert f"127.0.0.1:{free_port}" in reason


def test_row_2_an_unknown_host_is_named(outbox: Outbox) -> None:
    outbox.queue()
    outbox.deliver(MAIL_SERVER="no-such-host.invalid", MAIL_TIMEOUT=15)
    state, reason = outbox.relay()
    assert state == "down"
    assert "no-such-host.invalid" in reason


def test_row_3_a_connect_that_never_ends_ends_with_mail_timeout(outbox: Outbox) -> None:
    outbox.queue()
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        started = time.monotonic()
        outbox.deliver(MAIL_PORT=port)
        assert time.monotonic() - started < 8
        for filler in fillers:
            filler.close()
    assert outbox.relay()[0] == "down"
    assert "did not answer within 2 s" in outbox.relay()[1]


def test_row_4_a_failed_handshake_holds_the_relay(outbox: Outbox) -> None:
    outbox.queue()
    with ScriptedRelay() as relay:
        outbox.deliver(MAIL_PORT=relay.port, MAIL_USE_SSL="true")
    state, reason = outbox.relay()
    assert state == "held"
    assert "WRONG_VERSION_NUMBER" in reason


def test_row_5_a_certificate_nobody_vouches_for_holds_the_relay(outbox: Outbox) -> None:
    outbox.queue()
    with ScriptedRelay(tls=server_tls()) as relay:
        outbox.deliver(MAIL_SERVER="localhost", MAIL_PORT=relay.port, MAIL_USE_SSL="true")
        assert relay.heard == []
    state, reason = outbox.relay()
    assert state == "held"
    assert "certificate verify failed" in reason


def test_row_6_starttls_that_is_not_offered_holds_the_relay_before_any_login(outbox: Outbox) -> None:
    outbox.queue()
    with ScriptedRelay({"ehlo": "250-relay.test\r\n250 AUTH PLAIN LOGIN"}) as relay:
        outbox.deliver(MAIL_PORT=relay.port, MAIL_USE_TLS="true", MAIL_USERNAME="me", MAIL_PASSWORD=PASSWORD)
        assert not [line for line in relay.heard if line.lower().startswith(("auth", "mail"))]
    assert outbox.relay()[0] == "held"


def test_row_7_a_refused_login_holds_the_relay_and_hides_the_password(outbox: Outbox) -> None:
    outbox.queue(2)
    script: dict[str, Step] = {
        "ehlo": "250-relay.test\r\n250 AUTH PLAIN",
        "auth": f"535 5.7.8 Error: authentication failed for {PASSWORD}",
    }
    with ScriptedRelay(script) as relay:
        outbox.deliver(MAIL_PORT=relay.port, MAIL_USERNAME="me", MAIL_PASSWORD=PASSWORD)
        assert len(relay.connects) == 1
    assert outbox.relay()[0] == "held"
    assert outbox.messages("attempts") == [0, 0]
    [probe] = outbox.sql("SELECT next_probe, since FROM notify_relay")
    assert outbox.attempts("phase, code, decision") == [("auth", 535, "hold")]
    assert probe
    everything = [outbox.messages("reply, diagnosis"), outbox.relay(), outbox.attempts("text")]
    assert PASSWORD not in str(everything)


@pytest.mark.parametrize(
    "greeting",
    ["421 4.3.2 Not now", "hello?", Endless(), Close(), Drip()],
    ids=["421", "garbage", "endless", "close", "drip"],
)
def test_row_8_and_17_a_relay_that_does_not_greet_is_down(outbox: Outbox, greeting: Step) -> None:
    outbox.queue()
    with ScriptedRelay({"greeting": greeting}) as relay:
        started = time.monotonic()
        outbox.deliver(MAIL_PORT=relay.port)
        assert time.monotonic() - started < 8
    assert outbox.relay()[0] == "down"
    assert outbox.messages("attempts") == [0]


@pytest.mark.parametrize(
    ("row", "script", "state", "attempt", "uncertain"),
    [
        (9, {"mail": "451 4.3.0 Later"}, "queued", ("sender", 451, "4.3.0", "retry"), False),
        (10, {"mail": "550 5.1.0 Not you"}, "failed", ("sender", 550, "5.1.0", "fail"), False),
        (11, {"rcpt": "450 4.2.1 Later"}, "queued", ("recipient", 450, "4.2.1", "retry"), False),
        (12, {"rcpt": "550 5.1.1 No such user"}, "failed", ("recipient", 550, "5.1.1", "fail"), False),
        (13, {"data": "451 4.3.0 Later"}, "queued", ("data", 451, "4.3.0", "retry"), False),
        (13, {"dot": "452 4.3.1 Disk full"}, "queued", ("end", 452, "4.3.1", "retry"), False),
        (14, {"dot": "554 5.7.1 Spam"}, "failed", ("end", 554, "5.7.1", "fail"), False),
        (16, {"dot": Close()}, "queued", ("end", None, "", "retry"), True),
        (16, {"dot": Hang()}, "queued", ("end", None, "", "retry"), True),
        (17, {"dot": Drip()}, "queued", ("end", None, "", "retry"), True),
        (17, {"data": Drip()}, "queued", ("data", None, "", "retry"), False),
    ],
)
def test_rows_9_to_17_one_message_and_its_decision(
    outbox: Outbox, row: int, script: dict[str, Step], state: str, attempt: tuple[object, ...], uncertain: bool
) -> None:
    outbox.queue()
    with ScriptedRelay(script) as relay:
        outbox.deliver(MAIL_PORT=relay.port)
    assert outbox.messages("state, attempts, claim") == [(state, 1, "")]
    assert outbox.attempts("phase, code, enhanced, decision") == [attempt]
    assert [bool(value) for value in outbox.messages("uncertain")] == [uncertain]
    assert outbox.relay()[0] == "open"


@pytest.mark.parametrize(
    "script",
    [{"greeting": "554 5.3.2 Go away"}, {"mail": "553 5.7.1 Mail from must equal authorized user"}],
    ids=["greeting", "sender"],
)
def test_row_10_what_is_configured_wrongly_is_held_and_not_the_messages_fault(
    outbox: Outbox, script: dict[str, Step]
) -> None:
    outbox.queue()
    with ScriptedRelay(script) as relay:
        outbox.deliver(MAIL_PORT=relay.port)
    assert outbox.relay()[0] == "held"
    assert outbox.messages("state, attempts") == [("queued", 0)]


def test_row_12_one_refused_recipient_does_not_keep_the_mail_from_the_others(outbox: Outbox) -> None:
    outbox.queue(3)
    with ScriptedRelay({"rcpt": ["250 2.1.5 Ok", "550 5.1.1 No such user", "250 2.1.5 Ok"]}) as relay:
        assert outbox.deliver(MAIL_PORT=relay.port) == "sent 2, retry 0, failed 1, waiting 0"
        assert [recipient for recipient, _ in relay.taken] == ["r0@example.com", "r2@example.com"]
    assert outbox.messages() == ["sent", "failed", "sent"]


def test_row_15_a_connection_closed_before_the_dot_is_safe_to_repeat(outbox: Outbox) -> None:
    outbox.queue(1, size=20_000_000)
    with ScriptedRelay({"data": ["354 Go on", "354 Go on"]}) as relay:
        relay.script["data"] = "354 Go on"
        server_closes_while_reading(relay)
        outbox.deliver(MAIL_PORT=relay.port, MAIL_TIMEOUT=10)
    assert outbox.attempts("phase, decision") == [("data", "retry")]
    assert [bool(value) for value in outbox.messages("uncertain")] == [False]


def server_closes_while_reading(relay: ScriptedRelay) -> None:
    """The relay reads a little of the content, and is gone."""

    def session(sock: socket.socket, lines: object) -> None:
        sock.sendall(b"220 relay.test\r\n")
        answers = {"ehlo": b"250 relay.test", "mail": b"250 Ok", "rcpt": b"250 Ok", "data": b"354 Go on"}
        for line in lines:  # type: ignore[attr-defined]
            verb = line[:4].decode().lower()
            sock.sendall(answers[verb] + b"\r\n")
            if verb == "data":
                sock.recv(1000)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return

    relay._session = session  # type: ignore[method-assign]


def test_row_18_a_worker_killed_before_the_dot_leaves_one_delivery(outbox: Outbox) -> None:
    outbox.queue()
    with ScriptedRelay({"data": [Hang(), "354 Go on"]}) as relay:
        worker = outbox.start(MAIL_PORT=relay.port, MAIL_TIMEOUT=30)
        relay.wait_to_hear("DATA")
        worker.kill()
        worker.wait()
        assert outbox.messages() == ["sending"]
        assert outbox.deliver(MAIL_PORT=relay.port) == "sent 0, retry 0, failed 0, waiting 1"  # the lease holds
        outbox.make_due()
        assert outbox.deliver(MAIL_PORT=relay.port) == "sent 1, retry 0, failed 0, waiting 0"
        assert len(relay.taken) == 1


def test_row_19_a_worker_killed_after_the_250_makes_one_duplicate_of_the_same_mail(outbox: Outbox) -> None:
    outbox.queue(5)
    with ScriptedRelay({"dot": ["250 2.0.0 Ok", "250 2.0.0 Ok", Hang(1), "250 2.0.0 Ok"]}) as relay:
        worker = outbox.start(MAIL_PORT=relay.port, MAIL_TIMEOUT=30)
        with Lock(outbox, relay):
            relay.wait_until("taken", 3)
            time.sleep(0.3)  # the 250 arrives; its commit waits for the lock
            worker.kill()
            worker.wait()
        outbox.make_due()
        outbox.deliver(MAIL_PORT=relay.port)
        ids = relay.ids()
        assert outbox.messages() == ["sent"] * 5
        assert sorted(set(ids)) == [f"<m{number}@example.com>" for number in range(5)]
        # PostgreSQL finishes the dead worker's statement once the lock is gone; SQLite's died with it.
        assert len(ids) == (5 if outbox.is_postgresql else 6)
        assert len({content for _, content in relay.taken}) == 5


class Lock:
    """Keeps the third message from being settled: taken when the second is, given back at the end."""

    def __init__(self, outbox: Outbox, relay: ScriptedRelay) -> None:
        self._outbox = outbox
        self._relay = relay

    def __enter__(self) -> None:
        self._relay.wait_until("taken", 2)
        until(lambda: self._outbox.messages().count("sent") >= 2)
        if self._outbox.is_postgresql:
            self._connection = psycopg.connect(self._outbox.url)
            self._connection.execute("LOCK TABLE notify_message IN EXCLUSIVE MODE")
        else:
            self._connection = sqlite3.connect(self._outbox.url.removeprefix("sqlite:///"), isolation_level=None)
            self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *error: object) -> None:
        self._connection.close()


def test_row_20_a_worker_outlives_a_database_that_is_away_when_it_claims(outbox: Outbox) -> None:
    outbox.queue(1)
    with ScriptedRelay() as relay:
        with Away(outbox):
            worker = outbox.start("--watch", MAIL_PORT=relay.port, **impatient(outbox))
            time.sleep(4)
            assert worker.poll() is None
            assert relay.taken == []
        outbox.wait_for("state", "sent")
        worker.send_signal(signal.SIGTERM)
        said = worker.communicate(timeout=20)[1]
        assert worker.returncode == 0
    assert "delivery waits for the database" in said


def test_row_21_an_outcome_outlives_a_database_that_is_away_and_nothing_is_sent_meanwhile(outbox: Outbox) -> None:
    outbox.queue(3)
    with ScriptedRelay({"dot": ["250 2.0.0 Ok", Hang(3), "250 2.0.0 Ok"]}) as relay:
        worker = outbox.start("--watch", MAIL_PORT=relay.port, MAIL_TIMEOUT=30, **impatient(outbox))
        relay.wait_until("taken", 1)
        until(lambda: outbox.messages().count("sent") >= 1)
        with Away(outbox):
            relay.wait_until("taken", 2)
            time.sleep(2.5)
            assert len(relay.taken) == 2  # nothing more is sent while the outcome is not written down
        outbox.wait_for("state", "sent")
        assert relay.ids() == [f"<m{number}@example.com>" for number in range(3)]
        worker.send_signal(signal.SIGTERM)
        said = worker.communicate(timeout=20)[1]
        assert worker.returncode == 0
    assert "an outcome cannot be recorded, sending is suspended" in said


class Away:
    """The database takes nothing: PostgreSQL cuts everybody off, SQLite's one writer is somebody else."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def __enter__(self) -> None:
        if self._outbox.is_postgresql:
            self._cut_off(True)
        else:
            self._locked = sqlite3.connect(
                self._outbox.url.removeprefix("sqlite:///"), timeout=20, isolation_level=None
            )
            self._locked.execute("BEGIN IMMEDIATE")

    def __exit__(self, *error: object) -> None:
        if self._outbox.is_postgresql:
            self._cut_off(False)
        else:
            self._locked.close()

    def _cut_off(self, off: bool) -> None:
        name = self._outbox.url.rpartition("/")[2]
        with psycopg.connect(self._outbox.url.replace(name, "postgres"), autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {"false" if off else "true"}'.encode())
            if off:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def impatient(outbox: Outbox) -> dict[str, str]:
    """SQLite's 20 seconds of waiting are row 22's; here it gives up at once."""
    return {} if outbox.is_postgresql else {"DATABASE_URL": f"{outbox.url}?timeout=1"}


@pytest.mark.parametrize("outbox", ["sqlite"], indirect=True)
def test_row_22_a_locked_sqlite_is_waited_for(outbox: Outbox) -> None:
    outbox.queue(3)
    with ScriptedRelay() as relay:
        locked = sqlite3.connect(outbox.url.removeprefix("sqlite:///"), isolation_level=None)
        locked.execute("BEGIN IMMEDIATE")
        worker = outbox.start(MAIL_PORT=relay.port)
        time.sleep(3)
        assert relay.taken == []
        locked.execute("ROLLBACK")
        locked.close()
        assert worker.communicate(timeout=30)[0].strip() == "sent 3, retry 0, failed 0, waiting 0"


def test_row_24_a_clock_set_back_strands_no_message(outbox: Outbox) -> None:
    outbox.queue(2)
    tomorrow = "now() + interval '1 day'" if outbox.is_postgresql else "strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 day')"
    outbox.sql(f"UPDATE notify_message SET due_at = {tomorrow}")
    with ScriptedRelay() as relay:
        assert outbox.deliver(MAIL_PORT=relay.port) == "sent 2, retry 0, failed 0, waiting 0"


def test_row_26_a_poison_message_fails_after_three_tries_and_the_queue_moves_on(outbox: Outbox) -> None:
    outbox.queue(1, sender="<evil one>", prefix="poison")
    outbox.queue(3)
    with ScriptedRelay() as relay:
        assert outbox.deliver(MAIL_PORT=relay.port) == "sent 3, retry 1, failed 0, waiting 1"
        for _ in range(2):
            outbox.make_due()
            outbox.deliver(MAIL_PORT=relay.port)
    assert outbox.messages() == ["failed", "sent", "sent", "sent"]
    assert outbox.messages("reply")[0].startswith("ValueError: Invalid address")
    assert outbox.relay()[0] == "open"


def test_row_27_a_message_over_the_relays_size_fails_before_data_with_both_sizes(outbox: Outbox) -> None:
    outbox.queue(1, size=5000)
    with ScriptedRelay({"ehlo": "250-relay.test\r\n250 SIZE 1000"}) as relay:
        outbox.deliver(MAIL_PORT=relay.port)
        assert not [line for line in relay.heard if line.startswith("DATA")]
    assert outbox.messages() == ["failed"]
    assert re.search(r"has \d{4} bytes, the relay takes 1000", outbox.messages("reply")[0])


def test_row_28_while_the_relay_is_down_it_is_probed_and_then_the_queue_drains_in_order(outbox: Outbox) -> None:
    outbox.queue(200)
    with ScriptedRelay({"greeting": "421 4.3.2 Closed"}) as relay:
        worker = outbox.start("--watch", MAIL_PORT=relay.port)
        relay.wait_until("connects", 1)
        time.sleep(10)
        assert len(relay.connects) == 1
        relay.script["greeting"] = "220 relay.test ready"
        outbox.wait_for("state", "sent", seconds=30)
        assert relay.ids() == [f"<m{number}@example.com>" for number in range(200)]
        assert relay.connects[1] - relay.connects[0] > 13
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
    assert outbox.relay()[0] == "open"


def test_row_29_sigterm_finishes_the_message_in_hand_and_releases_the_rest(outbox: Outbox) -> None:
    outbox.queue(5)
    with ScriptedRelay({"dot": [Hang(1.5), "250 2.0.0 Ok"]}) as relay:
        worker = outbox.start("--watch", MAIL_PORT=relay.port, MAIL_TIMEOUT=10)
        relay.wait_to_hear("(dot)")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
        assert len(relay.taken) == 1
    assert outbox.messages("state, claim") == [("sent", ""), *[("queued", "")] * 4]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "http"])
def test_row_30_a_dead_proxy_is_named_and_never_bypassed(outbox: Outbox, free_port: int, scheme: str) -> None:
    outbox.queue()
    with ScriptedRelay() as relay:
        outbox.deliver(MAIL_PORT=relay.port, MAIL_PROXY=f"{scheme}://user:{PASSWORD}@127.0.0.1:{free_port}")
        assert relay.connects == []
    state, reason = outbox.relay()
    assert state == "down"
    assert f"proxy 127.0.0.1:{free_port}" in reason
    assert PASSWORD not in reason
    assert outbox.attempts("phase") == [("proxy",)]


def test_a_relay_that_hangs_at_quit_delays_nothing_that_matters(outbox: Outbox) -> None:
    outbox.queue()
    with ScriptedRelay({"quit": Hang()}) as relay:
        started = time.monotonic()
        assert outbox.deliver(MAIL_PORT=relay.port, MAIL_TIMEOUT=30).startswith("sent 1")
        assert time.monotonic() - started < 20  # MAIL_TIMEOUT is 30


def test_a_kept_connection_is_renewed_after_a_hundred_messages(outbox: Outbox) -> None:
    outbox.queue(150)
    with ScriptedRelay() as relay:
        outbox.deliver(MAIL_PORT=relay.port)
        assert len(relay.taken) == 150
        assert len(relay.connects) == 2


def test_a_connection_the_relay_closed_while_it_was_idle_costs_no_attempt(outbox: Outbox) -> None:
    outbox.queue(2)
    with ScriptedRelay({"mail": ["250 2.1.0 Ok", "421 4.4.2 Idle too long", "250 2.1.0 Ok"]}) as relay:
        assert outbox.deliver(MAIL_PORT=relay.port) == "sent 2, retry 0, failed 0, waiting 0"
    assert outbox.attempts("id") == []


def test_a_changed_configuration_reopens_a_held_relay_at_once(outbox: Outbox) -> None:
    outbox.queue()
    with ScriptedRelay({"ehlo": "250-relay.test\r\n250 AUTH PLAIN", "auth": ["535 5.7.8 No", "235 2.7.0 Ok"]}) as relay:
        options = {"MAIL_PORT": relay.port, "MAIL_USERNAME": "me"}
        outbox.deliver(**options, MAIL_PASSWORD="wrong")
        assert outbox.deliver(**options, MAIL_PASSWORD="wrong") == "sent 0, retry 0, failed 0, waiting 1"
        assert outbox.deliver(**options, MAIL_PASSWORD="right") == "sent 1, retry 0, failed 0, waiting 0"
