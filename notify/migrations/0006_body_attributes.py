"""Adds what a message has beside its bytes, for transports that read fields: templates, tags, display names."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notify", "0005_plain_labels")]

    operations = [
        migrations.AddField(
            model_name="body",
            name="attributes",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="attributes"),
        ),
    ]
