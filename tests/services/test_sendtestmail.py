"""What sendtestmail says of each mistake, word for word: the outputs stand in sendtestmail.txt, a section for each."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests import ports, servers
from tests.services.exim import Exim
from tests.services.nodemailer import Nodemailer
from tests.services.postfix import Postfix
from tests.services.proxies import microsocks
from tests.site import Site, manage

EXPECTED = Path(__file__).with_name("sendtestmail.txt")
ANN = {"MAIL_USERNAME": "ann@example.com", "MAIL_PASSWORD": "right", "FLASKY_MAIL_SENDER": "ann@example.com"}
USERS = {"ann@example.com": "right"}
STARTTLS, TLS = {"MAIL_USE_TLS": "true"}, {"MAIL_USE_SSL": "true"}
Call = tuple[list[str], dict[str, Any]]


class Relays:
    """Starts what a scenario asks for, and skips it by name where that is not on this machine."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self._folder = folder
        self._running = running

    def nodemailer(self, **options: Any) -> Nodemailer:
        return self._start("smtp-server", lambda: Nodemailer(self._folder / "nodemailer", **options))

    def postfix(self, **parameters: str) -> Postfix:
        return self._start("postfix", lambda: Postfix(self._folder / "postfix", **parameters))

    def exim(self) -> Exim:
        return self._start("exim", lambda: Exim(self._folder / "exim", users=USERS))

    def socks(self, *options: str) -> str:
        """host:port of a SOCKS proxy."""
        return f"127.0.0.1:{self._start('microsocks', lambda: microsocks(*options))}"

    def free_port(self) -> int:
        """Where nobody listens."""
        return self._running.enter_context(ports.reserved())

    def _start(self, name: str, make: Callable[[], Any]) -> Any:
        if not servers.is_here(name):
            pytest.skip(f"{name} is not on this machine")
        return self._running.enter_context(make())  # which reserves ports, so it is made only here


def to(relay: Any, *words: str, **variables: Any) -> Call:
    """The call: command line and environment."""
    port = getattr(relay, "port", relay)
    trust = {"SSL_CERT_FILE": relay.authority} if hasattr(relay, "authority") else {}
    return [*words], {"MAIL_SERVER": "localhost", "MAIL_PORT": port, "MAIL_TIMEOUT": 5, **trust, **variables}


# Each is told by its name and its section. What is called is sendtestmail.


def all_is_well(relays: Relays) -> Call:
    return to(relays.nodemailer(users=USERS), **STARTTLS, **ANN)


def check_sends_nothing(relays: Relays) -> Call:
    return to(relays.nodemailer(users=USERS, secure=True), "--check", **TLS, **ANN)


def wrong_password(relays: Relays) -> Call:
    return to(relays.exim(), **STARTTLS, **{**ANN, "MAIL_PASSWORD": "wrong"})


def wrong_password_at_163(relays: Relays) -> Call:
    relay = relays.nodemailer(users=USERS, secure=True, replies={"auth": "535 Error: authentication failed"})
    return to(relay, **TLS, **ANN)


def untrusted_certificate(relays: Relays) -> Call:
    return to(relays.postfix(), **STARTTLS, SSL_CERT_FILE="/dev/null")


def certificate_for_another_name(relays: Relays) -> Call:
    return to(relays.nodemailer(secure=True, certificate={"names": ("smtp.example.com",)}), **TLS)


def expired_certificate(relays: Relays) -> Call:
    return to(relays.nodemailer(certificate={"not_after": datetime(2026, 1, 1)}), **STARTTLS)


def nothing_listens(relays: Relays) -> Call:
    return to(relays.free_port())


def name_that_does_not_resolve(relays: Relays) -> Call:
    return to(25, MAIL_SERVER="smtp.invalid", FLASKY_MAIL_SENDER="flasky@example.org")


def plain_on_the_TLS_port(relays: Relays) -> Call:
    return to(relays.postfix().tls_port, MAIL_TIMEOUT=2)


def STARTTLS_on_the_TLS_port(relays: Relays) -> Call:
    return to(relays.nodemailer(secure=True), **STARTTLS, MAIL_TIMEOUT=2)


def TLS_on_the_STARTTLS_port(relays: Relays) -> Call:
    return to(relays.postfix(), **TLS)


def TLS_on_a_plain_port(relays: Relays) -> Call:
    return to(relays.nodemailer(hideSTARTTLS=True), **TLS)


def STARTTLS_is_not_offered(relays: Relays) -> Call:
    return to(relays.postfix(smtpd_tls_security_level="none"), **STARTTLS)


