"""docs/scaling.md: its commands are the ones that are run here, or that the units of deploy/ start."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.outbox import Outbox, create_postgresql, drop_postgresql
from tests.site import ROOT, manage

SCALING = (ROOT / "docs" / "scaling.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", SCALING, re.DOTALL) for line in block.splitlines()]
MOVE = [line.removeprefix("python manage.py ") for line in COMMANDS[:4]]
UNITS = "\n".join(path.read_text() for path in (ROOT / "deploy").glob("*.service"))

FILL = """
from django.contrib.auth.models import User
from notify.mail import notify_admins, send_mail
from notify.visitors.models import Visitor
User.objects.create_superuser("ann", "ann@example.com", "secret")
for number in range(30):
    Visitor.objects.create(name=f"Zoë {number}")
    send_mail(["a@example.com", "b@example.com"], f"Größe {number}", "notify/mail/test")
"""
TABLES = {
    "notify_message": "id, message_id, sender, recipient, subject, body_id, state, attempts, claim, reply",
    "notify_body": "id, mime",
    "notify_event": "id, topic, key, subject, summary, context",
    "notify_visitor": "id, name",
    "auth_user": "id, username, password",
}


@pytest.fixture
def target() -> Iterator[Outbox]:
    name = f"flasky_move_{os.getpid()}"
    made = Outbox(create_postgresql(name))
    yield made
    drop_postgresql(name)


@pytest.mark.service("postgresql")
def test_the_commands_move_every_row_from_sqlite_to_postgresql(
    target: Outbox, migrated_database: Path, tmp_path: Path
) -> None:
    shutil.copy(migrated_database, tmp_path / "old.sqlite3")
    source = Outbox(f"sqlite:///{tmp_path}/old.sqlite3")
    assert manage("shell", "-v0", "-c", FILL, **source.options).returncode == 0
    dump, *load = [line.replace("var/move.json", str(tmp_path / "move.json")).split() for line in MOVE]
    assert [words[0] for words in (dump, *load)] == ["dumpdata", "migrate", "loaddata", "outbox"]
    for outbox, lines in ((source, [dump]), (target, load)):
        for words in lines:
            done = manage(*words, **outbox.options)
            assert done.returncode == 0, done.stderr
    for table, columns in TABLES.items():
        rows = [outbox.sql(f"SELECT {columns} FROM {table} ORDER BY id") for outbox in (source, target)]
        assert rows[0] == rows[1], table
        assert rows[0], table
    # What is stored from here on does not meet what was moved.
    assert (
        manage("shell", "-v0", "-c", FILL.replace("ann", "bob").replace("Zoë", "Ann"), **target.options).returncode == 0
    )
    assert target.sql("SELECT count(*) FROM notify_message") == [(120,)]


def test_every_other_command_is_one_of_a_unit_or_enables_one() -> None:
    for command in COMMANDS[4:]:
        if command.startswith("systemctl enable --now "):
            for unit in command.split()[3:]:
                name = re.sub(r"@\d", "@", unit)
                assert (ROOT / "deploy" / (name if "." in name else f"{name}.service")).exists(), command
        else:
            assert f"/srv/flasky/.venv/bin/{command}\n" in UNITS, command


def test_links_lead_to_files_of_the_repository() -> None:
    for target in re.findall(r"\]\(([^)#]+)", SCALING):
        assert (ROOT / "docs" / target).exists(), target
