"""A test mail, stage by stage: what was fine, where it stopped, in whose words, and what to do."""

import contextlib
import smtplib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from email.utils import parseaddr
from typing import Any

from django.conf import settings

from notify import checks, mail, transport
from notify.models import Message, Relay
from notify.smtp import diagnosis, failure, modes
from notify.smtp.backend import EmailBackend
from notify.smtp.failure import Failure

PASS, WARN, FAIL, SKIP = "PASS", "WARN", "FAIL", "SKIP"
POLL_SECONDS = 0.2
# What a mail server answers is called "data" by those who read the lines: it is the mail itself that was taken.
_SHOWN_AS = {"end": "data"}


@dataclass(frozen=True)
class Stage:
    """One line: how it went, which stage, what there is to say, milliseconds (None where nothing was timed)."""

    status: str
    name: str
    detail: str = ""
    ms: float | None = None

    def __str__(self) -> str:
        time_spent = "" if self.ms is None else f" ({self.ms:.0f} ms)"
        return f"{self.status} {self.name} {self.detail}{time_spent}".replace("\n", " ")


@dataclass
class Report:
    """All stages, and why it failed. `exit_code`: 0 done, 1 the relay or the way to it failed, 2 configured wrongly."""

    stages: list[Stage] = field(default_factory=list)
    exit_code: int = 0
    words: str = ""
    cause: str = ""
    fix: str = ""
    diagnosis: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.exit_code == 0, **asdict(self)}


