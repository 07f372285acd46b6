"""The event's row: one INSERT in the transaction of what happened. Nothing is rendered, read or locked here.

The context of its template is kept as JSON until a worker renders the mail. Values come back as they were given: what
JSON has no type for is tagged. Model instances are kept by reference and loaded again, as Rails' Action Mailer does
with GlobalID, so that a mail never shows stale data or a pickled object.
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist
from django.db import DEFAULT_DB_ALIAS, connection, models
from django.utils.dateparse import parse_duration
from django.utils.duration import duration_iso_string
from django.utils.functional import Promise
from django.utils.safestring import SafeString

from notify import clock, conf
from notify.models import Event
from notify.rendering.message import Text, in_site_language, one_line

TAG = "$type"
_ADVICE = (
    "pass strings, numbers, booleans, None, dates and times, Decimal, UUID, saved model instances, "
    "or lists and dicts (with string keys) of these"
)

_LIMITS = {"topic": 100, "key": 200, "url": 500, "template": 200}  # characters, as the columns have them

_COLUMNS = ("topic", "key", "subject", "summary", "url", "template", "context", "message_id")
# Not bulk_create(ignore_conflicts=True), which takes twice the time: the visitor waits for this statement.
_INSERT = f"""
    INSERT INTO "notify_event" ({", ".join(f'"{column}"' for column in _COLUMNS)}, "created_at", "notified_at")
    VALUES ({", ".join(["%s"] * len(_COLUMNS))}, {{created_at}}, {{notified_at}}) ON CONFLICT DO NOTHING
"""  # noqa: S608  (only names of columns are put in)


class ObjectGone(Exception):
    """A model instance in the context was deleted since. The event is then mailed by its summary and link."""


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
    exact = {"topic": topic, "key": key, "url": url, "template": template}
    for name, value in {**exact, "subject": subject, "summary": summary}.items():
        if not isinstance(value, (str, Promise)):
            raise TypeError(f"notify_admins: {name} is a {type(value).__name__}, not a string")
    for name, value in exact.items():
        if storable(value) != value:
            raise ValueError(f"notify_admins: {name} contains NUL or a lone surrogate")
        if len(value) > _LIMITS[name]:
            raise ValueError(f"notify_admins: {name} has {len(value)} characters, {_LIMITS[name]} at most")
    row = {
        "topic": str(topic),
        "key": str(key),
        "subject": storable(in_site_language(subject))[:200],
        "summary": storable(one_line(summary))[:500],
        "url": str(url),
        "template": str(template),
        "context": dump_context(context),
        "message_id": "",
    }
    # By the database's clock: an interval must not depend on which machine an event happened on.
    now, moment = "statement_timestamp()", []
    if isinstance(stamp := clock.stamp(), datetime):
        now, moment = "%s", [Event._meta.get_field("created_at").get_db_prep_value(stamp, connection)]
    has_admins = bool(conf.admins())  # without them there is no one to notify, now or later
    times = {"created_at": now, "notified_at": "NULL" if has_admins else now}
    values = [row[column] for column in _COLUMNS] + moment * (1 if has_admins else 2)
    with connection.cursor() as cursor:
        cursor.execute(_INSERT.format(**times), values)


def storable(text: str) -> str:
    """Without what PostgreSQL does not take (NUL) and UTF-8 cannot hold (lone surrogates)."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def dump_context(context: Mapping[str, Any]) -> str:
    """A template's context as ASCII JSON. Raises TypeError for a value that cannot be kept, naming its key."""
    return json.dumps({key: _kept(value, key) for key, value in context.items()}) if context else ""


def load_context(text: str) -> dict[str, Any]:
    """What `dump_context` was given. Raises ObjectGone."""
    return {key: _unpacked(value) for key, value in json.loads(text).items()} if text else {}


def _kept(value: Any, key: str) -> Any:
    try:
        return _packed(value, key)
    except RecursionError:
        raise TypeError(f"notify_admins: {key} is nested too deeply, or contains itself") from None


def _packed(value: Any, key: str) -> Any:
    match value:
        case SafeString():  # keeps its mark: it is not escaped again
            return {TAG: "safe", "value": str.__str__(value)}
        case Promise():
            return _packed(in_site_language(value), key)  # which may be a SafeString
        case None | bool() | int():
            return value
        case str():
            return str.__str__(value)
        case float() if math.isfinite(value):
            return value
        case models.Model():
            return _reference(value, key)
        case Mapping() if all(isinstance(name, str) for name in value) and TAG not in value:
            return {name: _packed(each, f"{key}[{name!r}]") for name, each in value.items()}
        case list() | tuple():
            return [_packed(each, f"{key}[{number}]") for number, each in enumerate(value)]
    for name, (kind, write, _) in _TAGGED.items():
        if isinstance(value, kind):
            return {TAG: name, "value": write(value)}
    raise TypeError(f"notify_admins: {key} is a {type(value).__name__}, which cannot be kept: {_ADVICE}")


def _reference(instance: models.Model, key: str) -> dict[str, Any]:
    if instance.pk is None or instance._state.adding:
        name = type(instance).__name__
        raise TypeError(f"notify_admins: {key} is a {name} that is not saved; save it first, or pass its values")
    database = instance._state.db or DEFAULT_DB_ALIAS
    reference = {TAG: "model", "model": instance._meta.label_lower, "pk": _packed(instance.pk, f"{key}.pk")}
    return reference if database == DEFAULT_DB_ALIAS else {**reference, "database": database}


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(each) for each in value]
    if not isinstance(value, dict):
        return value
    match value.get(TAG):
        case None:
            return {name: _unpacked(each) for name, each in value.items()}
        case "safe":
            return SafeString(value["value"])  # nosec  (the caller marked it)
        case "model":
            return _loaded(value)
        case name:
            return _TAGGED[name][2](value["value"])


def _loaded(reference: dict[str, Any]) -> models.Model:
    try:
        # Not from where a router reads: a replica that lags behind does not have the row yet.
        database = reference.get("database", DEFAULT_DB_ALIAS)
        manager = apps.get_model(reference["model"])._base_manager.using(database)
        instance: models.Model = manager.get(pk=_unpacked(reference["pk"]))
        return instance
    except (LookupError, ObjectDoesNotExist) as error:
        raise ObjectGone(f"{reference['model']} {reference['pk']} is gone") from error


# Types that JSON does not have, by tag: how each is written and read. A datetime is a date, so it comes first.
_TAGGED: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "timedelta": (timedelta, duration_iso_string, parse_duration),
    "decimal": (Decimal, str, Decimal),
    "uuid": (UUID, str, UUID),
}
