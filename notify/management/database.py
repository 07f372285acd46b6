"""What commands say where the database does not answer, or its tables are older than the code."""

import contextlib
from collections.abc import Iterator

from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError
from django.utils.translation import gettext as _

from notify.operations import machines
from notify.smtp.failure import one_line


@contextlib.contextmanager
def errors_explained(advice: str = "") -> Iterator[None]:
    """Raise CommandError for an error of the database; `advice` follows where it is unavailable."""
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        refuse_old_tables()
        said = one_line(str(error))
        raise CommandError(" ".join([_("The database does not answer: %s.") % said, advice]).strip()) from error


def refuse_old_tables() -> None:
    """CommandError where migrations of the app are not applied. An unavailable database is not reported here."""
    with contextlib.suppress(DatabaseError, InterfaceError):
        if machines.unapplied_migrations("notify"):
            raise CommandError(_("The outbox's tables are missing or out of date: run `manage.py migrate`."))
