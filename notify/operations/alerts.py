"""Alerts, sent outside of mail: that mail does not work, and that it works again, once per change. And the heartbeat.

Every process that delivers calls `look` every few seconds. Rows of Alert hold what was reported: of the processes that
notice a change one stores it, and one at a time sends it. Nothing is sent within a transaction. A channel is not sent
a report again if the process that sent it was killed before it could record the outcome.
"""

import logging
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Subquery
from django.db.models.functions import Now
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from notify import clock, conf
from notify.delivery import claims
from notify.models import Alert, Attempt, DateTimeField, Event, Message, Outcome, Relay
from notify.operations import channels
from notify.operations.channels import Channel
from notify.operations.status import Status, explained, patience
from notify.rendering.message import list_url
from notify.smtp.diagnosis import rules

logger = logging.getLogger(__name__)

About, Kind = Alert.About, Alert.Kind
HOUR = timedelta(hours=1)
RETRY_FOR = HOUR
BACKOFF = (30, 60, 120, 240, 480, 900)  # seconds after a report that a channel did not accept
LEASE = timedelta(seconds=channels.DEADLINE + 10)  # then the process that was sending a report is considered dead
HEARTBEAT_EVERY = timedelta(seconds=60)
PATIENCE = timedelta(seconds=60)  # for a relay that was opened again to prove that it works, and to drain its queue
# A change for the worse is reported at once, one for the better only when all mail works.
RANK = {Kind.WORKS: 0, Kind.OVERDUE: 1, Kind.DOWN: 2, Kind.HELD: 3}


def is_configured() -> bool:
    """Whether there are alerts or a heartbeat to send."""
    return bool(channels.configured() or conf.NOTIFY_HEARTBEAT_URL)


def look() -> None:
    """Report what has changed, and what was not accepted before; ping the heartbeat. Each takes DEADLINE at most.

    One query if mail works and nothing is due. Raises DatabaseError.
    """
    if not is_configured() or not _is_worth_a_look():
        return
    status = Status()
    with translation.override(settings.LANGUAGE_CODE):
        if channels.configured():
            _notice_delivery(status)
            _notice_failures(status)
            due = Alert.objects.filter(due_at__lte=status.now).exclude(about=About.HEARTBEAT)
            for alert in due.order_by("pk"):
                _send(alert, status.now)
        if conf.NOTIFY_HEARTBEAT_URL:
            _beat(status)


def test() -> None:
    """Send a test to every channel now. It is stored as the last alert, with its outcome; two at a time are one."""
    chosen, now = channels.configured(), clock.now()
    with translation.override(settings.LANGUAGE_CODE):
        title, text = _("Test"), _("If you can read this, alerts reach you.")
        said = channels.send(chosen, _titled(title), text, kind="info")
    results = [_result(channel, said[channel.mark]) for channel in chosen]
    last = _last(About.TEST)
    _store(About.TEST, Kind.WORKS, last, now, since=now, title=title, text=text, due_at=None, results=results)


def _is_worth_a_look() -> bool:
    """One query: whether anything may be wrong, was reported and may be over, or is due to be sent."""
    newest = Alert.objects.filter(about=OuterRef("about")).order_by("-pk").values("pk")[:1]
    reported = Alert.objects.filter(about__in=[About.DELIVERY, About.FAILURES], pk=Subquery(newest))
    late, threshold = Now() - patience(), conf.NOTIFY_ALERT_FAILURES
    is_worth: Any = (
        Exists(Message.objects.unfinished().filter(due_at__lt=late))
        | Exists(Event.objects.waiting().filter(created_at__lt=late))
        | Exists(reported.exclude(kind=Kind.WORKS))
    )
    if channels.configured():
        is_worth |= Exists(Alert.objects.filter(due_at__lte=Now()).exclude(about=About.HEARTBEAT))
    if conf.NOTIFY_HEARTBEAT_URL:
        is_worth |= ~Exists(Alert.objects.filter(about=About.HEARTBEAT, due_at__gt=Now()))
    if threshold:
        is_worth |= Exists(_failures()[threshold : threshold + 1])
    clock_now = Now(output_field=DateTimeField())
    relays: list[Any] = list(Relay.objects.order_by("-pk").annotate(clock=clock_now, is_worth=is_worth))
    return not relays or relays[0].is_worth or Relay.in_use(relays, relays[0].clock).in_trouble


