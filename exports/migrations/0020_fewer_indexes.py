"""Drop the indexes that those of 0019 replace, in a transaction: SQLite copies the table, and would lose a new row."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("exports", "0019_history_indexes"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.RemoveIndex(model_name="filerequest", name="exports_queue"),
        migrations.RemoveIndex(model_name="filerequest", name="exports_leases"),
        migrations.AlterField(
            model_name="filerequest",
            name="file_type",
            field=models.CharField(blank=True, max_length=100, verbose_name="file type"),
        ),
        migrations.AlterField(
            model_name="filerequest",
            name="requester",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="requested_downloads",
                to=settings.AUTH_USER_MODEL,
                verbose_name="requester",
            ),
        ),
    ]
