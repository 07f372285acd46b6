"""What providers really say (replies.toml), each with its cause; and no cause where nothing certain can be said."""

import re
import smtplib
import ssl
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation

from notify.delivery.retry import PROBE_SLOWLY, Decision, decide
from notify.models import Outcome
from notify.smtp.diagnosis import causes, rules
from notify.smtp.diagnosis.causes import CAUSES
from notify.smtp.diagnosis.rules import diagnose, known
from notify.smtp.failure import PHASES, Failure, from_exception
from notify.smtp.providers import presets
from tests.smtp.test_api import REFUSALS

# Replies with their sources, most of them as providers publish them or as public bug reports quote them.
CORPUS = tomllib.loads((Path(__file__).parent / "replies.toml").read_text(encoding="utf-8"))["reply"]
MADE_UP = [row for row in CORPUS if row["source"].startswith("made up")]

TOKENS = tomllib.loads((Path(__file__).parent / "token_errors.toml").read_text(encoding="utf-8"))["error"]

# phase, words of the exception, broken, diagnosis
BREAKS = [
    ("auth", "SMTPNotSupportedError: SMTP AUTH extension not supported by server.", False, "auth-not-offered"),
    ("auth", "SMTPException: No suitable authentication method found.", False, "auth-not-offered"),
    (
        "auth",
        "SMTPNotSupportedError: The relay offers NTLM, GSSAPI to log in with: none takes user and password.",
        False,
        "auth-not-offered",
    ),
    (
        "auth",
        "SMTPNotSupportedError: The relay offers XOAUTH2 to log in with: none takes user and password.",
        False,
        "oauth-only",
    ),
    (
        "auth",
        "SMTPNotSupportedError: The relay offers PLAIN, LOGIN to log in with: none takes a token.",
        False,
        "token-not-taken",
    ),
    *(("token", f"TokenRefused: {row['said']}", False, row["diagnosis"]) for row in TOKENS),
    ("token", "TokenUnavailable: id.example: HTTP 503", True, "token-unavailable"),
    ("token", "TokenUnavailable: id.example: TimeoutError: no answer within 10 s", True, "token-unavailable"),
    ("token", "TokenUnavailable: id.example: HTTP 200, and no answer of OAuth 2", True, "token-unavailable"),
    ("token", "TokenUnavailable: another process is still renewing the token", True, "token-unavailable"),
    (
        "token",
        "TokenUnavailable: id.example: ProxyFailed: proxy p:1: it refused: Username and password",
        True,
        "token-proxy",
    ),
    ("token", "ValueError: the callable that is to return a token returned none", False, "token-refused"),
    ("tls", "SMTPNotSupportedError: STARTTLS extension not supported by server.", False, "starttls-not-offered"),
    ("tls", "SSLError: [SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", False, "tls-on-plain-port"),
    ("tls", "SSLError: [SSL] record layer failure (_ssl.c:1006)", False, "tls-on-plain-port"),
    ("greeting", "SMTPServerDisconnected: Connection unexpectedly closed", True, "no-greeting"),
    ("greeting", "TimeoutError: no answer within 30 s", True, "no-greeting"),
    ("connect", "OSError: [Errno 101] Network is unreachable (2001:db8::1:587)", False, "unreachable"),
    ("connect", "OSError: [Errno 113] No route to host (192.0.2.1:25)", False, "unreachable"),
    ("connect", "TimeoutError: 192.0.2.1:25 did not answer within 30 s", True, "connect-timeout"),
    ("connect", "TimeoutError: [Errno 110] Connection timed out", True, "connect-timeout"),
    ("connect", "ConnectionRefusedError: [Errno 111] Connection refused (127.0.0.1:1)", True, "refused"),
    ("dns", "gaierror: [Errno -2] Name or service not known: smtp.invalid", False, "unknown-host"),
    (
        "proxy",
        "ProxyFailed: proxy 127.0.0.1:1080: it answers, but cannot reach relay.test:25: Network unreachable "
        "(SOCKS reply 0x03)",
        True,
        "proxy-cannot-reach",
    ),
    ("proxy", "ProxyFailed: proxy p:8080: HTTP/1.1 502 Bad Gateway; asked for r:25", True, "proxy-cannot-reach"),
    ("proxy", "ProxyFailed: proxy p:8080: HTTP/1.1 407 Proxy Authentication Required; asked", True, "proxy-login"),
    ("proxy", "ProxyFailed: proxy p:8080: HTTP/1.0 401 Unauthorized; asked for r:25", True, "proxy-login"),
    ("proxy", "ProxyFailed: proxy p:1: it refused: Username and password authentication failure", True, "proxy-login"),
    ("proxy", "ProxyFailed: proxy 127.0.0.1:1: [Errno 111] Connection refused", True, "proxy-unusable"),
    ("tls", "…: certificate verify failed: certificate has expired (_ssl.c:1006)", False, "certificate-expired"),
    ("tls", "…: certificate verify failed: certificate is not yet valid", False, "certificate-not-yet-valid"),
    ("tls", "…: certificate verify failed: self-signed certificate", False, "certificate-self-signed"),
    (
        "tls",
        "…: certificate verify failed: self signed certificate in certificate chain",
        False,
        "certificate-self-signed",
    ),
    ("tls", "…: unable to get local issuer certificate", False, "certificate-unknown-issuer"),
    ("tls", "…: Hostname mismatch, certificate is not valid for 'a.example'.", False, "certificate-wrong-name"),
    ("tls", "…: IP address mismatch, certificate is not valid for '127.0.0.1'.", False, "certificate-wrong-name"),
    ("tls", "[SSL: CERTIFICATE_VERIFY_FAILED] EE key too small", False, "certificate-refused"),
    ("tls", "[SSL: UNSUPPORTED_PROTOCOL] unsupported protocol", False, "tls-no-common-ground"),
    ("end", "TimeoutError: no answer within 30 s", True, "outcome-unknown"),
    ("data", "SMTPServerDisconnected: Connection unexpectedly closed", True, "connection-lost"),
    ("sender", "TimeoutError: no answer within 30 s", True, "silent"),
]  # fmt: skip

