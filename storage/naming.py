"""What the marks' methods are given: models, rows and objects, however they are named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Manager, QuerySet

from footfall.storage.handlerefoptions import keeps_account
from footfall.storage.marks import label_of
from footfall.storage.models import KEY_LENGTH
from footfall.storage.softdeletion import DELETED
from footfall.storage.suggestions import near

#: What can stand for a set of rows: a queryset, a manager, a model or its label.
Rows = QuerySet[Any] | Manager[Any] | type[models.Model] | str


def model_of(model: type[models.Model] | models.Model | str) -> type[models.Model]:
    """The model of a class, an instance, or a label ``app_label.model``.

    Raises LookupError for a label that is not an installed model's, TypeError for what is none of these.
    """
    if isinstance(model, models.Model):
        return model.__class__
    if isinstance(model, type) and issubclass(model, models.Model):
        return model
    if not isinstance(model, str):
        raise TypeError(f"A model is a class, an instance of it, or its label, not {model!r}.")
    try:
        return apps.get_model(model)
    except (LookupError, ValueError):
        known = [one._meta.label for one in apps.get_models()]
        raise LookupError(f"There is no installed model {model[:80]!r}.{near(model[:80], known)}") from None


def rows_of(objects: Rows) -> QuerySet[Any]:
    """What stands for rows, as a queryset. Raises like `model_of`.

    A model's are those of its default manager that are not deleted softly.
    """
    if isinstance(objects, QuerySet):
        return objects
    if isinstance(objects, Manager):
        return objects.all()
    if isinstance(objects, (str, type)):
        model = model_of(objects)
        rows = model._default_manager.all()
        return rows.exclude(status=DELETED) if keeps_account(model) else rows
    raise TypeError(f"A queryset, a manager, a model or its label is needed, not {objects!r}.")


def of_rows(rows: QuerySet[Any]) -> Iterator[tuple[str, str]]:
    """Label and id of each of ``rows``. One query. Raises ValueError for a key that marks can't hold."""
    label = label_of(rows.model)
    return ((label, _fitting(label, str(pk))) for pk in rows.values_list("pk", flat=True))


def object_of(instance: Any) -> tuple[str, str]:
    """Label and id of an object. Raises ValueError for an unsaved one or a key that marks can't hold, TypeError."""
    if not isinstance(instance, models.Model):
        raise TypeError(f"{instance!r} is not a model instance.")
    if instance.pk is None or instance._state.adding:
        raise ValueError(f"{instance._meta.label} instance is not saved: it has no identity yet.")
    label = label_of(instance.__class__)
    return label, _fitting(label, key_of(instance))


def key_of(instance: models.Model) -> str:
    """The primary key of an object as text. Raises ValueError for what is no such key."""
    field: Any = instance._meta.pk
    try:
        return str(field.to_python(instance.pk))  # one that was made with the text of its key still has that
    except ValidationError:
        raise ValueError(f"{str(instance.pk)[:80]!r} is no primary key of a {instance._meta.label}.") from None


def _fitting(label: str, key: str) -> str:
    if not 0 < len(key) <= KEY_LENGTH:  # a blank one would stand for the whole model
        raise ValueError(f"The primary key of a {label} is empty or has more than {KEY_LENGTH} characters.")
    return key
