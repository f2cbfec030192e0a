"""UPDATE … RETURNING: rows are changed and their new numbers read in one statement, so that nobody comes between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.models.sql import UpdateQuery

Values = Iterable[tuple["models.Field[Any, Any]", None, Any]]


def update_returning(
    rows: models.QuerySet[Any], values: Values, fields: Sequence[models.Field[Any, Any]]
) -> list[Sequence[Any]]:
    """Set ``values`` (field, None, value or expression) on ``rows``; the values of ``fields`` of each afterwards.

    The fields are columns of the queryset's own table. One statement. Raises what the database raises.
    """
    query: Any = rows.query.chain(UpdateQuery)
    query.add_update_fields(values)
    query.clear_ordering(force=True)
    connection = connections[rows.db]
    compiler: Any = query.get_compiler(connection=connection)
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:  # of a key that no column can hold, say
        return []
    columns = [field.get_col(rows.model._meta.db_table) for field in fields]
    names = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} RETURNING {names}", params)
        found = cursor.fetchall()
    return list(compiler.apply_converters(found, compiler.get_converters(columns)))
