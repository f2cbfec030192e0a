"""Which labels and categories there are, asked of the small table that lists each once and never of the large one."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from footfall.storage.models import KnownLabel
from footfall.storage.upsert import column_of, field_of

#: How many labels, and how many categories, are offered to choose from.
OFFERED = 50

#: A longer search finds nothing: no label is as long.
LONGEST = 250

#: How many known labels (each with its category and element) a search takes.
MATCHED = 500


@dataclass(frozen=True)
class Known:
    """Labels and categories, each once and in order; ``is_cut`` where a search would have found more."""

    labels: list[str]
    categories: list[str]
    is_cut: bool = False


def offered(using: str) -> Known:
    """The first labels and the first categories of all. One query, as fast for a million labels as for a hundred."""
    connection = connections[using]
    labels, categories = _firsts("label", connection), _firsts("category", connection)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 0, value FROM ({labels}) l UNION ALL SELECT 1, value FROM ({categories}) c")
        found = cursor.fetchall()
    return Known(
        labels=sorted(value for which, value in found if which == 0),
        categories=sorted(value for which, value in found if which == 1),
    )


def matching(term: str, category: str | None, using: str) -> Known:
    """The labels that have every word of ``term`` in them, in any case; of one ``category`` if given.

    One query at most.
    """
    if len(term) > LONGEST:
        return Known([], [])
    rows = KnownLabel.objects.using(using).filter(*(Q(label__icontains=word) for word in term.split()))
    if category is not None:
        rows = rows.filter(category=category)
    found = list(rows.order_by("label", "category", "dom_id").values_list("label", "category")[: MATCHED + 1])
    taken = found[:MATCHED]
    return Known(
        labels=list(dict.fromkeys(label for label, _ in taken)),
        categories=sorted({category for _, category in taken}),
        is_cut=len(found) > MATCHED,
    )


def _firsts(field: str, connection: BaseDatabaseWrapper) -> str:
    """SQL for the first different values of an indexed field: one step in the index for each, whatever lies between."""
    quote = connection.ops.quote_name
    table, column = quote(KnownLabel._meta.db_table), quote(column_of(field_of(KnownLabel, field)))
    following = f"SELECT MIN({column}) FROM {table} WHERE {column} > value"
    return (
        f"WITH RECURSIVE firsts (value, position) AS (SELECT MIN({column}), 1 FROM {table}"
        f" UNION ALL SELECT ({following}), position + 1 FROM firsts WHERE value IS NOT NULL AND position < {OFFERED})"
        " SELECT value FROM firsts WHERE value IS NOT NULL"
    )
