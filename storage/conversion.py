"""Copies counts of an older table into a dataset: one source row makes, or overwrites, one row of the dataset.

All in one transaction; rows are read as they come and written some hundred at a time, so memory and the number of
queries per row don't grow. Nothing is written that a worker would not write: no key, and no number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from footfall.producers.amounts import whole
from footfall.producers.rules import Malformed, check_text, check_time
from footfall.producers.settings import conf
from footfall.storage import slots
from footfall.storage.clock import stored
from footfall.storage.datasets import TrackableData, clamps_at_zero, site
from footfall.storage.parents import Link, Parent, follow, relations
from footfall.storage.upsert import Row, field_of, upsert

#: Rows read, looked up and written at once.
CHUNK = 500


class ConversionError(Exception):
    """A row can't be converted; the text names it. Nothing of the whole conversion is kept."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be copied: ``counters`` and ``key`` map a field of the dataset to a path in the source."""

    source: type[models.Model]
    dataset: type[TrackableData]
    link: Link
    counters: Mapping[str, str]
    key: Mapping[str, str]
    order_by: Sequence[str] = ()
    limit: int | None = None

    def rows(self) -> models.QuerySet[Any]:
        """The source's rows, in order. Raises FieldError for an order that it does not have."""
        paths = {
            *self.link.paths,
            *(relations(self.source, path)[0] for path in (*self.counters.values(), *self.key.values())),
        }
        rows = self.source._base_manager.order_by(*(self.order_by or ("pk",)))
        return rows.prefetch_related(*sorted(path.replace(".", "__") for path in paths if path))[: self.limit]


@dataclass(slots=True)
class Converted:
    """How many source rows were copied, and how many belong to no object that there is."""

    migrated: int = 0
    skipped: int = 0


def convert(plan: Plan, *, dry_run: bool = False, progress: Callable[[int], None] | None = None) -> Converted:
    """Carry out ``plan``; with ``dry_run`` all of it is rolled back. ``progress`` is told of the rows done.

    Of several rows with the same key the last one stands. Raises ConversionError, and what the database raises.
    """
    using, done, now = router.db_for_write(plan.dataset), Converted(), datetime.now(UTC)
    with transaction.atomic(using=using):
        rows = plan.rows().iterator(chunk_size=CHUNK)
        while some := list(islice(rows, CHUNK)):
            _convert_some(plan, some, now, using, done)
            if progress is not None:
                progress(done.migrated + done.skipped)
        if dry_run:
            transaction.set_rollback(True, using=using)
    return done


def _convert_some(plan: Plan, rows: Sequence[models.Model], now: datetime, using: str, done: Converted) -> None:
    names = sorted(plan.counters)
    made: dict[Row, Row] = {}
    for row, parent in zip(rows, _parents(plan, rows), strict=True):
        if parent is None:
            done.skipped += 1
            continue
        with_slot = (*_object_key(plan, row, parent), *_slot(plan, row, now))
        made[with_slot] = tuple(_number(plan, row, name) for name in names)
        done.migrated += 1
    changes = dict.fromkeys(names, _overwrite)
    try:
        upsert(plan.dataset, plan.dataset.key_fields, changes, [(*key, *values) for key, values in made.items()], using)
    except (IntegrityError, DataError) as error:
        raise ConversionError(
            f"The database refuses a row between {_name(rows[0])} and {_name(rows[-1])}: {error}"
        ) from error


def _overwrite(connection: BaseDatabaseWrapper, stored: str, given: str, field: models.Field[Any, Any]) -> str:
    return given


def _name(row: models.Model) -> str:
    return f"{row._meta.label} {row.pk}"


def _parents(plan: Plan, rows: Sequence[models.Model]) -> list[Parent | None]:
    try:
        return plan.link.find(rows)
    except (ValueError, AttributeError) as error:
        raise ConversionError(f"Between {_name(rows[0])} and {_name(rows[-1])}: {error}") from error


def _object_key(plan: Plan, row: models.Model, parent: Parent) -> Iterator[str]:
    model, pk = parent
    if plan.dataset not in site.datasets_of(model):
        label = plan.dataset._meta.label
        raise ConversionError(f"{_name(row)} belongs to a {model._meta.label}, which {label} does not count.")
    return iter((model._meta.label_lower, str(pk)))


# -- The slot


def _slot(plan: Plan, row: models.Model, now: datetime) -> Row:
    """The rest of the key. It has to be one that the dataset would give an event: a week is known by its Monday."""
    values = {name: _key_value(plan, row, name) for name in plan.dataset.key_fields[2:]}
    if not values:
        return ()
    slot = tuple(values.values())
    try:
        own = _slot_of_event(plan.dataset, values, now)
    except (LookupError, TypeError, ValueError) as error:
        raise ConversionError(f"{_name(row)}: {plan.dataset.__name__} takes no such key, {error}") from error
    if own != slot:
        names, theirs = ", ".join(values), ", ".join(map(str, slot))
        raise ConversionError(
            f"{_name(row)}: {names} is {theirs}, where {plan.dataset.__name__} has {', '.join(map(str, own))}. "
            "Rows that fall together would overwrite each other: add them up first."
        )
    return slot


def _slot_of_event(dataset: type[TrackableData], values: Mapping[str, Any], now: datetime) -> Row:
    times = [name for name, value in values.items() if isinstance(value, date)]
    at = _moment(values[times[0]]) if times else now
    check_time(at, now, timedelta(seconds=conf.MAX_CLOCK_SKEW_SECONDS))
    return tuple(dataset.slot_of(at, **{name: value for name, value in values.items() if name not in times[:1]}))


def _moment(value: date) -> datetime:
    at = slots.start_of(value)
    return timezone.make_aware(at, timezone.get_default_timezone()) if at.tzinfo is None else at


def _key_value(plan: Plan, row: models.Model, name: str) -> Any:
    field = field_of(plan.dataset, name)
    value = _at(row, plan.key[name])
    try:
        if isinstance(field, models.DateTimeField):
            value = _time(field, value)
        converted = field.to_python(value)
        if converted is None:
            raise ValueError("it is empty")
        if isinstance(converted, str):
            check_text(converted)
        field.run_validators(converted)
    except (ValidationError, Malformed, ValueError, TypeError) as error:
        text = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        raise ConversionError(f"{_name(row)}: {plan.key[name]} is {value!r}, no {name}: {text}") from error
    return converted


def _time(field: models.Field[Any, Any], value: Any) -> Any:
    """A time as the column holds it: a day is its first moment, a naive time one of the site's clock."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return stored(_moment(value)) if isinstance(value, date) else value


def _at(row: models.Model, path: str) -> Any:
    try:
        return follow(row, path)
    except AttributeError as error:
        raise ConversionError(f"{_name(row)}: {path}: {error}") from error


# -- The numbers


def _number(plan: Plan, row: models.Model, name: str) -> int:
    value = _at(row, plan.counters[name])
    try:
        number = whole(_integral(value), plan.dataset.greatest_of(name))
        if number < 0 and clamps_at_zero(field_of(plan.dataset, name)):
            raise ValueError("it can't be negative there")
    except (ValueError, OverflowError) as error:
        path = plan.counters[name]
        raise ConversionError(f"{_name(row)}: {path} is {value!r}, not to be copied into {name}: {error}") from error
    return number


def _integral(value: Any) -> Any:
    """A whole number that an old column keeps as another sort, as it is; everything else, too."""
    if isinstance(value, (float, Decimal)) and value == int(value):
        return int(value)
    return value
