"""Adds what the worker needs to build an event's mail, and a table of bodies shared by recipients."""

import django.db.models.deletion
from django.db import migrations, models

OUTCOMES = [
    ("sent", "sent"),
    ("retry", "try again"),
    ("fail", "failed for good"),
    ("down", "relay down"),
    ("hold", "relay held"),
]


class Migration(migrations.Migration):
    dependencies = [("notify", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Body",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("mime", models.BinaryField(verbose_name="MIME")),
            ],
            options={"verbose_name": "body", "verbose_name_plural": "bodies"},
        ),
        migrations.AddField(
            model_name="message",
            name="body",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="messages",
                to="notify.body",
                verbose_name="body",
            ),
        ),
        migrations.AddField(
            model_name="event",
            name="template",
            field=models.CharField(blank=True, db_default="", default="", max_length=200, verbose_name="template"),
        ),
        migrations.AddField(
            model_name="event",
            name="context",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="context"),
        ),
        migrations.AddField(
            model_name="event",
            name="failures",
            field=models.PositiveSmallIntegerField(db_default=0, default=0, verbose_name="template failures"),
        ),
        migrations.AddField(
            model_name="event",
            name="retry_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="next attempt"),
        ),
        migrations.AddField(
            model_name="event",
            name="error",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="template error"),
        ),
        migrations.AlterField(
            model_name="event",
            name="message_id",
            field=models.CharField(blank=True, max_length=255, verbose_name="Message-ID of the notification"),
        ),
        migrations.AlterField(
            model_name="event",
            name="notified_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="notified"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                condition=models.Q(("error", ""), _negated=True), fields=["id"], name="event_failing"
            ),
        ),
        migrations.AddField(
            model_name="window",
            name="retry_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="next attempt"),
        ),
        migrations.AlterField(
            model_name="window", name="opened_at", field=models.DateTimeField(null=True, verbose_name="opened")
        ),
        migrations.AlterField(
            model_name="attempt",
            name="decision",
            field=models.CharField(choices=OUTCOMES, max_length=10, verbose_name="decision"),
        ),
        migrations.AlterField(
            model_name="hourlycount",
            name="outcome",
            field=models.CharField(choices=OUTCOMES, max_length=10, verbose_name="outcome"),
        ),
        migrations.AlterField(
            model_name="message",
            name="uncertain",
            field=models.BooleanField(
                default=False,
                help_text="No reply was received; it may be delivered twice.",
                verbose_name="outcome unknown",
            ),
        ),
    ]
