"""Writes marks: how far a user has seen one object, one model, or everything; and takes a mark back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from django.db import models
from django.db.models import Q, QuerySet

from footfall.storage.models import ViewMark
from footfall.storage.upsert import latest, upsert, with_latest

#: User key, object type, object id; type and id blank for everything, id blank for a whole model.
MarkKey = tuple[Any, str, str]

#: Keys in one condition: SQLite limits the parameters of a statement.
KEYS = 500

#: Such conditions in one statement: most of them are about one key.
CONDITIONS = 100

T = TypeVar("T")
M = TypeVar("M", bound=models.Model)


def raise_marks(marks: Mapping[MarkKey, datetime], using: str, *, seen: bool = True) -> None:
    """Raise the stored marks to ``marks`` where they are older; at the same time *seen* stays before *unseen*.

    A raised wider mark deletes the narrower ones that are not newer than it: they say nothing more. Runs in the
    caller's transaction. One statement, and one for a hundred wider marks, or for 500 users who have the same.
    ``seen`` is False only for marks of objects.
    """
    rows = ((*key, at, seen) for key, at in marks.items())
    upsert(ViewMark, ("user", "object_type", "object_id"), {"at": latest, "seen": with_latest("at")}, rows, using)
    wider: dict[tuple[str, datetime], list[Any]] = defaultdict(list)
    for (user, object_type, object_id), at in marks.items():
        if not object_id:
            wider[object_type, at].append(user)
    narrower = (
        _narrower_than(object_type) & Q(user_id__in=some, at__lte=at)
        for (object_type, at), users in sorted(wider.items())
        for some in in_chunks(users, KEYS)
    )
    for conditions in in_chunks(narrower, CONDITIONS):
        delete_idle(Q(*conditions, _connector=Q.OR), using)


def label_of(model: type[models.Model]) -> str:
    """What marks call ``model``: ``app_label.model``; a proxy is what its base is."""
    return (model._meta.concrete_model or model)._meta.label_lower


def in_chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """``items`` in their order, ``size`` at a time."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some


def delete_idle(chosen: Q, using: str) -> None:
    """Delete the marks ``chosen``, but for those that somebody else is writing. One statement, in a transaction."""
    # Such a one does no harm, and waiting for it might be in a circle.
    locked(ViewMark.objects.using(using).filter(chosen), skip_locked=True).delete()


def locked(rows: QuerySet[M], *order: str, skip_locked: bool = False) -> QuerySet[M]:
    """``rows`` as they are to be deleted: all are locked first, in the order of the fields ``order``. No query."""
    found = rows.order_by(*order).select_for_update(skip_locked=skip_locked).values("pk")
    return rows.model._base_manager.using(rows.db).filter(pk__in=found)


def _narrower_than(object_type: str) -> Q:
    return Q(object_type=object_type, object_id__gt="") if object_type else Q(object_type__gt="")
