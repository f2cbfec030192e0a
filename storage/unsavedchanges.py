"""Whether a save would change anything."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from django.db import models


def has_unsaved_changes(
    instance: models.Model, using: str, names: Collection[str] | None, but: Collection[str]
) -> bool:
    """Whether a field of ``instance`` differs from what is stored in the database ``using``, or nothing is stored.

    Of the fields ``names`` (None: all that are loaded), without those in ``but``. An expression, and a file that is yet
    to be stored, differ. Many-to-many relations are no fields of the row. One query. Raises what the fields raise for
    values that they can't hold, as the save would.
    """
    stored = models.QuerySet(instance.__class__, using=using).filter(pk=instance.pk).first()
    return stored is None or any(
        _differs(field, getattr(instance, field.attname), getattr(stored, field.attname))
        for field in instance._meta.concrete_fields
        if field.attname in instance.__dict__ and field.name not in but and not field.generated
        if names is None or field.name in names or field.attname in names
    )


def _differs(field: models.Field[Any, Any], given: Any, stored: Any) -> bool:
    if hasattr(given, "resolve_expression"):
        return True
    if isinstance(field, models.FileField) and given and not given._committed:
        return True
    if isinstance(field, models.JSONField):  # in which true is not 1, as it is in Python
        return _as_json(field, given) != _as_json(field, stored)
    return bool(field.get_prep_value(given) != field.get_prep_value(stored))


def _as_json(field: models.JSONField[Any, Any], value: Any) -> str:
    return json.dumps(value, cls=field.encoder, sort_keys=True)