def _notice_delivery(status: Status) -> None:
    last, relay = _last(About.DELIVERY), status.relay
    if last and _is_being_sent(last, status.now):
        return
    reported, found = (Kind(last.kind) if last else Kind.WORKS), _found(status)
    if found and RANK[found] > RANK[reported]:
        begun = status.oldest_due if found == Kind.OVERDUE else relay.since
        since = last.since if last and reported != Kind.WORKS else begun or status.now
        verdict = status.verdict
        words = "" if rules.known(relay.diagnosis) else verdict.words
        queued = ngettext("%d mail is queued.", "%d mails are queued.", status.waiting) % status.waiting
        text = _paragraphs(verdict.cause, words, verdict.fix, queued, list_url(Relay))
        _store(About.DELIVERY, found, last, status.now, since=since, title=str(verdict.headline), text=text)
    elif found == Kind.WORKS and last and reported != Kind.WORKS and _has_recovered(status, last):
        _store(About.DELIVERY, Kind.WORKS, last, status.now, since=last.since, **_recovery(status, last))


def _found(status: Status) -> Alert.Kind | None:
    """The state of mail now; None while it is not to be reported, or not known."""
    relay, now = status.relay, status.now
    match relay.state:
        case Relay.State.HELD:
            return Kind.HELD
        case Relay.State.DOWN:
            return Kind.DOWN if now - relay.since >= timedelta(seconds=conf.NOTIFY_ALERT_AFTER) else None
        case Relay.State.PAUSED:
            return None
    # What was due before the relay was opened is not late yet: the queue is being drained.
    late = status.oldest_due and now - max(status.oldest_due, relay.since) > patience()
    return Kind.OVERDUE if late else Kind.WORKS


def _has_recovered(status: Status, last: Alert) -> bool:
    """Whether the relay that was opened again has proved that it works, and has drained its queue; or took too long."""
    opened, now = status.relay.since, status.now
    was_opened = opened > last.since
    if was_opened and now - opened > max(PATIENCE, timedelta(seconds=2 * claims.attempt_seconds())):
        return True
    if was_opened and (status.relay.last_success is None or status.relay.last_success < opened):
        return False
    return not Message.objects.due().filter(created_at__lte=max(opened, last.created_at)).exists()


def _recovery(status: Status, last: Alert) -> dict[str, str]:
    delivered = Message.objects.filter(state=Message.State.SENT, sent_at__gte=last.since)
    opened = status.relay.since
    if opened > last.since:
        delivered = delivered.filter(created_at__lte=opened)
    count = delivered.count()  # reads the history, once for each trouble
    said = ngettext("%d queued mail was delivered.", "%d queued mails were delivered.", count) % count
    since = _("Mail had not worked since %s.") % clock.shown(last.since)
    return {"title": _("Mail works again."), "text": _paragraphs(said, since, list_url(Relay))}


def _notice_failures(status: Status) -> None:
    """More messages failed within an hour than NOTIFY_ALERT_FAILURES; over when half as many do."""
    last, threshold = _last(About.FAILURES), conf.NOTIFY_ALERT_FAILURES
    if not threshold or (last and _is_being_sent(last, status.now)):
        return
    causes = dict(_failures().values_list("diagnosis").annotate(count=Count("pk")).order_by("-count"))
    count, is_reported = sum(causes.values()), bool(last and last.kind == Kind.FAILURES)
    if count > threshold and not is_reported:
        cause, fix = explained(next(iter(causes)))
        title = ngettext(
            "%d mail failed permanently within an hour.", "%d mails failed permanently within an hour.", count
        )
        cause = _("The most frequent cause: %s") % cause if cause else _("The cause is unknown.")
        text = _paragraphs(cause, fix, list_url(Message, state="failed"))
        _store(About.FAILURES, Kind.FAILURES, last, status.now, since=status.now - HOUR, title=title % count, text=text)
    elif last and is_reported and count <= threshold // 2:
        title, text = _("Mails no longer fail."), _("Many had failed since %s.") % clock.shown(last.since)
        _store(About.FAILURES, Kind.WORKS, last, status.now, since=last.since, title=title, text=text)


