"""By which transaction a row was last written: what puts the changes of many tables into one order that misses none.

On PostgreSQL a stamp is the number of the transaction (``pg_current_xact_id``, 64 bits, it never comes again), and a
snapshot tells which numbers it sees: what commits late has an earlier number, but not one that an earlier snapshot saw.
On SQLite one writes at a time, and a stamp is the next number of the one row of `ChangeCounter`: that row is raised
first, which also makes the writer wait for the lock before it reads anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, models, transaction
from django.db.models.sql.compiler import SQLCompiler

COUNTER = "footfall_storage_changecounter"


class ChangeStamp(models.Func):
    """The stamp of the current transaction, as an expression to be written into a row inside of `recording`."""

    output_field = models.BigIntegerField()

    def as_postgresql(self, compiler: SQLCompiler, connection: Any, **context: Any) -> Any:
        """The transaction's number."""
        return "pg_current_xact_id()::text::bigint", []

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **context: Any) -> Any:
        """The counter as `recording` has raised it."""
        return f"(SELECT number FROM {COUNTER} WHERE id = 1)", []


@contextmanager
def recording(using: str) -> Iterator[None]:
    """The rows written in the block get one stamp. Nothing on PostgreSQL; one statement on SQLite, in a transaction."""
    connection = connections[using]
    if connection.vendor == "postgresql":
        yield
        return
    with transaction.atomic(using=using, savepoint=False):
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {COUNTER} (id, number) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET number = number + 1"
            )
        yield
