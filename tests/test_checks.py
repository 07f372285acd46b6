"""What `manage.py check` says of the site's own settings and files."""

from pathlib import Path
from typing import Any

from flasky import checks


def ids(found: list[Any]) -> list[str]:
    assert all(problem.hint for problem in found)
    return [problem.id for problem in found]


def test_an_env_file_others_can_read(settings: Any, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path
    (tmp_path / ".env").write_text("MAIL_PASSWORD=x")
    (tmp_path / ".env").chmod(0o644)
    assert ids(checks.check_secrecy(None)) == ["notify.W007"]
    (tmp_path / ".env").chmod(0o600)
    assert ids(checks.check_secrecy(None)) == []
