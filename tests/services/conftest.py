"""Real servers from Debian and npm, each a private instance on loopback."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.conftest import Sink
from tests.faults.outbox import Outbox, create_postgresql, drop_postgresql, migrate
from tests.services.exim import Exim
from tests.services.nodemailer import Nodemailer
from tests.services.postfix import Postfix


@pytest.fixture(scope="session", autouse=True)
def _files_that_others_can_read() -> None:
    """The servers' own users read what is written for them; Flasky's settings let nobody read anything."""
    os.umask(0o022)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder where users other than root can walk, which tmp_path is not."""
    folder = Path(tempfile.mkdtemp(prefix="flasky-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    """A migrated database on PostgreSQL."""
    name = f"flasky_services_{os.getpid()}"
    url = create_postgresql(name)
    migrate(url)
    made = Outbox(url)
    yield made
    made.close()
    drop_postgresql(name)


@pytest.fixture
def postfix(open_folder: Path) -> Iterator[Postfix]:
    with Postfix(open_folder / "postfix") as server:
        yield server


@pytest.fixture
def make_exim(open_folder: Path) -> Iterator[Callable[..., Exim]]:
    """`make_exim(users={"name": "password"})` runs one until the test ends."""
    with ExitStack() as running:
        yield lambda **options: running.enter_context(Exim(open_folder / "exim", **options))


@pytest.fixture
def make_nodemailer(tmp_path: Path) -> Iterator[Callable[..., Nodemailer]]:
    """`make_nodemailer(size=1000)` runs one until the test ends."""
    with ExitStack() as running:
        yield lambda **options: running.enter_context(Nodemailer(tmp_path / "nodemailer", **options))


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    """A fast SMTP server in its own process."""
    with Sink(tmp_path / "taken.tsv") as server:
        yield server
