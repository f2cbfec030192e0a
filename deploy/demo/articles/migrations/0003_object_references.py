from typing import Any

import django.db.models.manager
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps
from django.db.models import F

import footfall.storage.references


def tell_of_what_is_there(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """An article was created when it was published, a comment when it was written; each is in its first version."""
    alias = schema_editor.connection.alias
    articles = apps.get_model("articles", "Article")._base_manager.using(alias)
    articles.update(created=F("published"), version=1)
    comments = apps.get_model("articles", "Comment")._base_manager.using(alias)
    comments.update(created=F("written"), updated=F("written"), version=1)


def account_of(model: str) -> list[migrations.AddField]:
    """What objects of the model keep of themselves from now on."""
    fields: dict[str, models.Field[Any, Any]] = {
        "status": models.CharField(blank=True, default="", max_length=255, verbose_name="Status"),
        "created": footfall.storage.references.CreatedDateTimeField(
            auto_now_add=True, db_index=True, verbose_name="Created"
        ),
        "version": footfall.storage.references.VersionField(
            db_index=True, default=0, editable=False, verbose_name="Version"
        ),
        "change_stamp": footfall.storage.references.ChangeStampField(db_index=True, default=0, editable=False),
        "change_batch": models.UUIDField(blank=True, db_index=True, editable=False, null=True),
        "former_status": models.CharField(blank=True, default="", editable=False, max_length=255),
    }
    return [migrations.AddField(model_name=model, name=name, field=field) for name, field in fields.items()]


class Migration(migrations.Migration):
    dependencies = [
        ("articles", "0002_article_author"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="article",
            options={"base_manager_name": "handleref", "get_latest_by": "updated", "ordering": ("-published", "-id")},
        ),
        migrations.AlterModelOptions(
            name="comment",
            options={"base_manager_name": "handleref", "get_latest_by": "updated", "ordering": ("-written", "-id")},
        ),
        migrations.AlterModelManagers(
            name="article",
            managers=[("handleref", django.db.models.manager.Manager())],
        ),
        migrations.AlterModelManagers(
            name="comment",
            managers=[("handleref", django.db.models.manager.Manager())],
        ),
        *account_of("article"),
        migrations.AlterField(
            model_name="article",
            name="updated",
            field=footfall.storage.references.UpdatedDateTimeField(
                auto_now=True, db_index=True, verbose_name="Updated"
            ),
        ),
        *account_of("comment"),
        migrations.AddField(
            model_name="comment",
            name="updated",
            field=footfall.storage.references.UpdatedDateTimeField(
                auto_now=True, db_index=True, verbose_name="Updated"
            ),
        ),
        migrations.AlterField(
            model_name="article",
            name="slug",
            field=models.SlugField(max_length=100),
        ),
        migrations.AddConstraint(
            model_name="article",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "deleted"), _negated=True),
                fields=("slug",),
                name="articles_article_slug",
            ),
        ),
        migrations.RunPython(tell_of_what_is_there, migrations.RunPython.noop, elidable=True),
    ]
