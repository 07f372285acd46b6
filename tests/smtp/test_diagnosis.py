"""Every row of the table of refusals, in the providers' own words; and replies that nobody should pretend to know."""

import re
import smtplib
import ssl
from itertools import chain

import pytest
from django.utils import translation

from notify.retry import PROBE_SLOWLY, Decision, Kind, decide
from notify.smtp import causes, providers
from notify.smtp.causes import CAUSES
from notify.smtp.diagnosis import diagnose, known
from notify.smtp.failure import PHASES, Failure, from_exception

# phase, reply, the preset of the relay ("" for none), diagnosis
REPLIES = [
    # Google
    (
        "auth",
        "534 5.7.9 Application-specific password required. For more information, go to\n"
        "5.7.9  https://support.google.com/mail/?p=InvalidSecondFactor 98e67ed59e1d1-gsmtp",
        "gmail",
        "app-password-required",
    ),
    (
        "auth",
        "535 5.7.8 Username and Password not accepted. For more information, go to\n"
        "5.7.8  https://support.google.com/mail/?p=BadCredentials d9443c01a7336-gsmtp",
        "gmail",
        "gmail-credentials",
    ),
    (
        "auth",
        "534 5.7.14 <https://accounts.google.com/signin/continue?sarp=1&scc=1&plt=AKgnsb> Please\n"
        "5.7.14 log in with your web\n5.7.14 browser and then try again.",
        "gmail",
        "browser-login",
    ),
    ("auth", "534 5.7.14 Please log in through your web browser and then try again.", "", "browser-login"),
    ("sender", "530 5.7.0 Authentication Required. Learn more at https://support.google.com", "gmail", "not-logged-in"),
    ("sender", "530 5.5.1 Authentication Required. Learn more at", "gmail", "not-logged-in"),
    ("auth", "503 5.7.0 No identity changes permitted.", "gmail", "auth-twice"),
    ("auth", "454 4.7.0 Too many login attempts, please try again later.", "gmail", "login-throttled"),
    ("greeting", "421 4.7.0 Try again later, closing connection. (EHLO)", "gmail", "login-throttled"),
    ("greeting", "421 4.7.0 Temporary rate limit exceeded", "", "login-throttled"),
    ("greeting", "421 4.7.0 Closing connection, 98e67ed59e1d1-gsmtp", "gmail", "login-throttled"),
    ("recipient", "421 4.7.0 TLS required for RCPT domain, closing connection", "gmail", "starttls-required"),
    ("end", "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail", "gmail", "daily-quota"),
    ("sender", "550 5.4.5 Daily sending quota exceeded", "gmail", "daily-quota"),
    ("end", "421 4.7.28 Gmail has detected this message has the same Message-ID as others", "gmail", "same-message-id"),
    # TLS asked for, or not there
    ("sender", "530 5.7.0 Must issue a STARTTLS command first", "", "starttls-required"),
    ("auth", "538 5.7.11 Must issue a STARTTLS command first", "", "starttls-required"),
    ("auth", "538 5.7.11 Encryption required for requested authentication mechanism", "", "starttls-required"),
    ("tls", "454 4.7.0 STARTTLS not permitted when TLS active", "", "starttls-on-tls-port"),
    # Logging in
    ("sender", "503 Error: need EHLO and AUTH first !", "qq", "not-logged-in"),
    ("auth", "503 AUTH command used when not advertised", "", "auth-not-offered"),
    ("auth", "503 5.5.1 Error: authentication not enabled", "", "auth-not-offered"),
    ("auth", "535 5.7.8 Error: authentication failed: authentication failure", "", "bad-credentials"),
    ("auth", "535 5.7.8 Authentication credentials invalid", "gmx", "bad-credentials"),
    # NetEase and Tencent
    ("auth", "535 Error: authentication failed", "163", "authorization-code"),
    ("auth", "535 Error: authentication failed", "", "authorization-code"),
    ("auth", "535 Error: authentication failed", "gmx", "bad-credentials"),
    (
        "auth",
        "535 Login Fail. Please enter your authorization code to login. More information in http://service.mail.qq.com",
        "qq",
        "authorization-code",
    ),
    ("auth", "535 Error: 请使用授权码登录。详情请看: http://service.mail.qq.com", "qq", "authorization-code"),
    ("auth", "550 User has no permission", "163", "smtp-service-off"),
    ("sender", "553 Mail from must equal authorized user", "163", "sender-not-login"),
    ("sender", "501 mail from address must be same as authorization user", "qq", "sender-not-login"),
    ("end", "554 DT:SPM 163 smtp8,DMCowABHL 1490000000,please see http://mail.163.com/help", "163", "looks-like-spam"),
    ("end", "451 DT:SPM 163 smtp10,please try again later", "163", "looks-like-spam-for-now"),
    ("sender", "554 MI:STC 163 smtp9,DsCowAB3 1490000000", "163", "daily-quota"),
    ("recipient", "550 RP:TRC 163 smtp9,DsCowAB3 1490000000", "163", "daily-quota"),
    ("greeting", "421 HL:ICC 163 smtp2", "163", "login-throttled"),
    ("greeting", "421 HL:IFC 163 smtp2", "163", "login-throttled"),
    ("auth", "451 Requested mail action not taken: too much fail authentication", "163", "login-throttled"),
    ("auth", "554 IP is rejected, smtp auth error limit exceed", "163", "login-throttled"),
    ("end", "554 DT:SUM 163 smtp5,HdxpCgD3 1490000000", "163", "sender-header-differs"),
    # Microsoft
    (
        "auth",
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
        "outlook365",
        "microsoft-auth-off",
    ),
    ("auth", "535 5.7.3 Authentication unsuccessful [AM0PR01CA0001]", "outlook365", "microsoft-auth-off"),
    ("sender", "530 5.7.57 Client not authenticated to send mail. [X]", "outlook365", "microsoft-auth-off"),
    (
        "auth",
        "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect. [X]",
        "outlook365",
        "bad-credentials",
    ),
    (
        "auth",
        "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [X]",
        "outlook",
        "microsoft-basic-auth-gone",
    ),
    (
        "auth",
        "550 5.7.30 Basic authentication is not supported for Client Submission.",
        "outlook365",
        "microsoft-basic-auth-gone",
    ),
    ("end", "554 5.2.252 SendAsDenied; a@b.example not allowed to send as c@d.example", "", "sender-not-login"),
    # Amazon
    (
        "end",
        "554 Message rejected: Email address is not verified. The following identities failed the check in region X",
        "ses",
        "ses-not-verified",
    ),
    ("end", "554 The identity is not verified", "ses-eu-west-1", "ses-not-verified"),
    ("sender", "454 Throttling failure: Maximum sending rate exceeded.", "ses", "ses-throttled"),
    ("sender", "454 Throttling failure: Daily message quota exceeded.", "ses", "daily-quota"),
    ("auth", "535 Authentication Credentials Invalid", "ses-eu-west-1", "ses-credentials"),
    ("auth", "535 Authentication Credentials Invalid", "", "bad-credentials"),
    # Anybody
    ("recipient", "554 5.7.1 <a@b.example>: Relay access denied", "", "relay-denied"),
    ("recipient", "550 relay not permitted", "", "relay-denied"),
    ("recipient", "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname", "", "ehlo-name"),
    ("sender", "503 5.5.1 Error: send HELO/EHLO first", "", "out-of-step"),
    ("sender", "503 5.5.1 Error: nested MAIL command", "", "out-of-step"),
    ("data", "503 5.5.1 Error: need RCPT command", "", "out-of-step"),
    (
        "end",
        "550 The from address does not match a verified Sender Identity. Mail cannot be sent",
        "sendgrid",
        "sender-not-verified",
    ),
    ("recipient", "553 5.7.1 <a@b.c>: Sender address rejected: not owned by user x", "yandex", "sender-not-login"),
    ("data", "552 5.3.4 The message has 9 bytes, the relay takes 5 at most", "", "too-large"),
    ("sender", "552 5.3.4 Message size exceeds fixed limit", "", "too-large"),
    ("recipient", "550 5.1.1 <a@b.example>: Recipient address rejected: User unknown", "", "no-such-recipient"),
    ("recipient", "552 5.2.2 Mailbox full", "", "mailbox-full"),
    ("recipient", "450 4.2.0 <a@b.example>: Recipient address rejected: Greylisted", "", "greylisted"),
    ("recipient", "554 5.7.1 Client host [192.0.2.1] blocked using zen.spamhaus.org", "", "blocklisted"),
    ("recipient", "553 5.6.7 The relay takes no address with letters beyond ASCII", "", "address-not-ascii"),
    ("end", "550 5.7.1 Gmail has detected that this message is likely unsolicited mail.", "gmail", "looks-like-spam"),
]  # fmt: skip

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

