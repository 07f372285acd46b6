"""Texts of choices and fields only: nothing changes in the database."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('notify', '0004_drop_moved_columns'),
    ]

    operations = [
        migrations.AlterField(
            model_name='attempt',
            name='decision',
            field=models.CharField(choices=[('sent', 'sent'), ('retry', 'try again'), ('fail', 'failed permanently'), ('down', 'delivery interrupted'), ('hold', 'delivery on hold')], max_length=10, verbose_name='decision'),
        ),
        migrations.AlterField(
            model_name='hourlycount',
            name='outcome',
            field=models.CharField(choices=[('sent', 'sent'), ('retry', 'try again'), ('fail', 'failed permanently'), ('down', 'delivery interrupted'), ('hold', 'delivery on hold')], max_length=10, verbose_name='outcome'),
        ),
        migrations.AlterField(
            model_name='message',
            name='expires_at',
            field=models.DateTimeField(verbose_name='expires'),
        ),
        migrations.AlterField(
            model_name='relay',
            name='failures',
            field=models.PositiveIntegerField(default=0, verbose_name='failed attempts since'),
        ),
        migrations.AlterField(
            model_name='relay',
            name='state',
            field=models.CharField(choices=[('open', 'working'), ('down', 'interrupted'), ('held', 'on hold'), ('paused', 'paused')], default='open', max_length=10, verbose_name='state'),
        ),
    ]
