"""System checks of the site's configuration: files that others can read, doubtful variables, an unwanted inbox."""

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.utils.translation import gettext as _

SHOWN = 5  # paths that a warning names


@register(Tags.security)
def check_secrecy(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    root = settings.BASE_DIR
    exposed = [path for path in _private() if _others_can_read(path)]
    shown = [str(path.relative_to(root) if path.is_relative_to(root) else path) for path in exposed]
    if not shown:
        return []
    return [
        Warning(
            _("%s can be read by other users of this machine.") % ", ".join(shown[:SHOWN]),
            hint=_("Run: %s") % f"chmod go= {shlex.join(shown)}",
            id="notify.W007",
        )
    ]


def _private() -> Iterator[Path]:
    """What holds secrets, names and mails: .env, the database, and what is written at run time."""
    yield settings.BASE_DIR / ".env"
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        yield from (Path(f"{database['NAME']}{suffix}") for suffix in ("", "-wal", "-shm", "-journal"))
    folder = settings.VAR_DIR
    yield folder
    # Static files are public.
    yield from (path for path in sorted(folder.rglob("*")) if path.relative_to(folder).parts[0] != "static")


def _others_can_read(path: Path) -> bool:
    if os.name != "posix":
        return False
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return not stat.S_ISLNK(mode) and bool(mode & (stat.S_IRWXG | stat.S_IRWXO))


@register()
def check_environment(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    return [Warning(doubt, id="flasky.W001") for doubt in settings.ENVIRONMENT_DOUBTS]


@register()
def check_inbox(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.MAIL_BACKEND != "inbox":
        return []
    hint = _("To send mail, set MAIL_BACKEND=smtp.")
    if not settings.DEBUG:
        problem = _("MAIL_BACKEND=inbox sends no mail, and without DEBUG no page shows what it keeps.")
        return [Warning(problem, hint=hint, id="flasky.W002")]
    named = [name for name in ("MAIL_SERVICE", "MAIL_SERVER") if getattr(settings, name)]
    if not named:
        return []
    problem = _("%s is set, but MAIL_BACKEND=inbox keeps all mail on this machine.") % named[0]
    return [Warning(problem, hint=hint, id="flasky.W003")]