def TLS_is_demanded_and_off(relays: Relays) -> Call:
    return to(relays.postfix(smtpd_tls_security_level="encrypt"))


def login_is_offered_under_TLS_only(relays: Relays) -> Call:
    return to(relays.exim(), **ANN)


def login_is_not_offered_at_all(relays: Relays) -> Call:
    return to(relays.postfix(), **STARTTLS, **ANN)


def login_by_OAuth_only(relays: Relays) -> Call:
    return to(relays.nodemailer(users=USERS, authMethods=["XOAUTH2"]), **STARTTLS, **ANN)


def nobody_logs_in(relays: Relays) -> Call:
    return to(relays.exim(), **STARTTLS)


def relay_denied(relays: Relays) -> Call:
    relay = relays.postfix(mynetworks="192.0.2.0/24", smtpd_relay_restrictions="reject_unauth_destination")
    return to(relay, "ann@elsewhere.example")


def sender_refused(relays: Relays) -> Call:
    replies = {"other@example.com": "553 Mail from must equal authorized user"}
    return to(relays.nodemailer(replies=replies), FLASKY_MAIL_SENDER="Flasky <other@example.com>")


def EHLO_name_refused(relays: Relays) -> Call:
    return to(relays.postfix(smtpd_helo_restrictions="reject_non_fqdn_helo_hostname"), MAIL_EHLO="localhost")


def one_recipient_of_two_refused(relays: Relays) -> Call:
    relay = relays.postfix(virtual_mailbox_maps="inline:{ann@example.com=inbox/}")
    return to(relay, "ann@example.com", "nobody@example.com")


def two_recipients_refused_for_different_reasons(relays: Relays) -> Call:
    replies = {"ann@example.com": "552 5.2.2 Mailbox full", "bob@example.com": "550 5.1.1 No such user"}
    return to(relays.nodemailer(replies=replies), "--check", "ann@example.com", "bob@example.com")


def greylisted(relays: Relays) -> Call:
    return to(relays.nodemailer(replies={"admin@example.com": "450 4.2.0 Greylisted, please try again in 300 seconds"}))


def larger_than_the_relay_takes(relays: Relays) -> Call:
    return to(relays.postfix(message_size_limit="1000"))


def refused_after_the_message(relays: Relays) -> Call:
    return to(relays.nodemailer(replies={"data": "554 DT:SPM 163 smtp8,please see http://mail.163.com/help"}))


def unknown_reply(relays: Relays) -> Call:
    return to(relays.nodemailer(replies={"data": "554 5.0.0 Das wollen wir hier nicht (Fehler 4711)"}))


def dead_proxy(relays: Relays) -> Call:
    return to(25, MAIL_SERVER="smtp.example.com", MAIL_PROXY=f"socks5://user:secret@127.0.0.1:{relays.free_port()}")


def wrong_password_at_the_proxy(relays: Relays) -> Call:
    return to(25, MAIL_PROXY=f"socks5h://user:wrong@{relays.socks('-u', 'user', '-P', 'right')}")


def proxy_that_does_not_reach_the_relay(relays: Relays) -> Call:
    return to(relays.free_port(), MAIL_PROXY=f"socks5://{relays.socks()}")


def through_a_proxy(relays: Relays) -> Call:
    return to(relays.nodemailer(), **STARTTLS, MAIL_PROXY=f"socks5://{relays.socks()}")


def user_without_password(relays: Relays) -> Call:
    return to(25, MAIL_USERNAME="ann@example.com")


def both_TLS_modes(relays: Relays) -> Call:
    return to(465, **STARTTLS, **TLS)


def sender_that_163_refuses(relays: Relays) -> Call:
    login = {"MAIL_USERNAME": "me@163.com", "MAIL_PASSWORD": "code"}
    return [], {"MAIL_SERVICE": "163", **login, "FLASKY_MAIL_SENDER": "you@163.com"}


def console_is_no_mail_server(relays: Relays) -> Call:
    return ["--check"], {"MAIL_BACKEND": "console"}


SCENARIOS = [value for value in list(globals().values()) if getattr(value, "__annotations__", {}).get("return") == Call]


@pytest.fixture
def relays(open_folder: Path) -> Iterator[Relays]:
    with ExitStack() as running:
        yield Relays(open_folder, running)


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each is not to], ids=lambda each: each.__name__)
def test_the_output_is_as_written_down(relays: Relays, scenario: Callable[[Relays], Call]) -> None:
    words, variables = scenario(relays)
    text, facts = both_ways(lambda *options: manage("sendtestmail", *words, *options, **variables))
    assert text == section(scenario.__name__)
    assert as_text(facts) == text


