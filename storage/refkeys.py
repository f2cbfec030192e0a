"""What the two texts of a `Ref` stand for on this site: an installed model, and a primary key of it. No query."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import models

#: The longest key that is stored.
LONGEST = 255


def is_storable(text: str) -> bool:
    """Whether ``text`` may stand in a row, or be asked for: it is no longer than a key, and has no NUL or surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return len(text) <= LONGEST and "\0" not in text


@lru_cache(maxsize=1024)
def installed(label: str) -> type[models.Model] | None:
    """The concrete model ``app_label.model``; None for one that is not installed (any more), or swapped for another."""
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        return None
    return None if model._meta.swapped else model._meta.concrete_model or model


def key_in(model: type[models.Model], text: str) -> Any:
    """The primary key of ``model`` that ``text`` stands for, as a Python value; None where it fits no row."""
    return _key_in(model, text) if is_storable(text) else None


@lru_cache(maxsize=65536)
def _key_in(model: type[models.Model], text: str) -> Any:
    field: Any = model._meta.pk
    while field.remote_field is not None:
        field = field.target_field
    try:
        key = field.to_python(text)
        field.run_validators(key)
    except (ValidationError, ValueError, OverflowError):
        return None
    return key