# phase, reply, the preset of the relay, what becomes of the message, seconds to the next try of the relay or message
DECIDED = [
    ("auth", "534 5.7.9 Application-specific password required", "gmail", Outcome.HOLD, PROBE_SLOWLY),
    ("auth", "550 User has no permission", "163", Outcome.HOLD, PROBE_SLOWLY),
    ("auth", "454 4.7.0 Too many login attempts, please try again later.", "gmail", Outcome.DOWN, causes.THROTTLED),
    ("auth", "554 IP is rejected, smtp auth error limit exceed", "163", Outcome.DOWN, causes.THROTTLED),
    ("auth", "503 5.7.0 No identity changes permitted.", "gmail", Outcome.DOWN, causes.FRESH_SESSION),
    ("tls", "454 4.7.0 STARTTLS not permitted when TLS active", "", Outcome.HOLD, PROBE_SLOWLY),
    ("tls", "454 4.7.0 TLS not available due to local problem", "", Outcome.DOWN, 60),
    ("auth", "454 4.7.0 Temporary authentication failure", "", Outcome.DOWN, PROBE_SLOWLY),
    ("auth", "454 4.7.0 Must issue a STARTTLS command first", "", Outcome.HOLD, PROBE_SLOWLY),
    ("end", "554 5.2.252 SendAsDenied; a@b.example not allowed to send as c@d.example", "outlook365", Outcome.HOLD, 15),
    ("sender", "530 5.7.0 Authentication Required", "gmail", Outcome.HOLD, 15),
    ("sender", "553 Mail from must equal authorized user", "163", Outcome.HOLD, 15),
    ("recipient", "553 5.7.1 <a@b.c>: Sender address rejected: not owned by user x", "", Outcome.HOLD, 15),
    ("recipient", "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname", "", Outcome.HOLD, 15),
    ("recipient", "554 5.7.1 <a@b.example>: Relay access denied", "", Outcome.FAIL, 0),
    ("sender", "554 MI:STC 163 smtp9", "163", Outcome.DOWN, causes.DAY),
    ("end", "550 5.4.5 Daily user sending limit exceeded", "gmail", Outcome.DOWN, causes.DAY),
    ("end", "454 Throttling failure: Maximum sending rate exceeded.", "ses", Outcome.DOWN, 60),
    ("sender", "503 5.5.1 Error: nested MAIL command", "", Outcome.DOWN, causes.FRESH_SESSION),
    ("data", "503 5.5.1 Error: need RCPT command", "", Outcome.DOWN, causes.FRESH_SESSION),
    ("end", "451 DT:SPM 163 smtp10", "163", Outcome.RETRY, 30),
    ("end", "421 4.7.28 same Message-ID", "gmail", Outcome.RETRY, 30),
    ("ehlo", "421 4.7.0 Try again later, closing connection. (EHLO)", "gmail", Outcome.HOLD, 15),
    ("recipient", "450 4.7.1 <me>: Helo command rejected: Host not found", "", Outcome.HOLD, 15),
    ("recipient", "452 4.2.2 Greylisted, try again", "", Outcome.RETRY, 30),
    ("greeting", "550 Ip frequency limited", "", Outcome.DOWN, causes.THROTTLED),
    ("recipient", "450 4.2.1 The user is receiving mail too quickly", "gmail", Outcome.RETRY, 30),
    ("end", "550 5.7.26 not accepted due to domain's DMARC policy", "", Outcome.HOLD, 15),
    ("end", "554 DT:SPM 163 smtp8", "163", Outcome.FAIL, 0),
    ("recipient", "550 5.1.1 <a@b.example>: User unknown", "", Outcome.FAIL, 0),
]  # fmt: skip


