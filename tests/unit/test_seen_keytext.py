"""Primary keys as text in SQL: written as Python writes them, and read back."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, models
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django.test.utils import isolate_apps
from newsroom.models import Article, Page, Topic

from footfall.storage.keytext import key_from_text, key_text
from footfall.storage.models import ViewMark
from footfall.storage.viewtracker import ViewTracker

pytestmark = pytest.mark.django_db

MODELS: tuple[type[models.Model], ...] = (Article, Topic, Page)
NO_KEYS = ["", "café", "1.5", " 1", "+1", "007", "9" * 19, "9" * 40, "1e3", "ffff", "%s", "it's", "-", "\u0663"]


def things() -> list[models.Model]:
    """Saved objects with every kind of key, at the ends of what the keys hold."""
    numbers = (1, -1, 0, 2**63 - 1, -(2**63))
    slugs = ("café", "100%", "it's", "a b", "-", "1", "A", "a")
    ids = (uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid4())
    return [
        *(Article.objects.create(pk=number, title="a") for number in numbers),
        *(Topic.objects.create(pk=slug) for slug in slugs),
        *(Page.objects.create(pk=key, title="p") for key in ids),
    ]


def test_vt_19_a_key_s_text_is_what_str_writes() -> None:
    saved = things()
    for model in MODELS:
        written = dict(model._default_manager.annotate(text=key_text(model)).values_list("pk", "text"))
        assert written == {one.pk: str(one.pk) for one in saved if isinstance(one, model)}


def test_vt_19_a_key_finds_the_row_that_names_it() -> None:
    """From inside a subquery, too; no row of another model with the same text."""
    reader = User.objects.create(username="reader")
    saved = things()
    for one in saved[::2]:
        ViewMark.objects.create(
            user=reader, object_type=one._meta.label_lower, object_id=str(one.pk), at="2026-01-01T00:00Z"
        )
    for model in MODELS:
        named = ViewMark.objects.filter(object_type=model._meta.label_lower, object_id=key_text(model, OuterRef("pk")))
        found = model._default_manager.filter(Exists(named))
        assert set(found) == {one for one in saved[::2] if isinstance(one, model)}


def test_the_text_becomes_the_key_again() -> None:
    """Beside rows whose text is no such key: those are NULL, never an error."""
    reader = User.objects.create(username="reader")
    saved = things()
    for text in {*NO_KEYS, *(str(one.pk) for one in saved)}:
        ViewMark.objects.create(user=reader, object_type="x.y", object_id=text, at="2026-01-01T00:00Z")
    for model in MODELS[::2]:
        keys = ViewMark.objects.annotate(key=key_from_text(model)).values_list("object_id", "key")
        assert {text: key for text, key in keys if key is not None} == {
            str(one.pk): one.pk for one in saved if isinstance(one, model)
        }
    for model in MODELS:
        wanted = ViewMark.objects.annotate(key=key_from_text(model)).exclude(key=None).values("key")
        assert set(model._default_manager.filter(pk__in=wanted)) == {one for one in saved if isinstance(one, model)}


class _Chosen(models.CharField):  # type: ignore[type-arg]  # takes none at run time
    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value


@isolate_apps("newsroom")
@pytest.mark.parametrize(
    "field",
    [
        models.DecimalField(primary_key=True, max_digits=5, decimal_places=2),
        models.DateField(primary_key=True),
        models.GenericIPAddressField(primary_key=True),
        _Chosen(primary_key=True, max_length=9),
    ],
    ids=["decimal", "date", "address", "a field of one's own"],
)
def test_a_key_that_sql_writes_otherwise_is_refused(field: models.Field[Any, Any]) -> None:
    """With the way out, where there is one."""

    class Odd(models.Model):
        key = field.clone()

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return ""

    for expression in (key_text, key_from_text):
        with pytest.raises(TypeError, match=rf"newsroom.Odd is a {type(field).__name__}"):
            expression(Odd)
    tracker = ViewTracker(User.objects.create(username="reader"))
    with pytest.raises(TypeError, match=rf"newsroom.Odd is a {type(field).__name__}.*flag\(\)"):
        tracker.unseen(Odd._default_manager.annotate(told=Now()), "told")


@isolate_apps("newsroom")
def test_a_key_that_points_elsewhere_has_the_target_s_text() -> None:
    """The key of a child table, or of a table that extends another one to one."""

    class Extra(models.Model):
        page = models.OneToOneField(Page, models.CASCADE, primary_key=True)

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return ""

    page = Page.objects.create(title="p")
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE newsroom_extra (page_id {Page._meta.pk.db_type(connection)} PRIMARY KEY)")
    with connection.cursor() as cursor:
        key = page.pk if connection.vendor == "postgresql" else page.pk.hex
        cursor.execute("INSERT INTO newsroom_extra VALUES (%s)", [key])

    assert list(Extra._default_manager.annotate(text=key_text(Extra)).values_list("text", flat=True)) == [str(page.pk)]
