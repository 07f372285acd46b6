"""Whether the relay is to be tried: open, down, held or paused. Every change is one conditional UPDATE.

The state belongs to a configuration of the relay: workers that have the same share it, and one that has another has a
row for itself. While the relay is down or held only one probe at a time is sent: by the worker that moves `next_probe`
on. A probe is the longest due message; when it goes through the relay is open and the queue drains.
"""

import hashlib
import logging
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, Q
from django.db.models.functions import Now

from notify import clock
from notify.delivery import claims, retry, transport
from notify.models import SEEN_LATELY, Message, Outcome, Relay

logger = logging.getLogger(__name__)

State = Relay.State
# A probe further away than the longest pause a diagnosis asks for: the clock was set back.
FURTHEST_PROBE_SECONDS = 2 * 86400
CHANGED = "the mail configuration changed: the relay is tried again"
SEEN_EVERY = 60.0  # seconds from one sign of life of a host's workers to the next


@dataclass(frozen=True)
class Permit:
    """Permission to send: any number of messages, or one as a probe after so many failures."""

    probe: bool = False
    failures: int = 0


@dataclass(frozen=True)
class Workers:
    """The workers of a host that were seen lately with a configuration, and the relay's state under it."""

    host: str
    fingerprint: str
    state: str
    key: str  # a mark of their SECRET_KEY
    seconds_ahead: float  # of the database's clock


def own() -> Relay:
    """The row of this process's configuration, made by the first worker that has it."""
    mark = transport.fingerprint()
    if found := Relay.objects.filter(fingerprint=mark).first():
        return found
    if Relay.objects.filter(fingerprint="").update(fingerprint=mark):
        return Relay.objects.get(fingerprint=mark)
    # An operator's pause is for every configuration, also for one that comes later.
    known: dict[str, Any] = Relay.objects.aggregate(last_success=Max("last_success"))
    paused = Relay.objects.filter(state=State.PAUSED).values("state", "reason", "since").first() or {"since": Now()}
    made, is_new = Relay.objects.get_or_create(fingerprint=mark, defaults={**known, **paused})
    if is_new:
        made.refresh_from_db()
        if Relay.objects.exclude(pk=made.pk).troubled().exists():
            logger.info(CHANGED)
    return made


def admit() -> Permit | None:
    """Permission to send now; None while the relay is paused, or is not to be probed yet."""
    relay = own()
    if relay.state == State.OPEN:
        return Permit()
    if relay.state == State.PAUSED or not Message.objects.due().exists():
        return None
    taken = Relay.objects.filter(
        Q(next_probe=relay.next_probe)
        & (Q(next_probe=None) | Q(next_probe__lte=Now()) | Q(next_probe__gt=clock.in_seconds(FURTHEST_PROBE_SECONDS))),
        pk=relay.pk,
        state=relay.state,
    ).update(next_probe=clock.in_seconds(claims.lease_seconds()))
    return Permit(probe=True, failures=relay.failures) if taken else None


def report_failure(permit: Permit, decision: retry.Decision, *, reason: str, diagnosis: str) -> bool:
    """The relay as a whole is unusable. True if that is news. An operator's pause is left as it is."""
    state = State.HELD if decision.outcome is Outcome.HOLD else State.DOWN
    columns = {
        "state": state,
        "reason": reason,
        "diagnosis": diagnosis,
        "failures": F("failures") + 1,
        "next_probe": clock.in_seconds(decision.delay),
    }
    ours = Relay.objects.filter(pk=own().pk)
    if permit.probe:
        ours.troubled().update(**columns)
        return False
    first = ours.filter(state=State.OPEN).update(**columns, since=Now()) == 1
    if first:
        logger.warning("relay %s: %s", state, reason)
    return first


def report_success(permit: Permit) -> None:
    """The relay took a message."""
    report_answer(permit)
    Relay.objects.filter(pk=own().pk).update(last_success=Now())


def report_answer(permit: Permit) -> None:
    """The relay replied to a message, if only to refuse it: the relay is usable, and other messages need not wait."""
    if permit.probe and Relay.objects.filter(pk=own().pk).troubled().update(**_OPENED):
        logger.info("relay open again")


def pause(reason: str) -> None:
    """An operator stops delivery under every configuration, until `resume`."""
    own()
    Relay.objects.exclude(state=State.PAUSED).update(
        state=State.PAUSED, reason=reason, diagnosis="", since=Now(), failures=0, next_probe=None
    )


def resume() -> None:
    """An operator starts delivery under every configuration: after a pause, or when the cause of a hold is removed."""
    own()
    Relay.objects.exclude(state=State.OPEN).update(**_OPENED)


def probe_now() -> bool:
    """An operator has an unusable relay tried at once. False where it is open or paused under every configuration."""
    # Not Now(): SQLite would keep milliseconds, and `admit` looks for exactly what it read.
    return Relay.objects.troubled().update(next_probe=clock.in_seconds(0)) > 0


def notice_configuration(*, starting: bool = True) -> None:
    """Note that this host delivers with this configuration, and warn if its clock differs from the database's.

    Called every SEEN_EVERY seconds. A process that starts takes its host off the rows of other configurations: they
    are what it had before. If there is such a process still, it comes back within SEEN_EVERY seconds.
    """
    if Relay.objects.filter(fingerprint="").troubled().update(**_OPENED):
        logger.info(CHANGED)
    relay, host, now, ahead = own(), socket.gethostname(), clock.now(), clock.seconds_ahead()
    key = key_mark()
    sign = {"seen": clock.written(now), "key": key, "ahead": ahead}
    last = (relay.workers or {}).get(host)
    is_known = last is not None and last["key"] == key and _age(last, now) < 0.8 * timedelta(seconds=SEEN_EVERY)
    if starting:
        for other in Relay.objects.exclude(pk=relay.pk).filter(workers__has_key=host):
            _set_worker(other.pk, now, host, None)
    if not is_known:
        _set_worker(relay.pk, now, host, sign)
    if abs(ahead) > clock.TOLERATED_SECONDS:
        logger.warning(
            "this machine's clock is %.1f s %s the database's: check NTP",
            abs(ahead),
            "ahead of" if ahead > 0 else "behind",
        )


def key_mark() -> str:
    """Differs where SECRET_KEY does, and reveals nothing else about it."""
    return hashlib.sha256(b"notify key" + settings.SECRET_KEY.encode()).hexdigest()[:8]


def workers() -> list[Workers]:
    """Those that were seen lately, by host."""
    now = clock.now()
    return sorted(
        (
            Workers(host, relay.fingerprint, relay.state, sign["key"], sign["ahead"])
            for relay in Relay.objects.all()
            for host, sign in (relay.workers or {}).items()
            if _age(sign, now) < SEEN_LATELY
        ),
        key=lambda seen: (seen.host, seen.fingerprint),
    )


@transaction.atomic
def _set_worker(pk: int, now: datetime, host: str, sign: dict[str, Any] | None) -> None:
    """Note a host's sign of life, or take the host off (None); those that were not seen lately go, too."""
    relay = Relay.objects.select_for_update().get(pk=pk)
    signs = {**(relay.workers or {}), host: sign}
    relay.workers = {host: sign for host, sign in signs.items() if sign and _age(sign, now) < SEEN_LATELY}
    relay.save(update_fields=["workers"])


def _age(sign: dict[str, Any], now: datetime) -> timedelta:
    return now - clock.read(sign["seen"])


_OPENED = {
    "state": State.OPEN,
    "reason": "",
    "diagnosis": "",
    "since": Now(),
    "failures": 0,
    "next_probe": None,
}
