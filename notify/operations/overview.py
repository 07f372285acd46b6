"""The outbox at a glance, for the desk: does mail work, why not, what to do. As fast after years as at first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from notify.delivery import counts, transport
from notify.delivery.counts import Hour
from notify.events import digest
from notify.models import Event, Message, Relay
from notify.operations import actions
from notify.smtp.diagnosis import rules

HOURS = 48
DAY = 24
FAILING_SHOWN = 5
Text = str | Promise

_WHO_DELIVERS = {
    "thread": _("Delivery runs inside the web processes (NOTIFY_DISPATCH=thread): see their log."),
    "worker": _("No worker seems to be running: run manage.py deliver --watch (NOTIFY_DISPATCH=worker)."),
    "celery": _("No worker seems to be running: run a Celery worker, and one beat (NOTIFY_DISPATCH=celery)."),
}


@dataclass(frozen=True)
class Verdict:
    """`mood`: good, quiet (nothing to say yet), slow, bad, or still (a person stopped it)."""

    mood: str
    headline: Text
    cause: Text = ""
    fix: Text = ""
    words: str = ""  # the relay's, or those of the person who paused it


@dataclass(frozen=True)
class Overview:
    relay: Relay
    verdict: Verdict
    route: str  # the way to the relay, without a secret
    waiting: int
    oldest_due: datetime | None
    failed: int  # messages that stay failed until a person acts
    hours: Sequence[Hour]
    events: int  # waiting for a digest
    failing: Sequence[Event]  # whose own template failed lately, the newest first
    digests: dict[str, datetime]  # by topic

    @property
    def day(self) -> Hour:
        """The hour that is running and the 23 before it, in one."""
        return counts.together(self.hours[-DAY:])


def overview(now: datetime | None = None) -> Overview:
    now = now or timezone.now()
    relay = Relay.current()
    oldest = actions.oldest_due(now)
    return Overview(
        relay=relay,
        verdict=judge(relay, oldest, now),
        route=transport.describe(),
        waiting=Message.objects.unfinished().count(),
        oldest_due=oldest,
        failed=Message.objects.filter(state=Message.State.FAILED).count(),
        hours=counts.hours(HOURS, now),
        events=Event.objects.waiting().count(),
        failing=list(Event.objects.failing().filter(created_at__gt=now - timedelta(hours=HOURS))[:FAILING_SHOWN]),
        digests=digest.next_digests(),
    )


def judge(relay: Relay, oldest_due: datetime | None, now: datetime) -> Verdict:
    """What an operator is told first."""
    match relay.state:
        case Relay.State.PAUSED:
            return Verdict("still", _("Mail is paused."), fix=_("Resume to send it."), words=relay.reason)
        case Relay.State.HELD:
            return _trouble(relay, _("Delivery is on hold: action required."))
        case Relay.State.DOWN:
            return _trouble(relay, _("Delivery is interrupted; retrying automatically."))
    patience = timedelta(seconds=settings.NOTIFY_READY_SECONDS)
    if oldest_due and now - oldest_due > patience:
        if relay.last_success and now - relay.last_success < patience:
            return Verdict(
                "slow", _("Mail works, but the queue is behind."), fix=_("More connections help: NOTIFY_CONNECTIONS.")
            )
        return Verdict(
            "bad", _("Mail is queued, but no worker is running."), fix=_WHO_DELIVERS[settings.NOTIFY_DISPATCH]
        )
    if not relay.last_success:
        return Verdict("quiet", _("Nothing has been sent yet."), fix=_("Send a test mail to see whether it works."))
    return Verdict("good", _("Mail works."))


def _trouble(relay: Relay, headline: Text) -> Verdict:
    known = rules.known(relay.diagnosis)
    if known is None:
        return Verdict("bad", headline, cause=_("The cause is unknown."), words=relay.reason)
    return Verdict("bad", headline, cause=known.cause, fix=known.fix, words=relay.reason)
