"""Additive: a window keeps what a digest of very many events covers while they are marked."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('notify', '0007_relay_per_configuration'),
    ]

    operations = [
        migrations.AddField(
            model_name='window',
            name='digest',
            field=models.CharField(blank=True, db_default='', default='', max_length=255, verbose_name='digest being recorded'),
        ),
        migrations.AddField(
            model_name='window',
            name='digest_to',
            field=models.BigIntegerField(blank=True, null=True, verbose_name='its last event'),
        ),
    ]
