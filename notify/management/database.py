"""What commands say when the database does not serve them."""

import contextlib
from collections.abc import Iterator

from django.core.management.base import CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils.translation import gettext as _

from notify.smtp.failure import one_line


@contextlib.contextmanager
def errors_explained(advice: str = "") -> Iterator[None]:
    """A DatabaseError inside is a CommandError with its cause; `advice` follows where the database is away."""
    try:
        yield
    except DatabaseError as error:
        refuse_old_tables()
        said = one_line(str(error))
        raise CommandError(" ".join([_("The database does not answer: %s.") % said, advice]).strip()) from error


def refuse_old_tables() -> None:
    """CommandError where migrations are to be run. A database that is away is nobody's fault here, and passes."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes("notify"))
    except DatabaseError:
        return
    if missing:
        raise CommandError(_("The outbox's tables are missing or out of date: run `manage.py migrate`."))
