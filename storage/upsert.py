"""One upsert for both databases: insert rows, or fold them into those that stand, in sorted key order.

``INSERT … ON CONFLICT (key) DO UPDATE SET f = t.f + EXCLUDED.f`` is fed by ``unnest … ORDER BY key`` on PostgreSQL and
by VALUES on SQLite. Column names come from the model's ``_meta``. Sorting by the unique key is what keeps concurrent
batches from deadlocking.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

Row = tuple[Any, ...]
Assignment = Callable[[BaseDatabaseWrapper, str, str, "models.Field[Any, Any]"], str]


def add(connection: BaseDatabaseWrapper, stored: str, given: str, field: models.Field[Any, Any]) -> str:
    """The stored number plus the given one; a sum that the column can't hold is refused by the database."""
    return _bounded(connection, f"{stored} + {given}", field)


def add_down_to_zero(connection: BaseDatabaseWrapper, stored: str, given: str, field: models.Field[Any, Any]) -> str:
    """Like `add`, but a sum below zero becomes zero."""
    return _bounded(connection, f"{_greatest(connection)}(0, {stored} + {given})", field)


def latest(connection: BaseDatabaseWrapper, stored: str, given: str, field: models.Field[Any, Any]) -> str:
    """The greater of the stored value and the given one."""
    return f"{_greatest(connection)}({stored}, {given})"


def replaced(connection: BaseDatabaseWrapper, stored: str, given: str, field: models.Field[Any, Any]) -> str:
    """The given value, whatever is stored."""
    return given


def with_latest(time: str) -> Assignment:
    """What comes with the greater value of the field ``time``; where both times are the same, either of two booleans.

    The two fields then keep the greatest pair, whatever the order in which pairs come.
    """

    def assign(connection: BaseDatabaseWrapper, stored: str, given: str, field: models.Field[Any, Any]) -> str:
        column = connection.ops.quote_name(column_of(field_of(field.model, time)))
        then, now = f"{connection.ops.quote_name(field.model._meta.db_table)}.{column}", f"EXCLUDED.{column}"
        return f"CASE WHEN {now} > {then} THEN {given} WHEN {now} = {then} THEN {stored} OR {given} ELSE {stored} END"

    return assign


def upsert(
    model: type[models.Model],
    key: Sequence[str],
    changes: Mapping[str, Assignment],
    rows: Iterable[Row],
    using: str,
) -> None:
    """Fold ``rows`` (values of ``key`` fields, then of ``changes`` fields) into the model's table on ``using``.

    ``key`` is a unique key of the model; no two rows may have the same. Fields that are not named take their default.
    Runs in the caller's transaction. Raises what the database raises.
    """
    names = [*key, *changes]
    fields = [field_of(model, name) for name in names]
    connection = connections[using]
    # What is called for its default, as a UUID key is, is called for each new row.
    fresh = [field for field in _unnamed(model, names) if callable(field.default)]
    fields += fresh
    in_order = sorted(rows, key=lambda row: row[: len(key)])
    ordered = prepared(connection, fields, [(*row, *(field.get_default() for field in fresh)) for row in in_order])
    if not ordered:
        return
    constants = _constants(model, [*names, *(field.name for field in fresh)], connection)
    sql = _statement(connection, model, fields, len(key), changes, [field for field, _ in constants])
    fixed = [value for _, value in constants]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(sql, [*fixed, *map(list, zip(*ordered, strict=True))])
        else:
            cursor.executemany(sql, [(*fixed, *row) for row in ordered])


def field_of(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    """The concrete field ``name`` of ``model``."""
    return cast("models.Field[Any, Any]", model._meta.get_field(name))


def column_of(field: models.Field[Any, Any]) -> str:
    """The name of a concrete field's column."""
    return cast(str, field.column)


def array_type(connection: BaseDatabaseWrapper, field: models.Field[Any, Any]) -> str:
    """The type of an array of what ``field`` holds, on PostgreSQL."""
    # Without its length: a cast to varchar(n) would cut a text short instead of refusing it.
    return re.sub(r"\(.*\)", "", field.db_type(connection) or "text") + "[]"


_PLAIN = (models.CharField, models.IntegerField)


def prepared(
    connection: BaseDatabaseWrapper, fields: Sequence[models.Field[Any, Any]], rows: Sequence[Row]
) -> Sequence[Row]:
    """The rows as the driver wants them; text and whole numbers are that already."""
    special = [i for i, field in enumerate(fields) if not isinstance(field, _PLAIN)]
    if not special or not rows:
        return rows
    columns: list[Iterable[Any]] = [list(column) for column in zip(*rows, strict=True)]
    for i in special:
        prepare = fields[i].get_db_prep_save
        columns[i] = [prepare(value, connection) for value in columns[i]]
    return list(zip(*columns, strict=True))


def _statement(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    fields: Sequence[models.Field[Any, Any]],
    key_size: int,
    changes: Mapping[str, Assignment],
    constants: Sequence[models.Field[Any, Any]],
) -> str:
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    columns = [quote(column_of(field)) for field in fields]
    key = ", ".join(columns[:key_size])
    updates = [
        f"{column} = {assign(connection, f'{table}.{column}', f'EXCLUDED.{column}', field)}"
        for field, column, assign in zip(
            fields[key_size:], columns[key_size:], changes.values(), strict=False
        )  # then fields of new rows only
    ]
    names = ", ".join([*(quote(column_of(field)) for field in constants), *columns])
    source = _source(connection, fields, columns, key, len(constants))
    return f"INSERT INTO {table} ({names}) {source} ON CONFLICT ({key}) DO UPDATE SET {', '.join(updates)}"


def _source(
    connection: BaseDatabaseWrapper,
    fields: Sequence[models.Field[Any, Any]],
    columns: Sequence[str],
    key: str,
    constants: int,
) -> str:
    if connection.vendor != "postgresql":
        return f"VALUES ({', '.join(['%s'] * (constants + len(fields)))})"
    arrays = ", ".join(f"%s::{array_type(connection, field)}" for field in fields)
    names = ", ".join(columns)
    chosen = ", ".join([*(["%s"] * constants), *(f"new.{column}" for column in columns)])
    return f"SELECT {chosen} FROM unnest({arrays}) AS new ({names}) ORDER BY {key}"


def _constants(
    model: type[models.Model], given: Sequence[str], connection: BaseDatabaseWrapper
) -> list[tuple[models.Field[Any, Any], Any]]:
    blank = model()
    values = [(field, field.pre_save(blank, add=True)) for field in _unnamed(model, given)]
    return [(field, field.get_db_prep_save(value, connection)) for field, value in values]


def _unnamed(model: type[models.Model], given: Sequence[str]) -> list[models.Field[Any, Any]]:
    fields = [f for f in model._meta.concrete_fields if f.name not in given and not isinstance(f, models.AutoField)]
    return [f for f in fields if not (f.primary_key and f.db_returning)]


def _greatest(connection: BaseDatabaseWrapper) -> str:
    return "GREATEST" if connection.vendor == "postgresql" else "MAX"


def _bounded(connection: BaseDatabaseWrapper, expression: str, field: models.Field[Any, Any]) -> str:
    if connection.vendor == "postgresql":
        return expression  # an integer out of range is an error there
    # SQLite would turn the sum into a float, for ever; NULL breaks the column's NOT NULL instead.
    low, high = connection.ops.integer_field_range(field.get_internal_type())
    low, high = (-(2**63) if low is None else low), (2**63 - 1 if high is None else high)
    return f"CASE WHEN {expression} BETWEEN {low} AND {high} AND typeof({expression}) = 'integer' THEN {expression} END"
