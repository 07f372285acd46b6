"""Drops the column whose content 0003 moved."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notify", "0003_move_bodies")]

    operations = [
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
