"""Fixtures of the whole suite: the project's own outbox, a real SMTP server, and the site as a process."""

import fcntl
import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import hypothesis
import pytest
from django.conf import settings
from django.core.management.commands import flush
from django.db import connections
from django.utils import translation
from whitenoise.middleware import WhiteNoiseMiddleware

from notify.delivery import transport
from tests import servers
from tests.backends import Scripted
from tests.browser import browser, context, page, trap  # noqa: F401  (fixtures)
from tests.ports import Reserved
from tests.relays import Relay
from tests.site import Site, template_database

# Generated examples: the same tests with more of them are part of `make slow`. No deadline: how long an example takes
# says more of the machine than of the code.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.register_profile("slow", deadline=None, max_examples=100)

# What takes long for what it does, or needs real servers or a browser: run by `make slow` and CI, not by `make test`.
SLOW_FOLDERS = ("adopt", "e2e", "services", "faults", "mails", "names")


def pytest_xdist_auto_num_workers() -> int | None:
    """Much of the suite waits for processes and timeouts: three workers at least, however few the cores."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else max(3, os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("slow" if config.option.markexpr == "slow" else "quick")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only what may run is imported: each worker of xdist collects the whole suite."""
    parts = collection_path.relative_to(config.rootpath).parts
    is_slow = len(parts) == 2 and parts[0] == "tests" and parts[1] in SLOW_FOLDERS
    return True if is_slow and config.option.markexpr == "not slow" else None


def pytest_collection_finish() -> None:
    gc.freeze()  # what is loaded by now stays: no test looks through it for garbage


# Before -m is applied.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, by name, what needs a server that is not on this machine; start with what waits for processes."""
    for item in items:
        is_generated = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        if item.path.relative_to(Path(__file__).parent).parts[0] in SLOW_FOLDERS or (
            is_generated and config.option.markexpr == "slow"
        ):
            item.add_marker("slow")
    items.sort(key=lambda item: "make_site" not in getattr(item, "fixturenames", ()))
    for item in items:
        for marker in item.iter_markers("service"):
            for name in marker.args:
                if not servers.is_here(name):
                    item.add_marker(pytest.mark.skip(reason=f"{name} is not on this machine"))


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Run in the background of a shell, this process ignores SIGINT, and so would the servers that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file to copy from; of the workers of one run, the first to ask makes it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = folder / "template.sqlite3"
        return path if path.exists() else template_database(folder)


def on_sqlite() -> bool:
    return str(settings.DATABASES["default"]["ENGINE"]).endswith("sqlite3")


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """On SQLite the database is there already: a copy."""
    return on_sqlite()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[None]:
    """SQLite as a file: threads share it, as they do in the running site. On a server, a name nobody else has."""
    name = f"test_flasky_{os.getpid()}"
    if on_sqlite():
        template = request.getfixturevalue("migrated_database")
        name = str(shutil.copy(template, tmp_path_factory.mktemp("database") / "test.sqlite3"))
    settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = name
    yield
    connections.close_all()


@pytest.fixture(scope="session", autouse=True)
def _content_types_stay() -> Iterator[None]:
    """Tests with transaction=True empty the tables, except content types and permissions, which no test changes.

    Django empties these too and makes their rows again, which takes twenty times as long as the rest.
    """

    def sql_flush(style: Any, connection: Any, *, reset_sequences: bool, allow_cascade: bool) -> list[str]:
        tables = set(connection.introspection.django_table_names(only_existing=True, include_views=False))
        emptied = sorted(tables - {"auth_permission", "django_content_type"})
        found: list[str] = connection.ops.sql_flush(
            style, emptied, reset_sequences=reset_sequences, allow_cascade=allow_cascade
        )
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(flush, "sql_flush", sql_flush)
        patched.setattr(flush, "emit_post_migrate_signal", lambda *args, **options: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_outbox(django_test_environment: None) -> None:
    """Django's test runner puts locmem in place of every email backend; here the outbox is what is tested."""
    if django.VERSION >= (6, 1):
        ours = settings.MAILERS["transport"] | {"BACKEND": settings.NOTIFY_TRANSPORT["BACKEND"]}
        settings.MAILERS = {"default": {"BACKEND": "notify.outbox.EmailBackend"}, "transport": ours}
    else:
        settings.EMAIL_BACKEND = "notify.outbox.EmailBackend"


@pytest.fixture(scope="session", autouse=True)
def _quick_hashes() -> None:
    """What is slow on purpose takes a third of a second for a login, and this is not what is tested."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    transport.ROUNDS = 1


@pytest.fixture(scope="session", autouse=True)
def _one_look_at_static_files() -> Iterator[None]:
    """Each test client makes its middleware, and WhiteNoise's opens all static files, which takes 20 ms."""
    look, found = WhiteNoiseMiddleware.add_files_from_finders, {}

    def look_once(middleware: WhiteNoiseMiddleware) -> None:
        if not found:
            look(middleware)
            found.update(middleware.files)
        middleware.files.update(found)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(WhiteNoiseMiddleware, "add_files_from_finders", look_once)
        yield


@pytest.fixture(autouse=True)
def _own_language() -> Iterator[None]:
    """A request leaves the language of its browser behind; the next test begins with the site's."""
    yield
    translation.deactivate()


@pytest.fixture
def use_transport(settings: Any) -> Callable[..., None]:
    """Put another backend in the transport's place: `use_transport("dotted.path", host=…)`."""

    def use(backend: str, **options: Any) -> None:
        settings.NOTIFY_TRANSPORT = {"BACKEND": backend, "OPTIONS": options}
        if django.VERSION >= (6, 1):
            settings.MAILERS = {**settings.MAILERS, "transport": settings.NOTIFY_TRANSPORT}

    return use


@pytest.fixture
def scripted(use_transport: Callable[..., None]) -> Iterator[type[Scripted]]:
    """A transport that does as it is told."""
    use_transport("tests.backends.Scripted", password="canary")
    Scripted.reset()
    yield Scripted
    Scripted.reset()


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nobody listens on, and nobody else will."""
    reserved = Reserved()
    yield reserved.number
    reserved.release()


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A real SMTP server that keeps what it is given."""
    with Relay() as server:
        yield server


@pytest.fixture
def make_site(tmp_path: Path, migrated_database: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Site]]:
    """The site with a database of its own: `make_site(MAIL_PORT=…)`; start it with `.start()`."""
    sites: list[Site] = []

    def make(**environment: object) -> Site:
        folder = tmp_path / f"site{len(sites)}"
        folder.mkdir()
        shutil.copy(migrated_database, folder / "db.sqlite3")
        sites.append(Site(folder, {"DATABASE_URL": f"sqlite:///{folder}/db.sqlite3", **environment}))
        return sites[-1]

    yield make
    for site in sites:
        site.discard()
        # "teardown": the report of the call, which has failed or not, is already made.
        request.node.add_report_section("teardown", "output of the site", site.output()[-8000:])
