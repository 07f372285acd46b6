"""The wheel, and projects that install it: one environment for each Django, one project for each database."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.adopt.project import Project, build_wheel, make_environment, python_for
from tests.relays import Relay

DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.service("postgresql"))]
SERVER = {"host": "127.0.0.1", "port": 5432, "user": "postgres"}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the test run share: what is slow to make is made once, under a lock."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "adopt"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """One process of the test run at a time. True if there is no such path: then it is to be made."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not path.exists()


@pytest.fixture(scope="session")
def wheel(shared: Path) -> Path:
    folder = shared / "wheels"
    with locked(folder) as ours:
        if ours:
            build_wheel(folder)
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="session", params=["5.2", "6.1"])
def environment(request: pytest.FixtureRequest, shared: Path) -> tuple[str, Path]:
    """A Django and an environment that has it, and nothing of ours."""
    django = request.param
    python = python_for(django)
    if python is None:
        pytest.skip("no Python of 3.12 or newer is on this machine: Django 6.1 needs one")
    folder = shared / f"django-{django}"
    with locked(folder) as ours:
        if ours:
            make_environment(folder, python, f"Django~={django}.0", "psycopg[binary]", "django-allauth")
    return django, folder


@pytest.fixture(scope="module", params=DATABASES)
def database(request: pytest.FixtureRequest, environment: tuple[str, Path]) -> Iterator[str]:
    """Lines for settings.py, "" for what startproject wrote. Each Django has an empty database."""
    if request.param == "sqlite":
        yield ""
        return
    name = f"flasky_adopt_{os.getpid()}_{environment[0].replace('.', '')}"
    with psycopg.connect(dbname="postgres", autocommit=True, **SERVER) as server:  # type: ignore[arg-type]
        server.execute(f"DROP DATABASE IF EXISTS {name}")
        server.execute(f"CREATE DATABASE {name}")
        own = {"ENGINE": "django.db.backends.postgresql", "NAME": name}
        yield f"DATABASES = {{'default': {own | {key.upper(): value for key, value in SERVER.items()}!r}}}\n"
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def mail_server() -> Iterator[Relay]:
    with Relay() as server:
        yield server


@pytest.fixture(scope="module")
def project(
    environment: tuple[str, Path],
    database: str,
    wheel: Path,
    mail_server: Relay,
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    """A project that has followed docs/adopt.md to its end, but for the last chapter."""
    django, folder = environment
    made = Project(tmp_path_factory.mktemp("adopt") / "shop", folder, django, wheel.parent, mail_server.port)
    made.write("shop/settings.py", database)
    with locked(folder):  # pip must not install twice at a time
        made.printed = made.follow()
    return made
