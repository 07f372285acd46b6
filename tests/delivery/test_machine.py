"""A state machine over the life of messages: whatever the order of things, no message is lost or in two hands."""

from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from notify.delivery import breaker, claims, retry
from notify.delivery.claims import Claimed
from notify.models import Message, Outcome, Relay
from notify.operations import actions
from tests.delivery.test_claims import queue


class Life(RuleBasedStateMachine):
    """`held` is the model: which token holds a message now."""

    hands = Bundle("hands")

    def __init__(self) -> None:
        super().__init__()
        Message.objects.all().delete()
        Relay.objects.all().delete()
        self.queued = 0
        self.held: dict[int, str] = {}
        self.sent: set[int] = set()
        self.paused = False

    @rule(count=st.integers(1, 3))
    def store(self, count: int) -> None:
        queue(count)
        self.queued += count

    @rule(target=hands, limit=st.integers(1, 3))
    def claim(self, limit: int) -> object:
        if breaker.admit() is None:
            assert self.paused or Relay.current().state in ("down", "held")
            return multiple()
        assert not self.paused
        batch = claims.claim(limit)
        for message in batch:
            assert message.id not in self.held
            assert message.id not in self.sent
            self.held[message.id] = message.token
        return multiple(*batch)

    @rule(message=consumes(hands))
    def send(self, message: Claimed) -> None:
        ours = self._ours(message)
        assert claims.mark_sent(message, reply="250 Ok") == ours
        if ours:
            self.sent.add(message.id)
        self._let_go(message)

    @rule(message=consumes(hands), uncertain=st.booleans())
    def defer(self, message: Claimed, uncertain: bool) -> None:
        ours = self._ours(message)
        assert claims.mark_retry(message, delay=30, reply="451", diagnosis="", uncertain=uncertain) == ours
        self._let_go(message)

    @rule(message=consumes(hands))
    def refuse(self, message: Claimed) -> None:
        ours = self._ours(message)
        assert claims.mark_failed(message, reply="550", diagnosis="", uncertain=False) == ours
        self._let_go(message)

    @rule(message=consumes(hands), outcome=st.sampled_from([Outcome.DOWN, Outcome.HOLD]))
    def lose_the_relay(self, message: Claimed, outcome: Outcome) -> None:
        claims.mark_held_back(message, reply="", diagnosis="")
        breaker.report_failure(breaker.Permit(), retry.Decision(outcome=outcome, delay=15), reason="gone", diagnosis="")
        self._let_go(message)

    @rule(message=consumes(hands))
    def die(self, message: Claimed) -> None:
        """The worker is killed: nothing is settled."""

    @rule()
    def let_leases_run_out(self) -> None:
        Message.objects.filter(state="sending").update(due_at=timezone.now() - timedelta(seconds=1))
        self.held.clear()

    @rule()
    def let_retries_and_probes_come_due(self) -> None:
        Message.objects.filter(state="queued").update(due_at=timezone.now() - timedelta(seconds=1))
        Relay.objects.exclude(next_probe=None).update(next_probe=timezone.now() - timedelta(seconds=1))

    @rule()
    def cancel_all(self) -> None:
        actions.cancel(Message.objects.all())

    @rule()
    def retry_all(self) -> None:
        actions.retry(Message.objects.all())

    @rule()
    def pause(self) -> None:
        breaker.pause("a person")
        self.paused = True

    @rule()
    def resume(self) -> None:
        breaker.resume()
        self.paused = False

    @invariant()
    def nothing_vanishes(self) -> None:
        assert Message.objects.count() == self.queued

    @invariant()
    def sent_stays_sent(self) -> None:
        assert set(Message.objects.filter(state="sent").values_list("pk", flat=True)) == self.sent

    @invariant()
    def who_holds_a_message_is_the_one_the_model_knows(self) -> None:
        rows = dict(Message.objects.filter(state="sending").values_list("pk", "claim"))
        assert {pk: token for pk, token in self.held.items() if pk in rows} == {
            pk: token for pk, token in rows.items() if pk in self.held
        }
        assert set(self.held) <= set(rows)

    def _ours(self, message: Claimed) -> bool:
        return self.held.get(message.id) == message.token or message.token in self._expired_but_unclaimed(message)

    def _expired_but_unclaimed(self, message: Claimed) -> set[str]:
        """A lease that ran out and was taken by nobody else is still its owner's to settle."""
        return set(Message.objects.filter(pk=message.id, state="sending").values_list("claim", flat=True))

    def _let_go(self, message: Claimed) -> None:
        if self.held.get(message.id) == message.token:
            del self.held[message.id]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("examples", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_no_order_of_events_loses_or_doubles_a_message(examples: int) -> None:
    profile = settings(max_examples=examples, stateful_step_count=25, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Life, settings=profile)
