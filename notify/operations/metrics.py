"""Metrics for Prometheus at /metrics, read from the database at each scrape: any process answers for all of them.

Counters (`_total`, `_count`, `_sum`) are sums of the table of hourly counts. They never decrease: neither a purge nor
the retry of a failed message changes that table. If a worker is killed, up to ten seconds of its `sent` are missing.
Queued and failed messages are counted in the table of messages. Labels `cause` are ids of diagnoses, or "unknown".
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from notify import conf
from notify.delivery import counts
from notify.models import Message, Outcome, Relay
from notify.operations.status import Status

State = Message.State


class Outbox(Collector):
    def collect(self) -> Iterator[Metric]:
        status = Status()
        yield from _queue(status)
        yield from _attempts()
        yield from _relay(status)


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """For requests with the token (`Authorization: Bearer …`) and staff who may see the relay; else 401 or 403."""
    try:
        if may_see_relay(request):
            return HttpResponse(generate_latest(Outbox()), content_type=CONTENT_TYPE_PLAIN_0_0_4)
        # A project without AuthenticationMiddleware has no users, here and below.
        user = getattr(request, "user", None)
        if "Authorization" not in request.headers and user and user.is_authenticated:
            return HttpResponse(status=403)
        return HttpResponse(status=401, headers={"WWW-Authenticate": 'Bearer realm="metrics"'})
    except (DatabaseError, InterfaceError) as error:
        reason = f"The database does not answer: {type(error).__name__}\n"
        return HttpResponse(reason, status=503, content_type="text/plain; charset=utf-8")


def has_token(request: HttpRequest) -> bool:
    """Whether the request has NOTIFY_METRICS_TOKEN as its bearer token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = conf.NOTIFY_METRICS_TOKEN
    return scheme.lower() == "bearer" and bool(expected) and constant_time_compare(token.strip(), expected)


def may_see_relay(request: HttpRequest) -> bool:
    """Whether the request has the token, or comes from staff who may see the relay. Raises DatabaseError."""
    if "Authorization" in request.headers:  # a session does not make up for a wrong token, which would go unnoticed
        return has_token(request)
    user = getattr(request, "user", None)
    return bool(user and user.is_active and getattr(user, "is_staff", False) and user.has_perm("notify.view_relay"))


def _queue(status: Status) -> Iterator[Metric]:
    depth = GaugeMetricFamily("notify_messages", "Messages that are not done with, by state.", labels=["state"])
    for state, count in {**status.unfinished, State.FAILED: status.failed}.items():
        depth.add_metric([state], count)
    yield depth
    yield GaugeMetricFamily(
        "notify_oldest_due_seconds",
        "How long the message or event that is due longest has been due; 0 when none is.",
        value=status.age(status.oldest_due) or 0,
    )
    yield GaugeMetricFamily(
        "notify_events_overdue",
        "Events that should be in a mail by now: no worker or no beat is running.",
        value=status.events_overdue,
    )
    yield GaugeMetricFamily("notify_events_waiting", "Events that wait for a digest.", value=status.events)


def _attempts() -> Iterator[Metric]:
    rows = counts.totals()
    sent = sum(attempts for outcome, _, attempts, _ in rows if outcome == Outcome.SENT)
    yield CounterMetricFamily("notify_sent", "Messages the relay took.", value=sent)
    yield _by_cause("notify_retried", "Attempts whose message is tried again, by cause.", rows, Outcome.RETRY)
    yield _by_cause("notify_failed", "Attempts whose message failed for good, by cause.", rows, Outcome.FAIL)
    unusable = "Attempts that found the relay as a whole unusable, by cause."
    yield _by_cause("notify_relay_failures", unusable, rows, Outcome.DOWN, Outcome.HOLD)
    seconds = SummaryMetricFamily("notify_attempt_seconds", "Length of attempts, by outcome.", labels=["outcome"])
    for outcome in Outcome.values:
        own = [row for row in rows if row[0] == outcome]
        seconds.add_metric([outcome], count_value=sum(row[2] for row in own), sum_value=sum(row[3] for row in own))
    yield seconds


def _by_cause(name: str, meaning: str, rows: list[counts.Total], *outcomes: str) -> Metric:
    causes: Counter[str] = Counter()
    for outcome, diagnosis, attempts, _ in rows:
        if outcome in outcomes:
            causes[diagnosis or "unknown"] += attempts
    family = CounterMetricFamily(name, meaning, labels=["cause"])
    for cause, attempts in sorted(causes.items()):
        family.add_metric([cause], attempts)
    return family


def _relay(status: Status) -> Iterator[Metric]:
    relay = status.relay
    state = GaugeMetricFamily("notify_relay_state", "1 for the state that the relay is in.", labels=["state"])
    for each in Relay.State.values:
        state.add_metric([each], relay.state == each)
    yield state
    cause = GaugeMetricFamily("notify_relay_trouble", "1 while the relay is down or held, by cause.", labels=["cause"])
    if relay.in_trouble:
        cause.add_metric([relay.diagnosis or "unknown"], 1)
    yield cause
    yield _moment("notify_relay_since_timestamp_seconds", "When the relay entered its state.", relay.since)
    yield _moment("notify_last_success_timestamp_seconds", "When the relay last took a message.", relay.last_success)


def _moment(name: str, meaning: str, moment: datetime | None) -> Metric:
    return GaugeMetricFamily(name, meaning, value=moment.timestamp() if moment else None)
