"""Which servers and programs are on this machine, by the names that `@pytest.mark.service` takes."""

import functools
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tests import ports

PORTS = {"postgresql": 5432, "rabbitmq": 5672, "redis": 6379}
PROGRAMS = frozenset(
    [
        *("chromium", "danted", "daphne", "gunicorn", "microsocks", "node", "npm"),
        *("pgbouncer", "postfix", "spamassassin", "systemd-analyze", "tinyproxy", "uvicorn"),
    ]
)
PACKAGES = {"gevent": "gevent", "redis-py": "redis"}
NEED_ROOT = {"exim", "postfix"}
# Debian's Exim and Postfix cannot both be installed: .ci/run unpacks Exim here.
EXIM = Path(__file__).resolve().parent.parent / ".exim" / "usr" / "sbin" / "exim4"
# `make node` brings these.
NODE_MODULES = Path(__file__).resolve().parent / "node" / "node_modules"
NODE_PACKAGES = ("caniemail", "html-validate", "smtp-server")
_WHERE = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@functools.cache
def is_here(name: str) -> bool:
    """Whether the named server answers on 127.0.0.1, or the named program can be run by us."""
    if name in PORTS:
        return ports.answers(PORTS[name])
    if name in NEED_ROOT and os.geteuid() != 0:
        return False
    if name in PACKAGES:
        return find_spec(PACKAGES[name]) is not None
    if name in NODE_PACKAGES:
        return program("node") != "" and (NODE_MODULES / name).is_dir()
    if name == "exim":
        return _runs(exim(), "-C", "/dev/null", "-bV")
    if name == "netns":
        from tests.services import namespace

        return namespace.can_be_made()
    if name == "faketime":
        return faketime() != ""
    if name not in PROGRAMS:
        raise LookupError(f"{name!r} is none of the servers and programs that tests may ask for")
    return program(name) != ""


def program(name: str) -> str:
    """The path of a program, also one that lives where only root looks; "" for none."""
    return shutil.which(name, path=_WHERE) or ""


def faketime() -> str:
    """The library that gives a process another clock, for LD_PRELOAD; "" for none."""
    return next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), "")


def exim() -> str:
    return program("exim4") or str(EXIM)


def _runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
