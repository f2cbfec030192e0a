"""Tables whose rows are entered once, under a unique key: which keys stand in one, and entering those that don't.

The same statements for PostgreSQL, fed by ``unnest``, and SQLite, fed by as many VALUES as it takes. Column names come
from the model's ``_meta``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from django.db import connections, models

from footfall.storage.marks import in_chunks
from footfall.storage.upsert import array_type, column_of, field_of, prepared

Row = tuple[Any, ...]


def enter(
    model: type[models.Model], key: Sequence[str], more: Sequence[str], rows: Collection[Row], using: str
) -> set[Row]:
    """Insert ``rows`` (values of the unique ``key``'s fields, then of ``more`` fields), in the order of their keys.

    Returns the keys that were not there before. Runs in the caller's transaction; blocks while another one that
    entered the same key is open, and where that commits, the key was there.
    """
    table, columns = _names(model, (*key, *more), using)
    into, keys = ", ".join(columns), ", ".join(columns[: len(key)])
    ordered = sorted(rows, key=lambda row: row[: len(key)])
    fresh: set[Row] = set()
    for source, parameters in _sources(model, (*key, *more), ordered, using):
        sql = f"INSERT INTO {table} ({into}) {source} ON CONFLICT ({keys}) DO NOTHING RETURNING {keys}"
        fresh |= _read(model, key, sql, parameters, using)
    return fresh


def standing(model: type[models.Model], key: Sequence[str], keys: Collection[Row], using: str) -> set[Row]:
    """Those of ``keys`` that stand in the table."""
    table, columns = _names(model, key, using)
    chosen = ", ".join(f"{table}.{column}" for column in columns)
    same = " AND ".join(f"{table}.{column} = wanted.{column}" for column in columns)
    found: set[Row] = set()
    for source, parameters in _sources(model, key, sorted(keys), using):
        # A join, not IN: SQLite would read the whole table for that. It takes a CROSS JOIN in the order written.
        wanted = f"WITH wanted ({', '.join(columns)}) AS ({source})"
        sql = f"{wanted} SELECT {chosen} FROM wanted CROSS JOIN {table} WHERE {same}"
        found |= _read(model, key, sql, parameters, using)
    return found


def _names(model: type[models.Model], fields: Sequence[str], using: str) -> tuple[str, list[str]]:
    quote = connections[using].ops.quote_name
    return quote(model._meta.db_table), [quote(column_of(field_of(model, name))) for name in fields]


def _sources(
    model: type[models.Model], names: Sequence[str], rows: Sequence[Row], using: str
) -> Iterator[tuple[str, list[Any]]]:
    """SQL that yields ``rows`` in their order, and its parameters."""
    connection = connections[using]
    fields = [field_of(model, name) for name in names]
    ordered = prepared(connection, fields, rows)
    if connection.vendor == "postgresql":
        arrays = ", ".join(f"%s::{array_type(connection, field)}" for field in fields)
        if ordered:
            yield f"SELECT * FROM unnest({arrays})", list(map(list, zip(*ordered, strict=True)))
        return
    mark = f"({', '.join(['%s'] * len(fields))})"
    for some in in_chunks(ordered, connection.ops.bulk_batch_size(fields, rows)):
        yield f"VALUES {', '.join([mark] * len(some))}", [value for row in some for value in row]


def _read(model: type[models.Model], key: Sequence[str], sql: str, parameters: list[Any], using: str) -> set[Row]:
    connection, fields = connections[using], [field_of(model, name) for name in key]
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        if connection.vendor == "postgresql":
            return set(cursor.fetchall())  # the driver knows what the columns hold
        return {tuple(field.to_python(value) for field, value in zip(fields, row, strict=True)) for row in cursor}
