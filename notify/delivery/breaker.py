"""Whether the relay is to be tried: open, down, held or paused. Every change is one conditional UPDATE.

While the relay is down or held nobody sends, except one probe at a time: the worker that moves `next_probe` on has
it. A probe is the longest due message; when it goes through the relay is open and the queue drains.
"""

import logging
from dataclasses import dataclass

from django.db.models import F, Q
from django.db.models.functions import Now

from notify.delivery import claims, retry, transport
from notify.models import Message, Outcome, Relay

logger = logging.getLogger(__name__)

State = Relay.State
# A probe further away than the longest pause a diagnosis asks for: the clock was set back.
FURTHEST_PROBE_SECONDS = 2 * 86400
TROUBLED = (State.DOWN, State.HELD)


@dataclass(frozen=True)
class Permit:
    """Leave to send: any number of messages, or one as a probe after so many failures."""

    probe: bool = False
    failures: int = 0


def admit() -> Permit | None:
    """Leave to send now, or None while the relay is paused, or is not to be probed yet."""
    relay = Relay.current()
    if relay.state == State.OPEN:
        return Permit()
    if relay.state == State.PAUSED or not Message.objects.due().exists():
        return None
    taken = Relay.objects.filter(
        Q(next_probe=relay.next_probe)
        & (Q(next_probe=None) | Q(next_probe__lte=Now()) | Q(next_probe__gt=claims.in_seconds(FURTHEST_PROBE_SECONDS))),
        pk=relay.pk,
        state=relay.state,
    ).update(next_probe=claims.in_seconds(claims.lease_seconds()))
    return Permit(probe=True, failures=relay.failures) if taken else None


def report_failure(permit: Permit, decision: retry.Decision, *, reason: str, diagnosis: str) -> bool:
    """The relay as a whole is unusable. True for the first to say so; an operator's pause stands above it."""
    state = State.HELD if decision.outcome is Outcome.HOLD else State.DOWN
    columns = {
        "state": state,
        "reason": reason,
        "diagnosis": diagnosis,
        "failures": F("failures") + 1,
        "next_probe": claims.in_seconds(decision.delay),
    }
    if permit.probe:
        Relay.objects.filter(state__in=TROUBLED).update(**columns)
        return False
    first = Relay.objects.filter(state=State.OPEN).update(**columns, since=Now()) == 1
    if first:
        logger.warning("relay %s: %s", state, reason)
    return first


def report_success(permit: Permit) -> None:
    """The relay took a message."""
    report_answer(permit)
    Relay.objects.update(last_success=Now())


def report_answer(permit: Permit) -> None:
    """The relay spoke to a message, if only to refuse this one: it is usable, and the others need not wait."""
    if permit.probe and Relay.objects.filter(state__in=TROUBLED).update(**_OPENED):
        logger.info("relay open again")


def pause(reason: str) -> None:
    """A person stops the sending, until `resume`."""
    Relay.current()
    Relay.objects.exclude(state=State.PAUSED).update(
        state=State.PAUSED, reason=reason, diagnosis="", since=Now(), failures=0, next_probe=None
    )


def resume() -> None:
    """A person starts the sending: out of a pause, or because what held the relay is mended."""
    Relay.current()
    Relay.objects.exclude(state=State.OPEN).update(**_OPENED)


def probe_now() -> bool:
    """A person wants an unusable relay tried at once; False where it is open or paused."""
    # Not Now(): SQLite would keep milliseconds, and `admit` looks for exactly what it read.
    return Relay.objects.filter(state__in=TROUBLED).update(next_probe=claims.in_seconds(0)) == 1


def notice_configuration() -> None:
    """A relay in trouble gets a fresh try when the configuration is another than the one that failed."""
    relay, mark = Relay.current(), transport.fingerprint()
    if relay.fingerprint != mark:
        Relay.objects.filter(pk=relay.pk).update(fingerprint=mark)
        if Relay.objects.filter(pk=relay.pk, state__in=TROUBLED).update(**_OPENED):
            logger.info("the mail configuration changed: the relay is tried again")


_OPENED = {
    "state": State.OPEN,
    "reason": "",
    "diagnosis": "",
    "since": Now(),
    "failures": 0,
    "next_probe": None,
}
