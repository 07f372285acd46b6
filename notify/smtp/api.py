"""Reads exceptions of email backends that use a provider's API, by names and attributes: no such package is imported.

Those of Anymail, requests, urllib3, httpx and boto, and any other with an HTTP status.
"""

import contextlib
import smtplib
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

_TOO_EARLY = (408, 425, 429)  # the temporary ones of the 4xx
OF_ACCOUNT = (401, 402, 403, 407)
_OF_ADDRESS = (404, 405, 410)  # of the API: the URL or domain is wrong
LONGEST_WAIT = 86400  # seconds that an API may ask for

# Names of exception classes, their bases included
_RECIPIENTS_REFUSED = {"AnymailRecipientsRefused", "RecipientsRefused"}
_UNTAKEABLE = {"AnymailSerializationError", "AnymailUnsupportedFeature", "AnymailInvalidAddress"}
_MISCONFIGURED = {"ImproperlyConfigured", "NoCredentialsError", "PartialCredentialsError", "NoRegionError"}
_OF_HTTP = {"AnymailError", "RequestException", "TransportError", "BotoCoreError"}
_NEVER_SENT = {  # by the class of the exception or of a cause; the innermost first
    "gaierror": "dns",
    "NameResolutionError": "dns",
    "ProxyError": "proxy",
    "SSLError": "tls",
    "SSLCertVerificationError": "tls",
    "NewConnectionError": "connect",
    "ConnectTimeout": "connect",
    "ConnectTimeoutError": "connect",
    "ConnectionRefusedError": "connect",
    "EndpointConnectionError": "connect",
    "ConnectError": "connect",
}


class Refusal(NamedTuple):
    """As in failure.Failure; `code` is an HTTP status of 400 or more, None without one."""

    phase: str
    code: int | None
    final: bool
    text: str
    wait: float = 0


def read(error: BaseException) -> Refusal | None:
    """None for an exception of another kind."""
    if isinstance(error, smtplib.SMTPException):
        return None
    names, text = {base.__name__ for base in type(error).__mro__}, _text(error)
    if names & _RECIPIENTS_REFUSED:
        return Refusal("recipient", None, True, _with_answer(error, text))
    if names & _UNTAKEABLE:
        return Refusal("prepare", None, True, text)
    if names & _MISCONFIGURED:
        return Refusal("config", None, True, text)
    status = next((found for each in _causes(error) if (found := _status(each))), None)
    if status is not None and status >= 400:
        return _judged(status, text)._replace(wait=max(_wait(each) for each in _causes(error)))
    if status is None and not names & _OF_HTTP:
        return None
    return Refusal(_broken_in(error), None, False, text)


def _judged(status: int, text: str) -> Refusal:
    if status in OF_ACCOUNT:
        return Refusal("auth", status, True, text)
    if status in _OF_ADDRESS:
        return Refusal("config", status, True, text)
    if status >= 500:  # it received the message; whether it accepted it is not known
        return Refusal("end", status, False, text)
    return Refusal("data", status, status not in _TOO_EARLY, text)


def _broken_in(error: BaseException) -> str:
    """The phase in which the connection broke; `end` if the message may have been transferred by then."""
    for each in _causes(error):
        for name in (base.__name__ for base in type(each).__mro__):
            if name in _NEVER_SENT:
                return _NEVER_SENT[name]
    return "end"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes, the innermost first; urllib3 keeps them in `reason` and `args`."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(found) < 20:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return reversed(found)


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    given = [getattr(error, "status_code", None), getattr(response, "status_code", None)]
    if isinstance(response, dict):  # boto's
        given.append((response.get("ResponseMetadata") or {}).get("HTTPStatusCode"))
    return next((status for status in given if isinstance(status, int) and 100 <= status <= 599), None)


def _wait(error: BaseException) -> float:
    """Seconds until the next request is welcome (Retry-After, RFC 9110 10.2.3); 0 if the answer does not say."""
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None)
    if isinstance(response, dict):  # boto's
        headers = (response.get("ResponseMetadata") or {}).get("HTTPHeaders")
    said = {str(name).lower(): text for name, text in headers.items()} if isinstance(headers, Mapping) else {}
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        after = str(said.get("retry-after"))
        seconds = int(after) if after.isdecimal() else parsedate_to_datetime(after).timestamp() - time.time()
        return min(max(seconds, 0), LONGEST_WAIT)
    return 0


def _text(error: BaseException) -> str:
    try:
        text = str(error).strip()
    except Exception:  # noqa: BLE001  (Anymail's needs a response where there may be none)
        text = " ".join(str(each) for each in error.args)
    return text or type(error).__name__


def _with_answer(error: BaseException, text: str) -> str:
    answer = getattr(getattr(error, "response", None), "text", "")
    return f"{text}: {answer}" if isinstance(answer, str) and answer and answer not in text else text
