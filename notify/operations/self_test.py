"""A test mail, stage by stage: what passed, where it stopped, the server's words, the cause and the fix."""

import contextlib
import smtplib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from email.utils import parseaddr
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from notify import clock, conf
from notify.delivery import transport
from notify.models import Message, Relay
from notify.operations import actions, checks, machines
from notify.rendering.message import new_message_id
from notify.smtp import failure
from notify.smtp.backend import EmailBackend
from notify.smtp.diagnosis import modes, rules
from notify.smtp.diagnosis.causes import PASSING
from notify.smtp.failure import Failure, one_line

PASS, WARN, FAIL, SKIP = "PASS", "WARN", "FAIL", "SKIP"
_SHOWN_AS = {"end": "data"}  # to readers, "data" is the reply to the data
PATIENCE_SECONDS = 2  # for the worker to notice that the relay was corrected, and to try it
_STOPPED = (Relay.State.HELD, Relay.State.PAUSED)
_OF_THE_MESSAGE = ("sender", "recipient", "data", "end")


@dataclass(frozen=True)
class Stage:
    """One line: the status, the stage's name, a detail, and milliseconds (None if nothing was timed)."""

    status: str
    name: str
    detail: str = ""
    ms: float | None = None

    def __str__(self) -> str:
        time_spent = "" if self.ms is None else f" ({self.ms:.0f} ms)"
        return one_line(f"{self.status} {self.name} {self.detail}{time_spent}")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A failed stage explained. `words`: the server's, "" where none answered; `diagnosis`: an id, "" for none."""

    stage: str
    words: str = ""
    cause: str = ""
    fix: str = ""
    diagnosis: str = ""


