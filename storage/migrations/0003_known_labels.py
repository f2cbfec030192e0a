from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def enter_what_was_counted(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """A label that was counted before there was a list of them is not new."""
    quote = schema_editor.quote_name
    known = quote(apps.get_model("footfall_storage", "KnownLabel")._meta.db_table)
    counted = quote(apps.get_model("footfall_storage", "Statistic")._meta.db_table)
    schema_editor.execute(
        f"INSERT INTO {known} (label, category, dom_id, first_day)"
        f" SELECT label, category, dom_id, MIN(day) FROM {counted} WHERE true GROUP BY label, category, dom_id"
        " ON CONFLICT (label, category, dom_id) DO NOTHING"
    )


class Migration(migrations.Migration):
    dependencies = [
        ("footfall_storage", "0002_seen_labels_once"),
    ]

    operations = [migrations.RunPython(enter_what_was_counted, migrations.RunPython.noop, elidable=True)]
