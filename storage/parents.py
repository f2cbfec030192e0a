"""Which object each row of an old table belongs to: by a path of attributes, or by a value that an object has too.

Some hundred rows at a time, with a bounded number of queries; an object that is gone belongs to nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist, ValidationError
from django.db import models

from footfall.storage.datasets import TrackableData

#: A concrete model and a primary key of it, as a Python value.
Parent = tuple[type[models.Model], Any]


class Link(Protocol):
    """Finds the objects that rows belong to."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The relations that it follows, as attribute paths: to be fetched beforehand, for many rows at once."""

    def find(self, rows: Sequence[models.Model]) -> list[Parent | None]:
        """An object for each row, or None. Raises ValueError for a row that does not say which."""


def follow(row: models.Model, path: str) -> Any:
    """What stands at the end of ``path`` (``attr.attr``), None where it breaks off. Raises AttributeError."""
    value: Any = row
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except ObjectDoesNotExist:
            return None
        if value is None:
            return None
    return value


def relations(model: type[models.Model], path: str) -> tuple[str, type[models.Model] | None, str]:
    """How far ``path`` leads over relations that can be fetched for many rows: that part, its model, and the rest."""
    names, reached = path.split("."), model
    for place, name in enumerate(names):
        field = _field(reached, name)
        if field is None or field.name != name or not (field.many_to_one or field.one_to_one):
            return ".".join(names[:place]), reached, ".".join(names[place:])
        if field.related_model is None:  # a generic one leads anywhere
            return ".".join(names[:place]), reached, ".".join(names[place:])
        reached = field.related_model
    return path, reached, ""


def _field(model: type[models.Model], name: str) -> Any:
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        return None


def link_by_path(model: type[models.Model], path: str) -> Link:
    """The link from rows of ``model`` over ``path``. Raises ValueError where that can't lead to an object."""
    holder, reached, rest = relations(model, path)
    if reached is not None and rest:
        field = _field(reached, rest)
        if field is not None and field.many_to_one and field.related_model is None:
            return _Generic(holder, field)
        if rest == "parent" and issubclass(reached, TrackableData):
            return _Counted(holder)
        if "." not in rest and field is not None:
            raise ValueError(f"{path!r} leads to a field of {reached._meta.label}, not to an object.")
    return _Path(path, (holder,) if holder else ())


@dataclass(frozen=True, slots=True)
class _Path:
    """Over attributes to the object itself."""

    path: str
    paths: tuple[str, ...]

    def find(self, rows: Sequence[models.Model]) -> list[Parent | None]:
        return existing([self._parent_of(row) for row in rows])

    def _parent_of(self, row: models.Model) -> Parent | None:
        found = follow(row, self.path)
        if found is not None and not isinstance(found, models.Model):
            raise ValueError(f"{self.path!r} leads to {found!r}, which is no object.")
        return None if found is None else (_concrete(type(found)), found.pk)


class _Generic:
    """A generic foreign key: by its two columns, since the content type of a model that was removed leads nowhere."""

    def __init__(self, holder: str, field: Any) -> None:
        self.paths: tuple[str, ...] = (holder,) if holder else ()
        self._holder = holder
        self._type = field.model._meta.get_field(field.ct_field)
        self._key: str = field.fk_field

    def find(self, rows: Sequence[models.Model]) -> list[Parent | None]:
        return existing([self._parent_of(row) for row in rows])

    def _parent_of(self, row: models.Model) -> Parent | None:
        holder = follow(row, self._holder) if self._holder else row
        number = None if holder is None else getattr(holder, self._type.attname)
        if number is None:
            return None
        # The manager of content types remembers them.
        content_type = self._type.related_model.objects.get_for_id(number)
        model = content_type.model_class()
        return None if model is None else (_concrete(model), getattr(holder, self._key))


@dataclass(frozen=True, slots=True)
class _Counted:
    """The parent of a dataset's rows, by its two columns."""

    holder: str

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.holder,) if self.holder else ()

    def find(self, rows: Sequence[models.Model]) -> list[Parent | None]:
        return existing([self._parent_of(row) for row in rows])

    def _parent_of(self, row: models.Model) -> Parent | None:
        holder: Any = follow(row, self.holder) if self.holder else row
        if holder is None:
            return None
        try:
            return _concrete(apps.get_model(holder.object_type)), holder.object_id
        except (LookupError, ValueError):
            return None


class MatchLink:
    """The object of ``model`` whose field ``name`` has the value that a row has at ``path``.

    Raises ValueError where ``model`` has no such column, or two objects have the value.
    """

    def __init__(self, source: type[models.Model], path: str, model: type[models.Model], name: str = "pk") -> None:
        holder, _, _ = relations(source, path)
        self.paths: tuple[str, ...] = (holder,) if holder else ()
        self._path = path
        self._model = model
        field = model._meta.pk if name == "pk" else _field(model, name)
        if field is None or not getattr(field, "concrete", False):
            raise ValueError(f"{model._meta.label} has no field {name!r} to be matched.")
        self._field: Any = field

    def find(self, rows: Sequence[models.Model]) -> list[Parent | None]:
        """An object for each row, by one query."""
        values = [_converted(self._field, follow(row, self._path)) for row in rows]
        wanted = {value for value in values if value is not None}
        found: dict[Any, Any] = {}
        pairs = self._model._base_manager.filter(**{f"{self._field.name}__in": wanted})
        for pk, value in pairs.values_list("pk", self._field.attname):
            if found.setdefault(value, pk) != pk:
                raise ValueError(f"several {self._model._meta.label} have the {self._field.name} {value!r}")
        model = _concrete(self._model)
        return [(model, found[value]) if value in found else None for value in values]


def existing(parents: Sequence[Parent | None]) -> list[Parent | None]:
    """The same, with None for those that are gone, and each key as its model has it. One query per model."""
    wanted: dict[type[models.Model], set[Any]] = defaultdict(set)
    keyed = [None if parent is None else (parent[0], _converted(parent[0]._meta.pk, parent[1])) for parent in parents]
    for parent in keyed:
        if parent is not None and parent[1] is not None:
            wanted[parent[0]].add(parent[1])
    there = {model: _there(model, keys) for model, keys in wanted.items()}
    return [None if parent is None or parent[1] not in there.get(parent[0], ()) else parent for parent in keyed]


def _there(model: type[models.Model], keys: Iterable[Any]) -> set[Any]:
    return set(model._base_manager.filter(pk__in=keys).values_list("pk", flat=True))


def _converted(field: Any, value: Any) -> Any:
    """The value as ``field`` has it; None for one that it can't have, and so no row has."""
    while field.remote_field is not None:
        field = field.target_field
    try:
        converted = None if value is None else field.to_python(value)
        field.run_validators(converted)
    except (ValidationError, ValueError, TypeError, OverflowError):
        return None
    return converted


def _concrete(model: type[models.Model]) -> type[models.Model]:
    return model._meta.concrete_model or model