class Trial:
    """One run. `tell` hears of each stage when it ends."""

    def __init__(self, recipients: Sequence[str], tell: Callable[[Stage], None]) -> None:
        self.report = Report()
        self._recipients = list(recipients)
        self._tell = tell
        self._secrets = transport.secrets()

    def direct(self, *, check_only: bool) -> Report:
        """Through the transport from this process; with `check_only` up to the recipients, and nothing is sent."""
        if not self._configured():
            return self.report
        backend = transport.connect()
        if not isinstance(backend, EmailBackend):
            return self._through_foreign(backend, check_only)
        backend.observer = self._passed
        options = transport.options()
        if not options.get("proxy"):
            self._say(SKIP, "proxy", "none configured")
        else:
            self._say(SKIP, "dns", "the proxy resolves the name")
        try:
            backend.open()
            self._say_unused(backend)
            refused = self._ask(backend) if check_only else self._send(backend)
            for recipient, (code, text) in refused.items():
                self._failed(failure.from_exception(smtplib.SMTPRecipientsRefused({recipient: (code, text)})))
        except Exception as error:  # noqa: BLE001  (whatever it is, it is what the operator asked to be told)
            self._failed(failure.from_exception(error, secrets=self._secrets), options)
        finally:
            with contextlib.suppress(OSError):
                backend.close()
        if check_only and not self.report.exit_code:
            self._say(SKIP, "data", "--check: nothing is sent")
        return self.report

    def via_outbox(self, seconds: float) -> Report:
        """The whole way: stored like any mail, delivered by whoever delivers here, waited for."""
        if not self._configured():
            return self.report
        started = time.monotonic()
        message_id = mail.new_message_id()
        self._build({"Message-ID": message_id}).send()
        rows = Message.objects.filter(message_id=message_id).defer("mime").order_by("id")
        self._say(PASS, "stored", f"{rows.count()} message(s) in the outbox", started)
        while time.monotonic() - started < seconds and rows.unfinished().filter(reply="").exists():
            time.sleep(POLL_SECONDS)
        for message in rows:
            self._settled(message, started)
        return self.report

    def _configured(self) -> bool:
        """Mistakes that need no network; False where going on is pointless."""
        found = checks.check_mail_settings(None)
        errors = [problem for problem in found if problem.is_serious()]
        for problem in errors:
            self._say(FAIL, "config", problem.msg)
        if errors:
            self.report.exit_code = 2
            self.report.cause, self.report.fix = errors[0].msg, errors[0].hint or ""
            return False
        warnings = self._warnings()
        for warning in warnings:
            self._say(WARN, "config", warning)
        if not warnings:
            self._say(PASS, "config", transport.describe())
        return True

    def _warnings(self) -> Iterable[str]:
        options, found = transport.options(), []
        sender = parseaddr(settings.FLASKY_MAIL_SENDER)[1]
        if "host" not in options:
            found.append(f"{settings.NOTIFY_TRANSPORT['BACKEND']} is no mail server: nothing leaves this machine")
        elif sender.endswith("@example.com") and options["host"] not in ("localhost", "127.0.0.1", "::1"):
            found.append(f"the sender is {sender}, which no provider takes: set FLASKY_MAIL_SENDER")
        if options.get("use_tls") and options.get("port") == 465:
            found.append("MAIL_USE_TLS on port 465: that port speaks TLS from the first byte (MAIL_USE_SSL)")
        if options.get("use_ssl") and options.get("port") in (25, 587):
            found.append(f"MAIL_USE_SSL on port {options['port']}: that port begins in clear (MAIL_USE_TLS)")
        return found

    def _build(self, headers: dict[str, str] | None = None) -> Any:
        context = {"relay": transport.describe()}
        return mail.build(self._recipients, "Test", "mail/test", context, headers=headers)

    def _send(self, backend: EmailBackend) -> dict[str, tuple[int, bytes]]:
        try:
            backend.send_messages([self._build()])
        except smtplib.SMTPRecipientsRefused as error:
            return error.recipients
        return {}

    def _ask(self, backend: EmailBackend) -> dict[str, tuple[int, bytes]]:
        return backend.verify(settings.FLASKY_MAIL_SENDER, self._recipients)

    def _through_foreign(self, backend: Any, check_only: bool) -> Report:
        if check_only:
            self._say(SKIP, "data", "--check: nothing is sent, and this backend has no other stage")
            return self.report
        started = time.monotonic()
        try:
            taken = backend.send_messages([self._build()])
        except Exception as error:  # noqa: BLE001
            self._failed(failure.from_exception(error, secrets=self._secrets))
        else:
            if taken == 0:
                self._failed(Failure(phase="data", text="the backend took nothing and gave no reason"))
            else:
                self._say(PASS, "data", f"taken by {settings.NOTIFY_TRANSPORT['BACKEND']}", started)
        return self.report

    def _say_unused(self, backend: EmailBackend) -> None:
        if not (backend.use_tls or backend.use_ssl):
            self._say(SKIP, "tls", "MAIL_USE_TLS and MAIL_USE_SSL are off")
        if not backend.username:
            self._say(SKIP, "auth", "no MAIL_USERNAME")

    def _passed(self, phase: str, detail: str, ms: float) -> None:
        name = _SHOWN_AS.get(phase, phase)
        if name == "ehlo" and any(stage.name == "ehlo" for stage in self.report.stages):
            return  # said again after STARTTLS
        self._add(Stage(PASS, name, failure.scrub(detail, self._secrets), ms))

    def _failed(self, facts: Failure, options: dict[str, Any] | None = None) -> None:
        self._say(FAIL, _SHOWN_AS.get(facts.phase, facts.phase), facts.words)
        known = diagnosis.diagnose(facts, provider=transport.provider())
        report = self.report
        report.exit_code = 2 if facts.phase == "config" else 1
        report.words = facts.words if facts.code else ""
        if known:
            report.diagnosis, report.cause, report.fix = known.id, str(known.cause), str(known.fix)
        speaks_tls = "CERTIFICATE_VERIFY_FAILED" in facts.text  # the mode is right, the certificate is not
        if options and facts.phase in ("greeting", "ehlo", "tls") and not speaks_tls:
            hint = modes.other_mode(options)
            report.fix = hint or report.fix

    def _settled(self, message: Message, started: float) -> None:
        match message.state:
            case Message.State.SENT:
                self._say(PASS, "data", f"{message.recipient}: {message.reply or 'sent'}", started)
                return
            case Message.State.QUEUED | Message.State.SENDING if not message.reply:
                relay = Relay.current()
                if relay.state in (Relay.State.OPEN, Relay.State.DOWN) and not relay.reason:
                    words = "nobody delivers: no worker is running"
                    fix = "Start the site with NOTIFY_DISPATCH=thread, or run: manage.py deliver --watch"
                else:
                    words, fix = f"the relay is {relay.state}: {relay.reason}", "See: manage.py outbox status"
            case _:
                words, fix = message.reply, "See: manage.py outbox status"
        self._say(FAIL, "data", f"{message.recipient}: {words}", started)
        self.report.exit_code, self.report.words, self.report.fix = 1, words, fix

    def _say(self, status: str, name: str, detail: str, started: float | None = None) -> None:
        ms = None if started is None else (time.monotonic() - started) * 1000
        self._add(Stage(status, name, detail, ms))

    def _add(self, stage: Stage) -> None:
        self.report.stages.append(stage)
        self._tell(stage)