def failure(phase: str, reply: str, *, broken: bool = False) -> Failure:
    code, _, text = reply.partition(" ")
    if code.isdigit():
        return Failure(phase=phase, code=int(code), text=text)
    return Failure(phase=phase, text=reply, broken=broken)


def facts_of(row: dict[str, str]) -> Failure:
    return failure(row["phase"], row["said"])


def rules_for(row: dict[str, str]) -> list[rules.Rule]:
    """All that match, the one that wins first."""
    provider = presets.find(service=row["provider"]) if "provider" in row else None
    assert bool(provider) == ("provider" in row)
    return list(rules.matching(facts_of(row), provider=provider))


def told(row: dict[str, str]) -> str:
    return next((rule.id for rule in rules_for(row)), "unknown")


def test_each_reply_has_its_cause_or_none() -> None:
    wrong = [(row["said"], told(row), row["diagnosis"]) for row in CORPUS if told(row) != row["diagnosis"]]
    assert wrong == []


def rank(rule: rules.Rule) -> int:
    """0 for words, 1 for a status, 2 for a code or phase alone: from the specific to the generic."""
    return 0 if rule.pattern or rule.names else 1 if rule.status else 2


def test_the_more_specific_rule_wins() -> None:
    """Words before a status, a status before a code; and of two of one kind never the one that matches more replies."""
    matched = [(row, rules_for(row)) for row in CORPUS]
    replies: dict[rules.Rule, set[int]] = {}
    for number, (_, found) in enumerate(matched):
        for rule in found:
            replies.setdefault(rule, set()).add(number)
    pairs = [(row["said"], found[0], other) for row, found in matched for other in found[1:]]
    assert len(pairs) > 100
    wrong = [
        (said, winner.id, other.id)
        for said, winner, other in pairs
        if rank(winner) > rank(other) or (rank(winner) == rank(other) and replies[winner] > replies[other])
    ]
    assert wrong == []


def test_no_cause_of_the_rules_is_without_a_reply() -> None:
    deciding = {found[0] for row in CORPUS if (found := rules_for(row))}
    assert {rule.id for rule in rules._REPLIES} - {rule.id for rule in deciding} <= {
        "oauth-only",
        "starttls-not-offered",
        "token-not-taken",
    }  # see BREAKS


def test_the_corpus_names_its_sources_and_speaks_four_languages() -> None:
    assert all(row["source"] and row["phase"] in PHASES for row in CORPUS)
    assert {row["diagnosis"] for row in CORPUS} <= {*CAUSES, "unknown"}
    assert len(CORPUS) - len(MADE_UP) > 250
    said = [row["said"] for row in CORPUS]
    assert len(set(zip(said, (row["phase"] for row in CORPUS), strict=True))) > 300
    for letters in ("[ぁ-ゖァ-ヺ]", "[一-鿿]", r"\b(eingestuft|wurde|unbekannt)\b"):
        assert any(re.search(letters, words) for words in said)


def test_the_name_of_a_host_or_a_link_changes_no_cause() -> None:
    more = " mx1.greylisting-rate-limit.spam.example https://full-mailbox.example/?relay=denied"
    assert [row for row in CORPUS if told(row | {"said": row["said"] + more}) != told(row)] == []


@pytest.mark.parametrize(("phase", "words", "broken", "expected"), BREAKS)
def test_each_way_of_breaking_has_its_cause(phase: str, words: str, broken: bool, expected: str) -> None:
    found = diagnose(failure(phase, words, broken=broken))
    assert found
    assert found.id == expected


@pytest.mark.parametrize(("phase", "reply", "service", "outcome", "delay"), DECIDED)
def test_what_a_refusal_means_decides_what_becomes_of_the_mail(
    phase: str, reply: str, service: str, outcome: Outcome, delay: float
) -> None:
    facts = failure(phase, reply)
    known_cause = diagnose(facts, provider=presets.find(service=service) if service else None)
    assert decide(facts, known_cause, spread=0) == Decision(outcome=outcome, delay=delay)


