from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def copy_down(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """What was stored before has its actor among its objects, and beside each object what feeds are sorted by."""
    quote = schema_editor.quote_name
    action = quote(apps.get_model("footfall_storage", "Action")._meta.db_table)
    of_it = quote(apps.get_model("footfall_storage", "ActionObject")._meta.db_table)
    schema_editor.execute(f"UPDATE {action} SET renewed = timestamp, changed = timestamp")
    copied = ("verb", "level", "timestamp", "renewed", "changed")
    values = ", ".join(f"{name} = {action}.{name}" for name in copied)
    schema_editor.execute(f"UPDATE {of_it} SET {values} FROM {action} WHERE {action}.id = {of_it}.action_id")
    names = ", ".join(copied)
    schema_editor.execute(
        f"INSERT INTO {of_it} (action_id, role, object_type, object_id, {names})"
        f" SELECT id, 'a', actor_type, actor_id, {names} FROM {action} WHERE actor_type <> ''"
        " ON CONFLICT (action_id, role, object_type, object_id) DO NOTHING"
    )
    stamp = quote(apps.get_model("footfall_storage", "ActionStamp")._meta.db_table)
    schema_editor.execute(
        f"INSERT INTO {stamp} (id, at) SELECT 1, MAX(changed) FROM {action} HAVING COUNT(*) > 0"
        " ON CONFLICT (id) DO NOTHING"
    )


class Migration(migrations.Migration):
    dependencies = [
        ("footfall_storage", "0004_actions_feeds_trackers"),
    ]

    operations = [migrations.RunPython(copy_down, migrations.RunPython.noop, elidable=True)]