@dataclass
class Report:
    stages: list[Stage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 done, 1 the relay or the connection to it failed, 2 configured wrongly."""
        return max((2 if problem.stage == "config" else 1 for problem in self.problems), default=0)

    def as_json(self) -> dict[str, Any]:
        facts = asdict(self)
        for stage in facts["stages"]:
            stage["ms"] = stage["ms"] and round(stage["ms"], 1)
        return {"ok": self.exit_code == 0, **facts, "exit_code": self.exit_code}

    def explanations(self) -> list[str]:
        """The lines below the stages; a line that several failures have in common is there once."""
        lines = [
            one_line(f"{name}: {text}")
            for problem in self.problems
            for name, text in ((_("server said"), problem.words), (_("cause"), problem.cause), (_("fix"), problem.fix))
            if text
        ]
        return list(dict.fromkeys(lines))


class SelfTest:
    """One run. `tell` is called with each stage when it ends."""

    def __init__(self, recipients: Sequence[str], tell: Callable[[Stage], None]) -> None:
        self.report = Report()
        self._recipients = list(recipients)
        self._tell = tell
        self._secrets = transport.secrets()
        self._options = transport.options()
        self._last = time.monotonic()

    def direct(self, *, check_only: bool) -> Report:
        """Through the transport from this process; with `check_only` up to the recipients, and nothing is sent."""
        if not self._configured():
            return self.report
        backend = transport.connect()
        if not isinstance(backend, EmailBackend):
            return self._through_foreign(backend, check_only)
        backend.observer = self._passed
        if not self._options.get("proxy"):
            self._say(SKIP, "proxy", _("none configured"))
        try:
            self._last = time.monotonic()
            backend.open()
            if not (backend.use_tls or backend.use_ssl):
                self._say(SKIP, "tls", _("MAIL_USE_TLS and MAIL_USE_SSL are off"))
            if not backend.username:
                self._say(SKIP, "auth", _("no MAIL_USERNAME"))
            if not check_only:
                backend.send_messages([actions.build_test(self._recipients)])
            elif refused := backend.verify(conf.sender(), self._recipients):
                raise smtplib.SMTPRecipientsRefused(refused)
        except Exception as error:  # noqa: BLE001  (any failure is a result)
            self._failed(error)
        finally:
            with contextlib.suppress(OSError):
                backend.close()
        if check_only and not self.report.exit_code:
            self._say(SKIP, "data", _("--check: nothing is sent"))
        return self.report

    def via_outbox(self, seconds: float) -> Report:
        """Through the outbox: stored like any mail and delivered by the running worker, for which it waits."""
        if not self._configured():
            return self.report
        started = time.monotonic()
        message_id = new_message_id()
        actions.build_test(self._recipients, headers={"Message-ID": message_id}).send()
        rows = Message.objects.filter(message_id=message_id).order_by("id")
        self._say(PASS, "stored", _("%d message(s) in the outbox") % rows.count(), started)
        if hosts := machines.with_other_settings():
            words = _("the running worker (%s) has other mail settings or another SECRET_KEY than this command")
            self._say(WARN, "worker", words % ", ".join(hosts))
        actions.wait_until(
            lambda: (
                not rows.untried().exists()
                or (time.monotonic() - started > PATIENCE_SECONDS and Relay.current().state in _STOPPED)
            ),
            seconds,
        )
        for message in rows:
            self._settled(message, started)
        return self.report

    def _configured(self) -> bool:
        """Report mistakes found without a network. False if they make going on pointless."""
        errors = [problem for problem in checks.check_mail_settings(None) if problem.is_serious()]
        for problem in errors:
            self._say(FAIL, "config", problem.msg)
            self.report.problems.append(Problem(stage="config", fix=problem.hint or "", diagnosis=problem.id or ""))
        if errors:
            return False
        self._say(PASS, "config", transport.describe())
        for warning in self._warnings():
            self._say(WARN, "config", warning)
        return True

    def _warnings(self) -> Iterable[str]:
        host, port = self._options.get("host"), self._options.get("port")
        sender = parseaddr(conf.sender())[1]
        if transport.stays_here():
            yield _("%s is not a mail server: nothing is sent from this machine") % conf.transport()["BACKEND"]
        elif sender.endswith("@example.com") and host not in ("localhost", "127.0.0.1", "::1"):
            yield _("the sender is %s, which no provider accepts: set FLASKY_MAIL_SENDER") % sender
        yield from (problem.msg for problem in checks.check_password_in_clear(None))
        yield from (problem.msg for problem in checks.check_secret_expiry(None))
        if self._options.get("use_tls") and port == 465:
            yield _("MAIL_USE_TLS on port 465: that port uses TLS from the first byte (MAIL_USE_SSL)")
        if self._options.get("use_ssl") and port in (25, 587):
            yield _("MAIL_USE_SSL on port %d: that port starts unencrypted (MAIL_USE_TLS)") % port

    def _through_foreign(self, backend: Any, check_only: bool) -> Report:
        if check_only:
            self._say(SKIP, "data", _("--check: nothing is sent, and this backend has no other stage"))
            return self.report
        started = time.monotonic()
        try:
            taken = backend.send_messages([actions.build_test(self._recipients)])
        except Exception as error:  # noqa: BLE001
            self._failed(error)
        else:
            if taken == 0:
                self._explain(Failure(phase="data", text=_("the backend accepted nothing and gave no reason")))
            else:
                self._say(PASS, "data", _("accepted by %s") % conf.transport()["BACKEND"], started)
        return self.report

    def _passed(self, phase: str, detail: str, ms: float) -> None:
        name = _SHOWN_AS.get(phase, phase)
        self._last = time.monotonic()
        if name == "ehlo" and any(stage.name == "ehlo" for stage in self.report.stages):
            return  # said again after STARTTLS
        self._add(Stage(PASS, name, failure.scrub(detail, self._secrets), ms))
        if name == "proxy":
            self._say(SKIP, "dns", _("the proxy resolves the name"))

    def _failed(self, error: Exception) -> None:
        """One problem, or one for each recipient that was refused."""
        if not isinstance(error, smtplib.SMTPRecipientsRefused) or not error.recipients:
            self._explain(failure.from_exception(error, secrets=self._secrets))
            return
        for recipient, answer in error.recipients.items():
            alone = smtplib.SMTPRecipientsRefused({recipient: answer})
            vars(alone).update({**vars(error), "recipients": alone.recipients})
            self._explain(failure.from_exception(alone, secrets=self._secrets), recipient)

    def _explain(self, facts: Failure, recipient: str = "") -> None:
        stage = _SHOWN_AS.get(facts.phase, facts.phase)
        words = f"{recipient}: {facts.words}" if recipient else facts.words
        self._say(FAIL, stage, words, self._last)
        known = rules.diagnose(facts, provider=transport.provider())
        if known and (better := modes.advice(facts, known, self._options)):
            known = replace(known, fix=better)
        elif known and known.id in PASSING:
            again = _("No action needed: run this again later. Mail in the outbox is retried automatically.")
            known = replace(known, fix=again)
        self._note(stage, words if facts.code and not facts.local else "", known, fix="")
        if facts.code and facts.code < 500 and facts.phase in _OF_THE_MESSAGE:
            self._say(SKIP, "retry", _("mail in the outbox is retried; this test mail is not"))

    def _settled(self, message: Message, started: float) -> None:
        """The outcome of a stored message, or why it has none yet."""
        if message.state == Message.State.SENT:
            self._say(PASS, "data", f"{message.recipient}: {message.reply or message.get_state_display()}", started)
            return
        relay = Relay.current()
        said, known = message.reply, rules.known(message.diagnosis)
        status, words, fix = FAIL, said, _("See: manage.py outbox status")
        if message.state in (Message.State.QUEUED, Message.State.SENDING):
            if relay.state != Relay.State.OPEN:
                said_of_relay = {"state": relay.get_state_display(), "reason": relay.reason}
                words = _("the mail server is %(state)s: %(reason)s") % said_of_relay
                said, known = "", rules.known(relay.diagnosis)
                if relay.state == Relay.State.PAUSED:
                    fix = _("To resume: manage.py outbox resume")
            elif message.attempts and message.due_at > timezone.now():  # deferred: neither sent nor failed
                status, fix = WARN, _("No action needed; retrying automatically.")
            elif not said and Message.objects.filter(sent_at__gte=message.created_at).exists():
                words = _("it is queued (%d are due)") % Message.objects.due().count()
            elif not said:
                words = _("no worker is running. The mail stays in the outbox.")
                fix = _("Start the site with NOTIFY_DISPATCH=thread, or run: manage.py deliver --watch")
        self._say(status, "data", f"{message.recipient}: {words}", started)
        if status == WARN:
            due = date_format(clock.site_time(message.due_at), "H:i:s T")
            self._say(SKIP, "retry", _("the worker tries again at %s") % due)
        self._note("data", said, known, fix)

    def _note(self, stage: str, words: str, known: rules.Diagnosis | None, fix: str) -> None:
        """Keep why a stage failed; `fix` is for where the cause is not known."""
        cause, fix, id = (str(known.cause), conf.named(known.fix), known.id) if known else ("", fix, "")
        self.report.problems.append(Problem(stage=stage, words=words, cause=cause, fix=fix, diagnosis=id))

    def _say(self, status: str, name: str, detail: str, started: float | None = None) -> None:
        ms = None if started is None else (time.monotonic() - started) * 1000
        self._add(Stage(status, name, conf.named(detail) if status in (WARN, SKIP) else detail, ms))

    def _add(self, stage: Stage) -> None:
        self.report.stages.append(stage)
        self._tell(stage)
