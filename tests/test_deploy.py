"""The units of deploy/: systemd takes them, and what they start exists."""

import re
import subprocess
from pathlib import Path

import pytest

from tests import servers

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
UNITS = sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")])
PROGRAMS = ("gunicorn", "python", "celery")


@pytest.mark.service("systemd-analyze")
def test_systemd_finds_no_fault_in_any_unit(tmp_path: Path) -> None:
    programs = tmp_path / "flasky" / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in PROGRAMS:
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/srv/flasky", str(tmp_path / "flasky")))
    units = [str(tmp_path / unit.name.replace("@", "@1")) for unit in UNITS if "@" not in unit.name]
    instance = tmp_path / "flasky-worker@1.service"
    instance.write_text((tmp_path / "flasky-worker@.service").read_text())
    command = [servers.program("systemd-analyze"), "verify", "--man=no", *units, str(instance)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "flasky" in line]
    assert said == []
    assert done.returncode == 0, done.stderr


def test_each_service_runs_one_of_the_documented_commands() -> None:
    commands = {
        unit.name: re.search(r"ExecStart=/srv/flasky/.venv/bin/(.*)", unit.read_text())[1]  # type: ignore[index]
        for unit in DEPLOY.glob("*.service")
    }
    assert commands == {
        "flasky-site.service": "gunicorn flasky.wsgi --workers 4 --bind 0.0.0.0:8000",
        "flasky-worker@.service": "python manage.py deliver --watch",
        "flasky-celery.service": "celery -A flasky worker -c 2 --loglevel INFO",
        "flasky-beat.service": "celery -A flasky beat --pidfile= --loglevel INFO",
        "flasky-purge.service": "python manage.py outbox purge",
    }


def test_no_service_kills_the_processes_of_a_pool_before_their_parent() -> None:
    for name in ("flasky-site.service", "flasky-celery.service"):
        assert "KillMode=mixed" in (DEPLOY / name).read_text()
