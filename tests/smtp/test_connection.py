"""What goes over the wire, and how each way of failing is named."""

import smtplib
import socket
import threading
import time
from typing import Any

import pytest

from notify.smtp import dial
from notify.smtp.connection import Connection
from notify.smtp.failure import from_exception
from tests.smtp.conftest import Make
from tests.smtp.scripted import CLOSE, DRIP, HANG, Listener, Reply, Scripted


class Mail:
    """What delivery hands over: the envelope and the bytes."""

    def __init__(
        self,
        *to: str,
        data: bytes = b"Subject: x\r\n\r\nHello\r\n",
        sender: str = "flasky@example.com",
        following: "Mail | None" = None,
    ) -> None:
        self.from_email = sender
        self.wire_bytes = data
        self.following = following
        self._to = list(to) or ["ann@example.com"]

    def recipients(self) -> list[str]:
        return self._to


def send(make: Make, relay: Listener, mail: Any = None, **options: Any) -> BaseException | None:
    """Open and send; what was raised."""
    backend = make(relay.port, **options)
    try:
        backend.open()
        backend.send_messages([mail or Mail()])
    except OSError as error:
        return error
    return None


BOTH_WAYS = pytest.mark.parametrize("extensions", [("PIPELINING", "8BITMIME"), ("8BITMIME",)], ids=["pipelined", "not"])


@pytest.mark.parametrize(
    ("replies", "phase", "code", "kind"),
    [
        ({"greeting": "554 No"}, "greeting", 554, smtplib.SMTPConnectError),
        ({"greeting": "421 Busy"}, "greeting", 421, smtplib.SMTPConnectError),
        ({"greeting": "I am no mail server"}, "greeting", None, smtplib.SMTPConnectError),
        ({"greeting": CLOSE}, "greeting", None, smtplib.SMTPServerDisconnected),
        ({"greeting": HANG}, "greeting", None, TimeoutError),
        ({"greeting": DRIP}, "greeting", None, TimeoutError),
        ({"greeting": b"2" * 20000}, "greeting", None, smtplib.SMTPServerDisconnected),
        ({"greeting": b"220-more\r\n" * 1000}, "greeting", None, smtplib.SMTPServerDisconnected),
        ({"EHLO": "550 No", "HELO": "550 No"}, "ehlo", 550, smtplib.SMTPHeloError),
        ({"EHLO": "421 Busy"}, "ehlo", 421, smtplib.SMTPHeloError),
        ({"EHLO": HANG}, "ehlo", None, TimeoutError),
        ({"MAIL": "451 Later"}, "sender", 451, smtplib.SMTPSenderRefused),
        ({"MAIL": "550 No"}, "sender", 550, smtplib.SMTPSenderRefused),
        ({"MAIL": "550 No", "RCPT": "503 MAIL?", "DATA": "503 RCPT?"}, "sender", 550, smtplib.SMTPSenderRefused),
        ({"MAIL": "421 Bye"}, "sender", 421, smtplib.SMTPSenderRefused),
        ({"MAIL": CLOSE}, "sender", None, smtplib.SMTPServerDisconnected),
        ({"RCPT": "550 5.1.1 Unknown"}, "recipient", 550, smtplib.SMTPRecipientsRefused),
        ({"RCPT": "550 No", "DATA": "554 no valid recipients"}, "recipient", 550, smtplib.SMTPRecipientsRefused),
        ({"RCPT": "450 Later"}, "recipient", 450, smtplib.SMTPRecipientsRefused),
        ({"RCPT": HANG}, "recipient", None, TimeoutError),
        ({"DATA": "451 Later"}, "data", 451, smtplib.SMTPDataError),
        ({"DATA": "554 No"}, "data", 554, smtplib.SMTPDataError),
        ({"DATA": CLOSE}, "data", None, smtplib.SMTPServerDisconnected),
        ({".": "451 Later"}, "end", 451, smtplib.SMTPDataError),
        ({".": "554 DT:SPM"}, "end", 554, smtplib.SMTPDataError),
        ({".": CLOSE}, "end", None, smtplib.SMTPServerDisconnected),
        ({".": HANG}, "end", None, TimeoutError),
        ({".": DRIP}, "end", None, TimeoutError),
    ],
)  # fmt: skip
@BOTH_WAYS
def test_each_failure_says_its_phase_and_the_reply(
    make_backend: Make, replies: dict[str, Reply], phase: str, code: int | None, kind: type, extensions: tuple[str, ...]
) -> None:
    waits = any(reply in (HANG, DRIP) for reply in replies.values())
    started = time.monotonic()
    with Scripted(replies, extensions=extensions) as relay:
        error = send(make_backend, relay, timeout=0.5 if waits else 10)
    assert isinstance(error, kind)
    facts = from_exception(error)
    assert (facts.phase, facts.code) == (phase, code)
    assert facts.unheard == (phase == "end" and code is None)
    assert time.monotonic() - started < 15


