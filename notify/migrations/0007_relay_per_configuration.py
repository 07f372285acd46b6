"""One row per configuration of the relay. The row there is stays; the ids of later ones begin after it."""

from django.db import migrations, models


def continue_ids(apps, schema_editor):
    """Earlier versions insert the row with its id, which PostgreSQL's sequence does not notice."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "SELECT setval(pg_get_serial_sequence('notify_relay', 'id'), greatest(coalesce(max(id), 1), 1))"
            " FROM notify_relay"
        )


class Migration(migrations.Migration):
    dependencies = [("notify", "0006_body_attributes")]

    operations = [
        migrations.AddField(
            model_name="relay",
            name="workers",
            field=models.JSONField(blank=True, null=True, verbose_name="workers"),
        ),
        migrations.AddConstraint(
            model_name="relay",
            constraint=models.UniqueConstraint(fields=("fingerprint",), name="relay_once"),
        ),
        migrations.RunPython(continue_ids, migrations.RunPython.noop, elidable=True),
    ]
