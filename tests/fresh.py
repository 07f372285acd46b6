"""Settings as they would be at another start: read again, in this process."""

import contextlib
import os
import runpy
from collections.abc import Iterator
from typing import Any

import pytest

from flasky import environment as env
from tests.site import ROOT


@contextlib.contextmanager
def start() -> Iterator[None]:
    """What a start remembers of files and variables is the block's alone; this machine's .env is not read."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(env, "load", lambda path: None)
        patched.setattr(env, "_read", set())
        patched.setattr(env, "_in_file", {})
        patched.setattr(env, "_from_file", set())
        patched.setattr(os, "environ", os.environ.copy())
        patched.setattr(env._env, "ENVIRON", type(env._env.ENVIRON)(env=os.environ))
        yield


def settings_with(**variables: str) -> dict[str, Any]:
    """What settings make of these variables, within a start."""
    os.environ.update(variables)
    return runpy.run_path(str(ROOT / "flasky" / "settings.py"))
