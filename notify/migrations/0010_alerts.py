"""A table for reports outside of mail, and an index for counting the failures of an hour."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('notify', '0009_oauth_token'),
    ]

    operations = [
        migrations.CreateModel(
            name='Alert',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('about', models.CharField(choices=[('delivery', 'delivery'), ('failures', 'failed messages'), ('heartbeat', 'heartbeat'), ('test', 'test')], max_length=10, verbose_name='about')),
                ('kind', models.CharField(choices=[('works', 'works'), ('overdue', 'overdue'), ('down', 'interrupted'), ('held', 'on hold'), ('failures', 'many failures')], max_length=10, verbose_name='kind')),
                ('previous', models.BigIntegerField(default=0, verbose_name='the alert before it')),
                ('since', models.DateTimeField(verbose_name='since')),
                ('created_at', models.DateTimeField(verbose_name='noticed')),
                ('title', models.CharField(max_length=200, verbose_name='title')),
                ('text', models.TextField(blank=True, verbose_name='text')),
                ('due_at', models.DateTimeField(blank=True, null=True, verbose_name='due')),
                ('attempts', models.IntegerField(default=0, verbose_name='attempts')),
                ('results', models.JSONField(blank=True, default=list, verbose_name='results')),
            ],
            options={
                'verbose_name': 'alert',
                'verbose_name_plural': 'alerts',
                'ordering': ['-id'],
            },
        ),
        migrations.AddIndex(
            model_name='attempt',
            index=models.Index(condition=models.Q(('decision', 'fail')), fields=['at'], name='attempt_failed'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.UniqueConstraint(fields=('about', 'previous'), name='alert_once'),
        ),
    ]
