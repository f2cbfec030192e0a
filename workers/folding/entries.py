"""Tables whose rows are entered once, under a unique key: which keys stand in one, and entering those that don't.

The same statements for PostgreSQL and SQLite, in pieces that the database takes. Column names come from ``_meta``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from django.db import connections, models

from footfall.storage.upsert import column_of, field_of

Row = tuple[Any, ...]

#: Rows in one statement, where the database itself sets no lower limit.
AT_ONCE = 2000


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
    for values, parameters in _pieces(model, (*key, *more), ordered, using):
        sql = f"INSERT INTO {table} ({into}) VALUES {values} ON CONFLICT ({keys}) DO NOTHING RETURNING {keys}"
        fresh |= _read(model, key, sql, parameters, using)
    return fresh


def standing(model: type[models.Model], key: Sequence[str], keys: Collection[Row], using: str) -> set[Row]:
    """Those of ``keys`` that stand in the table."""
    table, columns = _names(model, key, using)
    chosen = ", ".join(f"{table}.{column}" for column in columns)
    same = " AND ".join(f"{table}.{column} = wanted.{column}" for column in columns)
    found: set[Row] = set()
    for values, parameters in _pieces(model, key, sorted(keys), using):
        # A join, not IN: SQLite would read the whole table for that. It takes a CROSS JOIN in the order written.
        wanted = f"WITH wanted ({', '.join(columns)}) AS (VALUES {values})"
        sql = f"{wanted} SELECT {chosen} FROM wanted CROSS JOIN {table} WHERE {same}"
        found |= _read(model, key, sql, parameters, using)
    return found


def _names(model: type[models.Model], fields: Sequence[str], using: str) -> tuple[str, list[str]]:
    quote = connections[using].ops.quote_name
    return quote(model._meta.db_table), [quote(column_of(field_of(model, name))) for name in fields]


def _pieces(
    model: type[models.Model], names: Sequence[str], rows: Sequence[Row], using: str
) -> Iterator[tuple[str, list[Any]]]:
    connection = connections[using]
    fields = [field_of(model, name) for name in names]
    size = min(AT_ONCE, connection.ops.bulk_batch_size(fields, rows) or AT_ONCE)
    mark = f"({', '.join(['%s'] * len(fields))})"
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        prepared = [
            value if isinstance(value, str) else field.get_db_prep_save(value, connection)
            for row in some
            for field, value in zip(fields, row, strict=True)
        ]
        yield ", ".join([mark] * len(some)), prepared


def _read(model: type[models.Model], key: Sequence[str], sql: str, parameters: list[Any], using: str) -> set[Row]:
    fields = [field_of(model, name) for name in key]
    with connections[using].cursor() as cursor:
        cursor.execute(sql, parameters)
        return {tuple(field.to_python(value) for field, value in zip(fields, row, strict=True)) for row in cursor}
