"""Text of a label only: nothing changes in the database."""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('notify', '0011_error_template'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='relay',
            options={'verbose_name': 'relay', 'verbose_name_plural': 'dashboard'},
        ),
    ]
