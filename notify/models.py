"""The tables: events, the messages that notify of them, and the relay's state.

Querysets have adjectives (`due`, `waiting`). Workers change claimed messages in `claims` and the relay in `breaker`, by
single conditional statements that do not trust a row read earlier.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from notify import clock

GIVE_UP_AFTER = timedelta(days=5)  # from storing (or an operator's retry) to the last attempt: RFC 5321 4.5.4.1
RETRY_AFTER = timedelta(seconds=30)  # after a notification's template that failed
SEEN_LATELY = timedelta(minutes=3)  # a worker that was seen within it is taken to be running


class DateTimeField(models.DateTimeField):  # type: ignore[type-arg]
    """A moment: as in all of Django naive and local where USE_TZ is off, but kept in UTC on SQLite there, too.

    Its clock, with which statements compare, speaks UTC.
    """

    def deconstruct(self) -> Any:
        name, _path, args, options = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, options  # the same column

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if isinstance(value, datetime) and not settings.USE_TZ and connection.vendor == "sqlite":
            value = clock.aware(value).astimezone(UTC).replace(tzinfo=None)
        return super().get_db_prep_value(value, connection, prepared)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if isinstance(value, datetime) and not settings.USE_TZ and connection.vendor == "sqlite":
            return clock.as_set(value.replace(tzinfo=UTC))
        return value


class EventQuerySet(models.QuerySet["Event"]):
    def waiting(self) -> "EventQuerySet":
        """Not notified yet."""
        return self.filter(notified_at=None)

    def ready(self, now: datetime) -> "EventQuerySet":
        """Waiting, and not put off after a template that failed."""
        clock_set_back = models.Q(retry_at__gt=now + RETRY_AFTER)
        return self.waiting().filter(models.Q(retry_at=None) | models.Q(retry_at__lte=now) | clock_set_back)

    def failing(self) -> "EventQuerySet":
        """Their own template failed: they are tried again, or were mailed by summary and link."""
        return self.exclude(error="")


class Event(models.Model):
    """Something administrators are notified of, exactly once: `topic` and `key` identify it."""

    topic = models.CharField(_("topic"), max_length=100)
    key = models.CharField(_("key"), max_length=200)
    subject = models.CharField(_("subject"), max_length=200)
    summary = models.CharField(_("summary"), max_length=500)
    url = models.CharField(_("link"), max_length=500, blank=True)
    template = models.CharField(_("template"), max_length=200, blank=True, default="", db_default="")
    context = models.TextField(_("context"), blank=True, default="", db_default="")  # see events.record
    created_at = DateTimeField(_("happened"), default=timezone.now)
    notified_at = DateTimeField(_("notified"), null=True, blank=True)
    message_id = models.CharField(_("Message-ID of the notification"), max_length=255, blank=True)
    failures = models.PositiveSmallIntegerField(_("template failures"), default=0, db_default=0)
    retry_at = DateTimeField(_("next attempt"), null=True, blank=True)
    error = models.TextField(_("template error"), blank=True, default="", db_default="")

    objects = EventQuerySet.as_manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(name="event_told_once", fields=["topic", "key"])]
        indexes = [
            # Read by digest: waiting events per topic.
            models.Index(name="event_waiting", fields=["topic", "id"], condition=models.Q(notified_at=None)),
            # Read by the admin: the events in a mail.
            models.Index(name="event_by_message_id", fields=["message_id"]),
            # Read by the dashboard.
            models.Index(name="event_failing", fields=["id"], condition=~models.Q(error="")),
        ]

    def __str__(self) -> str:
        return f"{self.topic}: {self.summary}"


class Window(models.Model):
    """A topic's interval and how many events were mailed one by one within it. One row per topic, for workers only."""

    topic = models.CharField(_("topic"), max_length=100, primary_key=True)
    opened_at = DateTimeField(_("opened"), null=True)  # null: no interval yet
    singles = models.PositiveIntegerField(_("mailed one by one"), default=0)
    retry_at = DateTimeField(_("next attempt"), null=True, blank=True)  # after a digest that failed
    # While the events of a large digest are marked: its Message-ID, and the last event that it covers.
    digest = models.CharField(_("digest being recorded"), max_length=255, blank=True, default="", db_default="")
    digest_to = models.BigIntegerField(_("its last event"), null=True, blank=True)

    class Meta:
        verbose_name = _("interval")
        verbose_name_plural = _("intervals")

    def __str__(self) -> str:
        return self.topic


