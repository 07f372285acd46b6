"""What is written at run time is for its user alone; and what was not so before is found."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flasky import checks
from tests.site import ROOT, environment

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project in a folder of its own, where nothing was written yet."""
    for name in ("flasky", "notify", "templates"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", tmp_path)
    return tmp_path


def manage(checkout: Path, *words: str, umask: int = 0, **variables: object) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=checkout,
        env=environment(**{"DATABASE_URL": "", **variables}),
        capture_output=True,
        text=True,
        check=True,
        umask=umask,
    )
    return done.stdout + done.stderr


MAIL = "from notify.mail import send_mail; send_mail('you@example.com', 'Hello', 'notify/mail/test')"
# A connection that is open keeps -wal and -shm.
LOOK = (
    "from django.db import connection; from notify.models import Relay; Relay.current(); import os, pathlib;"
    "print(*[oct(p.stat().st_mode & 0o777) + p.name for p in pathlib.Path('var').glob('db*')])"
)


@pytest.mark.slow
def test_var_and_all_in_it_is_private_from_its_creation_on_whatever_the_umask(checkout: Path) -> None:
    manage(checkout, "migrate", "--verbosity", "0", umask=0)
    shown = set(manage(checkout, "shell", "-v0", "-c", LOOK).split())
    assert shown == {"0o600db.sqlite3", "0o600db.sqlite3-shm", "0o600db.sqlite3-wal"}
    manage(checkout, "shell", "-v0", "-c", MAIL, MAIL_BACKEND="file", NOTIFY_DISPATCH="worker")
    manage(checkout, "deliver", MAIL_BACKEND="file", NOTIFY_DISPATCH="worker")
    manage(checkout, "collectstatic", "--noinput", "-v0")
    var = checkout / "var"
    found = {path: mode(path) for path in (var, *var.rglob("*"))}
    assert list((var / "mail").iterdir())
    assert [path for path in found if path.name == "base.css"]
    assert {path for path, bits in found.items() if bits != (0o700 if path.is_dir() else 0o600)} == set()


def test_a_var_that_was_open_is_closed_at_the_next_start(checkout: Path) -> None:
    (checkout / "var").mkdir()
    (checkout / "var").chmod(0o755)
    manage(checkout, "check")
    assert mode(checkout / "var") == 0o700


def test_with_a_database_elsewhere_a_var_that_cannot_be_made_is_not_needed(checkout: Path, tmp_path: Path) -> None:
    (checkout / "var").touch()  # a file: a folder without permissions would not stop root
    assert "no issues" in manage(checkout, "check", DATABASE_URL=f"sqlite:///{tmp_path / 'elsewhere'}")


@pytest.mark.slow
def test_a_database_elsewhere_is_private_too(checkout: Path, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "names.sqlite3"
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=checkout,
        env=environment(DATABASE_URL=f"sqlite:///{path}"),
        check=True,
        umask=0,
    )
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)


@pytest.fixture
def project(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.BASE_DIR, settings.VAR_DIR = tmp_path, tmp_path / "var"
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "names.sqlite3")}
    monkeypatch.setitem(settings.DATABASES, "default", database)
    settings.VAR_DIR.mkdir(mode=0o700)
    return tmp_path


def warnings() -> list[Any]:
    return [problem for problem in checks.check_secrecy(None) if problem.id == "notify.W007"]


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        "names.sqlite3",
        "names.sqlite3-wal",
        "names.sqlite3-shm",
        "names.sqlite3-journal",
        "var/db.sqlite3",
        "var/db.sqlite3-wal",
        "var/mail/20261127.log",
        "var/celerybeat",
        "var/a folder/of their own",
    ],
)
@pytest.mark.parametrize("bits", [0o644, 0o640, 0o604, 0o620, 0o602, 0o601])
def test_what_others_can_read_or_write_is_warned_of_with_what_to_run(project: Path, name: str, bits: int) -> None:
    path = project / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch()
    path.chmod(bits)
    [warning] = warnings()
    assert name in str(warning.msg)
    command = str(warning.hint).removeprefix("Run: ")
    subprocess.run(command, shell=True, check=True, cwd=project)
    assert mode(path) == bits & 0o700
    assert warnings() == []


@pytest.mark.parametrize("bits", [0o755, 0o750, 0o711, 0o701])
def test_an_open_var_is_warned_of(project: Path, bits: int) -> None:
    (project / "var").chmod(bits)
    [warning] = warnings()
    assert str(warning.hint) == "Run: chmod go= var"


def test_static_files_are_everybodys_and_links_lead_elsewhere(project: Path) -> None:
    static = project / "var" / "static" / "base.css"
    static.parent.mkdir()
    static.touch(0o644)
    (project / "var" / "link").symlink_to("/etc/passwd")
    (project / "var" / "nowhere").symlink_to("/no/such/file")
    assert warnings() == []
