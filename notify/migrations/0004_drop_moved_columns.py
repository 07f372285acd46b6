"""Drops the column whose content 0003 moved."""

import django.db.models.deletion
from django.db import migrations, models


def move_late_bodies(apps, schema_editor):
    """Those of messages that a process of the old version stored since 0003, which ids of bodies may have overtaken."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # such a process may still be storing; a migration on SQLite is alone
            cursor.execute("LOCK TABLE notify_message IN ACCESS EXCLUSIVE MODE")
        cursor.execute("SELECT id FROM notify_message WHERE body_id IS NULL ORDER BY id")
        for (message,) in cursor.fetchall():
            cursor.execute("INSERT INTO notify_body (mime) SELECT mime FROM notify_message WHERE id = %s", [message])
            cursor.execute(
                "UPDATE notify_message SET body_id = (SELECT max(id) FROM notify_body) WHERE id = %s", [message]
            )
        if connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a table with checks still to be made cannot be altered


class Migration(migrations.Migration):
    dependencies = [("notify", "0003_move_bodies")]

    operations = [
        migrations.RunPython(move_late_bodies, migrations.RunPython.noop, elidable=True),
        migrations.AlterField(
            model_name="message",
            name="body",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="messages",
                to="notify.body",
                verbose_name="body",
            ),
        ),
        migrations.RemoveField(model_name="message", name="mime"),
    ]