@pytest.fixture
def outbox(make_site: Callable[..., Site], relays: Relays) -> Callable[..., Site]:
    """A site whose relay is nodemailer's, or what is asked for: `outbox(replies={…}, MAIL_…=…)`."""

    def make(replies: dict[str, str] | None = None, **variables: Any) -> Site:
        relay = relays.nodemailer(replies=replies or {})
        return make_site(MAIL_SERVER="localhost", MAIL_PORT=relay.port, MAIL_TIMEOUT=1, **variables)

    return make


def test_the_whole_way_through_the_outbox(outbox: Callable[..., Site]) -> None:
    assert through(outbox().start()) == section("outbox_all_is_well")


def test_nobody_delivers(outbox: Callable[..., Site]) -> None:
    assert through(outbox()) == section("outbox_nobody_delivers")


def test_what_the_relay_refuses_is_told_from_the_outbox_too(outbox: Callable[..., Site]) -> None:
    site = outbox(replies={"admin@example.com": "550 5.1.1 No such user"}).start()
    assert through(site) == section("outbox_recipient_refused")


def test_a_held_relay_is_told_with_its_reason(outbox: Callable[..., Site]) -> None:
    site = outbox(MAIL_USE_TLS="true", SSL_CERT_FILE="/dev/null").start()
    assert through(site) == section("outbox_relay_held")


def test_a_paused_relay_is_told(outbox: Callable[..., Site]) -> None:
    site = outbox()
    assert site.manage("outbox", "pause", "--reason", "moving house").returncode == 0
    assert through(site) == section("outbox_relay_paused")


def through(site: Site) -> str:
    text, facts = both_ways(lambda *options: site.manage("sendtestmail", "--via", "outbox", *options))
    assert as_text(facts) == text
    return text


def both_ways(run: Callable[..., subprocess.CompletedProcess[str]]) -> tuple[str, dict[str, Any]]:
    """What is printed, without what is another every time and with the exit code as its last line; facts as JSON."""
    with ThreadPoolExecutor(2) as pool:
        plain, machine = pool.map(lambda options: run(*options), ([], ["--json"]))
    assert (plain.stderr, machine.stderr) == ("", "")
    assert machine.returncode == plain.returncode
    return plainly(f"{plain.stdout}exit {plain.returncode}\n"), json.loads(machine.stdout)


def plainly(text: str) -> str:
    """Without what is another every time: ports, times, queue numbers, TLS versions, lines of Python's source."""
    for pattern, word in (
        (r"\(\d+ ms\)", "(… ms)"),
        (r"((?:localhost|127\.0\.0\.1):|Port )\d+", r"\1…"),
        (r"queued as \w+|id=\w+-\w+-\w+", "queued as …"),
        (r"TLSv1\.\d, \w+", "TLS"),
        (r"until [^(]+ GMT", "until …"),
        (r"_ssl\.c:\d+", "_ssl.c"),
        (r"has \d+ bytes", "has … bytes"),
        (r"Exim [\d.]+ [^(]+ \+0000", "Exim …"),
        (r"PASS ehlo [^(]+", "PASS ehlo … "),
    ):
        text = re.sub(pattern, word, text)
    return text


def as_text(facts: dict[str, Any]) -> str:
    """The text that says these facts."""
    lines = []
    for stage in facts["stages"]:
        timed = "" if stage["ms"] is None else " (0 ms)"
        lines.append(f"{stage['status']} {stage['name']} {stage['detail']}{timed}")
    for problem in facts["problems"]:
        told = {"server said": problem["words"], "cause": problem["cause"], "fix": problem["fix"]}
        lines += [line for name, words in told.items() if words and (line := f"{name}: {words}") not in lines]
    assert facts["ok"] == (facts["exit_code"] == 0) == (not facts["problems"])
    return plainly("\n".join([*lines, f"exit {facts['exit_code']}", ""]))


def section(name: str) -> str:
    sections = EXPECTED.read_text(encoding="utf-8").split("\n## ")
    return next(body.partition("\n")[2].strip() + "\n" for body in sections if body.startswith(f"{name}\n"))


def test_every_section_belongs_to_a_scenario() -> None:
    written = set(re.findall(r"^## (\w+)$", EXPECTED.read_text(encoding="utf-8"), re.MULTILINE))
    asked = set(re.findall(r"section\(\"(\w+)\"\)", Path(__file__).read_text(encoding="utf-8")))
    assert written == {each.__name__ for each in SCENARIOS if each is not to} | asked
