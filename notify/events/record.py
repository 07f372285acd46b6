"""The event's row: one INSERT in the transaction of whatever happened. Nothing is rendered, read or locked here."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.functional import Promise

from notify.events import context as contexts
from notify.rendering.message import Text, in_site_language, one_line

_LIMITS = {"topic": 100, "key": 200, "url": 500, "template": 200}  # characters, as the columns have them

_COLUMNS = (
    *("topic", "key", "subject", "summary", "url", "template", "context"),
    *("created_at", "notified_at", "message_id"),
)
# Not bulk_create(ignore_conflicts=True), which takes twice the time: the visitor waits for this statement.
_INSERT = f"""
    INSERT INTO "notify_event" ({", ".join(f'"{column}"' for column in _COLUMNS)})
    VALUES ({", ".join(["%s"] * len(_COLUMNS))}) ON CONFLICT DO NOTHING
"""  # noqa: S608  (only names of columns are put in)


def record(
    topic: str,
    subject: Text,
    template: str,
    context: Mapping[str, Any],
    *,
    key: str,
    summary: str,
    url: str,
) -> None:
    """Keep an event until a worker mails it; one that is already known by `topic` and `key` is left as it is.

    Raises TypeError and ValueError as `notify_admins` says, and DatabaseError.
    """
    for name, value in (("topic", topic), ("key", key), ("url", url), ("template", template)):
        if not isinstance(value, (str, Promise)):
            raise TypeError(f"notify_admins: {name} is a {type(value).__name__}, not a string")
        if storable(value) != value:
            raise ValueError(f"notify_admins: {name} contains NUL or a lone surrogate")
        if len(value) > _LIMITS[name]:
            raise ValueError(f"notify_admins: {name} has {len(value)} characters, {_LIMITS[name]} at most")
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    row = {
        "topic": str(topic),
        "key": str(key),
        "subject": storable(in_site_language(subject))[:200],
        "summary": storable(one_line(summary))[:500],
        "url": str(url),
        "template": str(template),
        "context": contexts.dump(context),
        "created_at": now,
        # Without administrators there is no one to notify, now or later.
        "notified_at": None if settings.FLASKY_ADMIN else now,
        "message_id": "",
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [row[column] for column in _COLUMNS])


def storable(text: str) -> str:
    """Without what PostgreSQL does not take (NUL) and UTF-8 cannot hold (lone surrogates)."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
