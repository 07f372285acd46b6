"""manage.py deliver and manage.py outbox: what they print, and how they end."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command, execute_from_command_line
from django.core.management.base import CommandError
from django.db import InterfaceError, OperationalError

from notify import dispatch
from notify.delivery import breaker, worker
from notify.delivery.retry import Decision
from notify.dispatch.loop import Lookout
from notify.events import digest
from notify.models import Event, Message, Outcome, Relay
from notify.operations import actions
from notify.operations.status import Status
from tests.backends import Scripted
from tests.delivery.test_claims import queue
from tests.site import ROOT, environment, manage


@pytest.fixture
def _own_process(scripted: type[Scripted], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The commands' own process is this one, for a while."""
    monkeypatch.setattr(dispatch, "disable", lambda: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=out)
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_own_process")
class TestDeliver:
    def test_the_last_line_counts_what_became_of_the_messages(self) -> None:
        queue(3)
        Scripted.script = [None, ZeroDivisionError("poison")]
        assert run("deliver").splitlines()[-1] == "sent 2, retry 1, failed 0, waiting 1"

    def test_it_looks_whether_mail_works_at_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looks: list[int] = []
        lookout = Lookout()
        lookout.look = lambda: looks.append(Message.objects.filter(state="sent").count())
        monkeypatch.setattr(dispatch, "lookout", lookout)
        queue(2)
        run("deliver")
        assert looks == [2]

    def test_administrators_are_notified_of_what_waits_first(self) -> None:
        Event.objects.create(topic="order", key="1", subject="New order", summary="Order 1")
        assert run("deliver") == "sent 1, retry 0, failed 0, waiting 0\n"

    def test_administrators_are_notified_of_all_that_waits_however_many(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.NOTIFY_INTERVAL = 0
        monkeypatch.setattr(digest, "UNFOLDED_AT_ONCE", 4)
        Event.objects.bulk_create(
            Event(topic="order", key=str(number), subject="New order", summary="x") for number in range(9)
        )
        assert run("deliver") == "sent 9, retry 0, failed 0, waiting 0\n"

    def test_a_relay_in_trouble_is_named(self) -> None:
        queue()
        breaker.pause("maintenance")
        assert run("deliver") == "The mail server is paused: maintenance\nsent 0, retry 0, failed 0, waiting 1\n"

    @pytest.mark.parametrize("number", ["0", "257", "-1"])
    def test_a_number_of_connections_out_of_range_is_a_wrong_call(self, number: str) -> None:
        with pytest.raises(CommandError, match="--connections must be a number from 1 to 256") as raised:
            run("deliver", f"--connections={number}")
        assert raised.value.returncode == 2

    @pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("away")])
    def test_a_database_that_is_away_is_said(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(**options: Any) -> None:
            raise error

        monkeypatch.setattr(worker, "deliver_due", fail)
        with pytest.raises(CommandError, match="The database does not answer: away"):
            run("deliver")

    def test_so_is_one_that_goes_away_after_the_last_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise OperationalError("away")

        monkeypatch.setattr(Relay, "current", fail)
        with pytest.raises(CommandError, match=r"The database does not answer: away\. Nothing is lost"):
            run("deliver")

    def test_a_terminal_gets_a_bar(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        queue(2)
        out = run("deliver")
        assert f"\r[{'#' * 15}{'.' * 15}] 1/2\r[{'#' * 30}] 2/2\n" in out


@pytest.mark.django_db
class TestOutbox:
    def test_status_is_for_people_or_machines(self) -> None:
        queue(2)
        assert "messages  queued 2, sending 0" in run("outbox", "status")
        facts = json.loads(run("outbox", "status", "--json"))
        assert (facts["messages"]["queued"], facts["relay"]["state"]) == (2, "open")

    @pytest.mark.parametrize(
        ("words", "hit"),
        [
            (["--all"], {0, 1, 2}),
            (["--recipient", "ANN@example.com"], {0}),
            (["--diagnosis", "quota"], {1}),
            (["--contains", "mailbox FULL"], {2}),
            (["--recipient", "ann@example.com", "--diagnosis", "quota"], set()),
        ],
    )
    def test_retry_takes_the_messages_that_all_filters_choose(self, words: list[str], hit: set[int]) -> None:
        rows = [
            queue(state="failed", recipient="ann@example.com")[0],
            queue(state="failed", diagnosis="quota")[0],
            queue(state="failed", reply="452 Mailbox full")[0],
        ]
        assert run("outbox", "retry", *words) == f"retried {len(hit)}\n"
        queued = set(Message.objects.filter(state="queued").values_list("pk", flat=True))
        assert queued == {rows[number].pk for number in hit}

    @pytest.mark.parametrize("action", ["retry", "cancel"])
    def test_any_number_is_changed_in_batches(
        self, action: str, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
    ) -> None:
        monkeypatch.setattr(actions, "CHANGED_AT_ONCE", 2)
        queue(5)
        with django_assert_num_queries(4):  # the keys, and three batches
            run("outbox", action, "--all")

    def test_messages_are_chosen_by_number(self) -> None:
        first, second = queue(2)
        assert json.loads(run("outbox", "cancel", str(second.pk), "--json")) == {"cancelled": 1}
        first.refresh_from_db()
        assert first.state == "queued"

    @pytest.mark.parametrize("action", ["retry", "cancel", "resend"])
    def test_no_message_has_a_number_that_no_column_holds(self, action: str) -> None:
        assert run("outbox", action, str(10**23), "--json").strip() in (
            '{"retried": 0}',
            '{"cancelled": 0}',
            '{"resent": 0}',
        )

    def test_resend_makes_a_new_message(self) -> None:
        [row] = queue(state="sent")
        assert run("outbox", "resend", str(row.pk)) == "resent 1\n"
        assert Message.objects.filter(state="queued").count() == 1

    def test_pause_and_resume(self) -> None:
        assert run("outbox", "pause", "--reason", "maintenance") == "relay paused\n"
        assert (Relay.current().state, Relay.current().reason) == ("paused", "maintenance")
        assert json.loads(run("outbox", "resume", "--json")) == {"relay": "open"}
        assert Relay.current().state == "open"

    def test_a_reason_in_another_encoding_pauses_too(self) -> None:
        run("outbox", "pause", "--reason", b"\xce\xac".decode("ascii", "surrogateescape"))
        assert (Relay.current().state, Relay.current().reason) == ("paused", r"\udcce\udcac")

    def test_resume_tries_a_held_relay_now(self) -> None:
        Relay.current()
        breaker.report_failure(breaker.Permit(), Decision(outcome=Outcome.HOLD, delay=900), reason="535", diagnosis="")
        run("outbox", "resume")
        assert breaker.admit()

    def test_probe_tries_a_held_relay_now_and_leaves_an_open_one(self) -> None:
        assert json.loads(run("outbox", "probe", "--json")) == {"probed": False, "relay": "open"}
        queue()
        breaker.report_failure(breaker.Permit(), Decision(outcome=Outcome.HOLD, delay=900), reason="535", diagnosis="")
        assert breaker.admit() is None
        assert run("outbox", "probe") == "probed True, relay held\n"
        assert breaker.admit() == breaker.Permit(probe=True, failures=1)

    def test_purge_counts_what_it_removed(self) -> None:
        queue(2, state="cancelled")
        assert run("outbox", "purge") == "messages 0, events 0\n"
        assert run("outbox", "purge", "--days", "0", "--visitors") == "messages 2, events 0, visitors 0\n"

    @pytest.mark.parametrize("action", ["retry", "cancel"])
    def test_no_choice_is_a_wrong_call(self, action: str) -> None:
        with pytest.raises(CommandError, match="Which messages") as raised:
            run("outbox", action)
        assert raised.value.returncode == 2

    def test_a_purge_of_what_is_older_than_the_calendar_removes_nothing(self) -> None:
        assert run("outbox", "purge", "--days", str(10**12)) == "messages 0, events 0\n"

    def test_negative_days_are_a_wrong_call(self) -> None:
        with pytest.raises(CommandError, match="--days must be a whole number, 0 or more") as raised:
            run("outbox", "purge", "--days=-1")
        assert raised.value.returncode == 2

    def test_a_database_that_is_away_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(self: Status) -> None:
            raise OperationalError("away")

        monkeypatch.setattr(Status, "as_json", fail)
        with pytest.raises(CommandError, match="The database does not answer: away"):
            run("outbox", "status")


@pytest.mark.parametrize(
    "words",
    [
        ["outbox"],
        ["outbox", "explode"],
        ["outbox", "retry", "first"],
        ["outbox", "resend"],
        ["outbox", "purge", "--days", "soon"],
        ["deliver", "--connections", "many"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_exits_with_2_and_says_how_to_call(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        execute_from_command_line(["manage.py", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: manage.py")


@pytest.mark.parametrize(("action", "done"), [("retry", "retried"), ("cancel", "cancelled")])
def test_the_help_is_in_english(action: str, done: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        execute_from_command_line(["manage.py", "outbox", action, "--help"])
    assert f"every message that can be {done}" in capsys.readouterr().out


def test_watch_delivers_until_sigterm_and_exits_with_0(make_site: Callable[..., Any]) -> None:
    site = make_site(NOTIFY_DISPATCH="worker", MAIL_BACKEND="console")
    watch = subprocess.Popen(
        [sys.executable, "manage.py", "deliver", "--watch", "--connections", "2"],
        cwd=ROOT,
        env=environment(**site.variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watch.stderr
    assert watch.stdout
    assert watch.stderr.readline() == "delivering over 2 connection(s); stop with SIGTERM or Ctrl-C\n"
    made = site.manage(
        "shell", "-v0", "-c", "from notify.visitors.models import Visitor; Visitor.objects.create(name='Ann')"
    )
    assert made.returncode == 0, made.stderr
    lines = iter(watch.stdout.readline, "")
    assert any("Subject: [Flasky] New visitor: Ann" in line for line in lines)
    os.kill(watch.pid, signal.SIGTERM)
    watch.communicate(timeout=20)
    assert watch.returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ["outbox", "status"],
        ["deliver", "--watch"],
        *(pytest.param(words, marks=pytest.mark.slow) for words in (["outbox", "pause"], ["deliver"])),
    ],
    ids=" ".join,
)
def test_where_the_tables_are_missing_a_command_says_what_to_run(words: list[str], tmp_path: Path) -> None:
    done = manage(*words, DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite3")
    assert done.returncode == 1
    assert done.stderr == "CommandError: The outbox's tables are missing or out of date: run `manage.py migrate`.\n"


def test_a_database_of_nowhere_is_said_with_its_cause(free_port: int) -> None:
    done = manage("deliver", DATABASE_URL=f"postgres://nobody@127.0.0.1:{free_port}/nothing")
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: The database does not answer: ")
    assert done.stderr.endswith("Nothing is lost; try again.\n")


def test_so_it_is_by_a_command_of_djangos_in_one_line(free_port: int) -> None:
    done = manage("migrate", "--skip-checks", DATABASE_URL=f"postgres://nobody@127.0.0.1:{free_port}/nothing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Database error: connection failed: ")
    assert done.stderr.endswith(" (check DATABASE_URL; --traceback shows where)\n")
    assert done.stderr.count("\n") == 1


def test_so_are_tables_that_are_missing_on_sqlite(tmp_path: Path) -> None:
    done = manage("clearsessions", "--skip-checks", DATABASE_URL=f"sqlite:///{tmp_path / 'empty'}")
    words = "no such table: django_session (run manage.py migrate; --traceback shows where)"
    assert (done.returncode, done.stderr) == (1, f"Database error: {words}\n")


@pytest.mark.slow
class TestRunserver:
    def test_four_lines_say_where_everything_is_and_warnings_come_once_below(
        self, make_site: Callable[..., Any]
    ) -> None:
        site = make_site(DEBUG="true", MAIL_BACKEND="inbox", MAIL_SERVISE="gmail", FLASKY_ADMIN="")
        site.variables["FLASKY_URL"] = site.url
        site.start()
        said = site.output()
        assert said.startswith(
            f"Site:   {site.url} (to stop: CONTROL-C)\n"
            f"Inbox:  {site.url}inbox/ (type a name on the site, and the mail appears here)\n"
            f"Admin:  {site.url}admin/ (to create a login: make admin)\n"
            "To send real mail, set in .env: MAIL_BACKEND=smtp, MAIL_SERVICE=gmail (163, qq …), MAIL_USERNAME, "
            "MAIL_PASSWORD, FLASKY_ADMIN\n"
        )
        for id in ("flasky.W001", "notify.W003"):
            assert said.count(id) == 1

    def test_without_an_inbox_they_say_how_mail_leaves(self, make_site: Callable[..., Any]) -> None:
        site = make_site(MAIL_SERVER="relay.test", FLASKY_URL="http://localhost:1")
        site.start()
        assert site.output().splitlines()[:5] == [
            f"Site:   {site.url} (to stop: CONTROL-C)",
            "Mail:   through relay.test:25 (to test: manage.py sendtestmail)",
            f"Admin:  {site.url}admin/ (to create a login: make admin)",
            f"To keep mail on this machine and read it at {site.url}inbox/, set MAIL_BACKEND=inbox",
            f"Links in mails lead to FLASKY_URL=http://localhost:1, but the site is on port {site.port}.",
        ]


class TestOutput:
    def test_a_terminal_of_another_encoding_gets_escapes(self) -> None:
        done = manage("sendtestmail", "--list-services", PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, "")
        assert "\\u6388\\u6743\\u7801" in done.stdout

    def test_ctrl_c_ends_it_without_a_traceback(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            watch = subprocess.Popen(
                [sys.executable, "manage.py", "sendtestmail", "--check"],
                cwd=ROOT,
                env=environment(MAIL_SERVER="127.0.0.1", MAIL_PORT=silent.getsockname()[1]),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            silent.settimeout(30)
            connection, _ = silent.accept()  # it waits for the greeting now
            watch.send_signal(signal.SIGINT)
            errors = watch.communicate(timeout=30)[1]
            connection.close()
        assert watch.returncode == 130
        assert b"Traceback" not in errors  # the tests' environment warns of a socket that the end closes

    def test_a_reader_that_leaves_early_gets_no_traceback(self) -> None:
        words = [sys.executable, "manage.py", "sendtestmail", "--list-services"]
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as closed:
            done = subprocess.run(
                words, cwd=ROOT, env=environment(), stdout=closed, stderr=subprocess.PIPE, check=False
            )
        assert (done.returncode, done.stderr) == (1, b"")
