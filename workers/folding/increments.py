"""Folds increments into sums per row and field, and label hits into daily statistics.

Sums commute; where a field stops at zero, the sum of a batch is applied before it is cut off. Custom operations run
on locked rows, one event at a time, after the sums. What counts a visitor once is settled before them: see `once`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import connections, router
from django.utils import timezone

from footfall.producers.messages import Increment, Ref
from footfall.producers.reasons import Reason
from footfall.producers.rules import Malformed
from footfall.storage.datasets import TrackableData, clamps_at_zero, site
from footfall.storage.models import Statistic
from footfall.storage.upsert import add, add_down_to_zero, column_of, field_of, upsert
from footfall.workers.folding import labels, once
from footfall.workers.folding.references import canonical, model_of

RowKey = tuple[Any, ...]
Dataset = type[TrackableData]


class Call(NamedTuple):
    """One event with a custom operation, to be called on its row; ``place`` is the event's among those folded."""

    place: int
    dataset: Dataset
    key: RowKey
    op: str
    field: str
    value: int


class Claim(NamedTuple):
    """The earliest event with its token, which counts unless an earlier one has; ``place`` as in `Call`."""

    place: int
    event: Increment
    dataset: Dataset
    key: RowKey


@dataclass(slots=True)
class Sums:
    """What a batch adds up to: per dataset, row and field; per label and day; the operations to call; the claims."""

    counters: dict[Dataset, dict[RowKey, dict[str, int]]] = field(default_factory=dict)
    labels: dict[RowKey, int] = field(default_factory=lambda: defaultdict(int))
    calls: list[Call] = field(default_factory=list)
    claims: dict[UUID, Claim] = field(default_factory=dict)


class OperationFailed(Exception):
    """A custom operation raised, or a rule for the row's key; ``index`` is its event's place among those folded."""

    def __init__(self, index: int, error: Exception, where: str = "") -> None:
        super().__init__(f"{where}{type(error).__name__}: {error}")
        self.index = index


def check(event: Increment) -> tuple[Ref, ...]:
    """What must exist for the event to count: its object, nothing for a label.

    Raises Malformed for what the registry doesn't know.
    """
    if event.once is not None and (event.object is None or event.op != "incr" or event.value < 0):
        raise Malformed(Reason.BAD_EVENT, "Only an incr of a counter, of 0 or more, can count a visitor once.")
    if event.object is None:
        if event.op != "incr":
            raise Malformed(Reason.UNKNOWN_OPERATION, f"A label has no operation {event.op[:80]!r}.")
        return ()
    ref = canonical(event.object)
    limit = _limit(site.revision, event.dataset or "", ref.type, event.field or "", event.op)
    if abs(event.value) > limit:
        raise Malformed(Reason.BAD_NUMBER, f"{event.value} does not fit into {event.dataset}.{event.field}.")
    return (ref,)


def alias_of(event: Increment) -> str | None:
    """The database alias that the event is written on, None for a dataset that is not registered."""
    dataset = site.by_label(event.dataset or "")
    if event.label is not None:
        return router.db_for_write(Statistic)
    return None if dataset is None else router.db_for_write(dataset)


def fold(events: Iterable[Increment]) -> Sums:
    """Add up ``events``, which have passed `check`. Pure. Raises OperationFailed for one that a row's key refuses."""
    sums = Sums()
    for index, event in enumerate(events):
        if event.label is not None:
            label = event.label
            sums.labels[(label.label, label.category, label.dom_id, _day(event))] += _signed(event)
        else:
            _fold_counter(sums, index, event)
    return sums


def _fold_counter(sums: Sums, index: int, event: Increment) -> None:
    assert event.object is not None and event.field is not None  # check has seen to it
    dataset = _dataset(event.dataset or "")
    ref = canonical(event.object)
    key = _row_key(index, event, dataset, ref, event.at)
    if event.once is not None:
        claim = sums.claims.get(event.once.token)
        if claim is None or event.at < claim.event.at:
            sums.claims[event.once.token] = Claim(index, event, dataset, key)
    elif event.op in ("incr", "decr"):
        _add(sums, dataset, key, event.field, _signed(event))
    else:
        sums.calls.append(Call(index, dataset, key, event.op, event.field, event.value))


def _row_key(index: int, event: Increment, dataset: Dataset, ref: Ref, at: datetime) -> RowKey:
    try:
        return (ref.type, ref.id, *dataset.slot_of(at, **event.options))
    except DatabaseError:
        raise  # it says itself whether to wait or whom to blame
    except Exception as error:
        raise OperationFailed(index, error, f"{dataset.__name__}.slot_of: ") from error


def _add(sums: Sums, dataset: Dataset, key: RowKey, name: str, by: int) -> None:
    row = sums.counters.setdefault(dataset, {}).setdefault(key, {})
    row[name] = row.get(name, 0) + by


