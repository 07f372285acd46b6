"""The state of the outbox, for the command, the dashboard, health and metrics: does mail work, why not, what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min
from django.utils.functional import cached_property
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from notify import clock, conf
from notify.delivery import counts, transport
from notify.delivery.counts import Hour
from notify.events import digest
from notify.models import Alert, Event, Message, MessageQuerySet, Relay
from notify.operations import machines
from notify.rendering.message import Text
from notify.smtp.diagnosis import rules
from notify.smtp.failure import printable

HOURS = 48
DAY = 24
FAILING_SHOWN = 5
NEWEST = 20  # messages sent since a deferral, after which it is not shown any more
State = Message.State

_WHO_DELIVERS = {
    "thread": _("Delivery runs inside the web processes (NOTIFY_DISPATCH=thread): see their log."),
    "worker": _("No worker seems to be running: run manage.py deliver --watch (NOTIFY_DISPATCH=worker)."),
    "celery": _("No worker seems to be running: run a Celery worker, and one beat (NOTIFY_DISPATCH=celery)."),
}


@dataclass(frozen=True)
class Verdict:
    """`mood`: good, quiet (nothing to say yet), slow, bad, or still (a person stopped it).

    `words`: the relay's, or those of the person who paused it. `at`: when the next attempt is due. `message`: the one
    that it is about, if it is about one.
    """

    mood: str
    headline: Text
    cause: Text = ""
    fix: Text = ""
    words: str = ""
    at: datetime | None = None
    message: Message | None = None


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
    def route(self) -> str:
        """The mail server and how it is reached, without a secret."""
        return transport.describe()

    @cached_property
    def oldest_due(self) -> datetime | None:
        """When the message or event that has been due longest became due; None if none is due.

        Events count, too: without a worker they do not become messages.
        """
        dues = [Message.objects.due().aggregate(oldest=Min("due_at"))["oldest"], digest.oldest_due()]
        return min((due for due in dues if due and due <= self.now), default=None)

    @property
    def is_behind(self) -> bool:
        """Whether that is longer ago than NOTIFY_READY_SECONDS."""
        return self.oldest_due is not None and self.now - self.oldest_due > patience()

    @cached_property
    def unfinished(self) -> dict[str, int]:
        """Unfinished messages by state."""
        return _counted(Message.objects.unfinished(), (State.QUEUED, State.SENDING))

    @property
    def waiting(self) -> int:
        """Unfinished messages."""
        return sum(self.unfinished.values())

    @cached_property
    def failed(self) -> int:
        """Messages that failed permanently."""
        return Message.objects.filter(state=State.FAILED).count()

    @cached_property
    def failed_lately(self) -> Message | None:
        """The newest message that failed permanently within 24 hours."""
        # A failed message is due at the end of its last lease.
        since = self.now - timedelta(hours=DAY)
        return Message.objects.filter(state=State.FAILED, due_at__gt=since).order_by("-pk").first()

    @cached_property
    def deferred(self) -> Message | None:
        """The newest message that the relay deferred, while fewer than NEWEST were sent since."""
        found = Message.objects.unfinished().filter(attempts__gt=0).order_by("-pk").first()
        if found is None or Message.objects.filter(pk__gt=found.pk, state=State.SENT)[:NEWEST].count() == NEWEST:
            return None
        return found

    @cached_property
    def by_state(self) -> dict[str, int]:
        """All messages by state: reads the whole history."""
        return _counted(Message.objects.all(), State.values)

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
        """What differs between workers, a sentence each."""
        return machines.disagreements()

    @cached_property
    def last_alert(self) -> Alert | None:
        """The newest alert, or test of one."""
        return Alert.objects.exclude(about=Alert.About.HEARTBEAT).first()

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
        """Whether mail works, why not, and what to do."""
        held, down = _("Delivery is on hold: action required."), _("Delivery is interrupted; retrying automatically.")
        if stopped := self._stopped(held=held, down=down):
            return stopped
        if delayed := self._delayed():
            return delayed
        if self.failed_lately:
            fix = _("Correct the cause, then retry the message.")
            return _of_message(self.failed_lately, _("Some mail failed permanently: action required."), fix)
        if self.deferred:
            fix = _("No action needed; retrying automatically.")
            return _of_message(self.deferred, _("The newest mail was deferred; retrying automatically."), fix)
        if not self.relay.last_success:
            return Verdict("quiet", _("Nothing has been sent yet."), fix=_("Send a test mail to see whether it works."))
        return Verdict("good", _("Mail works."))

    def why_not_sent(self, message: Message) -> Verdict:
        """Why a message has not been sent, what to do, and when the next attempt is due."""
        if message.state == State.FAILED:
            return _of_message(message, "", _("Correct the cause, then retry the message."))
        if message.state == State.SENDING and message.due_at > self.now:
            return Verdict("quiet", _("A worker is sending it now."))
        held = _("It waits because the mail server is on hold.")
        down = _("It waits because the mail server is not usable at the moment.")
        if stopped := self._stopped(held=held, down=down):
            return stopped
        if message.attempts and message.due_at > self.now:
            fix = _("No action needed; retrying automatically.")
            return _of_message(message, _("It was deferred; retrying automatically."), fix)
        if message.due_at > self.now:
            return Verdict("quiet", _("It is not due yet."), at=message.due_at)
        return self._delayed() or Verdict("quiet", _("It is due, and waits for its turn."))

    def _stopped(self, *, held: Text, down: Text) -> Verdict | None:
        """Why nothing is sent at the moment, with one of these headlines; None while the relay is open."""
        relay = self.relay
        if relay.state == Relay.State.PAUSED:
            return Verdict("still", _("Mail is paused."), fix=_("Resume to send it."), words=relay.reason)
        if not relay.in_trouble:
            return None
        cause, fix = explained(relay.diagnosis, cause=_("The cause is unknown."))
        headline = held if relay.state == Relay.State.HELD else down
        return Verdict("bad", headline, cause, fix, words=relay.reason, at=relay.next_probe)

    def _delayed(self) -> Verdict | None:
        """Why mail has been due for long though the relay is open; None where it has not been."""
        if not self.is_behind:
            return None
        last_success = self.relay.last_success
        if last_success and self.now - last_success < patience():
            more = _("More connections help: NOTIFY_CONNECTIONS.")
            return Verdict("slow", _("Mail works, but the queue is behind."), fix=more)
        fix = _WHO_DELIVERS[conf.NOTIFY_DISPATCH]
        return Verdict("bad", _("Mail is queued, but no worker is running."), fix=fix)

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
            "last_alert": alert_facts(self.last_alert),
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


def alert_facts(alert: Alert | None) -> dict[str, Any] | None:
    """Plain values, ready for JSON: an alert's title, time and outcome by channel."""
    if alert is None:
        return None
    channels = [{"to": to, "outcome": outcome, "sent": sent} for to, outcome, sent in alert.outcomes]
    return {"title": alert.title, "at": _iso(alert.created_at), "channels": channels}


