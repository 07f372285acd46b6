"""A message that could not be sent: what happened, what follows from it, and both written down in one transaction."""

import logging
import traceback
from dataclasses import dataclass
from email.utils import parseaddr

from django.conf import settings
from django.db import transaction

from notify import breaker, claims, counts, retry, transport
from notify.claims import Claimed
from notify.models import Attempt
from notify.smtp import diagnosis
from notify.smtp.failure import PREPARE, Failure, from_exception, scrub

logger = logging.getLogger(__name__)

# Where a reply speaks of one message, the relay itself having taken connection, login and sender.
_ABOUT_THE_MESSAGE = ("recipient", "data", "end")


@dataclass(frozen=True)
class Setback:
    """One failed try and the decision it leads to. `cause` is the id of a diagnosis, "" for an unknown one."""

    message: Claimed
    failure: Failure
    cause: str
    decision: retry.Decision
    seconds: float

    @property
    def relay_answered(self) -> bool:
        """Whether the relay itself was well, and only this message was not to its liking."""
        about_the_message = self.failure.code and self.failure.phase in _ABOUT_THE_MESSAGE
        return bool(about_the_message) and not self.decision.blames_relay

    @transaction.atomic
    def write(self, permit: breaker.Permit) -> bool:
        """Settle the message and note the attempt; False where the claim was lost meanwhile."""
        settled = {"reply": self.failure.words, "diagnosis": self.cause}
        worth_noting = True
        match self.decision.kind:
            case retry.Kind.RETRY:
                delay, uncertain = self.decision.delay, self.decision.uncertain
                ours = claims.mark_retry(self.message, delay=delay, uncertain=uncertain, **settled)
            case retry.Kind.FAIL:
                ours = claims.mark_failed(self.message, uncertain=self.decision.uncertain, **settled)
            case _:
                ours = claims.mark_held_back(self.message, **settled)
                # Days of probes would be thousands of rows that say the same.
                worth_noting = breaker.report_failure(
                    permit, self.decision, reason=self.failure.words, diagnosis=self.cause
                )
        if ours:
            counts.add(self.decision.kind.value, seconds=self.seconds, diagnosis=self.cause)
        if ours and worth_noting:
            self._note()
        return ours

    def _note(self) -> None:
        Attempt.objects.create(
            message_id=self.message.id,
            seconds=round(self.seconds, 3),
            phase=self.failure.phase,
            code=self.failure.code,
            enhanced=self.failure.enhanced,
            text=self.failure.text,
            diagnosis=self.cause,
            decision=Attempt.Decision(self.decision.kind.value),
        )


def judge(message: Claimed, error: Exception, seconds: float, permit: breaker.Permit) -> Setback:
    """What follows from an exception of the transport, after so many seconds. Raises DatabaseError."""
    failure = _facts(error)
    known = diagnosis.diagnose(failure, provider=transport.provider())
    poisonings = 0
    if failure.phase == PREPARE:
        poisonings = Attempt.objects.filter(message=message.id, phase=PREPARE).count()
    decision = retry.decide(
        failure,
        known,
        attempts=message.attempts,
        relay_failures=permit.failures,
        poisonings=poisonings,
        expired=message.expired,
        own_sender=message.sender.lower() != parseaddr(settings.FLASKY_MAIL_SENDER)[1].lower(),
    )
    return Setback(message, failure, known.id if known else "", decision, seconds)


def _facts(error: Exception) -> Failure:
    secrets = transport.secrets()
    failure = from_exception(error, secrets=secrets)
    if failure.phase == PREPARE:
        logger.error("a message could not be prepared", exc_info=error)
        last_line = traceback.format_exception_only(error)[-1].strip()
        return Failure(phase=PREPARE, text=scrub(last_line, secrets)[:2000])
    return failure