class Body(models.Model):
    """The MIME bytes of one message, shared by the rows of all its recipients, and what it has beside them."""

    mime = models.BinaryField(_("MIME"))
    attributes = models.TextField(_("attributes"), blank=True, default="", db_default="")  # see delivery.attributes

    class Meta:
        verbose_name = _("body")
        verbose_name_plural = _("bodies")

    def __str__(self) -> str:
        return f"body {self.pk}"


class MessageQuerySet(models.QuerySet["Message"]):
    def unfinished(self) -> "MessageQuerySet":
        """Waiting for its time, or in a worker's hands."""
        # As literals, for they are the condition of the index `message_unfinished`: where states are parameters SQLite
        # does not use it, and reads the whole history.
        return self.filter(state__in=[RawSQL("'queued'", []), RawSQL("'sending'", [])])

    def due(self) -> "MessageQuerySet":
        """To be sent now, by the database's clock. A dead worker's messages come due when their lease ends."""
        return self.unfinished().filter(due_at__lte=Now())

    def untried(self) -> "MessageQuerySet":
        """Unfinished, and without a reply since it was stored."""
        return self.unfinished().filter(reply="")

    def retriable(self) -> "MessageQuerySet":
        """Failed, cancelled, or waiting for a later time: an operator may have it sent now."""
        return self.filter(state__in=[Message.State.QUEUED, Message.State.FAILED, Message.State.CANCELLED])

    def finished(self) -> "MessageQuerySet":
        """Sent, failed or cancelled: it changes only if an operator acts."""
        return self.filter(state__in=[Message.State.SENT, Message.State.FAILED, Message.State.CANCELLED])

    def cancellable(self) -> "MessageQuerySet":
        """Queued, and not claimed by a worker."""
        return self.unfinished().filter(state=Message.State.QUEUED)


class Message(models.Model):
    """One envelope: one sender, one recipient, and the bytes that were rendered once.

    Where the transport knows no envelope, it stands for the whole message, and `recipient` names all of them.
    """

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")
        SENDING = "sending", _("sending")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    message_id = models.CharField(_("Message-ID"), max_length=255)
    sender = models.CharField(_("sender"), max_length=320)
    recipient = models.CharField(_("recipient"), max_length=320)
    subject = models.CharField(_("subject"), max_length=1000, blank=True)
    body = models.ForeignKey(Body, models.PROTECT, related_name="messages", verbose_name=_("body"))
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.QUEUED)
    created_at = DateTimeField(_("stored"), default=timezone.now)
    due_at = DateTimeField(_("due"), default=timezone.now)
    expires_at = DateTimeField(_("expires"))
    # Not PositiveIntegerField: PostgreSQL would evaluate its CHECK on every UPDATE.
    attempts = models.IntegerField(_("attempts"), default=0)
    claim = models.CharField(_("claim"), max_length=50, blank=True)
    sent_at = DateTimeField(_("sent"), null=True, blank=True)
    reply = models.TextField(_("last reply"), blank=True)
    diagnosis = models.CharField(_("diagnosis"), max_length=50, blank=True)
    uncertain = models.BooleanField(
        _("outcome unknown"), default=False, help_text=_("No reply was received; it may be delivered twice.")
    )
    # Read by the admin: what it says (a password reset's link, say) is shown only to those who may operate the outbox.
    sensitive = models.BooleanField(_("sensitive"), default=False, db_default=False)

    objects = MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ["-id"]
        # To see what happened is `view_message`; to pause, retry, cancel, send again is this.
        permissions = [("operate_outbox", _("Can operate the outbox"))]
        indexes = [
            # Read by claims. Sent history never enters it, so a claim costs the same after years.
            models.Index(
                name="message_unfinished", fields=["due_at", "id"], condition=models.Q(state__in=["queued", "sending"])
            ),
            # Read by the admin. Not db_index: on PostgreSQL that is two indexes, and a claim and a settle write each.
            models.Index(name="message_by_message_id", fields=["message_id"]),
            # Read by the dashboard, which counts those that failed, and by the admin's list. What is sent at first try,
            # nearly every message, enters neither this nor the next. Together, as the conditions of indexes are what
            # PostgreSQL prepares again for every settle.
            models.Index(
                name="message_unsent",
                fields=["state", "id"],
                condition=models.Q(state="failed") | models.Q(state="cancelled"),
            ),
            models.Index(name="message_cause", fields=["diagnosis", "id"], condition=models.Q(diagnosis__gt="")),
        ]

    def __str__(self) -> str:
        return f"{self.subject} → {self.recipient}"


