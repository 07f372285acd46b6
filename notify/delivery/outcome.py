"""How an attempt at a message ended: judged once, and recorded through one door, success and failure alike."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parseaddr
from typing import NamedTuple

from django.db import transaction

from notify import clock, conf
from notify.delivery import attributes, breaker, claims, counts, retry, transport
from notify.delivery.claims import Claimed
from notify.models import Attempt, Outcome
from notify.smtp.diagnosis import rules
from notify.smtp.failure import PREPARE, Failure, from_exception

logger = logging.getLogger(__name__)

# Phases in which a reply is about one message: connection, login and sender were accepted.
_ABOUT_THE_MESSAGE = ("recipient", "data", "end")
REFUSED_BY_API = "recipient-refused-by-api"
_SENT = retry.Decision(outcome=Outcome.SENT)


class Result(NamedTuple):
    """How one attempt ended. `reply`: the relay's last words. `failure` and `diagnosis` are unset for a success.

    `refused`: of a success, those recipients of a whole message who were not taken, and why.
    """

    message: Claimed
    decision: retry.Decision
    seconds: float
    reply: str
    failure: Failure | None = None
    diagnosis: str = ""
    refused: Mapping[str, str] = {}

    @property
    def relay_answered(self) -> bool:
        """Whether the relay itself works, even if it refused this message."""
        if self.failure is None:
            return True
        said = (self.failure.code or self.failure.final) and not self.failure.unheard
        return bool(said and self.failure.phase in _ABOUT_THE_MESSAGE) and not self.blames_relay

    @property
    def blames_relay(self) -> bool:
        return self.decision.outcome.blames_relay

    def record(self, permit: breaker.Permit) -> bool:
        """Write it down; False if the claim was lost meanwhile. Raises DatabaseError."""
        if self.failure is None and self.refused:
            return self._record_refused()
        if self.failure is None:
            return claims.mark_sent(self.message, reply=self.reply)  # counted together with others: counts.Successes
        with transaction.atomic():
            return self._record_failure(self.failure, permit)

    def in_ascii(self) -> "Result":
        """The same with what is not ASCII escaped, for a database in an encoding that cannot hold it."""
        words = {recipient: _ascii(said) for recipient, said in self.refused.items()}
        failure = self.failure and replace(self.failure, text=_ascii(self.failure.text))
        return self._replace(reply=_ascii(self.reply), failure=failure, refused=words)

    def _record_refused(self) -> bool:
        named = attributes.whole_message(self.message.attributes, self.message.recipient)
        taken = attributes.in_words([each for each in named if each not in self.refused])
        with transaction.atomic():
            ours = claims.mark_partly_sent(
                self.message, reply=self.reply, refused=self.refused, taken=taken, diagnosis=REFUSED_BY_API
            )
            for _ in self.refused if ours else ():
                counts.add(Outcome.FAIL, seconds=self.seconds, diagnosis=REFUSED_BY_API)
        return ours

    def _record_failure(self, failure: Failure, permit: breaker.Permit) -> bool:
        outcome, uncertain = self.decision.outcome, self.decision.uncertain
        said = {"reply": self.reply, "diagnosis": self.diagnosis}
        is_news = True
        match outcome:
            case Outcome.RETRY:
                ours = claims.mark_retry(self.message, delay=self.decision.delay, uncertain=uncertain, **said)
            case Outcome.FAIL:
                ours = claims.mark_failed(self.message, uncertain=uncertain, **said)
            case _:
                ours = claims.mark_held_back(self.message, **said)
                # Days of probes would be thousands of rows that say the same.
                is_news = breaker.report_failure(permit, self.decision, reason=self.reply, diagnosis=self.diagnosis)
        if ours:
            counts.add(outcome, seconds=self.seconds, diagnosis=self.diagnosis)
        if ours and is_news:
            Attempt.objects.create(
                message_id=self.message.id,
                at=clock.stamp(),
                seconds=round(self.seconds, 3),
                phase=failure.phase,
                code=failure.code,
                enhanced=failure.enhanced,
                text=failure.text,
                diagnosis=self.diagnosis,
                decision=outcome,
            )
        return ours


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def success(message: Claimed, reply: str, seconds: float, refused: Mapping[str, str] | None = None) -> Result:
    return Result(message, _SENT, seconds, reply, refused=refused or {})


def failure(message: Claimed, error: Exception, seconds: float, permit: breaker.Permit) -> Result:
    """What follows from an exception of the transport. Raises DatabaseError."""
    facts = from_exception(error, secrets=transport.secrets())
    known = rules.diagnose(facts, provider=transport.provider())
    poisonings = 0
    if facts.phase == PREPARE:
        logger.error("a message could not be prepared", exc_info=error)
        poisonings = Attempt.objects.filter(message=message.id, phase=PREPARE).count()
    decision = retry.decide(
        facts,
        known,
        attempts=message.attempts,
        relay_failures=permit.failures,
        poisonings=poisonings,
        expired=message.expired,
        own_sender=message.sender.lower() != parseaddr(conf.sender())[1].lower(),
    )
    return Result(message, decision, seconds, facts.words, facts, known.id if known else "")
