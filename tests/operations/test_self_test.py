"""The test mail in process: what no real server is needed for. The rest is in tests/services/test_sendtestmail.py."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from anymail.exceptions import AnymailAPIError
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from django.utils import timezone, translation

from notify import dispatch
from notify.delivery import breaker, claims
from notify.models import Message
from notify.operations import self_test
from notify.operations.self_test import Problem, Report, SelfTest, Stage
from tests.backends import Scripted, marked
from tests.delivery.test_claims import queue
from tests.relays import Relay as RelayServer
from tests.smtp.scripted import Scripted as ScriptedRelay


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "disable", lambda: None)


@pytest.fixture
def _scripted(use_transport: Callable[..., None]) -> Iterator[None]:
    use_transport("tests.backends.Scripted")
    Scripted.reset()
    yield
    Scripted.reset()


def run(*words: str) -> tuple[int, str]:
    """Exit code and output."""
    out = StringIO()
    try:
        call_command("sendtestmail", *words, stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    return 0, out.getvalue()


def smtp(at: int, **others: Any) -> dict[str, Any]:
    plan = {"host": "localhost", "port": at, "username": "", "password": "", "use_tls": False, "use_ssl": False}
    return {"backend": "notify.smtp.backend.EmailBackend", **plan, "timeout": 5, **others}


# --- Called or configured wrongly: exit 2, and nothing is tried


@pytest.mark.parametrize(
    ("words", "admins", "complaint"),
    [
        ([], [], "No recipient: give an address, or set FLASKY_ADMIN"),
        (["ann"], ["admin@example.com"], "'ann' is not an email address"),
        (["--check", "--via", "outbox"], ["admin@example.com"], "--check cannot be combined"),
    ],
)
def test_a_wrong_call(settings: Any, words: list[str], admins: list[str], complaint: str) -> None:
    settings.FLASKY_ADMIN = admins
    with pytest.raises(CommandError, match=complaint) as raised:
        run(*words)
    assert raised.value.returncode == 2


@pytest.mark.parametrize(
    ("options", "id"),
    [
        ({"use_tls": True, "use_ssl": True}, "notify.E001"),
        ({"username": "ann"}, "notify.E002"),
        ({"host": "smtp.163.com", "username": "me@163.com", "password": "x"}, "notify.E004"),
    ],
)
@pytest.mark.parametrize("way", ["direct", "outbox"])
def test_a_wrong_configuration_is_said_before_anything_is_tried(
    use_transport: Callable[..., None], options: dict[str, Any], id: str, way: str
) -> None:
    use_transport(**smtp(1, **options))
    code, printed = run("--json", "--via", way)
    facts = json.loads(printed)
    assert (code, facts["exit_code"], facts["ok"]) == (2, 2, False)
    assert [(stage["status"], stage["name"]) for stage in facts["stages"]] == [("FAIL", "config")]
    assert [(problem["diagnosis"], bool(problem["fix"])) for problem in facts["problems"]] == [(id, True)]


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ({"use_tls": True, "port": 465}, "MAIL_USE_TLS on port 465: that port uses TLS from the first byte"),
        ({"use_ssl": True, "port": 587}, "MAIL_USE_SSL on port 587: that port starts unencrypted"),
        ({"host": "relay.invalid"}, "the sender is flasky@example.com, which no provider accepts"),
    ],
)
def test_what_looks_odd_is_a_warning_and_is_tried_all_the_same(
    use_transport: Callable[..., None], options: dict[str, Any], warning: str
) -> None:
    use_transport(**smtp(1, **{"host": "relay.invalid", "timeout": 2, **options}))
    code, printed = run()
    assert code == 1
    assert f"WARN config {warning}" in printed
    assert "FAIL dns" in printed


# --- Other backends


@pytest.mark.usefixtures("_scripted")
class TestAForeignBackend:
    def test_it_has_one_stage(self) -> None:
        assert run()[0] == 0
        assert "PASS data accepted by tests.backends.Scripted (" in run()[1]
        assert len(Scripted.sent) == 2

    def test_its_failure_is_explained_like_any_other(self) -> None:
        Scripted.script = [marked(ConnectionRefusedError(111, "Connection refused"), "connect")]
        code, printed = run()
        assert code == 1
        assert "FAIL connect ConnectionRefusedError: [Errno 111] Connection refused (" in printed
        assert "fix: Check MAIL_SERVER and MAIL_PORT" in printed

    def test_a_failure_in_the_phases_of_tls_probes_nothing_that_has_no_address(self) -> None:
        Scripted.script = [marked(TimeoutError("no answer"), "greeting")]
        assert run()[0] == 1

    def test_one_that_took_nothing_is_no_success(self) -> None:
        Scripted.script = [0]
        code, printed = run()
        assert code == 1
        assert "FAIL data the backend accepted nothing and gave no reason" in printed


# --- The words


def test_what_is_said_in_the_users_language_is_not_what_is_typed(use_transport: Callable[..., None]) -> None:
    with ScriptedRelay({"RCPT": "550 5.1.1 No such user"}) as relay, translation.override("zh-hans"):
        use_transport(**smtp(relay.port))
        printed = run()[1]
    assert "FAIL recipient admin@example.com: 550 5.1.1 No such user" in printed
    assert "那里没有这个收件人。" in printed


def test_the_other_mode_is_said_where_a_login_is_missing(use_transport: Callable[..., None]) -> None:
    with ScriptedRelay(extensions=("STARTTLS",)) as relay:
        use_transport(**smtp(relay.port, username="ann", password="secret"))
        assert f"fix: Port {relay.port} starts unencrypted and offers STARTTLS: set MAIL_USE_TLS=true" in run()[1]


def test_what_several_problems_have_in_common_is_said_once() -> None:
    problems = [Problem(stage="x", words=words, cause="c", fix="f", diagnosis="d") for words in ("1", "2")]
    assert Report(problems=problems).explanations() == ["server said: 1", "cause: c", "fix: f", "server said: 2"]


def test_milliseconds_are_rounded_for_machines() -> None:
    stages = [Stage("PASS", "dns", "", 1.23456), Stage("SKIP", "tls"), Stage("PASS", "x", "", 0.0)]
    assert [stage["ms"] for stage in Report(stages=stages).as_json()["stages"]] == [1.2, None, 0.0]


# --- Through the outbox


@pytest.mark.django_db(transaction=True)
class TestTheOutbox:
    @pytest.fixture(autouse=True)
    def _briefly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(claims, "attempt_seconds", lambda: 0.3)
        monkeypatch.setattr("notify.management.commands.sendtestmail.WAIT_BEYOND_TIMEOUT", 0)

    def test_a_mail_behind_others_waits_its_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def deliver_another(seconds: float) -> None:
            queue(state="sent", sent_at=timezone.now())

        monkeypatch.setattr(self_test.time, "sleep", deliver_another)
        code, printed = run("--via", "outbox")
        assert code == 1
        assert "FAIL data admin@example.com: it is queued (1 are due) (" in printed

    @pytest.mark.parametrize("use_tz", [True, False])
    def test_a_deferred_mail_is_neither_sent_nor_failed(
        self, use_tz: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.USE_TZ = use_tz

        def defer(seconds: float) -> None:
            later = timezone.now() + timedelta(seconds=30)
            reply = "450 4.2.0 Greylisted"
            Message.objects.update(attempts=1, reply=reply, diagnosis="greylisted", due_at=later)

        monkeypatch.setattr(self_test.time, "sleep", defer)
        code, printed = run("--via", "outbox")
        assert code == 1
        lines = printed.splitlines()
        assert any(line.startswith("WARN data admin@example.com: 450 4.2.0 Greylisted (") for line in lines)
        assert any(re.fullmatch(r"SKIP retry the worker tries again at \d\d:\d\d:\d\d UTC", line) for line in lines)
        assert lines[-1] == "fix: No action needed; retrying automatically."
        assert "FAIL" not in printed

    @pytest.mark.parametrize("name", ["FLASKY_MAIL_SENDER", "SECRET_KEY"])
    def test_a_worker_with_other_settings_is_said(self, settings: Any, name: str) -> None:
        ours = getattr(settings, name)
        setattr(settings, name, "Other <other@example.com>")
        breaker.notice_configuration()
        setattr(settings, name, ours)
        words = f"the running worker ({socket.gethostname()}) has other mail settings or another SECRET_KEY than this"
        assert f"WARN worker {words} command" in run("--via", "outbox")[1]

    def test_nobody_delivers(self) -> None:
        code, printed = run("--via", "outbox")
        assert code == 1
        assert "no worker is running. The mail stays in the outbox." in printed
        assert Message.objects.unfinished().count() == 1

    def test_a_database_that_refuses_the_mail_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: Any, **options: Any) -> None:
            raise OperationalError("no such table")

        monkeypatch.setattr("notify.models.Message.objects.bulk_create", fail)
        with pytest.raises(CommandError, match="The database does not answer: no such table"):
            run("--via", "outbox")


def test_the_outbox_is_given_as_long_as_an_attempt_of_the_transport_may_take(
    use_transport: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    monkeypatch.setattr(SelfTest, "via_outbox", lambda self, seconds: given.append(seconds) or Report())
    use_transport(**smtp(1, timeout=120))
    assert run("--via", "outbox") == (0, "")
    assert given == [120 + 15]


def test_a_mail_goes_to_the_addresses_given(use_transport: Callable[..., None], relay: RelayServer) -> None:
    use_transport(**smtp(relay.port))
    assert run("ann@example.com", "bob@example.com")[0] == 0
    assert relay.envelopes[0].recipients == ["ann@example.com", "bob@example.com"]


def test_the_services_are_listed() -> None:
    printed = run("--list-services")[1]
    assert "163 (or netease): smtp.163.com 465 tls" in printed


# --- Through backends that are no mail server


@pytest.mark.parametrize("name", ["console", "filebased", "locmem", "dummy"])
def test_a_backend_that_sends_nothing_is_named_as_such(
    name: str, use_transport: Callable[..., None], tmp_path: Path
) -> None:
    backend = f"django.core.mail.backends.{name}.EmailBackend"
    use_transport(backend, **({"file_path": str(tmp_path)} if name == "filebased" else {}))
    code, said = run("you@example.com")
    assert code == 0
    assert f"WARN config {backend} is not a mail server: nothing is sent from this machine" in said


def test_an_api_of_a_provider_is_not_said_to_send_nothing(use_transport: Callable[..., None], settings: Any) -> None:
    settings.FLASKY_MAIL_SENDER = "me@shop.example"
    use_transport("anymail.backends.test.EmailBackend")
    code, said = run("you@example.com")
    assert code == 0
    assert "WARN" not in said
    assert "PASS data accepted by anymail.backends.test.EmailBackend" in said


def test_a_key_that_an_api_refuses_is_told_with_its_fix(use_transport: Callable[..., None]) -> None:
    use_transport("tests.backends.Scripted")
    Scripted.reset()
    Scripted.script = [AnymailAPIError("Postmark: bad token", status_code=401)]
    code, said = run("you@example.com")
    assert code == 1
    assert "FAIL auth HTTP 401 Postmark: bad token" in said
    assert "The mail provider's API did not accept the key or token." in said
    assert "Set a valid key that may send, in the transport's OPTIONS or in ANYMAIL, and restart." in said