class Outcome(models.TextChoices):
    """How an attempt ended, and what follows from it."""

    SENT = "sent", _("sent")
    RETRY = "retry", _("try again")  # this message again, later
    FAIL = "fail", _("failed permanently")  # this message never
    DOWN = "down", _("delivery interrupted")  # no message for now: time will mend it
    HOLD = "hold", _("delivery on hold")  # no message until someone acts

    @property
    def blames_relay(self) -> bool:
        """The relay as a whole is unusable, not just for this message."""
        return self in (Outcome.DOWN, Outcome.HOLD)


class Attempt(models.Model):
    """One failed attempt at a message: the relay's words and what follows."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="failed_attempts")
    at = DateTimeField(_("when"), default=timezone.now)
    seconds = models.FloatField(_("seconds"))
    phase = models.CharField(_("phase"), max_length=10)
    code = models.PositiveSmallIntegerField(_("code"), null=True)
    enhanced = models.CharField(_("enhanced code"), max_length=11, blank=True)
    text = models.TextField(_("words"))
    diagnosis = models.CharField(_("diagnosis"), max_length=50, blank=True)
    decision = models.CharField(_("decision"), max_length=10, choices=Outcome.choices)

    class Meta:
        verbose_name = _("failed attempt")
        verbose_name_plural = _("failed attempts")
        ordering = ["id"]
        indexes = [
            # Read by alerts, which count the failures of an hour.
            models.Index(name="attempt_failed", fields=["at"], condition=models.Q(decision="fail")),
        ]

    def __str__(self) -> str:
        return f"{self.phase}: {self.code or ''} {self.text}"


class HourlyCount(models.Model):
    """Attempts that ended within an hour, by how they ended: what charts and metrics are made of."""

    hour = DateTimeField(_("hour"))
    outcome = models.CharField(_("outcome"), max_length=10, choices=Outcome.choices)
    diagnosis = models.CharField(_("diagnosis"), max_length=50, blank=True)
    attempts = models.PositiveBigIntegerField(_("attempts"), default=0)
    seconds = models.FloatField(_("seconds, summed up"), default=0)

    class Meta:
        verbose_name = _("hourly count")
        verbose_name_plural = _("hourly counts")
        constraints = [
            models.UniqueConstraint(name="hourly_count_once", fields=["hour", "outcome", "diagnosis"]),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H} {self.outcome} {self.diagnosis}: {self.attempts}"


class RelayQuerySet(models.QuerySet["Relay"]):
    def troubled(self) -> "RelayQuerySet":
        """Interrupted or on hold: only probes are sent."""
        return self.filter(state__in=_TROUBLED)


class Relay(models.Model):
    """The relay's health under one configuration. A host with an old password stops itself, and no other."""

    class State(models.TextChoices):
        OPEN = "open", _("working")
        DOWN = "down", _("interrupted")  # temporary: probes are sent
        HELD = "held", _("on hold")  # action required; probes are sent in case it was taken
        PAUSED = "paused", _("paused")  # by an operator, in every row: nothing is sent, no probe either

    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.OPEN)
    reason = models.TextField(_("reason"), blank=True)
    diagnosis = models.CharField(_("diagnosis"), max_length=50, blank=True)
    since = DateTimeField(_("since"), default=timezone.now)
    failures = models.PositiveIntegerField(_("failed attempts since"), default=0)
    next_probe = DateTimeField(_("next probe"), null=True, blank=True)
    last_success = DateTimeField(_("last success"), null=True, blank=True)
    # "": not claimed by a worker yet.
    fingerprint = models.CharField(_("fingerprint of the configuration"), max_length=32, blank=True)
    # By host: {"seen": ISO 8601 by the database's clock, "key": a mark of its SECRET_KEY, "ahead": seconds}.
    workers = models.JSONField(_("workers"), null=True, blank=True)

    objects = RelayQuerySet.as_manager()

    class Meta:
        verbose_name = _("relay")
        verbose_name_plural = _("dashboard")  # where the admin lists tables: the relay has one page
        constraints = [models.UniqueConstraint(name="relay_once", fields=["fingerprint"])]

    def __str__(self) -> str:
        return self.get_state_display()

    @classmethod
    def current(cls) -> "Relay":
        """What operators see: the row of the configuration that works best among those that workers use now.

        Where no worker runs, the one that was used last.
        """
        rows = list(cls.objects.order_by("-pk"))
        if not rows:
            return cls.objects.get_or_create(fingerprint="")[0]
        return cls.in_use(rows, clock.now()) if len(rows) > 1 else rows[0]

    @classmethod
    def in_use(cls, rows: "Sequence[Relay]", now: datetime) -> "Relay":
        """The same of these rows, at least one, the newest first."""
        seen = [row for row in rows if row.seen_at and now - row.seen_at < SEEN_LATELY]
        if not seen:
            return max(rows, key=lambda row: (row.seen_at is not None, row.seen_at or row.since))
        return min(seen, key=lambda row: _BEST_FIRST.index(Relay.State(row.state)))

    @property
    def in_trouble(self) -> bool:
        """Interrupted or on hold: only probes are sent."""
        return self.state in _TROUBLED

    @property
    def seen_at(self) -> datetime | None:
        """When a worker with this configuration was last seen."""
        return max((clock.read(worker["seen"]) for worker in (self.workers or {}).values()), default=None)

    @property
    def used_at(self) -> datetime:
        """When this configuration was last used, as far as is known: a host that gets another is taken off its row."""
        return max(moment for moment in (self.seen_at, self.last_success, self.since) if moment)


