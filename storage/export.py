"""Counters as a table for people: a row for each object, with sum and average of each field of each dataset.

Objects are read some hundred at a time, each time with one query per dataset. What is counted for objects that are
gone has no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from typing import Any

from django.db import models
from django.db.models import Count, Sum

from footfall.storage import slots
from footfall.storage.clock import stored
from footfall.storage.datasets import TrackableData

#: Objects read at once.
CHUNK = 500

Dataset = type[TrackableData]
Line = list[Any]


@dataclass(slots=True)
class Export:
    """What is exported: all objects of ``model``; of each of ``datasets`` these fields, in slots that begin between the
    days ``since`` and ``until``, both included.

    ``gone`` is filled while `lines` is read: how many objects of each dataset are left out, since they are gone.
    """

    model: type[models.Model]
    datasets: dict[Dataset, tuple[str, ...]]
    since: date | None = None
    until: date | None = None
    gone: dict[Dataset, int] = field(default_factory=dict)

    def columns(self) -> list[str]:
        """The names of the columns; a dataset is named by its model, with its app where two have the same name."""
        names = [dataset._meta.model_name for dataset in self.datasets]
        columns = ["id", "name"]
        for dataset, fields in self.datasets.items():
            name = dataset._meta.model_name if names.count(dataset._meta.model_name) == 1 else dataset._meta.label_lower
            columns += [f"{name}__{each}__{what}" for each in fields for what in ("sum", "avg")]
        return columns

    def count(self) -> int:
        """How many objects there are. One query."""
        return self.model._base_manager.count()

    def lines(self, progress: Callable[[int], None] | None = None) -> Iterator[Line]:
        """The rows, in the order of the objects' keys: key, ``str(object)``, then sums and averages over all slots.

        An object that was never counted has 0. ``progress`` is told of the objects done. Queries while it is read.
        """
        found = dict.fromkeys(self.datasets, 0)
        done = 0
        for objects in self._chunks():
            numbers = [self._numbers(dataset, fields, objects, found) for dataset, fields in self.datasets.items()]
            for place, one in enumerate(objects):
                yield [one.pk, str(one), *(number for each in numbers for number in each[place])]
            done += len(objects)
            if progress is not None:
                progress(done)
        for dataset, there in found.items():
            self.gone[dataset] = max(0, self._rows(dataset).values("object_id").distinct().count() - there)

    def _chunks(self) -> Iterator[list[models.Model]]:
        # By key, not by a cursor: a slow reader would hold a transaction open.
        objects = self.model._base_manager.order_by("pk")
        some = list(objects[:CHUNK])
        while some:
            yield some
            some = list(objects.filter(pk__gt=some[-1].pk)[:CHUNK])

    def _numbers(
        self, dataset: Dataset, fields: Sequence[str], objects: Sequence[models.Model], found: dict[Dataset, int]
    ) -> list[list[float]]:
        """Sum and average of each field, for each of ``objects``. One query."""
        keys = [str(one.pk) for one in objects]
        sums = {f"sum_{name}": Sum(name) for name in fields}
        rows = self._rows(dataset).filter(object_id__in=keys).values("object_id").annotate(slots=Count("pk"), **sums)
        by_key = {row["object_id"]: row for row in rows.order_by()}
        found[dataset] += len(by_key)
        nothing = {"slots": 1} | dict.fromkeys(sums, 0)
        return [_sums_and_averages(by_key.get(key, nothing), list(sums)) for key in keys]

    def _rows(self, dataset: Dataset) -> models.QuerySet[Any]:
        concrete = self.model._meta.concrete_model or self.model
        rows = dataset._base_manager.filter(object_type=concrete._meta.label_lower)
        name = slot_field(dataset)
        with suppress(OverflowError):  # of slots beyond the calendar there is none to leave out
            if self.since is not None and name is not None:
                rows = rows.filter(**{f"{name}__gte": self._bound(dataset, name, self.since)})
        with suppress(OverflowError):
            if self.until is not None and name is not None:
                rows = rows.filter(**{f"{name}__lt": self._bound(dataset, name, self.until + timedelta(days=1))})
        return rows

    def _bound(self, dataset: Dataset, name: str, day: date) -> date:
        if not isinstance(dataset._meta.get_field(name), models.DateTimeField):
            return day
        return stored(slots.start_of(day).astimezone(UTC))


def _sums_and_averages(row: dict[str, Any], names: Sequence[str]) -> list[float]:
    # The average from sum and number: databases round it each in their own way.
    return [number for name in names for number in (int(row[name]), int(row[name]) / row["slots"])]


def slot_field(dataset: Dataset) -> str | None:
    """The field of ``dataset``'s key that says when; None where there is none."""
    times = [name for name in dataset.key_fields if isinstance(dataset._meta.get_field(name), models.DateField)]
    return times[0] if times else None