UNKNOWN = [
    ("end", "554 Transaction failed"),
    ("end", "550 5.7.1 Policy rejection"),
    ("end", "451 4.3.0 Temporary lookup failure"),
    ("sender", "550 5.7.1 Message rejected due to local policy, error 0x7731"),
    ("sender", "421 4.3.2 System not accepting network messages"),
    ("recipient", "550 5.7.1 Administrative prohibition"),
    ("recipient", "450 4.1.8 <a@b.example>: Sender address rejected: Domain not found"),
    ("greeting", "554 No SMTP service here"),
    ("ehlo", "502 5.5.2 Command not recognized"),
    ("greeting", "421 4.7.0 Closing connection"),
    ("greeting", "421 4.7.0 Please separate your sessions"),
    ("end", "451 MI:SFQ 163 smtp9"),
    ("data", "452 4.3.1 Insufficient system storage"),
]

# phase, reply, the preset of the relay, what becomes of the message, seconds to the next try of the relay or message
DECIDED = [
    ("auth", "534 5.7.9 Application-specific password required", "gmail", Kind.HOLD, PROBE_SLOWLY),
    ("auth", "550 User has no permission", "163", Kind.HOLD, PROBE_SLOWLY),
    ("auth", "454 4.7.0 Too many login attempts, please try again later.", "gmail", Kind.DOWN, causes.THROTTLED),
    ("auth", "554 IP is rejected, smtp auth error limit exceed", "163", Kind.DOWN, causes.THROTTLED),
    ("auth", "503 5.7.0 No identity changes permitted.", "gmail", Kind.DOWN, causes.FRESH_SESSION),
    ("tls", "454 4.7.0 STARTTLS not permitted when TLS active", "", Kind.HOLD, PROBE_SLOWLY),
    ("tls", "454 4.7.0 TLS not available due to local problem", "", Kind.DOWN, PROBE_SLOWLY),
    ("auth", "454 4.7.0 Temporary authentication failure", "", Kind.DOWN, PROBE_SLOWLY),
    ("auth", "454 4.7.0 Must issue a STARTTLS command first", "", Kind.HOLD, PROBE_SLOWLY),
    ("end", "554 5.2.252 SendAsDenied; a@b.example not allowed to send as c@d.example", "outlook365", Kind.HOLD, 15),
    ("sender", "530 5.7.0 Authentication Required", "gmail", Kind.HOLD, 15),
    ("sender", "553 Mail from must equal authorized user", "163", Kind.HOLD, 15),
    ("recipient", "553 5.7.1 <a@b.c>: Sender address rejected: not owned by user x", "", Kind.HOLD, 15),
    ("recipient", "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname", "", Kind.HOLD, 15),
    ("recipient", "554 5.7.1 <a@b.example>: Relay access denied", "", Kind.FAIL, 0),
    ("sender", "554 MI:STC 163 smtp9", "163", Kind.DOWN, causes.DAY),
    ("end", "550 5.4.5 Daily user sending limit exceeded", "gmail", Kind.DOWN, causes.DAY),
    ("end", "454 Throttling failure: Maximum sending rate exceeded.", "ses", Kind.DOWN, 60),
    ("sender", "503 5.5.1 Error: nested MAIL command", "", Kind.DOWN, causes.FRESH_SESSION),
    ("data", "503 5.5.1 Error: need RCPT command", "", Kind.DOWN, causes.FRESH_SESSION),
    ("end", "451 DT:SPM 163 smtp10", "163", Kind.RETRY, 30),
    ("end", "421 4.7.28 same Message-ID", "gmail", Kind.RETRY, 30),
    ("end", "554 DT:SPM 163 smtp8", "163", Kind.FAIL, 0),
    ("recipient", "550 5.1.1 <a@b.example>: User unknown", "", Kind.FAIL, 0),
]  # fmt: skip


