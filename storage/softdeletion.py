"""Soft deletion: rows stay, with the status "deleted", and are restored together with what went together.

A deletion is one UPDATE for its root and one for each relation and level below, in one transaction. All its rows are
given one batch, a new uuid: by that the next level finds its parents, and `footfall.storage.undeleting` what went
together. Rows that are deleted already are left as they are, which also ends trees and cycles.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models, router, transaction
from django.db.models import F, ManyToOneRel, Q
from django.dispatch import Signal

from footfall.storage.changestamps import recording
from footfall.storage.families import going_with, keeper
from footfall.storage.referencefields import own_columns
from footfall.storage.returning import update_returning

if TYPE_CHECKING:
    from footfall.storage.references import HandleRefModel

    Rows = models.QuerySet[Any]
    Found = Counter[type[models.Model]]
    Change = Callable[[Rows], int]
    Relations = Callable[[type[models.Model]], list[ManyToOneRel]]

#: The status of a row that is deleted softly.
DELETED = "deleted"

#: Sent once for each model, after rows of it were deleted softly, or restored, and before the commit: what a receiver
#: raises undoes it all. ``sender``: the model; ``rows``: a queryset of them, not evaluated; ``using``: the database's
#: alias; ``batch``: the uuid of the deletion, or restoration, which is ``change_batch`` of the rows.
soft_deleted = Signal()
undeleted = Signal()


class UndeleteRefused(ValidationError):
    """A deleted object can't be restored: an object above it is deleted, or its unique value is in use again."""


def delete(instance: HandleRefModel, using: str | None = None) -> None:
    """Delete it softly, with what goes with it; the object shows its new state.

    What is live below an object that is deleted already goes, too. Raises ValueError for an object without a key.
    """
    alias, model = stored_in(instance, using, "deleted"), instance.__class__
    root, batch = Q(pk=instance.pk), uuid.uuid4()
    values = _deletion(batch)
    with transaction.atomic(using=alias), recording(alias):
        shown = _delete_root(instance, alias, values)
        found: Found = Counter({model: len(shown)})
        found += spread(model, root, batch, alias, going_with, _writing(values))
        tell(soft_deleted, found, alias, batch)
    show(instance, shown or as_stored(instance, alias))


def delete_rows(rows: Rows) -> tuple[int, dict[str, int]]:
    """Delete ``rows`` softly with what goes with them: how many, and how many of each model.

    Those that are deleted already take nothing with them, otherwise than with `delete`, which is about one object.
    Raises what Django's deletion of querysets raises for one that is sliced, distinct by fields, or of values.
    """
    chosen, batch = selected(rows, "delete"), uuid.uuid4()
    model, alias, change = rows.model, chosen.db, _writing(_deletion(batch))
    with transaction.atomic(using=alias), recording(alias):
        root = rows_of(keeper(model), alias).filter(pk__in=chosen.values("pk"))
        found: Found = Counter({model: change(root)})
        if found[model]:
            found += spread(model, Q(change_batch=batch), batch, alias, going_with, change)
        tell(soft_deleted, found, alias, batch)
    return counted(rows, found)


# -- For deletion and restoration


def rows_of(model: type[models.Model], using: str) -> Rows:
    """All rows, in a queryset whose update writes just what it is told to."""
    return models.QuerySet(model, using=using)


def selected(rows: Rows, doing: str) -> Rows:
    """``rows``, to be used in a subquery of a change. Raises as Django does where they can't be changed."""
    queryset: Any = rows
    queryset._not_support_combined_queries(doing)
    if queryset.query.is_sliced:
        raise TypeError(f"Cannot use 'limit' or 'offset' with {doing}().")
    if queryset.query.distinct_fields:
        raise TypeError(f"Cannot call {doing}() after .distinct(*fields).")
    if queryset._fields is not None:
        raise TypeError(f"Cannot call {doing}() after .values() or .values_list()")
    chosen = queryset._chain()
    chosen._for_write = True
    chosen.query.select_for_update = False
    chosen.query.clear_ordering(force=True)
    return chosen  # type: ignore[no-any-return]  # Django's method has no stub


