"""Restoration: what was deleted together comes back together, each row with the status that it had.

Below a restored row come back those rows of its deletion that the relations lead to, a level at a time, under a new
batch. What was deleted earlier or later, or by hand, stays as it is. The rows of a model that inherits from another
are found under both.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, connections, models, transaction
from django.db.models import F, Q

from footfall.storage.changestamps import recording
from footfall.storage.families import gone_with, keeper, reached
from footfall.storage.parentguard import lock_parents, refuse_below_deleted
from footfall.storage.referencefields import own_columns
from footfall.storage.softdeletion import (
    DELETED,
    as_stored,
    counted,
    rows_of,
    selected,
    show,
    spread,
    stored_in,
    tell,
    undeleted,
)
from footfall.storage.uniquevalues import value_in_use

if TYPE_CHECKING:
    from footfall.storage.references import HandleRefModel

    Found = Counter[type[models.Model]]


def undelete(instance: HandleRefModel, using: str | None = None) -> None:
    """Restore it, with what was deleted together with it; the object shows its new state.

    Nothing where it is not deleted. Raises UndeleteRefused, and restores nothing, where an object above it, or above
    what would come back with it, is deleted, and where a unique value is in use again; ValueError without a key.
    """
    alias = stored_in(instance, using, "restored")
    with transaction.atomic(using=alias), recording(alias):
        _restore(instance.__class__, Q(pk=instance.pk), alias)
        stored = as_stored(instance, alias)
    show(instance, stored)


def undelete_rows(rows: models.QuerySet[Any]) -> tuple[int, dict[str, int]]:
    """Restore those of ``rows`` that are deleted, with what went together with each: how many of each model.

    All or nothing; raises what `undelete` does, and TypeError or NotSupportedError for the querysets for which
    deletion does.
    """
    chosen = selected(rows, "undelete")
    with transaction.atomic(using=chosen.db), recording(chosen.db):
        found = _restore(rows.model, Q(pk__in=chosen.values("pk")), chosen.db)
    return counted(rows, found)


def _restore(model: type[models.Model], which: Q, using: str) -> Found:
    """Restore the deleted rows ``which`` of ``model``: how many of each model."""
    table = keeper(model)
    roots = rows_of(table, using).filter(which, status=DELETED)
    gone = Q(status=DELETED, change_batch__in=_batches(roots))
    lock_parents({one: gone | which if one is table else gone for one in reached(table)}, using)
    restored = []
    try:
        for former, keys in _together(roots):
            batch = uuid.uuid4()
            restored.append((batch, _restore_together(model, former, keys, batch, using)))
    except IntegrityError as error:
        raise value_in_use(error, reached(table)) from error
    for batch, _found in restored:
        refuse_below_deleted({one: Q(change_batch=batch) for one in reached(table)}, using)
    for batch, found in restored:
        tell(undeleted, found, using, batch)
    return sum((found for _batch, found in restored), Counter())


def _batches(roots: models.QuerySet[Any]) -> list[uuid.UUID]:
    found = roots.order_by().values_list("change_batch", flat=True).distinct()
    return [batch for batch in found if batch is not None]


def _together(roots: models.QuerySet[Any]) -> list[tuple[uuid.UUID | None, list[Any]]]:
    """Keys of the roots, locked, by the deletion in which they went; those that went by hand with None."""
    groups: dict[uuid.UUID | None, list[Any]] = defaultdict(list)
    for key, batch in roots.order_by("pk").select_for_update(no_key=True).values_list("pk", "change_batch"):
        groups[batch].append(key)
    return list(groups.items())


def _restore_together(
    model: type[models.Model], former: uuid.UUID | None, keys: Sequence[Any], batch: uuid.UUID, using: str
) -> Found:
    """Restore the roots ``keys`` and what is below them of the deletion ``former``, as ``batch``."""
    values = {"status": F("former_status"), "former_status": "", "change_batch": batch, **own_columns()}
    gone = rows_of(keeper(model), using).filter(status=DELETED)
    found: Found = Counter({model: sum(gone.filter(pk__in=some).update(**values) for some in _portions(keys, using))})
    if former is not None:
        together = Q(status=DELETED, change_batch=former)
        found += spread(
            model, Q(change_batch=batch), batch, using, gone_with, lambda rows: rows.filter(together).update(**values)
        )
    return found


def _portions(keys: Sequence[Any], using: str) -> Iterator[Sequence[Any]]:
    """As many at once as a statement takes."""
    size = connections[using].ops.bulk_batch_size(["pk"], keys)
    return (keys[start : start + size] for start in range(0, len(keys), size))
