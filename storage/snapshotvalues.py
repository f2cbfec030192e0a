"""Values of snapshots: read from what django-reversion has stored, and compared with what an object holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, time
from typing import Any

from django.core import serializers
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models

from footfall.storage.objectversions import TECHNICAL


def values_of(model: type[models.Model], stored: Any) -> dict[str, Any]:
    """What the snapshot holds of the fields that ``model`` still has. Raises whatever a text that is none may raise."""
    if stored.format == "json":
        # Not by Django's deserializer: it would fill in, for a field that was added later, what new objects have.
        (row,) = json.loads(stored.serialized_data)
        key = model._meta.pk
        held = {key.name: row.get("pk", stored.object_id), **row["fields"]}
        return {
            field.attname: _python(field, value)
            for name, value in held.items()
            if (field := _field(model, name)) is not None
        }
    (row,) = serializers.deserialize(stored.format, stored.serialized_data, ignorenonexistent=True)
    fields = [field for field in model._meta.concrete_model._meta.local_concrete_fields if field.name not in TECHNICAL]  # type: ignore[union-attr]  # never None
    values = {field.attname: _plain(field, getattr(row.object, field.attname)) for field in fields}
    return {**values, **{name: in_order(keys) for name, keys in (row.m2m_data or {}).items()}}


def _field(model: type[models.Model], name: str) -> Any:
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return field if isinstance(field, models.Field) and name not in TECHNICAL else None


def _python(field: Any, value: Any) -> Any:
    """The value as the model has it; as it is stored where it does not fit any more."""
    try:
        if field.many_to_many:
            return in_order(field.related_model._meta.pk.to_python(key) for key in value)
        return _plain(field, field.to_python(value))
    except (TypeError, ValueError, ValidationError):
        return value


def _plain(field: Any, value: Any) -> Any:
    if isinstance(value, memoryview):
        return bytes(value)
    return str(value) if isinstance(field, models.FileField) and value is not None else value


def in_order(keys: Iterable[Any]) -> list[Any]:
    """Keys in one order, whatever that of the related objects was."""
    found = list(keys)
    try:
        return sorted(found)
    except TypeError:
        return sorted(found, key=str)


def held_by(obj: Any, name: str) -> Any:
    """What ``obj`` holds in a field of a snapshot, as snapshots have it; None where it has no such field."""
    value = getattr(obj, name, None)
    return in_order(value.values_list("pk", flat=True)) if isinstance(value, models.Manager) else value


def is_same(current: Any, then: Any) -> bool:
    """Whether what an object holds is what a snapshot says of it, which may have cut it to the millisecond."""
    if isinstance(current, datetime | time) and isinstance(then, datetime | time):
        return current == then or _cut(current) == then
    return bool(current == then)


def _cut(value: datetime | time) -> datetime | time:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)