@BOTH_WAYS
def test_a_message_arrives_whole(make_backend: Make, extensions: tuple[str, ...]) -> None:
    data = b".first\r\n\r\n..two\r\n.\r\nlast line"
    with Scripted(extensions=extensions) as relay:
        backend = make_backend(relay.port)
        assert backend.open() is True
        assert backend.open() is False
        assert backend.send_messages([Mail(data=data)]) == 1
        assert backend.last_reply == "250 2.0.0 Ok: queued as 4711"
        assert backend.send_messages([Mail(data=b"x\r\n")]) == 1
        backend.close()
    assert relay.bodies == [b"..first\r\n\r\n...two\r\n..\r\nlast line\r\n", b"x\r\n"]
    assert relay.connections == 1
    assert relay.verbs == ["EHLO", *["MAIL", "RCPT", "DATA"] * 2, "QUIT"]
    assert relay.lines[:3] == ["ehlo me.test", "MAIL FROM:<flasky@example.com>", "RCPT TO:<ann@example.com>"]


class Packets(Listener):
    """Counts what the client sends before it hears an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []

    def talk(self, client: socket.socket) -> None:
        client.sendall(b"220 x\r\n")
        answers = {b"E": b"250-x\r\n250 PIPELINING\r\n", b"M": b"250 a\r\n250 b\r\n354 c\r\n", b"S": b"250 d\r\n"}
        while packet := client.recv(65536):
            self.packets.append(packet)
            client.sendall(answers.get(packet[:1].upper(), b"221 bye\r\n"))


def test_a_message_takes_two_packets_where_the_relay_pipelines(make_backend: Make) -> None:
    with Packets() as relay:
        assert send(make_backend, relay) is None
    envelope = b"MAIL FROM:<flasky@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n"
    assert relay.packets[1:3] == [envelope, b"Subject: x\r\n\r\nHello\r\n.\r\n"]


def test_the_next_envelope_travels_with_the_body_before_it(make_backend: Make) -> None:
    class Ahead(Packets):
        def talk(self, client: socket.socket) -> None:
            client.sendall(b"220 x\r\n")
            envelope = b"250 a\r\n250 b\r\n354 c\r\n"
            answers = [b"250-x\r\n250 PIPELINING\r\n", envelope, b"250 first\r\n" + envelope, b"250 second\r\n"]
            for answer in answers:
                self.packets.append(client.recv(65536))
                client.sendall(answer)

    second = Mail("bob@example.com")
    with Ahead() as relay:
        backend: Any = make_backend(relay.port)
        backend.open()
        backend.send_messages([Mail(data=b"one\r\n", following=second)])
        assert backend.last_reply == "250 first"
        backend.send_messages([second])
        assert backend.last_reply == "250 second"
    bob = b"MAIL FROM:<flasky@example.com>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n"
    assert relay.packets[2:] == [b"one\r\n.\r\n" + bob, b"Subject: x\r\n\r\nHello\r\n.\r\n"]


def test_a_refusal_of_an_envelope_sent_ahead_is_that_messages_own(make_backend: Make) -> None:
    second = Mail("nobody@example.com", data=b"two\r\n")
    with Scripted(
        {"RCPT": ["250 Ok", "550 5.1.1 Unknown", "250 Ok"], ".": ["250 first", "554 none", "250 Ok"]}
    ) as relay:
        backend: Any = make_backend(relay.port)
        backend.open()
        assert backend.send_messages([Mail(data=b"one\r\n", following=second)]) == 1
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            backend.send_messages([second])
        assert backend.last_reply == "250 first"
        assert from_exception(refused.value).words == "550 5.1.1 Unknown"
        assert backend.send_messages([Mail(data=b"three\r\n")]) == 1
    assert relay.bodies == [b"one\r\n", b"", b"three\r\n"]  # DATA was accepted without a recipient, and ended at once
    assert relay.connections == 1


@pytest.mark.parametrize(
    ("second", "extensions"),
    [
        (Mail("bob@example.com"), ("8BITMIME",)),
        (Mail("bob@example.com", data="ä\r\n".encode()), ("PIPELINING",)),
        (Mail(data=b"x" * 100), ("PIPELINING", "SIZE 60")),
        (Mail("zoë@example.com"), ("PIPELINING",)),
        (Mail("no address"), ("PIPELINING",)),
        (Mail(*[f"u{number}@example.com" for number in range(150)]), ("PIPELINING",)),
    ],
    ids=["no PIPELINING", "eight bits", "too large", "SMTPUTF8", "no address", "very many"],
)
def test_an_envelope_that_may_not_be_sent_ahead_is_not(
    make_backend: Make, second: Mail, extensions: tuple[str, ...]
) -> None:
    with Scripted(extensions=extensions) as relay:
        backend: Any = make_backend(relay.port)
        backend.open()
        assert backend.send_messages([Mail(data=b"one\r\n", following=second)]) == 1
        assert relay.verbs[1:] == ["MAIL", "RCPT", "DATA"]
        assert backend.check()


def test_another_message_than_the_one_sent_ahead_is_not_sent_under_its_envelope(make_backend: Make) -> None:
    with Scripted() as relay:
        backend: Any = make_backend(relay.port)
        backend.open()
        backend.send_messages([Mail(data=b"one\r\n", following=Mail("eve@example.com"))])
        with pytest.raises(smtplib.SMTPServerDisconnected) as raised:
            backend.send_messages([Mail("bob@example.com")])
        assert from_exception(raised.value).phase == "sender"
        assert f"127.0.0.1:{relay.port}" not in Connection.out_of_step  # which is no fault of the relay's
        relay.hear_out()
    assert b"".join(relay.bodies) == b"one\r\n"  # not a byte for Eve


def test_no_command_is_sent_where_the_relay_would_take_it_for_a_body(make_backend: Make) -> None:
    with Scripted() as relay:
        backend: Any = make_backend(relay.port)
        backend.open()
        backend.send_messages([Mail(data=b"one\r\n", following=Mail("bob@example.com"))])
        assert not backend.check()
        backend.close()
        relay.hear_out()
    assert not {"QUIT", "NOOP", "RSET"} & set(relay.verbs)
    assert b"".join(relay.bodies) == b"one\r\n"


@pytest.mark.parametrize(
    ("replies", "learned"),
    [
        ({"MAIL": ["250 Ok", "503 5.5.1 Bad sequence"]}, True),
        ({"MAIL": ["250 Ok", CLOSE]}, True),
        ({"RCPT": ["250 Ok", "554 SMTP synchronization error"]}, True),
        ({"DATA": ["354 Go", CLOSE]}, True),
        ({"MAIL": ["250 Ok", "421 Too many messages"]}, False),
        ({"RCPT": ["250 Ok", "421 Too many messages"]}, False),
    ],
)
def test_a_relay_that_loses_its_place_has_not_judged_the_message(
    make_backend: Make, replies: dict[str, list[Reply]], learned: bool
) -> None:
    second = Mail("bob@example.com")
    with Scripted(replies) as relay:
        backend: Any = make_backend(relay.port)
        backend.open()
        backend.send_messages([Mail(data=b"one\r\n", following=second)])
        with pytest.raises(smtplib.SMTPServerDisconnected, match="the relay lost its place") as raised:
            backend.send_messages([second])
        assert from_exception(raised.value).phase == "sender"  # so the session tries again on a new connection
        assert (f"127.0.0.1:{relay.port}" in Connection.out_of_step) == learned


@pytest.mark.parametrize("replies", [{"MAIL": ["250 Ok", HANG]}, {".": [HANG]}], ids=["to the envelope", "to the body"])
def test_a_relay_that_falls_silent_is_sent_no_envelope_ahead_from_then_on(
    make_backend: Make, replies: dict[str, list[Reply]]
) -> None:
    second = Mail("bob@example.com")
    with Scripted(replies) as relay:
        backend: Any = make_backend(relay.port, timeout=0.5)
        backend.open()
        with pytest.raises(TimeoutError):
            backend.send_messages([Mail(data=b"one\r\n", following=second), second])
        assert f"127.0.0.1:{relay.port}" in Connection.out_of_step


def test_a_relay_that_hangs_up_after_a_body_is_sent_no_envelope_with_the_next(make_backend: Make) -> None:
    second = Mail("bob@example.com")
    with Scripted({".": [CLOSE]}) as relay:
        backend: Any = make_backend(relay.port)
        backend.open()
        with pytest.raises(smtplib.SMTPServerDisconnected) as raised:
            backend.send_messages([Mail(data=b"one\r\n", following=second)])
        assert from_exception(raised.value).unheard
        assert f"127.0.0.1:{relay.port}" in Connection.out_of_step


def test_very_many_recipients_are_not_pipelined(make_backend: Make) -> None:
    everybody = [f"u{number}@example.com" for number in range(150)]
    with Scripted() as relay:
        assert send(make_backend, relay, Mail(*everybody)) is None
    assert relay.verbs.count("RCPT") == 150


@BOTH_WAYS
@pytest.mark.parametrize(
    "replies",
    [
        {"MAIL": ["550 No", "250 Ok"]},
        {"RCPT": ["550 No", "250 Ok"]},
        {"DATA": ["451 No", "354 Go"]},
        {".": ["554 No", "250 Ok"]},
    ],
    ids=lambda replies: next(iter(replies)),
)
def test_a_session_goes_on_after_a_refusal(
    make_backend: Make, replies: dict[str, Any], extensions: tuple[str, ...]
) -> None:
    with Scripted(replies, extensions=extensions) as relay:
        backend = make_backend(relay.port)
        backend.open()
        with pytest.raises(smtplib.SMTPException):
            backend.send_messages([Mail(data=b"one\r\n")])
        assert backend.check()
        assert backend.send_messages([Mail(data=b"two\r\n")]) == 1
    assert relay.connections == 1
    assert relay.bodies[-1] == b"two\r\n"


def test_data_that_was_taken_for_nobody_is_ended_at_once(make_backend: Make) -> None:
    with Scripted({"RCPT": "550 No", ".": "554 no valid recipients"}) as relay:
        assert isinstance(send(make_backend, relay), smtplib.SMTPRecipientsRefused)
    assert relay.bodies == [b""]  # the lone dot, and not a line of the message
    assert "RSET" in relay.verbs


@BOTH_WAYS
def test_the_other_recipients_get_it_and_the_refused_are_named(make_backend: Make, extensions: tuple[str, ...]) -> None:
    with Scripted({"RCPT": ["250 Ok", "550 5.1.1 Unknown", "251 Forwarded"]}, extensions=extensions) as relay:
        error = send(make_backend, relay, Mail("a@example.com", "b@example.com", "c@example.com"))
    assert isinstance(error, smtplib.SMTPRecipientsRefused)
    assert error.recipients == {"b@example.com": (550, b"5.1.1 Unknown")}
    assert from_exception(error).phase == "recipient"
    assert len(relay.bodies) == 1


def test_any_positive_answer_is_a_success(make_backend: Make) -> None:
    with Scripted({"MAIL": "251 Ok", "RCPT": "252 Perhaps", ".": "251 Taken"}) as relay:
        backend = make_backend(relay.port)
        assert backend.send_messages([Mail()]) == 1
        assert backend.last_reply == "251 Taken"


class HangsUp(Listener):
    """Refuses in the middle of the message, and is gone."""

    def __init__(self, last_words: bytes) -> None:
        super().__init__()
        self._last_words = last_words

    def talk(self, client: socket.socket) -> None:
        stream = client.makefile("rb")
        client.sendall(b"220 x\r\n")
        for reply in (b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"):
            stream.readline()
            client.sendall(reply)
        client.sendall(self._last_words)
        client.shutdown(socket.SHUT_RDWR)


def test_a_relay_that_hangs_up_before_the_dot_leaves_nothing_in_doubt(make_backend: Make) -> None:
    with HangsUp(b"") as relay:
        facts = from_exception(_error(send(make_backend, relay, Mail(data=b"x" * 20_000_000))))
    assert (facts.phase, facts.code, facts.broken, facts.unheard) == ("data", None, True, False)


def test_the_last_words_of_a_relay_that_hangs_up_are_heard(make_backend: Make) -> None:
    with HangsUp(b"452 4.3.1 Disk full\r\n") as relay:
        facts = from_exception(_error(send(make_backend, relay, Mail(data=b"x" * 20_000_000))))
    assert (facts.code, facts.text) == (452, "4.3.1 Disk full")


def test_a_relay_that_stops_reading_is_left_in_time(make_backend: Make) -> None:
    with Scripted({"DATA": b"354 go\r\n"}, extensions=()) as relay:
        relay.talk = _stop_reading  # type: ignore[method-assign]
        started = time.monotonic()
        error = send(make_backend, relay, Mail(data=b"x" * 20_000_000), timeout=0.4)
    assert isinstance(error, TimeoutError)
    assert from_exception(error).phase == "data"
    assert time.monotonic() - started < 10


def _stop_reading(client: socket.socket) -> None:
    stream = client.makefile("rb")
    client.sendall(b"220 x\r\n")
    for reply in (b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"):
        stream.readline()
        client.sendall(reply)
    threading.Event().wait(0.8)


def _error(error: BaseException | None) -> BaseException:
    assert error
    return error


def test_the_size_is_said_and_kept_to(make_backend: Make) -> None:
    with Scripted(extensions=("SIZE 100", "PIPELINING")) as relay:
        backend = make_backend(relay.port)
        backend.open()
        backend.send_messages([Mail(data=b"x" * 100)])
        with pytest.raises(smtplib.SMTPDataError, match=r"101 bytes, the relay takes 100 at most") as caught:
            backend.send_messages([Mail(data=b"x" * 101)])
        assert from_exception(caught.value).phase == "data"
        assert backend.check()
    assert "MAIL FROM:<flasky@example.com> SIZE=100" in relay.lines
    assert len(relay.bodies) == 1


@pytest.mark.parametrize("limit", ["SIZE", "SIZE 0"])
def test_a_size_without_a_limit_limits_nothing(make_backend: Make, limit: str) -> None:
    with Scripted(extensions=(limit,)) as relay:
        assert send(make_backend, relay) is None


@pytest.mark.parametrize(("data", "expected"), [("grüße".encode(), " BODY=8BITMIME"), (b"plain", "")])
def test_eight_bits_are_announced(make_backend: Make, data: bytes, expected: str) -> None:
    with Scripted(extensions=("8BITMIME",)) as relay:
        assert send(make_backend, relay, Mail(data=data)) is None
    assert f"MAIL FROM:<flasky@example.com>{expected}" in relay.lines
    assert relay.bodies == [data + b"\r\n"]


def test_a_relay_without_8bitmime_gets_seven_bits_and_is_told_their_size(make_backend: Make) -> None:
    with Scripted(extensions=("SIZE 130",)) as relay:
        assert send(make_backend, relay, Mail(data="Subject: x\r\n\r\nA name with an é.\r\n".encode())) is None
        too_long = send(make_backend, relay, Mail(data=b"\r\n" + "漢".encode() * 40))
    [body] = relay.bodies
    assert b"A name with an =C3=A9.\r\n" in body
    assert f"MAIL FROM:<flasky@example.com> SIZE={len(body)}" in relay.lines
    assert "the relay takes 130 at most" in str(too_long)


def test_eight_bits_that_cannot_be_written_in_seven_are_not_sent(make_backend: Make) -> None:
    broken = b"Content-Transfer-Encoding: base64\r\n\r\nR3L\xfc\r\n"
    with Scripted(extensions=("HELP",)) as relay, pytest.raises(ValueError, match="takes no eight bits") as caught:
        send(make_backend, relay, Mail(data=broken))
    assert from_exception(caught.value).phase == "prepare"
    assert "MAIL" not in relay.verbs


def test_smtputf8_is_asked_for_only_where_an_address_needs_it(make_backend: Make) -> None:
    with Scripted(extensions=("SMTPUTF8", "8BITMIME")) as relay:
        assert send(make_backend, relay, Mail("jürgen@exämple.com")) is None
        assert send(make_backend, relay, Mail("ann@exämple.com")) is None
    mails = [line for line in relay.lines if line.startswith("MAIL")]
    assert mails == ["MAIL FROM:<flasky@example.com> SMTPUTF8", "MAIL FROM:<flasky@example.com>"]
    assert "RCPT TO:<jürgen@xn--exmple-cua.com>" in relay.lines


def test_an_address_that_the_relay_cannot_take_is_refused_before_anything_is_sent(make_backend: Make) -> None:
    with Scripted() as relay:
        error = send(make_backend, relay, Mail("ann@example.com", "jürgen@example.com"))
        assert isinstance(error, smtplib.SMTPRecipientsRefused)
        assert list(error.recipients) == ["jürgen@example.com"]
        error = send(make_backend, relay, Mail(sender="jürgen@example.com"))
        assert isinstance(error, smtplib.SMTPSenderRefused)
        assert from_exception(error).phase == "sender"
    assert "MAIL" not in relay.verbs


def test_helo_will_do(make_backend: Make) -> None:
    with Scripted({"EHLO": "502 What?"}) as relay:
        assert send(make_backend, relay) is None
    assert relay.verbs[:3] == ["EHLO", "HELO", "MAIL"]


def test_a_dead_session_is_noticed(make_backend: Make) -> None:
    with Scripted({"NOOP": "421 4.4.2 Idle for too long"}) as relay:
        backend = make_backend(relay.port)
        assert not backend.check()
        backend.open()
        assert not backend.check()


def test_each_message_of_an_open_connection_has_its_own_deadline(make_backend: Make) -> None:
    with Scripted() as relay:
        backend = make_backend(relay.port, timeout=1)
        backend.open()
        for _ in range(3):
            time.sleep(0.4)
            assert backend.check()
            assert backend.send_messages([Mail()]) == 1


def test_goodbye_takes_two_seconds_at_most_and_never_raises(
    make_backend: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notify.smtp.wire.QUIT_SECONDS", 0.2)
    with Scripted({"QUIT": HANG}) as relay:
        backend = make_backend(relay.port)
        backend.open()
        started = time.monotonic()
        backend.close()
        backend.close()
        assert time.monotonic() - started < 1.9


def test_verify_asks_and_sends_nothing(make_backend: Make) -> None:
    with Scripted({"RCPT": ["250 Ok", "550 5.1.1 Unknown"]}) as relay:
        backend = make_backend(relay.port)
        backend.open()
        refused = backend.verify("Flasky <flasky@example.com>", ["a@example.com", "b@example.com"])
        assert refused == {"b@example.com": (550, b"5.1.1 Unknown")}
        backend.close()
    assert relay.verbs == ["EHLO", "MAIL", "RCPT", "RCPT", "RSET", "QUIT"]


def test_the_observer_hears_of_each_phase(make_backend: Make) -> None:
    heard: list[tuple[str, str]] = []
    with Scripted() as relay:
        backend = make_backend(relay.port)
        backend.observer = lambda phase, detail, ms: heard.append((phase, detail))
        backend.open()
        backend.send_messages([Mail()])
        port = relay.port
    assert heard == [
        ("dns", "127.0.0.1"),
        ("connect", f"127.0.0.1:{port}"),
        ("greeting", "220 relay.test ESMTP"),
        ("ehlo", "8bitmime, pipelining"),
        ("sender", "250 2.1.0 Ok"),
        ("recipient", "ann@example.com: 250 2.1.5 Ok"),
        ("end", "250 2.0.0 Ok: queued as 4711"),
    ]


def test_nobody_listens(make_backend: Make, free_port: int) -> None:
    with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1:{free_port}") as caught:
        make_backend(free_port).open()
    assert from_exception(caught.value).phase == "connect"


@pytest.mark.parametrize("host", ["relay.invalid", "a..b", "x" * 70])
def test_a_name_without_an_address_is_named(make_backend: Make, host: str) -> None:
    with pytest.raises(socket.gaierror, match=host) as caught:
        make_backend(25, host=host).open()
    assert from_exception(caught.value).phase == "dns"


def test_a_name_server_that_is_silent_costs_no_more_than_the_deadline(
    make_backend: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: answered.wait(20))
    started = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        make_backend(25, host="slow.test", timeout=0.2).open()
    answered.set()
    assert from_exception(caught.value).phase == "dns"
    assert time.monotonic() - started < 10


def test_every_address_of_a_name_is_tried() -> None:
    with Scripted() as relay:
        stream = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        nowhere = (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", 1, 0, 0))
        nonsense = (-1, socket.SOCK_STREAM, 0, "", ("x", 1))
        with socket.create_server(("127.0.0.1", 0)) as server:
            closed = server.getsockname()
        addresses = [nowhere, nonsense, (*stream, closed), (*stream, ("127.0.0.1", relay.port))]
        with dial.connect(addresses, dial.Deadline(5)) as sock:
            assert sock.recv(3) == b"220"


def test_what_comes_too_late_is_thrown_away() -> None:
    gate, thrown = threading.Event(), threading.Event()

    def late() -> str:
        gate.wait(5)
        return "late"

    with pytest.raises(TimeoutError):
        dial.bounded(dial.Deadline(0.05), late, discard=lambda result: thrown.set())
    gate.set()
    assert thrown.wait(5)


def test_nothing_is_begun_after_the_deadline() -> None:
    begun = threading.Event()
    with pytest.raises(TimeoutError):
        dial.bounded(dial.Deadline(-1), begun.set)
    assert not begun.wait(0.1)