def stored_in(instance: HandleRefModel, using: str | None, done: str) -> str:
    """The database in which the object is changed. Raises ValueError for an object without a key."""
    if instance.pk is None:
        raise ValueError(f"{instance._meta.object_name} object can't be {done} because it has no primary key yet.")
    return using or router.db_for_write(instance.__class__, instance=instance)


def spread(
    model: type[models.Model], root: Q, batch: uuid.UUID, using: str, relations: Relations, change: Change
) -> Found:
    """Have ``change`` put what is below the rows ``root`` of ``model`` into ``batch``: how many of each model.

    One call of it for each relation and level, as long as it finds rows.
    """
    found: Found = Counter()
    level, parents = [model], root
    while level:
        below: Found = Counter()
        for relation in dict.fromkeys(relation for one in level for relation in relations(one)):
            below[relation.related_model] += change(_children(relation, parents, using))
        found += below
        level, parents = list(+below), Q(change_batch=batch)
    return found


def _children(relation: ManyToOneRel, parents: Q, using: str) -> Rows:
    model, above = relation.related_model, rows_of(relation.model, using).filter(parents)
    children = rows_of(model, using).filter(**{f"{relation.field.name}__in": above})
    if keeper(model) is model._meta.concrete_model:
        return children
    return rows_of(keeper(model), using).filter(pk__in=children.values("pk"))


def tell(signal: Signal, found: Found, using: str, batch: uuid.UUID) -> None:
    """Send ``signal`` for each model."""
    for model in +found:
        if signal.has_listeners(model):
            signal.send(model, rows=rows_of(model, using).filter(change_batch=batch), using=using, batch=batch)


def counted(rows: Rows, found: Found) -> tuple[int, dict[str, int]]:
    """What the change of a queryset returns; the queryset forgets what it has read."""
    rows._result_cache = None  # as Django's own deletion does
    return found.total(), {model._meta.label: number for model, number in (+found).items()}


#: What deletion and restoration change.
CHANGED = ("status", "updated", "version", "former_status", "change_batch", "change_stamp")


def as_stored(instance: HandleRefModel, using: str) -> list[Any]:
    """What is stored of `CHANGED`: one row, or none. One query."""
    return list(rows_of(instance.__class__, using).filter(pk=instance.pk).values_list(*CHANGED))


def show(instance: HandleRefModel, found: Iterable[Any]) -> None:
    """Have the object show the row of `CHANGED` that was found, if any was."""
    for row in found:
        for name, value in zip(CHANGED, row, strict=True):
            setattr(instance, name, value)
        remember_status(instance)


def remember_status(instance: models.Model) -> None:
    """The status that the object has now is the one that is stored: `status_as_read`."""
    vars(instance._state)["footfall_status"] = instance.__dict__.get("status")


def status_as_read(instance: models.Model) -> Any:
    """The stored status as the object knows it; None for one that was made by hand, or read without its status."""
    return vars(instance._state).get("footfall_status")


def _deletion(batch: uuid.UUID) -> dict[str, Any]:
    return {"status": DELETED, "former_status": F("status"), "change_batch": batch, **own_columns()}


def _writing(values: dict[str, Any]) -> Change:
    return lambda rows: rows.exclude(status=DELETED).update(**values)


def _delete_root(instance: HandleRefModel, using: str, values: dict[str, Any]) -> list[Any]:
    """Delete the row of the object: what is stored of `CHANGED` then, if it was live."""
    table = keeper(instance.__class__)
    fields: dict[str, Any] = {name: table._meta.get_field(name) for name in CHANGED}
    row = rows_of(table, using).filter(~Q(status=DELETED), pk=instance.pk)
    return update_returning(row, [(fields[name], None, values[name]) for name in CHANGED], list(fields.values()))
