"""A failure → what happens next. Pure: the whole table of faults is here, and nothing is read or written."""

import random
from dataclasses import dataclass

from notify.models import Outcome
from notify.smtp.diagnosis.rules import Diagnosis
from notify.smtp.failure import PREPARE, Failure

# Seconds from one attempt at a message to the next; the last one repeats. Each is spread by ±15 %.
SCHEDULE = (30, 60, 120, 300, 600, 1200, 1800)
JITTER = 0.15
POISON_TRIES = 3
# The one diagnosis of the relay that may be true for one recipient and not for the next.
PER_RECIPIENT = "relay-denied"
# Of the sender, which may be that of one message or of all.
OF_SENDER = ("sender-not-login", "sender-not-verified", "sender-unauthenticated")
# The one diagnosis that puts delivery on hold though the reply may say "later": every message is refused alike.
OF_THIS_MACHINE = "ehlo-name"

# Seconds from one probe of an unusable relay to the next; the last one repeats.
PROBES = (15, 30, 60, 120, 240, 300)
PROBE_SLOWLY = 900  # logging in wrongly again and again locks accounts


@dataclass(frozen=True, kw_only=True)
class Decision:
    """`delay` in seconds: to this message's next attempt, or to the relay's next probe. 0 where there is none."""

    outcome: Outcome
    delay: float = 0
    uncertain: bool = False  # the message may have been accepted


def decide(
    failure: Failure,
    diagnosis: Diagnosis | None = None,
    *,
    attempts: int = 0,
    relay_failures: int = 0,
    poisonings: int = 0,
    expired: bool = False,
    own_sender: bool = False,
    spread: float | None = None,
) -> Decision:
    """What happens after a failed attempt.

    `attempts`: earlier attempts at this message. `relay_failures`: failed tries in a row since the relay became
    unusable. `poisonings`: earlier attempts that broke while the message was prepared. `expired`: too old to try
    again. `own_sender`: the message has its own sender, not the configured one, so that a refusal of it does not
    concern other messages. `spread`: from -1 to 1, in place of chance.
    """
    outcome = _outcome(failure, diagnosis, own_sender)
    if outcome.blames_relay:
        return Decision(outcome=outcome, delay=_probe_delay(failure, diagnosis, relay_failures))
    if failure.phase == PREPARE:
        outcome = Outcome.FAIL if failure.final or poisonings + 1 >= POISON_TRIES else Outcome.RETRY
    if outcome is Outcome.FAIL or expired:
        return Decision(outcome=Outcome.FAIL, uncertain=failure.unheard)
    spread = random.uniform(-1, 1) if spread is None else spread
    delay = SCHEDULE[min(attempts, len(SCHEDULE) - 1)] * (1 + JITTER * spread)
    delay = max(delay, min(failure.wait, SCHEDULE[-1]))
    return Decision(outcome=Outcome.RETRY, delay=delay, uncertain=failure.unheard)


def _outcome(failure: Failure, diagnosis: Diagnosis | None, own_sender: bool) -> Outcome:
    code = None if failure.api else failure.code
    refused = failure.final or (code is not None and code >= 500)
    deferred = code is not None and 400 <= code < 500
    configuration = diagnosis is not None and diagnosis.relay
    known = diagnosis.id if diagnosis else ""
    if diagnosis and diagnosis.pause and failure.code:
        return Outcome.DOWN  # a quota: it has nothing to do with this message, and only time helps
    if known == OF_THIS_MACHINE:
        return Outcome.HOLD
    # From an API with whatever status; from SMTP early or late: Microsoft says so after the whole message.
    if refused and known in OF_SENDER and (failure.api or failure.phase in ("sender", "recipient", "data", "end")):
        return Outcome.FAIL if own_sender else Outcome.HOLD
    match failure.phase:
        case "config":
            return Outcome.HOLD
        case "proxy" | "dns" | "connect":
            return Outcome.DOWN
        case "greeting" | "ehlo":
            return Outcome.HOLD if refused else Outcome.DOWN
        case "token":
            return Outcome.DOWN if failure.broken else Outcome.HOLD
        case "tls" | "auth":
            # Also in a reply that says "later": STARTTLS under TLS will not work later either.
            return Outcome.DOWN if failure.broken or (deferred and not configuration) else Outcome.HOLD
        case "sender" if refused and configuration:
            return Outcome.HOLD
        case "recipient" if refused and configuration and known != PER_RECIPIENT:
            return Outcome.HOLD  # said late (Postfix checks the sender at RCPT), and true for every recipient
        case "sender" | "recipient" | "data" | "end":
            return Outcome.FAIL if refused else Outcome.RETRY
        case _:
            return Outcome.RETRY


def _probe_delay(failure: Failure, diagnosis: Diagnosis | None, relay_failures: int) -> float:
    if diagnosis and diagnosis.pause:
        return max(failure.wait, PROBES[0]) if failure.wait else diagnosis.pause
    if failure.phase in ("tls", "token", "auth") and not failure.broken:
        return PROBE_SLOWLY
    return PROBES[min(relay_failures, len(PROBES) - 1)]