def write(sums: Sums, using: str) -> None:
    """Apply ``sums``, table by table in one order. Raises OperationFailed for a custom operation that raises."""
    if sums.claims:
        _settle(sums, using)
    datasets = {*sums.counters, *(call.dataset for call in sums.calls)}
    for dataset in sorted(datasets, key=lambda dataset: dataset._meta.label_lower):
        calls = [call for call in sums.calls if call.dataset is dataset]
        _write_dataset(dataset, sums.counters.get(dataset, {}), calls, using)
    if sums.labels:
        label_rows = ((*key, count) for key, count in labels.capped(sums.labels, using).items())
        upsert(Statistic, ("label", "category", "dom_id", "day"), {"counter": add}, label_rows, using)


def _settle(sums: Sums, using: str) -> None:
    """Add to ``sums`` what its claims come to: a count, its move from a later event's row, or nothing."""
    settled = once.settle([claim.event for claim in sums.claims.values()], using)
    for token, before in settled.items():
        place, event, dataset, key = sums.claims[token]
        assert event.object is not None and event.field is not None  # check has seen to it
        if before is not None:
            old = _row_key(place, event, dataset, canonical(event.object), before)
            if old == key:
                continue
            _add(sums, dataset, old, event.field, -event.value)
        _add(sums, dataset, key, event.field, event.value)


def _write_dataset(dataset: Dataset, rows: dict[RowKey, dict[str, int]], calls: list[Call], using: str) -> None:
    falling = {key for key, row in rows.items() if any(_stops(dataset, name, by) for name, by in row.items())}
    names = sorted({name for row in rows.values() for name in row}) or dataset.get_trackable_fields()[:1]
    amounts: dict[RowKey, dict[str, int]] = {call.key: {} for call in calls} | {
        key: {} if key in falling else row for key, row in rows.items()
    }
    # This one statement makes and locks every row of the batch in the order of their keys; those that need more than
    # a sum get nothing by it, and are changed under that lock.
    given = ((*key, *(row.get(name, 0) for name in names)) for key, row in amounts.items())
    upsert(dataset, dataset.key_fields, dict.fromkeys(names, add), given, using)
    for key in sorted(falling):
        _lower(dataset, key, rows[key], using)
    for call in sorted(calls, key=lambda call: (call.key, call.place)):
        _call(call, using)


def _stops(dataset: Dataset, name: str, by: int) -> bool:
    return by < 0 and clamps_at_zero(field_of(dataset, name))


def _lower(dataset: Dataset, key: RowKey, row: dict[str, int], using: str) -> None:
    """Change one row in place: a falling positive counter can't pass through EXCLUDED, whose check it would break."""
    connection = connections[using]
    quote = connection.ops.quote_name
    changes = []
    for name, by in row.items():
        field = field_of(dataset, name)
        column = quote(column_of(field))
        assign = add_down_to_zero if clamps_at_zero(field) else add
        changes.append(f"{column} = {assign(connection, column, f'({int(by)})', field)}")
    keys = [field_of(dataset, name) for name in dataset.key_fields]
    where = " AND ".join(f"{quote(column_of(field))} = %s" for field in keys)
    values = [field.get_db_prep_save(value, connection) for field, value in zip(keys, key, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {quote(dataset._meta.db_table)} SET {', '.join(changes)} WHERE {where}", values)


def _call(call: Call, using: str) -> None:
    where = dict(zip(call.dataset.key_fields, call.key, strict=True))
    row = call.dataset._base_manager.using(using).select_for_update().get(**where)
    try:
        getattr(row, call.op)(call.field, call.value)
    except DatabaseError:
        raise  # it says itself whether to wait or whom to blame
    except Exception as error:
        raise OperationFailed(call.place, error) from error
    kept = {*call.dataset.key_fields, row._meta.pk.name}
    row.save(using=using, update_fields=[f.name for f in row._meta.concrete_fields if f.name not in kept])


def _signed(event: Increment) -> int:
    return -event.value if event.op == "decr" else event.value


def _day(event: Increment) -> Any:
    return timezone.localtime(event.at, timezone.get_default_timezone()).date()


def _dataset(label: str) -> Dataset:
    dataset = site.by_label(label)
    if dataset is None:
        raise Malformed(Reason.UNKNOWN_DATASET, f"{label[:80]!r} is not a registered dataset.")
    return dataset


@lru_cache(maxsize=4096)
def _limit(revision: int, label: str, object_type: str, name: str, op: str) -> int:
    """The greatest amount that a message may name for a counter; what the registry doesn't know raises Malformed."""
    dataset = _dataset(label)
    if dataset not in site.datasets_of(model_of(object_type)):
        raise Malformed(Reason.UNKNOWN_DATASET, f"{label!r} does not count {object_type!r}.")
    if name not in dataset.get_trackable_fields():
        raise Malformed(Reason.UNKNOWN_FIELD, f"{dataset.__name__} has no counter field {name[:80]!r}.")
    if not dataset.is_operation(op):
        raise Malformed(Reason.UNKNOWN_OPERATION, f"{dataset.__name__} has no operation {op[:80]!r}.")
    return dataset.greatest_of(name)
