"""By which transaction a row was last written: what puts the changes of many tables into one order that misses none.

On PostgreSQL a stamp is the number of the transaction (``pg_current_xact_id``, 64 bits, it never comes again), and a
snapshot tells which numbers it sees: what commits late has an earlier number, but not one that an earlier snapshot saw.
On SQLite one writes at a time, and a stamp is the next number of the one row of `ChangeCounter`: that row is raised
first, which also makes the writer wait for the lock before it reads anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connections, models, transaction
from django.db.models.sql.compiler import SQLCompiler

COUNTER = "footfall_storage_changecounter"

#: A counter that begins does so at a multiple of the one, up to the other: so that two are hardly ever the same.
PERIOD, PERIODS = 2**36, 2**26


class ChangeStamp(models.Func):
    """The stamp of the current transaction, as an expression to be written into a row inside of `recording`."""

    output_field = models.BigIntegerField()

    def as_postgresql(self, compiler: SQLCompiler, connection: Any, **context: Any) -> Any:
        """The transaction's number."""
        return "pg_current_xact_id()::text::bigint", []

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **context: Any) -> Any:
        """The counter as `recording` has raised it; a migration's models write without it, perhaps before any other."""
        return f"(SELECT COALESCE(MAX(number), 0) FROM {COUNTER} WHERE id = 1)", []


@contextmanager
def recording(using: str) -> Iterator[None]:
    """The rows written in the block get one stamp. Nothing on PostgreSQL; one statement on SQLite, in a transaction."""
    if connections[using].vendor == "postgresql":
        yield
        return
    with transaction.atomic(using=using, savepoint=False):
        _raise_counter(using)
        yield


def current_stamp(using: str) -> int:
    """The stamp for what the current transaction writes without `recording`. One statement; in a transaction."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return _raise_counter(using)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (stamp,) = cursor.fetchone()
    return int(stamp)


def first_own(using: str) -> int | None:
    """On SQLite, the first stamp of the current transaction, which is not committed; None where it wrote none."""
    hooks = connections[using].run_on_commit
    return next((hook.first for _, hook, *_ in hooks if isinstance(hook, OwnStamps)), None)


@dataclass(frozen=True, eq=False)
class OwnStamps:
    """That the transaction has written stamps from ``first`` on.

    As a commit hook it does nothing: it is only kept there, where Django drops it with whatever is rolled back.
    """

    first: int

    def __call__(self) -> None:
        pass


def _raise_counter(using: str) -> int:
    # Each time that it begins it does so at another number, by which cursors of before are known.
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {COUNTER} (id, number) VALUES (1, (1 + (random() & {PERIODS - 1})) * {PERIOD} + 1) "
            "ON CONFLICT (id) DO UPDATE SET number = number + 1 RETURNING number"
        )
        (number,) = cursor.fetchone()
    if first_own(using) is None:
        transaction.on_commit(OwnStamps(number), using=using)
    return int(number)