def alert_lines(facts: dict[str, Any]) -> list[str]:
    """`alert_facts` for people; printable, whatever a channel said."""
    found = [gettext("last alert  %(at)s %(title)s") % facts]
    return [printable(line) for line in found + [f"  {each['to']}  {each['outcome']}" for each in facts["channels"]]]


def lines(facts: dict[str, Any]) -> list[str]:
    """`Status.as_json` for people; printable, whatever the server said or the operator typed."""
    relay, events, states = facts["relay"], facts["events"], dict(State.choices)
    found = [gettext("messages") + "  " + ", ".join(f"{states[state]} {n}" for state, n in facts["messages"].items())]
    if facts["oldest_due_seconds"] is not None:
        found.append(gettext("oldest due  %.0f s ago") % facts["oldest_due_seconds"])
    if relay["state"] == Relay.State.OPEN:
        found.append(gettext("mail server  working"))
    else:
        values = {**relay, "state": dict(Relay.State.choices)[relay["state"]], "waiting": facts["waiting"]}
        found.append(gettext("mail server  %(state)s since %(since)s, %(waiting)d waiting: %(reason)s") % values)
    if relay["next_probe"]:
        found.append(gettext("next probe  %s") % relay["next_probe"])
    if facts["last_alert"]:
        found += alert_lines(facts["last_alert"])
    found.append(gettext("last success  %s") % (relay["last_success"] or gettext("never")))
    if events["waiting"]:
        found.append(gettext("events waiting for a digest  %d") % events["waiting"])
        for topic, due in events["next_digests"].items():
            found.append(gettext("next digest  %(due)s (%(topic)s)") % {"due": due, "topic": topic})
    return [printable(line) for line in [*found, *facts["disagreements"]]]


def explained(diagnosis: str, *, cause: Text = "", fix: Text = "") -> tuple[Text, Text]:
    """Cause and fix of a diagnosis, with the project's names of settings; where it is not known, the ones given."""
    known = rules.known(diagnosis)
    return (known.cause, conf.named(known.fix)) if known else (cause, fix)


def patience() -> timedelta:
    """How long a message or event may be due before health falls short."""
    return timedelta(seconds=conf.NOTIFY_READY_SECONDS)


def _of_message(message: Message, headline: Text, fix: Text) -> Verdict:
    """`fix` is for where the cause is not known."""
    cause, fix = explained(message.diagnosis, fix=fix)
    at = None if message.state == State.FAILED else message.due_at
    return Verdict("slow", headline, cause, fix, words=message.reply, at=at, message=message)


def _counted(messages: MessageQuerySet, states: Iterable[str]) -> dict[str, int]:
    found = dict(messages.order_by().values_list("state").annotate(Count("pk")))
    return {state: found.get(state, 0) for state in states}


def _iso(moment: datetime | None) -> str | None:
    return clock.site_time(moment).isoformat(timespec="seconds") if moment else None