def failure(phase: str, reply: str, *, broken: bool = False) -> Failure:
    code, _, text = reply.partition(" ")
    if code.isdigit():
        return Failure(phase=phase, code=int(code), text=text)
    return Failure(phase=phase, text=reply, broken=broken)


@pytest.mark.parametrize(("phase", "reply", "service", "expected"), REPLIES)
def test_each_known_reply_has_its_cause(phase: str, reply: str, service: str, expected: str) -> None:
    provider = providers.find(service=service) if service else None
    assert bool(provider) == bool(service)
    found = diagnose(failure(phase, reply), provider=provider)
    assert found
    assert found.id == expected


@pytest.mark.parametrize(("phase", "words", "broken", "expected"), BREAKS)
def test_each_way_of_breaking_has_its_cause(phase: str, words: str, broken: bool, expected: str) -> None:
    found = diagnose(failure(phase, words, broken=broken))
    assert found
    assert found.id == expected


@pytest.mark.parametrize(("phase", "reply"), UNKNOWN)
def test_an_unknown_reply_is_not_guessed_at(phase: str, reply: str) -> None:
    assert diagnose(failure(phase, reply)) is None


@pytest.mark.parametrize(("phase", "reply", "service", "kind", "delay"), DECIDED)
def test_what_a_refusal_means_decides_what_becomes_of_the_mail(
    phase: str, reply: str, service: str, kind: Kind, delay: float
) -> None:
    facts = failure(phase, reply)
    known_cause = diagnose(facts, provider=providers.find(service=service) if service else None)
    assert decide(facts, known_cause, spread=0) == Decision(kind=kind, delay=delay)


@pytest.mark.parametrize("row", REPLIES)
def test_no_mail_fails_where_the_fix_is_to_do_nothing(row: tuple[str, str, str, str]) -> None:
    phase, reply, _, expected = row
    if str(CAUSES[expected].fix).startswith("Nothing"):
        facts = failure(phase, reply)
        assert decide(facts, CAUSES[expected]).kind in (Kind.RETRY, Kind.DOWN)


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
    reached = {row[3] for row in chain(REPLIES, BREAKS)}
    assert reached == set(CAUSES)


def test_every_row_names_a_phase_there_is() -> None:
    assert {row[0] for row in (*REPLIES, *BREAKS, *UNKNOWN)} <= set(PHASES)


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
        "greylisted",
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
