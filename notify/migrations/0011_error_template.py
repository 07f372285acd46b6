"""The template of server errors has moved: those that are waiting keep their report in the mail."""

from django.db import migrations


def rename(apps, schema_editor):
    events = apps.get_model("notify", "Event").objects
    events.filter(notified_at=None, template="mail/error").update(template="notify/mail/error")


class Migration(migrations.Migration):
    dependencies = [("notify", "0010_alerts")]

    operations = [migrations.RunPython(rename, migrations.RunPython.noop, elidable=True)]
