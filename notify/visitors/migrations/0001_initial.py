"""The tables of the page. A database from before this app existed has them already: then they are taken over."""

import django.db.models.functions.datetime
import django.db.models.functions.text
import django.db.models.lookups
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models
from django.utils import translation
from django.utils.translation import gettext

import notify.visitors.names


class CreateUnlessThere(migrations.CreateModel):
    """Creates the table if the database does not have it."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        table = to_state.apps.get_model(app_label, self.name)._meta.db_table
        if table not in schema_editor.connection.introspection.table_names():
            super().database_forwards(app_label, schema_editor, from_state, to_state)


def record_events(apps, schema_editor):
    """Visitors made without signals used to be found by a sweep; those it had not found become events."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        columns = [column.name for column in connection.introspection.get_table_description(cursor, "notify_visitor")]
        if "announced" not in columns:
            return
        cursor.execute("SELECT id, name, created_at FROM notify_visitor WHERE NOT announced ORDER BY id")
        rows = cursor.fetchall()
    Visitor, Event = apps.get_model("visitors", "Visitor"), apps.get_model("notify", "Event")
    with translation.override(settings.LANGUAGE_CODE):
        subject = gettext("New visitor")
    events = [
        Event(
            topic="new_visitor",
            key=str(visitor.pk),
            subject=subject,
            summary=" ".join(visitor.name.split()),
            url=f"{settings.FLASKY_URL}/admin/visitors/visitor/{visitor.pk}/change/",
            created_at=visitor.created_at,
        )
        for visitor in Visitor.objects.using(connection.alias).filter(pk__in=[row[0] for row in rows]).order_by("pk")
    ]
    Event.objects.using(connection.alias).bulk_create(events, batch_size=500, ignore_conflicts=True)


def drop_announced(apps, schema_editor):
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        columns = [column.name for column in connection.introspection.get_table_description(cursor, "notify_visitor")]
    # It has a default in the database, so it does no harm where it cannot be dropped (SQLite before 3.35.5).
    if "announced" in columns and getattr(connection.features, "can_alter_table_drop_column", True):
        schema_editor.execute("ALTER TABLE notify_visitor DROP COLUMN announced")


def keep_permissions(apps, schema_editor):
    """Permissions and the admin's log belong to a content type: it moves to this app, with all that refers to it."""
    if "django_content_type" in schema_editor.connection.introspection.table_names():
        schema_editor.execute(
            "UPDATE django_content_type SET app_label = 'visitors'"
            " WHERE app_label = 'notify' AND model IN ('visitor', 'clientslot')"
        )


class Migration(migrations.Migration):
    initial = True

    dependencies = [("notify", "0002_event_context_and_bodies")]

    operations = [
        CreateUnlessThere(
            name="Visitor",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(
                        max_length=64,
                        unique=True,
                        validators=[notify.visitors.names.validate],
                        verbose_name="name",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        default=django.utils.timezone.now,
                        editable=False,
                        verbose_name="first seen",
                    ),
                ),
            ],
            options={
                "db_table": "notify_visitor",
                "verbose_name": "visitor",
                "verbose_name_plural": "visitors",
                "ordering": ["-id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.GreaterThan(django.db.models.functions.text.Length("name"), 0),
                            django.db.models.lookups.LessThanOrEqual(
                                django.db.models.functions.text.Length("name"), 64
                            ),
                        ),
                        name="visitor_name_length",
                    )
                ],
            },
        ),
        CreateUnlessThere(
            name="ClientSlot",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("slot", models.BigIntegerField(verbose_name="tens of seconds since 1970")),
                ("client", models.CharField(max_length=32, verbose_name="keyed hash of the address")),
                ("posts", models.PositiveIntegerField(default=0, verbose_name="posts")),
            ],
            options={
                "db_table": "notify_clientslot",
                "verbose_name": "posts of a client",
                "verbose_name_plural": "posts of clients",
                "constraints": [models.UniqueConstraint(fields=("slot", "client"), name="client_slot_once")],
            },
        ),
        migrations.RunPython(record_events, elidable=True),
        migrations.RunPython(drop_announced, elidable=True),
        migrations.RunPython(keep_permissions, elidable=True),
    ]
