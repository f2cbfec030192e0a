"""Conditions on rows that name objects by two texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from django.db import connections
from django.db.models import Q

from footfall.producers.messages import Ref
from footfall.storage.marks import KEYS, in_chunks

#: Conditions in one statement where rows are locked. A statement has fewer than 65,536 parameters.
LOCKED = 50


def about(refs: Iterable[Ref], type_field: str, id_field: str) -> Iterator[Q]:
    """That a row names one of ``refs`` (without an id: the model itself). A condition for 500 of a model."""
    by_type: dict[str, set[str]] = defaultdict(set)
    for ref in refs:
        by_type[ref.type].add(ref.id or "")
    for label, keys in sorted(by_type.items()):
        for some in in_chunks(sorted(keys), KEYS):
            yield Q(**{type_field: label, f"{id_field}__in": some})


def any_of(conditions: Iterable[Q], using: str) -> Iterator[Q]:
    """``conditions`` for a statement each: on PostgreSQL all together, since only within one can rows be ordered.

    On SQLite, where a statement has few parameters and no row is locked, each as it is.
    """
    size = LOCKED if connections[using].features.has_select_for_update else 1
    return (Q(*some, _connector=Q.OR) for some in in_chunks(conditions, size))
