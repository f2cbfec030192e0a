from django.db import migrations, models


class Migration(migrations.Migration):
    """After the rows have what the indexes are over: then each is built once."""

    dependencies = [
        ("footfall_storage", "0005_actors_and_what_feeds_read"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="action",
            index=models.Index(fields=["actor_type", "actor_id", "verb", "-timestamp"], name="footfall_action_group"),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(fields=["-timestamp", "-id"], name="footfall_action_recent"),
        ),
        migrations.AddIndex(
            model_name="actionobject",
            index=models.Index(
                fields=["object_type", "object_id", "role", "-timestamp", "-action", "verb", "level"],
                name="footfall_actionobject_feed",
            ),
        ),
        migrations.AddIndex(
            model_name="actionobject",
            index=models.Index(
                fields=["object_type", "object_id", "role", "-changed"], name="footfall_actionobject_new"
            ),
        ),
        migrations.AddIndex(
            model_name="actionobject",
            index=models.Index(
                fields=["object_type", "role", "-timestamp", "-action"], name="footfall_actionobject_tfeed"
            ),
        ),
        migrations.AddIndex(
            model_name="actionobject",
            index=models.Index(fields=["object_type", "role", "-changed"], name="footfall_actionobject_tnew"),
        ),
        migrations.AddIndex(
            model_name="actionobject",
            index=models.Index(
                condition=models.Q(("renewed__gt", models.F("timestamp"))),
                fields=["object_type", "object_id", "role", "-renewed"],
                name="footfall_actionobject_grown",
            ),
        ),
        migrations.AddIndex(
            model_name="actionobject",
            index=models.Index(
                condition=models.Q(("renewed__gt", models.F("timestamp"))),
                fields=["object_type", "role", "-renewed"],
                name="footfall_actionobject_tgrown",
            ),
        ),
    ]
