"""How the site is run for tests in a real browser."""

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _as_fast_as_a_robot(settings: Any) -> None:
    """Let forms come back at once; a test of just that has the default."""
    settings.NOTIFY_FORM_SECONDS = 0