def _failures() -> Any:
    """Attempts of the last hour whose message failed for good."""
    return Attempt.objects.order_by().filter(decision=Outcome.FAIL, at__gt=Now() - HOUR)


def _last(about: str) -> Alert | None:
    return Alert.objects.filter(about=about).order_by("-pk").first()


def _is_being_sent(alert: Alert, now: datetime) -> bool:
    """Whether another process is sending it: a later alert must not overtake it."""
    return bool(alert.due_at and alert.due_at > now and any(each["state"] == "sending" for each in alert.results))


@transaction.atomic
def _store(about: Alert.About, kind: Alert.Kind, last: Alert | None, now: datetime, *, title: str, **more: Any) -> None:
    """Store a change to be sent, unless another process has; what was not accepted of the one before is dropped."""
    if last:
        Alert.objects.filter(pk=last.pk).update(due_at=None)
    columns = {"title": _titled(title)[:200], "created_at": now, "due_at": now, **more}
    row = Alert(about=about, kind=kind, previous=last.pk if last else 0, **columns)
    Alert.objects.bulk_create([row], ignore_conflicts=True)


def _send(alert: Alert, now: datetime) -> None:
    """Send to the channels that have not accepted it, if no other process does. Retried for an hour."""
    results = {each["mark"]: each for each in alert.results}
    for each in results.values():
        if each["state"] == "sending":  # by a process that was killed: it may have arrived
            each["state"] = "unknown"
    pending = [each for each in channels.configured() if results.get(each.mark, {}).get("state") in (None, "failed")]
    for channel in pending:
        results[channel.mark] = {"mark": channel.mark, "to": channel.name, "state": "sending", "said": ""}
    lease, ours = now + LEASE, Alert.objects.filter(pk=alert.pk)
    claim = {"due_at": lease, "attempts": alert.attempts + 1, "results": list(results.values())}
    if not ours.filter(due_at=alert.due_at).update(**claim):
        return
    kind = "success" if alert.kind == Kind.WORKS else "failure"
    said = channels.send(pending, alert.title, alert.text, kind=kind)
    for channel in pending:
        results[channel.mark] = _result(channel, said[channel.mark])
        if said[channel.mark]:
            logger.warning("the alert to %s was not accepted: %s", channel.name, said[channel.mark])
        else:
            logger.info("alert to %s: %s", channel.name, alert.title)
    ours.update(results=list(results.values()))
    pause = timedelta(seconds=BACKOFF[min(alert.attempts, len(BACKOFF) - 1)])
    again = any(said.values()) and now + pause <= alert.created_at + RETRY_FOR
    ours.filter(due_at=lease).update(due_at=now + pause if again else None)


def _result(channel: Channel, said: str) -> dict[str, str]:
    return {"mark": channel.mark, "to": channel.name, "state": "failed" if said else "sent", "said": said}


def _beat(status: Status) -> None:
    """Ping if mail works, once a minute over all processes; report the failure if it is on hold, first at once."""
    url, found = conf.NOTIFY_HEARTBEAT_URL, _found(status)
    if found == Kind.HELD:
        url = channels.fail_url(url)
    if found not in (Kind.WORKS, Kind.HELD) or not url:
        return
    now = status.now
    new = {"kind": Kind.OVERDUE, "since": now, "created_at": now, "due_at": now}
    row = Alert.objects.get_or_create(about=About.HEARTBEAT, previous=0, defaults=new)[0]
    is_news = found == Kind.HELD and row.kind != Kind.HELD
    if not is_news and row.due_at and row.due_at > now:
        return
    claim = {"kind": found, "due_at": now + HEARTBEAT_EVERY, "created_at": now}
    if Alert.objects.filter(pk=row.pk, due_at=row.due_at, kind=row.kind).update(**claim):
        said = channels.ping(url)
        if said:
            logger.warning("the heartbeat's address did not answer as it should: %s", said)
        result = {"to": urlsplit(url).hostname or "", "state": "failed" if said else "sent", "said": said}
        Alert.objects.filter(pk=row.pk).update(results=[result])


def _titled(title: str) -> str:
    return f"{conf.subject_prefix()} {title}".strip()


def _paragraphs(*texts: Any) -> str:
    return "\n\n".join(str(text) for text in texts if text)
