"""What was counted, read back: sums, series and rankings of datasets, each in one query.

`footfall.storage.datasets` has these as class methods of a dataset; the functions here take the dataset, its rows of
one object or the queryset of its objects, and have nothing of the registry to know.

A ranking is a query of the objects' own model whose keys are ``IN`` the best keys of the dataset. Objects that are
gone, or not asked for, are left out before the best are taken, so they take nobody's place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, islice, takewhile
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Case, Exists, F, FloatField, Func, OuterRef, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce, Least, Power
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone

from footfall.storage import slots
from footfall.storage.clock import stored
from footfall.storage.keytext import key_from_text, key_text
from footfall.storage.marks import label_of
from footfall.storage.upsert import field_of

if TYPE_CHECKING:
    from footfall.storage.datasets import TrackableData

    Dataset = type[TrackableData]

Rows = models.QuerySet[Any]
Bounds = dict[str, Any]

#: After so many half-lives a slot is left out of a trend.
HALF_LIVES = 10

# What no site's model calls a field of its own.
_KEY, _SUM = "footfall_key", "footfall_sum"


def total(dataset: Dataset, rows: Rows, field: str, since: date | None, until: date | None) -> int:
    """The sum of ``field`` over ``rows`` of ``dataset``, from the slot of ``since`` to that of ``until``."""
    found = rows.filter(**_within(dataset, since, until)).aggregate(found=Sum(field))["found"]
    return int(found or 0)


def series(
    dataset: Dataset, rows: Rows, field: str, last: int, since: date | None, until: date | None
) -> list[tuple[Any, int]]:
    """The slots to that of ``until`` (or now) with the sums of ``field``: ``last`` of them, or from ``since`` on."""
    steps = _backwards(dataset, until)
    if since is None:
        wanted = list(islice(steps, _count("last", last)))
    else:
        first = _first(dataset, since)
        wanted = list(takewhile(lambda slot: slot >= first, steps))
    if not wanted:
        return []
    within = rows.filter(collected_during__gte=wanted[-1], collected_during__lte=wanted[0])
    sums = within.order_by().values("collected_during").annotate(**{_SUM: Sum(field)})
    counted = {row["collected_during"]: int(row[_SUM]) for row in sums}
    # A slot that is no step (the site's zone was another once) was counted, too.
    return sorted((dict.fromkeys(wanted, 0) | counted).items())


def annotate(dataset: Dataset, objects: Rows, field: str, since: date | None, until: date | None, name: str) -> Rows:
    """``objects``, each with the sum of ``field`` as ``name``, 0 where there is none."""
    _refuse_other_database(dataset, objects)
    sums = _own(dataset, objects.model, _within(dataset, since, until), Sum(field))
    annotated: Rows = objects.annotate(**{name: Coalesce(sums, 0)})
    return annotated


def top(dataset: Dataset, objects: Rows, field: str, n: int, since: date | None, until: date | None) -> Rows:
    """The ``n`` of ``objects`` with the greatest sums of ``field`` above zero, each with its ``total``."""
    return _ranked(dataset, objects, _within(dataset, since, until), Sum(field), "total", n)


def trending(dataset: Dataset, objects: Rows, field: str, n: int, half_life: timedelta, now: datetime) -> Rows:
    """The ``n`` of ``objects`` with the greatest sums of ``field``, halved for each ``half_life``, as ``score``."""
    if not isinstance(half_life, timedelta) or half_life <= timedelta():
        raise ValueError(f"half_life is a timedelta above zero, not {half_life!r}.")
    now = _moment(now)
    within = _within(dataset, now - HALF_LIVES * half_life, now)
    # The bound is for a slot that is many times as long as a half-life: PostgreSQL refuses to compute such weights.
    halvings = Least(_age(dataset, now) / Value(half_life.total_seconds()), Value(1000.0))
    score = Sum(F(field) * Power(Value(0.5), halvings), output_field=FloatField())
    return _ranked(dataset, objects, within, score, "score", n)


def _ranked(dataset: Dataset, objects: Rows, within: Bounds, amount: Sum, name: str, n: int) -> Rows:
    model = objects.model
    _refuse_other_database(dataset, objects)
    rows = _rows(dataset, model, within)
    sums = rows.values("object_id").annotate(**{_SUM: amount, _KEY: _OfGroup(key_from_text(model))})
    # Together with the sum it is asked of each group, not of each row.
    there = When(**{f"{_SUM}__gt": 0}, then=Exists(objects.order_by().filter(pk=OuterRef(_KEY))))
    taking_part = sums.filter(Case(there, default=False, output_field=BooleanField()))
    best = taking_part.order_by(f"-{_SUM}", _KEY).values(_KEY)[: _count("n", n)]
    ranked: Rows = objects.filter(pk__in=best).annotate(**{name: _own(dataset, model, within, amount)})
    return ranked.order_by(f"-{name}", "pk")


def _rows(dataset: Dataset, model: type[models.Model], within: Bounds) -> Rows:
    return dataset._base_manager.filter(object_type=label_of(model), **within).order_by()


def _own(dataset: Dataset, model: type[models.Model], within: Bounds, amount: Sum) -> Subquery:
    """What each object of ``model`` comes to; NULL without a row."""
    own = _rows(dataset, model, within).filter(object_id=key_text(model, OuterRef("pk")))
    return Subquery(own.values("object_type").annotate(**{_SUM: amount}).values(_SUM))


class _OfGroup(Func):
    """What follows from a column that is grouped by: reckoned once a group, where GROUP BY would do it for each row."""

    arity = 1
    template = "%(expressions)s"

    def get_group_by_cols(self) -> list[Any]:
        return []


def _refuse_other_database(dataset: Dataset, objects: Rows) -> None:
    # Where they are written, since two replicas hold the same; whoever names a database knows what it holds.
    there, here = router.db_for_write(dataset), router.db_for_write(objects.model)
    chosen = objects._db  # type: ignore[attr-defined]  # what using() was told; `db` asks the router, too
    if there != here and chosen is None:
        raise ValueError(
            f"{dataset.__name__} is in the database {there!r} and {objects.model._meta.label} in {here!r}: "
            "one query can't rank the one by the other."
        )


# -- Slots


def _rule(dataset: Dataset) -> slots.Rule:
    """What gives the slot of a moment: the dataset's ``slot_of``, be it its own, or else the rule that it names."""
    if "collected_during" not in dataset.key_fields:
        raise TypeError(f"{dataset.__name__} has no slots of time: it knows totals only.")
    place = dataset.key_fields[2:].index("collected_during")
    try:
        dataset.slot_of(datetime.now(UTC))
    except (LookupError, TypeError, ValueError):  # it can't do without an option, which says nothing about time
        return slots.RULES[dataset.slot]  # type: ignore[attr-defined]  # what has the key field has the slot
    return lambda at: _aware(dataset.slot_of(at)[place])


