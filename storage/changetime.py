"""When an object last changed: asked of the object itself, or as an expression over its table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db import models
from django.db.models import F, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.utils import timezone

from footfall.storage.clock import stored
from footfall.storage.suggestions import near

#: Where an object's time of change is looked for, in this order, when nobody says.
MODIFICATION_FIELD_NAMES = ("last_modified", "last_updated", "modified", "updated", "changed", "created")

#: What a model may have to say which field tells of its changes, when nobody else says; `HandleRefModel` does.
TOLD_BY = "footfall_updated_field"

REMEDY = "Name another updated_field, or load the objects and ask ViewTracker.flag()."


class NoChangeTime(LookupError):
    """An object, or its table, does not tell when it last changed."""


def earliest() -> datetime:
    """When a row whose time of change is NULL is taken to have changed: no mark is older."""
    # The second day of the calendar: on the first one some time zones are still in the year before it.
    return stored(datetime(1, 1, 2, tzinfo=UTC))


def site_time(at: Any) -> datetime:
    """``at`` as the database keeps it.

    Raises TypeError for what is no datetime, ValueError for a naive one where USE_TZ is on, or one that is outside the
    calendar in the site's time zone.
    """
    if not isinstance(at, datetime):
        raise TypeError(f"A time is a datetime, not {at!r}.")
    if timezone.is_aware(at):
        try:
            return stored(at)
        except OverflowError:
            raise ValueError(f"{at.isoformat()} is outside the calendar in the site's time zone.") from None
    if settings.USE_TZ:
        raise ValueError(f"{at.isoformat()} has no time zone.")
    return at


def change_time(instance: models.Model, updated_field: str | None = None) -> datetime:
    """When ``instance`` last changed, by its own word.

    The attribute ``updated_field`` tells (a path over relations, or a method), else that which the model names, as a
    `HandleRefModel` does ("updated"), else the first of MODIFICATION_FIELD_NAMES that holds a datetime. Raises
    NoChangeTime, which names what was looked for.
    """
    names = _names(instance.__class__, updated_field)
    for value in _told(instance, names, call=updated_field is not None):
        if isinstance(value, datetime):
            return site_time(value)
    looked = ", ".join(names)
    raise NoChangeTime(f"{instance._meta.label} has no datetime in {looked}: give last_update or updated_field.")


def change_time_or_earliest(instance: models.Model, updated_field: str | None = None) -> datetime:
    """Like `change_time`, but where the object has the field and it is None, `earliest`: as in SQL."""
    values = list(_told(instance, _names(instance.__class__, updated_field), call=updated_field is not None))
    if None in values and not any(isinstance(value, datetime) for value in values):
        return earliest()
    return change_time(instance, updated_field)


def change_expression(queryset: models.QuerySet[Any], updated_field: str | None = None) -> Combinable:
    """The time of change as an expression over ``queryset``; `earliest` where it is NULL.

    ``updated_field`` is a DateTimeField, also over relations (``thread__updated``), or an annotation; without it the
    one counts that the model names, else the first of MODIFICATION_FIELD_NAMES that is not NULL. Raises NoChangeTime
    where there is no such column.
    """
    path = _named_by(queryset.model) if updated_field is None else updated_field
    if path is None:
        columns, sure = _guessed(queryset)
    else:
        columns, sure = [path], _is_sure(queryset, path)
    if sure and len(columns) == 1:
        return F(columns[0])
    last = Value(earliest(), models.DateTimeField())
    return Coalesce(*map(F, columns), last, output_field=models.DateTimeField())


def _names(model: type[models.Model], updated_field: str | None) -> tuple[str, ...]:
    name = _named_by(model) if updated_field is None else updated_field
    return MODIFICATION_FIELD_NAMES if name is None else (name,)


def _named_by(model: type[models.Model]) -> str | None:
    """The field that ``model`` itself says tells of its changes, if any."""
    named: str | None = getattr(model, TOLD_BY, None)
    return named


def _told(instance: models.Model, names: Iterable[str], *, call: bool) -> Iterator[Any]:
    """What is found under each of ``names`` that the instance has."""
    for name in names:
        try:
            value = _attribute(instance, name)
        except AttributeError:
            continue
        yield value() if call and callable(value) else value


def _attribute(instance: Any, name: str) -> Any:
    if hasattr(instance, name):
        return getattr(instance, name)
    for part in name.split("__"):
        try:
            instance = None if instance is None else getattr(instance, part)
        except ObjectDoesNotExist:  # what points back may be missing
            return None
    return instance


def _guessed(queryset: models.QuerySet[Any]) -> tuple[list[str], bool]:
    """The columns and annotations to ask in turn, and whether the last of them is never NULL."""
    model, columns = queryset.model, list[str]()
    for name in MODIFICATION_FIELD_NAMES:
        annotation: Any = queryset.query.annotation_select.get(name)
        if annotation is not None and isinstance(annotation.output_field, models.DateTimeField):
            columns.append(name)
            continue
        field = _field(model, name)
        if field is None and isinstance(getattr(model, name, None), (property, cached_property)):
            # An object that is asked itself would answer from there: SQL must not silently say something else.
            raise NoChangeTime(f"{model._meta.label}.{name} is a property, which SQL can't read. {REMEDY}")
        if field is not None and _tells_time(field):
            columns.append(name)
            if not field.null:
                return columns, True
    if not columns:
        looked = ", ".join(MODIFICATION_FIELD_NAMES)
        raise NoChangeTime(f"{model._meta.label} has no DateTimeField among {looked}: give updated_field.")
    return columns, False


def _is_sure(queryset: models.QuerySet[Any], path: str) -> bool:
    """Whether ``path`` is never NULL. Raises NoChangeTime where it leads to no time."""
    annotation: Any = queryset.query.annotations.get(path)
    if annotation is not None:
        if not isinstance(annotation.output_field, models.DateTimeField):
            raise NoChangeTime(f"The annotation {path!r} is no time but a {type(annotation.output_field).__name__}.")
        return False
    model, sure = queryset.model, True
    *relations, name = path.split("__")
    for relation in relations:
        field = _known_field(model, relation, path)
        if not field.is_relation or field.related_model is None:
            raise NoChangeTime(f"{model._meta.label}.{relation} in {path!r} is no relation. {REMEDY}")
        if field.one_to_many or field.many_to_many:
            raise NoChangeTime(f"{relation!r} in {path!r} leads to many objects: annotate the latest and name that.")
        # What points back may be missing.
        model, sure = field.related_model, sure and field.concrete and not field.null
    field = _known_field(model, name, path)
    if not _tells_time(field):
        raise NoChangeTime(f"{model._meta.label}.{name} is no DateTimeField but a {type(field).__name__}. {REMEDY}")
    return sure and not field.null


def _known_field(model: type[models.Model], name: str, path: str) -> Any:
    field = _field(model, name)
    if field is None:
        hint = near(name, [one.name for one in model._meta.get_fields()]) or f" {REMEDY}"
        raise NoChangeTime(f"{model._meta.label} has no field {name!r} (updated_field={path!r}).{hint}")
    return field


def _field(model: type[models.Model], name: str) -> Any:
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        return None


def _tells_time(field: Any) -> bool:
    source = field.output_field if isinstance(field, models.GeneratedField) else field
    return isinstance(source, models.DateTimeField)
