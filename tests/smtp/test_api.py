"""What APIs of mail providers refuse: classified as SMTP's refusals are, without importing a backend for one."""

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
from anymail import exceptions as anymail
from django.core.exceptions import ImproperlyConfigured

from notify.delivery.retry import PROBE_SLOWLY, PROBES, SCHEDULE, Decision, decide
from notify.models import Outcome
from notify.smtp.diagnosis.rules import diagnose
from notify.smtp.failure import from_exception

# ruff: noqa: E501  (a table: a row is a line)


class Backend:
    esp_name = "Postmark"


def answered(status: int, said: str = "{}", kind: type[Exception] = anymail.AnymailRequestsAPIError) -> Exception:
    response = requests.Response()
    response.status_code, response.reason, response._content = status, "Reason", said.encode()
    return kind(response=response, backend=Backend())


def caused(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


def broken(kind: type[requests.RequestException], inner: Exception | None = None) -> Exception:
    """As Anymail raises what requests does."""
    mixed = type("AnymailRequestsAPIError", (anymail.AnymailRequestsAPIError, kind), {})
    error = kind("it broke")
    if inner:
        error.__context__ = inner
    return caused(mixed("Error posting to https://api.example/:"), error)


class ClientError(Exception):
    """As boto's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


class HTTPStatusError(Exception):
    """As httpx's."""

    def __init__(self, status: int) -> None:
        super().__init__("it failed")
        self.response = type("Response", (), {"status_code": status, "text": ""})()


UNVERIFIED = '{"errors":[{"message":"The from address does not match a verified Sender Identity."}]}'
SIGNATURE = """{"ErrorCode":400,"Message":"The 'From' address you supplied (a@b.example) is not a Sender Signature on your account."}"""
SES = "MessageRejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: a@b.example"

# What is raised, its diagnosis, what becomes of the message, seconds to the next try, whether it may have been taken
REFUSALS: list[tuple[Exception, str, Outcome, float, bool]] = [
    (answered(401, '{"ErrorCode":10,"Message":"Bad or missing API token"}'), "api-credentials", Outcome.HOLD, PROBE_SLOWLY, False),
    (answered(403, '{"message":"Forbidden"}'), "api-credentials", Outcome.HOLD, PROBE_SLOWLY, False),
    (answered(402), "api-account", Outcome.HOLD, PROBE_SLOWLY, False),
    (answered(403, UNVERIFIED), "sender-not-verified", Outcome.HOLD, PROBE_SLOWLY, False),
    (answered(422, SIGNATURE), "sender-not-verified", Outcome.HOLD, PROBES[0], False),
    (answered(401, '{"errors":[{"message":"Maximum credits exceeded"}]}'), "daily-quota", Outcome.DOWN, 86400, False),
    (answered(404, '{"message":"Domain not found: x.example"}'), "sender-not-verified", Outcome.HOLD, PROBES[0], False),
    (answered(404, "<h1>Not Found</h1>"), "api-not-found", Outcome.HOLD, PROBES[0], False),
    (answered(400, '{"message":"template not found"}'), "", Outcome.FAIL, 0, False),
    (answered(422, '{"ErrorCode":300,"Message":"Invalid metadata content."}'), "", Outcome.FAIL, 0, False),
    (answered(413), "too-large", Outcome.FAIL, 0, False),
    (answered(429, '{"message":"Too many requests"}'), "api-throttled", Outcome.DOWN, 60, False),
    (answered(408), "", Outcome.RETRY, 30, False),
    (answered(500), "api-failed", Outcome.RETRY, 30, True),
    (answered(503), "api-failed", Outcome.RETRY, 30, True),
    (answered(200, "no JSON"), "outcome-unknown", Outcome.RETRY, 30, True),
    (anymail.AnymailAPIError("Unparsable response"), "outcome-unknown", Outcome.RETRY, 30, True),
    (anymail.AnymailRecipientsRefused(), "recipient-refused-by-api", Outcome.FAIL, 0, False),
    (anymail.AnymailSerializationError(), "unsupported-by-api", Outcome.FAIL, 0, False),
    (anymail.AnymailUnsupportedFeature("Postmark does not support send_at"), "unsupported-by-api", Outcome.FAIL, 0, False),
    (anymail.AnymailInvalidAddress("Invalid email address 'x'"), "unsupported-by-api", Outcome.FAIL, 0, False),
    (anymail.AnymailConfigurationError("You must set ANYMAIL = {'POSTMARK_SERVER_TOKEN': ...}"), "", Outcome.HOLD, PROBES[0], False),
    (ImproperlyConfigured("no key"), "", Outcome.HOLD, PROBES[0], False),
    (broken(requests.ReadTimeout), "outcome-unknown", Outcome.RETRY, 30, True),
    (broken(requests.ConnectionError), "outcome-unknown", Outcome.RETRY, 30, True),
    (broken(requests.ConnectTimeout), "connect-timeout", Outcome.DOWN, PROBES[0], False),
    (broken(requests.ConnectionError, ConnectionRefusedError(111, "Connection refused")), "", Outcome.DOWN, PROBES[0], False),
    (broken(requests.ConnectionError, socket.gaierror(-2, "Name or service not known")), "unknown-host", Outcome.DOWN, PROBES[0], False),
    (broken(requests.exceptions.SSLError), "", Outcome.HOLD, PROBE_SLOWLY, False),
    (caused(anymail.AnymailAPIError(SES), ClientError(400, SES)), "sender-not-verified", Outcome.HOLD, PROBES[0], False),
    (caused(anymail.AnymailAPIError("x"), ClientError(403, "The security token is invalid.")), "api-credentials", Outcome.HOLD, PROBE_SLOWLY, False),
    (ClientError(429, "TooManyRequestsException: Maximum sending rate exceeded."), "api-throttled", Outcome.DOWN, 60, False),
    (HTTPStatusError(401), "api-credentials", Outcome.HOLD, PROBE_SLOWLY, False),
]  # fmt: skip


@pytest.mark.parametrize(("error", "diagnosis", "outcome", "delay", "uncertain"), REFUSALS)
def test_a_refusal_decides_what_becomes_of_the_mail(
    error: Exception, diagnosis: str, outcome: Outcome, delay: float, uncertain: bool
) -> None:
    facts = from_exception(error)
    known = diagnose(facts)
    assert (known.id if known else "") == diagnosis
    assert decide(facts, known, spread=0) == Decision(outcome=outcome, delay=delay, uncertain=uncertain)


@pytest.mark.parametrize(
    ("status", "said", "outcome", "delay"),
    [
        (429, "90", Outcome.DOWN, 90),
        (429, timedelta(seconds=600), Outcome.DOWN, 600),
        (429, "1", Outcome.DOWN, PROBES[0]),  # not more often than any relay is probed
        (429, "9" * 9, Outcome.DOWN, 86400),
        (429, "0", Outcome.DOWN, 60),
        (429, timedelta(seconds=-600), Outcome.DOWN, 60),
        (429, "soon", Outcome.DOWN, 60),
        (429, "9" * 5000, Outcome.DOWN, 60),
        (503, "90", Outcome.RETRY, 90),
        (503, "10", Outcome.RETRY, 30),
        (503, "9" * 9, Outcome.RETRY, SCHEDULE[-1]),
        (400, "90", Outcome.FAIL, 0),
    ],
)
def test_a_provider_that_says_when_to_come_again_is_heeded(
    status: int, said: str | timedelta, outcome: Outcome, delay: float
) -> None:
    if isinstance(said, timedelta):
        said = format_datetime(datetime.now(UTC) + said, usegmt=True)
    error = answered(status)
    error.response.headers["retry-after"] = said  # type: ignore[attr-defined]
    of_boto = ClientError(status, "x")
    of_boto.response["ResponseMetadata"]["HTTPHeaders"] = {"retry-after": said}  # type: ignore[assignment]
    for each in (error, caused(ValueError("x"), error), of_boto):
        facts = from_exception(each)
        decision = decide(facts, diagnose(facts), spread=0)
        assert (decision.outcome, decision.delay) == (outcome, pytest.approx(delay, abs=5))


@pytest.mark.parametrize("error", [answered(403, UNVERIFIED), answered(422, SIGNATURE)])
def test_a_sender_that_is_one_messages_own_stops_no_other(error: Exception) -> None:
    facts = from_exception(error)
    assert decide(facts, diagnose(facts), own_sender=True).outcome is Outcome.FAIL


def test_the_words_are_the_providers_with_the_status_and_without_secrets() -> None:
    facts = from_exception(answered(401, '{"Message": "Bad token canary-token"}'), secrets=["canary-token"])
    assert facts.words == 'HTTP 401 Postmark API response 401 (Reason): { "Message": "Bad token ***" }'


def test_who_was_refused_and_why_is_told() -> None:
    error = answered(
        200, '{"ErrorCode":406,"Message":"inactive addresses: a@b.example"}', anymail.AnymailRecipientsRefused
    )
    assert from_exception(error).words == (
        'All message recipients were rejected or invalid: {"ErrorCode":406,"Message":"inactive addresses: a@b.example"}'
    )


def test_an_error_that_cannot_say_what_it_is_is_taken_by_its_arguments() -> None:
    """Anymail's with a status and no response."""
    facts = from_exception(anymail.AnymailAPIError("it failed", status_code=500))
    assert facts.words == "HTTP 500 it failed"


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError("x"), TimeoutError(), ConnectionRefusedError(111, "x"), UnicodeError()]
)
def test_other_exceptions_are_of_no_api(error: Any) -> None:
    assert not from_exception(error).api