def _aware(slot: date) -> date:
    # In UTC: of two hours that the clock shows alike, Python would find neither earlier.
    return _moment(slot).astimezone(UTC) if isinstance(slot, datetime) else slot


def _within(dataset: Dataset, since: date | None, until: date | None) -> Bounds:
    bounds: Bounds = {}
    with suppress(OverflowError):  # of slots beyond the calendar there is none to leave out
        if since is not None:
            bounds["collected_during__gte"] = _first(dataset, since)
    with suppress(OverflowError):
        if until is not None:
            bounds["collected_during__lte"] = _last(dataset, until)
    return bounds


def _first(dataset: Dataset, since: date) -> date:
    return _column(slots.first_slot(_rule(dataset), _bound(since)))


def _last(dataset: Dataset, until: date) -> date:
    return _column(slots.last_slot(_rule(dataset), _bound(until)))


def _backwards(dataset: Dataset, until: date | None) -> Iterator[date]:
    """The slots as the column holds them, latest first; an hour that comes twice there without zones comes once."""
    rule = _rule(dataset)
    end = rule(datetime.now(UTC)) if until is None else slots.last_slot(rule, _bound(until))
    return (slot for slot, _ in groupby(map(_column, slots.backwards(rule, end))))


def _column(slot: date) -> date:
    return stored(slot) if isinstance(slot, datetime) else slot


def _bound(value: Any) -> date:
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date):
        return value
    raise TypeError(f"since and until are days or moments, not {value!r}.")


def _moment(value: datetime) -> datetime:
    if timezone.is_aware(value):
        return value
    if settings.USE_TZ:
        raise ValueError(f"{value.isoformat()} has no time zone.")
    return timezone.make_aware(value, timezone.get_default_timezone())


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is a whole number from 1 up, not {value!r}.")
    return value


# -- Age


def _age(dataset: Dataset, now: datetime) -> Any:
    """How long before ``now`` a row's slot began, in seconds; for dates, by the clock on the wall."""
    column = field_of(dataset, "collected_during")
    if isinstance(column, models.DateTimeField):
        return _Epoch(Value(stored(now), output_field=column)) - _Epoch(F("collected_during"))
    wall = timezone.make_naive(now, timezone.get_default_timezone()).replace(tzinfo=UTC)
    return Value(wall.timestamp()) - _Epoch(F("collected_during"))


class _Epoch(Func):
    """Seconds between 1970 and a date or time, by what the column shows."""

    arity = 1
    output_field = FloatField()
    template = "CAST(EXTRACT(EPOCH FROM %(expressions)s) AS double precision)"

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="((julianday(%(expressions)s) - 2440587.5) * 86400.0)")