_TROUBLED = (Relay.State.DOWN, Relay.State.HELD)
# A pause is everywhere. Where it begins or ends just now, it is what an operator asked for.
_BEST_FIRST = [Relay.State.PAUSED, Relay.State.OPEN, Relay.State.DOWN, Relay.State.HELD]


class OAuthToken(models.Model):
    """What mail servers take in place of a password, for one client and one mailbox. The tokens are encrypted."""

    key = models.CharField(_("key"), max_length=64, unique=True)  # notify.oauth.configuration.Configuration.key
    username = models.CharField(_("mailbox"), max_length=320)
    client_id = models.CharField(_("client"), max_length=255)
    token_url = models.CharField(_("issued by"), max_length=500)
    scope = models.TextField(_("scope"), blank=True)
    refresh_token = models.TextField(_("refresh token"), blank=True)
    seed = models.CharField(_("made from"), max_length=64, blank=True)  # a mark of MAIL_OAUTH_REFRESH_TOKEN
    authorized_at = DateTimeField(_("authorized"), null=True, blank=True)
    refresh_expires_at = DateTimeField(_("refresh token expires"), null=True, blank=True)
    access_token = models.TextField(_("access token"), blank=True)
    expires_at = DateTimeField(_("access token expires"), null=True, blank=True)
    renew_at = DateTimeField(_("renewed from"), null=True, blank=True)
    renewed_at = DateTimeField(_("last renewal"), null=True, blank=True)
    error = models.TextField(_("last error"), blank=True)
    failed_at = DateTimeField(_("failed"), null=True, blank=True)
    claim = models.CharField(_("claim"), max_length=50, blank=True)
    claimed_until = DateTimeField(_("claimed until"), null=True, blank=True)

    class Meta:
        verbose_name = _("OAuth token")
        verbose_name_plural = _("OAuth tokens")

    def __str__(self) -> str:
        return f"{self.username} ({self.client_id})"


class Alert(models.Model):
    """A report outside of mail: that mail stopped working, or works again. The newest row of a subject is its state."""

    class About(models.TextChoices):
        DELIVERY = "delivery", _("delivery")
        FAILURES = "failures", _("failed messages")
        HEARTBEAT = "heartbeat", _("heartbeat")  # one row, which stays: it comes due once a minute
        TEST = "test", _("test")

    class Kind(models.TextChoices):
        WORKS = "works", _("works")
        OVERDUE = "overdue", _("overdue")
        DOWN = "down", _("interrupted")
        HELD = "held", _("on hold")
        FAILURES = "failures", _("many failures")

    about = models.CharField(_("about"), max_length=10, choices=About.choices)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    previous = models.BigIntegerField(_("the alert before it"), default=0)
    since = DateTimeField(_("since"))  # when the trouble began, also in the report of its end
    created_at = DateTimeField(_("noticed"))
    title = models.CharField(_("title"), max_length=200)
    text = models.TextField(_("text"), blank=True)
    due_at = DateTimeField(_("due"), null=True, blank=True)  # null: done; moved on by the process that claims it
    attempts = models.IntegerField(_("attempts"), default=0)
    # For each channel: {"mark": of its URL, "to": redacted, "state": sending, sent, failed or unknown, "said": why}.
    results = models.JSONField(_("results"), default=list, blank=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        ordering = ["-id"]
        constraints = [
            # Of several processes that notice a change, one stores it.
            models.UniqueConstraint(name="alert_once", fields=["about", "previous"]),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def outcomes(self) -> list[tuple[str, str, bool]]:
        """For each channel its name, redacted; the outcome in words; and whether it was sent."""
        return [
            (each["to"], f"{_STATES[each['state']]} {each['said']}".strip(), each["state"] == "sent")
            for each in self.results
        ]


_STATES = {
    "sending": _("being sent"),
    "sent": _("sent"),
    "failed": _("not accepted:"),
    "unknown": _("outcome unknown"),
}
