"""The state of the outbox, for the command, the dashboard, health and metrics: does mail work, why not, what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min
from django.utils.functional import cached_property
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from notify import clock, conf
from notify.delivery import breaker, counts, transport
from notify.delivery.counts import Hour
from notify.events import digest
from notify.models import Event, Message, Relay
from notify.operations import machines
from notify.rendering.message import Text, site_time
from notify.smtp.diagnosis import rules
from notify.smtp.failure import printable

HOURS = 48
DAY = 24
FAILING_SHOWN = 5
State = Message.State

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


class Status:
    """The outbox at the time `now`. Each fact is read when it is first used, once; reading raises DatabaseError.

    All but `by_state` and `as_json` are as fast after years as at first.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or clock.now()

    @cached_property
    def relay(self) -> Relay:
        return Relay.current()

    @property
    def in_trouble(self) -> bool:
        """Whether delivery is interrupted or on hold."""
        return self.relay.state in breaker.TROUBLED

    @property
    def route(self) -> str:
        """The way to the relay, without a secret."""
        return transport.describe()

    @cached_property
    def oldest_due(self) -> datetime | None:
        """Since when the message or event that is due longest has been due; None if none is.

        Events count, too: without a worker they do not become messages.
        """
        dues = [Message.objects.due().aggregate(oldest=Min("due_at"))["oldest"], digest.oldest_due()]
        return min((due for due in dues if due and due <= self.now), default=None)

    @cached_property
    def waiting(self) -> int:
        """Unfinished messages."""
        return Message.objects.unfinished().count()

    @cached_property
    def unfinished(self) -> dict[str, int]:
        """The same by state."""
        found = dict(Message.objects.unfinished().order_by().values_list("state").annotate(Count("pk")))
        return {state: found.get(state, 0) for state in (State.QUEUED, State.SENDING)}

    @cached_property
    def failed(self) -> int:
        """Messages that stay failed until a person acts."""
        return Message.objects.filter(state=State.FAILED).count()

    @cached_property
    def by_state(self) -> dict[str, int]:
        """All messages by state: reads the whole history."""
        found = dict(Message.objects.order_by().values_list("state").annotate(Count("pk")))
        return {state: found.get(state, 0) for state in State.values}

    @cached_property
    def hours(self) -> Sequence[Hour]:
        return counts.hours(HOURS, self.now)

    @property
    def day(self) -> Hour:
        """The current hour and the 23 before it, in one."""
        return counts.together(self.hours[-DAY:])

    @cached_property
    def events(self) -> int:
        """Events waiting for a digest."""
        return Event.objects.waiting().count()

    @cached_property
    def events_overdue(self) -> int:
        """Events that should be in a mail by now."""
        return digest.overdue(self.now)

    @cached_property
    def disagreements(self) -> Sequence[str]:
        """What differs between machines, a sentence each."""
        return machines.disagreements()

    @cached_property
    def digests(self) -> dict[str, datetime]:
        """When the next digest is due, by topic."""
        return digest.next_digests()

    @cached_property
    def failing(self) -> Sequence[Event]:
        """Events whose own template failed lately, the newest first."""
        lately = self.now - timedelta(hours=HOURS)
        return list(Event.objects.failing().filter(created_at__gt=lately)[:FAILING_SHOWN])

    @property
    def verdict(self) -> Verdict:
        """What an operator is told first."""
        relay, now = self.relay, self.now
        match relay.state:
            case Relay.State.PAUSED:
                return Verdict("still", _("Mail is paused."), fix=_("Resume to send it."), words=relay.reason)
            case Relay.State.HELD:
                return _trouble(relay, _("Delivery is on hold: action required."))
            case Relay.State.DOWN:
                return _trouble(relay, _("Delivery is interrupted; retrying automatically."))
        patience = timedelta(seconds=conf.NOTIFY_READY_SECONDS)
        if self.oldest_due and now - self.oldest_due > patience:
            if relay.last_success and now - relay.last_success < patience:
                more = _("More connections help: NOTIFY_CONNECTIONS.")
                return Verdict("slow", _("Mail works, but the queue is behind."), fix=more)
            fix = _WHO_DELIVERS[conf.NOTIFY_DISPATCH]
            return Verdict("bad", _("Mail is queued, but no worker is running."), fix=fix)
        if not relay.last_success:
            return Verdict("quiet", _("Nothing has been sent yet."), fix=_("Send a test mail to see whether it works."))
        return Verdict("good", _("Mail works."))

    def health(self) -> dict[str, Any]:
        """Plain values, ready for JSON; times are ISO 8601 in TIME_ZONE, ages in seconds."""
        relay = self.relay
        return {
            "oldest_due_seconds": self.age(self.oldest_due),
            "events_overdue": self.events_overdue,
            "relay": {
                "state": relay.state,
                "reason": relay.reason,
                "diagnosis": relay.diagnosis,
                "since": _iso(relay.since),
                "next_probe": _iso(relay.next_probe),
                "last_success": _iso(relay.last_success),
            },
        }

    def as_json(self) -> dict[str, Any]:
        """`health` and all counts."""
        oldest = Event.objects.waiting().aggregate(oldest=Min("created_at"))["oldest"]
        return {
            "messages": self.by_state,
            "waiting": self.by_state[State.QUEUED] + self.by_state[State.SENDING],
            "events": {
                "waiting": self.events,
                "oldest_seconds": self.age(oldest),
                "next_digests": {topic: _iso(due) for topic, due in self.digests.items()},
            },
            "disagreements": self.disagreements,
            **self.health(),
        }

    def age(self, moment: datetime | None) -> float | None:
        """Seconds since then."""
        return None if moment is None else round(max((self.now - moment).total_seconds(), 0), 1)


def lines(facts: dict[str, Any]) -> list[str]:
    """`Status.as_json` for people; printable, whatever the server said or the operator typed."""
    relay, events, states = facts["relay"], facts["events"], dict(State.choices)
    found = [gettext("messages") + "  " + ", ".join(f"{states[state]} {n}" for state, n in facts["messages"].items())]
    if facts["oldest_due_seconds"] is not None:
        found.append(gettext("oldest due  %.0f s ago") % facts["oldest_due_seconds"])
    if relay["state"] == Relay.State.OPEN:
        found.append(gettext("relay  working"))
    else:
        values = {**relay, "state": dict(Relay.State.choices)[relay["state"]], "waiting": facts["waiting"]}
        found.append(gettext("relay  %(state)s since %(since)s, %(waiting)d waiting: %(reason)s") % values)
    if relay["next_probe"]:
        found.append(gettext("next probe  %s") % relay["next_probe"])
    found.append(gettext("last success  %s") % (relay["last_success"] or gettext("never")))
    if events["waiting"]:
        found.append(gettext("events waiting for a digest  %d") % events["waiting"])
        for topic, due in events["next_digests"].items():
            found.append(gettext("next digest  %(due)s (%(topic)s)") % {"due": due, "topic": topic})
    return [printable(line) for line in [*found, *facts["disagreements"]]]


def _trouble(relay: Relay, headline: Text) -> Verdict:
    known = rules.known(relay.diagnosis)
    if known is None:
        return Verdict("bad", headline, cause=_("The cause is unknown."), words=relay.reason)
    return Verdict("bad", headline, cause=known.cause, fix=conf.named(known.fix), words=relay.reason)


def _iso(moment: datetime | None) -> str | None:
    return site_time(moment).isoformat(timespec="seconds") if moment else None
