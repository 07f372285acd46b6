"""What an operator does to the outbox, by command or in the admin."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q
from django.db.models.functions import Now
from django.utils.functional import lazy
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from notify import clock, dispatch
from notify.delivery import attributes, breaker, counts, transport
from notify.models import GIVE_UP_AFTER, SEEN_LATELY, Alert, Body, Event, Message, MessageQuerySet, Relay
from notify.rendering.message import build, fresh_headers, new_message_id

State = Message.State
POLL_SECONDS = 0.2
ADDRESSES = 10  # at most, typed in one line
PURGED_AT_ONCE = 1000  # rows in one transaction: a purge of a million blocks no other process
CHANGED_AT_ONCE = 5000  # likewise
UNFOLDED = timedelta(days=3)  # a purge leaves counts of these hours as they are: the dashboard's chart shows two days

_route = lazy(transport.describe, str)  # in the language of the mail, not of the user


def retry(messages: MessageQuerySet) -> int:
    """Send failed, cancelled or waiting messages now; returns how many. Each keeps its Message-ID and Date."""
    count = messages.retriable().update(
        state=State.QUEUED, due_at=Now(), expires_at=Now() + GIVE_UP_AFTER, attempts=0, claim=""
    )
    transaction.on_commit(dispatch.wake, robust=True)
    return count


def cancel(messages: MessageQuerySet) -> int:
    """Cancel queued messages; returns how many. A message that a worker is sending cannot be stopped."""
    return messages.cancellable().update(state=State.CANCELLED, claim="")


def resend(messages: MessageQuerySet, *, to: Sequence[str] = ()) -> list[Message]:
    """Send messages again, each as a new one with a new Message-ID and Date, and return these.

    They go to the same recipient, or to each of the addresses in `to`.
    """
    with transaction.atomic():
        finished = messages.finished().select_related("body")
        copies = [_copy(message, address) for message in finished for address in to or _recipients(message)]
        Message.objects.bulk_create(copies)
        transaction.on_commit(dispatch.wake, robust=True)
    return copies


def addresses(typed: str) -> list[str]:
    """The addresses in a line of text, separated by blanks, commas or semicolons, each once.

    Raises ValidationError, in words for people, for text that is no address and for more than ADDRESSES.
    """
    found = list(dict.fromkeys(address for address in re.split(r"[\s,;，；]+", typed) if address))
    if len(found) > ADDRESSES:
        raise ValidationError(_("At most %(limit)d addresses, please.") % {"limit": ADDRESSES})
    for address in found:
        try:
            validate_email(address)
        except ValidationError:
            raise ValidationError(_("%s is not an email address.") % Truncator(address).chars(100)) from None
    return found


def in_batches(change: Callable[[MessageQuerySet], int], messages: MessageQuerySet) -> int:
    """`retry` or `cancel` any number of messages, some thousands in a transaction. Returns how many."""
    keys = sorted(messages.order_by().values_list("pk", flat=True))
    starts = range(0, len(keys), CHANGED_AT_ONCE)
    ranges = [(keys[start], keys[min(start + CHANGED_AT_ONCE, len(keys)) - 1]) for start in starts]
    return sum(change(messages.filter(pk__range=ends)) for ends in ranges)


def resume() -> None:
    """Send again, at once: after a pause, or because the cause of a hold is removed."""
    breaker.resume()
    transaction.on_commit(dispatch.wake, robust=True)


def probe() -> bool:
    """Try an unusable relay now, not at its next time; False where it is open or paused.

    The probe is the message that has been due longest; if none is due, the next one that is stored.
    """
    is_unusable = breaker.probe_now()
    transaction.on_commit(dispatch.wake, robust=True)
    return is_unusable


def build_test(recipients: Sequence[str], *, headers: Mapping[str, str] | None = None) -> EmailMultiAlternatives:
    """A mail that names the relay it is sent through, unsent."""
    return build(recipients, gettext_lazy("Test"), "notify/mail/test", {"relay": _route()}, headers=headers)


def send_test(recipients: Sequence[str]) -> str:
    """Put a test mail into the outbox and return its Message-ID. An unusable relay is tried with it now."""
    message_id = new_message_id()
    with transaction.atomic():
        build_test(recipients, headers={"Message-ID": message_id}).send()
        breaker.probe_now()
    return message_id


def wait_until(happened: Callable[[], bool], seconds: float) -> bool:
    """Poll until something happened, for so many seconds at most. Returns whether it did."""
    deadline = time.monotonic() + seconds
    while not (found := happened()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return found


def purge(*, days: int, visitors: bool = False, now: datetime | None = None) -> dict[str, int]:
    """Remove what was finished more than so many days ago; visitors only when told to. Returns counts by kind."""
    now = now or clock.now()
    before = now - timedelta(days=min(days, now.toordinal() - 366))  # a moment before the year 1 is an OverflowError
    finished = Message.objects.finished()
    removed = {
        "messages": _delete_messages(finished.filter(Q(sent_at__lt=before) | Q(sent_at=None, due_at__lt=before))),
        "events": _delete(Event.objects.filter(notified_at__lt=before)),
    }
    # The newest of each subject is its state.
    newest = Alert.objects.order_by().values("about").annotate(newest=Max("pk")).values("newest")
    _delete(Alert.objects.filter(created_at__lt=before).exclude(pk__in=newest))
    _delete_unused_relays(min(before, now - SEEN_LATELY), now)
    counts.fold(min(before, now - UNFOLDED))
    if visitors:
        # By name: other projects do not install this app.
        removed["visitors"] = _delete(apps.get_model("visitors", "Visitor").objects.filter(created_at__lt=before))
    return removed


def _delete_messages(rows: MessageQuerySet) -> int:
    """Delete messages, and the bodies that no other message shares."""
    total = 0
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:PURGED_AT_ONCE]):
        with transaction.atomic():
            # Locked under the same condition, as Django deletes by key: an operator may retry a message meanwhile. The
            # bodies, too: of two purges at a time each would see the other's messages, and leave the body.
            locked = rows.filter(pk__in=keys).order_by("pk").select_for_update()
            found = dict(locked.values_list("pk", "body_id"))
            bodies = Body.objects.filter(pk__in=set(found.values()))
            list(bodies.order_by("pk").select_for_update().values_list("pk", flat=True))
            Message.objects.filter(pk__in=found).delete()
            bodies.filter(~Exists(Message.objects.filter(body=OuterRef("pk")))).delete()
        total += len(found)
    return total


def _delete_unused_relays(before: datetime, now: datetime) -> None:
    """Delete the state of configurations that were not used since `before`. A pause stays, and what operators see."""
    if rows := list(Relay.objects.order_by("-pk")):
        kept = (Relay.in_use(rows, now), rows[-1])  # the audit log is kept under the oldest
        unused = [row.pk for row in rows if row not in kept and row.used_at < before]
        Relay.objects.filter(pk__in=unused).exclude(state=Relay.State.PAUSED).delete()


def _delete(rows: Any) -> int:
    total = 0
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:PURGED_AT_ONCE]):
        rows.filter(pk__in=keys).delete()
        total += len(keys)
    return total


def _recipients(message: Message) -> list[str]:
    """The row's own. For a whole message of which some were refused, and so have rows of their own: the others."""
    named = attributes.whole_message(message.body.attributes, message.recipient)
    refused = set(message.body.messages.exclude(pk=message.pk).values_list("recipient", flat=True)) if named else set()
    return [each for each in named if each not in refused] if refused else [message.recipient]


def _copy(message: Message, recipient: str) -> Message:
    kept = message.body.attributes
    if recipient != message.recipient:  # or it would go to all whom the whole message names
        kept = attributes.of_one(kept)
    now, fresh = clock.stamp(), fresh_headers(message.sender)
    # Byte by byte: parsing and re-encoding would change long and encoded headers.
    head, gap, body = bytes(message.body.mime).partition(b"\r\n\r\n")
    fields = [field for field in re.split(rb"\r\n(?![ \t])", head) if not re.match(rb"(?i)(message-id|date):", field)]
    fields += [f"{name}: {value}".encode() for name, value in fresh.items()]
    return Message(
        message_id=fresh["Message-ID"],
        sender=message.sender,
        recipient=recipient,
        subject=message.subject,
        body=Body.objects.create(mime=b"\r\n".join(fields) + gap + body, attributes=kept),
        sensitive=message.sensitive,
        created_at=now,
        due_at=now,
        expires_at=now + GIVE_UP_AFTER,
    )
