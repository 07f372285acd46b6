"""Moves each message's bytes to the table of bodies, and records events for visitors nobody was notified of.

Reads and writes within the database: a body never passes through this process.
"""

from django.conf import settings
from django.db import migrations
from django.utils import translation
from django.utils.translation import gettext


def move_bodies(apps, schema_editor):
    schema_editor.execute("INSERT INTO notify_body (id, mime) SELECT id, mime FROM notify_message WHERE body_id IS NULL")
    schema_editor.execute("UPDATE notify_message SET body_id = id WHERE body_id IS NULL")
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "SELECT setval(pg_get_serial_sequence('notify_body', 'id'), coalesce(max(id), 1), max(id) IS NOT NULL)"
            " FROM notify_body"
        )


def record_events(apps, schema_editor):
    """Visitors made without signals were found by a sweep, which is no more; those it had not found are events now."""
    database = schema_editor.connection.alias
    Visitor, Event = apps.get_model("notify", "Visitor"), apps.get_model("notify", "Event")
    with translation.override(settings.LANGUAGE_CODE):
        subject = gettext("New visitor")
    batch = []
    for visitor in Visitor.objects.using(database).filter(announced=False).order_by("pk").iterator():
        batch.append(
            Event(
                topic="new_visitor",
                key=str(visitor.pk),
                subject=subject,
                summary=" ".join(visitor.name.split()),
                url=f"{settings.FLASKY_URL}/admin/notify/visitor/{visitor.pk}/change/",
                created_at=visitor.created_at,
            )
        )
    Event.objects.using(database).bulk_create(batch, batch_size=500, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("notify", "0002_event_context_and_bodies")]

    operations = [
        migrations.RunPython(move_bodies, elidable=True),
        migrations.RunPython(record_events, elidable=True),
    ]
