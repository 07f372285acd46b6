"""One failed try in facts, whatever backend it came from."""

import base64
import smtplib
import socket
import ssl

import pytest

from notify.smtp.failure import PHASES, decode, from_exception, marked, scrub


@pytest.mark.parametrize(
    ("error", "phase", "code", "enhanced"),
    [
        (smtplib.SMTPConnectError(554, b"No"), "greeting", 554, ""),
        (smtplib.SMTPHeloError(504, b"5.5.2 No"), "ehlo", 504, "5.5.2"),
        (smtplib.SMTPAuthenticationError(535, b"5.7.8 No"), "auth", 535, "5.7.8"),
        (smtplib.SMTPSenderRefused(550, b"No", "a@example.com"), "sender", 550, ""),
        (smtplib.SMTPRecipientsRefused({"a@example.com": (550, b"5.1.1 No")}), "recipient", 550, "5.1.1"),
        (smtplib.SMTPDataError(554, b"5.7.1 No"), "end", 554, "5.7.1"),
        (smtplib.SMTPServerDisconnected("gone"), "end", None, ""),
        (smtplib.SMTPNotSupportedError("no AUTH"), "auth", None, ""),
        (socket.gaierror(-2, "unknown"), "dns", None, ""),
        (ssl.SSLError(1, "no"), "tls", None, ""),
        (ConnectionRefusedError(111, "refused"), "connect", None, ""),
        (ValueError("bad header"), "prepare", None, ""),
    ],
)
def test_exceptions_of_any_backend_have_a_phase(error: Exception, phase: str, code: int | None, enhanced: str) -> None:
    facts = from_exception(error)
    assert (facts.phase, facts.code, facts.enhanced) == (phase, code, enhanced)
    assert phase in (*PHASES, "prepare")


@pytest.mark.parametrize("word", ["negotiation-of-transport", 3, None, ""])
def test_a_phase_in_somebody_elses_words_is_told_by_type(word: object) -> None:
    error = smtplib.SMTPDataError(554, b"5.7.1 No")
    error.phase = word  # type: ignore[attr-defined]
    assert from_exception(error).phase == "end"


def test_the_first_phase_that_was_given_stays() -> None:
    error = marked(marked(OSError("x"), "proxy"), "data")
    assert from_exception(error).phase == "proxy"


@pytest.mark.parametrize(
    "error", [ssl.SSLEOFError(8, "EOF"), ssl.SSLZeroReturnError(6, "closed"), ConnectionResetError()]
)
def test_an_end_in_the_middle_of_tls_is_a_break_and_no_refusal(error: OSError) -> None:
    assert from_exception(marked(error, "tls")).broken


@pytest.mark.parametrize(
    "error", [smtplib.SMTPDataError(-1, b"?"), smtplib.SMTPRecipientsRefused({"you@example.com": (-1, b"?")})]
)
def test_minus_one_is_no_reply(error: Exception) -> None:
    facts = from_exception(marked(error, "end"))
    assert (facts.code, facts.unheard) == (None, True)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("grüße".encode(), "grüße"),
        ("请使用授权码登录".encode("gbk"), "请使用授权码登录"),
        ("Réf. n° 7: refusé, dépassé".encode("latin-1"), "Réf. n° 7: refusé, dépassé"),
        (b"\xff\xff", "ÿÿ"),  # neither UTF-8 nor GBK
        ("text", "text"),
    ],
)
def test_replies_are_read_as_utf8_then_as_gbk_then_as_latin_1(raw: bytes | str, text: str) -> None:
    assert decode(raw) == text


def test_secrets_are_scrubbed_also_in_base64() -> None:
    encoded = base64.b64encode(b"s3cret").decode()
    assert scrub(f"s3cret {encoded}", ["s3cret", ""]) == "*** ***"


def test_what_no_database_can_keep_is_replaced() -> None:
    assert scrub("a\0b\ud800c", []) == r"a\x00b\ud800c"
