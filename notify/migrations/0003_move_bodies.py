"""Moves each message's bytes to the table of bodies, within the database: none pass through this process."""

from django.db import migrations


def move_bodies(apps, schema_editor):
    schema_editor.execute("INSERT INTO notify_body (id, mime) SELECT id, mime FROM notify_message WHERE body_id IS NULL")
    schema_editor.execute("UPDATE notify_message SET body_id = id WHERE body_id IS NULL")
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "SELECT setval(pg_get_serial_sequence('notify_body', 'id'), coalesce(max(id), 1), max(id) IS NOT NULL)"
            " FROM notify_body"
        )


class Migration(migrations.Migration):
    dependencies = [("notify", "0002_event_context_and_bodies")]

    operations = [
        migrations.RunPython(move_bodies, migrations.RunPython.noop, elidable=True),
    ]