def test_no_mail_fails_where_the_fix_is_to_do_nothing() -> None:
    known_rows = [(row, CAUSES[row["diagnosis"]]) for row in CORPUS if row["diagnosis"] != "unknown"]
    idle = [(row, cause) for row, cause in known_rows if str(cause.fix).startswith(("Nothing", "No action needed"))]
    assert len(idle) > 30
    assert all(decide(facts_of(row), cause).outcome in (Outcome.RETRY, Outcome.DOWN) for row, cause in idle)


@pytest.mark.parametrize("phase", ["greeting", "ehlo", "sender", "recipient"])
@pytest.mark.parametrize("code", [421, 450, 501, 550])
def test_a_refused_name_of_this_machine_waits_for_a_person(phase: str, code: int) -> None:
    assert decide(failure(phase, f"{code} x"), CAUSES["ehlo-name"]).outcome is Outcome.HOLD


def test_what_could_not_be_prepared_is_no_refusal() -> None:
    assert diagnose(Failure(phase="prepare", text="ValueError: Invalid address 'x y'")) is None


def test_a_reply_in_gbk_is_understood() -> None:
    reply = "Error: 请使用授权码登录".encode("gbk")
    found = diagnose(from_exception(smtplib.SMTPAuthenticationError(535, reply)))
    assert found
    assert found.id == "authorization-code"


def test_exceptions_of_other_backends_are_understood_as_well() -> None:
    refused = diagnose(from_exception(ConnectionRefusedError(111, "Connection refused")))
    expired = ssl.SSLCertVerificationError(1, "certificate verify failed: certificate has expired")
    assert refused
    assert refused.id == "refused"
    found = diagnose(from_exception(expired))
    assert found
    assert found.id == "certificate-expired"


def test_every_cause_is_reached_by_a_row_of_these_tables() -> None:
    reached = {row["diagnosis"] for row in CORPUS} | {row[3] for row in BREAKS} | {row[1] for row in REFUSALS}
    reached -= {"unknown", ""}
    assert reached == set(CAUSES)


def test_every_row_names_a_phase_there_is() -> None:
    assert {row[0] for row in BREAKS} <= set(PHASES)


def test_every_cause_can_be_found_by_its_id_and_read() -> None:
    for id, cause in CAUSES.items():
        assert known(id) is cause
        assert cause.id == id
        with translation.override("en"):
            assert str(cause.cause).endswith((".", ")"))
            assert str(cause.fix).endswith((".", ")"))
    assert known("no-such-cause") is None


def test_only_what_stops_every_message_is_blamed_on_the_relay() -> None:
    ones = {cause.id for cause in CAUSES.values() if not cause.relay}
    assert ones == {
        "outcome-unknown",
        "same-message-id",
        "looks-like-spam",
        "looks-like-spam-for-now",
        "sender-header-differs",
        "too-large",
        "address-not-ascii",
        "no-such-recipient",
        "mailbox-full",
        "mailbox-disabled",
        "recipient-throttled",
        "greylisted",
        "recipient-refused-by-api",
        "unsupported-by-api",
        "api-failed",
    }


def test_a_daily_quota_pauses_the_relay_for_a_day() -> None:
    assert CAUSES["daily-quota"].pause == causes.DAY == 24 * 3600


@pytest.mark.parametrize("cause", CAUSES.values(), ids=lambda cause: cause.id)
def test_every_cause_is_told_in_chinese(cause: causes.Diagnosis) -> None:
    for text in (cause.cause, cause.fix):
        with translation.override("en"):
            english = str(text)
        with translation.override("zh-hans"):
            chinese = str(text)
        assert chinese != english
        # What is to be typed stays as it is.
        typed = re.compile(r"[A-Z]+_[A-Z_]+(?:=\w+)?")
        assert set(typed.findall(chinese)) == set(typed.findall(english))


@pytest.mark.parametrize("language", ["en", "zh-hans"])
@pytest.mark.parametrize("id", ["unknown-host", "refused", "connect-timeout", "ses-credentials", "ses-not-verified"])
def test_a_fix_names_the_variable_that_is_set(id: str, language: str, settings: Any) -> None:
    def named() -> set[str]:
        with translation.override(language):
            return set(re.findall("MAIL_SERV[A-Z]+", str(CAUSES[id].fix)))

    assert named() == {"MAIL_SERVER"}
    settings.MAIL_SERVICE = "gmail"
    assert named() == {"MAIL_SERVICE"}
    settings.MAIL_SERVER = "smtp.gmail.com"
    assert named() == {"MAIL_SERVER"}
