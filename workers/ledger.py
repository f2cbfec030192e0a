"""The ledger of applied messages: a message that stands here is never applied again."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import connections

from footfall.producers.settings import conf
from footfall.storage.clock import stored
from footfall.storage.models import AppliedMessage

CHUNK = 400


def enter(ids: Collection[uuid.UUID], now: datetime, using: str) -> set[uuid.UUID]:
    """Enter ``ids`` and return those that were not there before. Runs in the caller's transaction.

    Blocks while another transaction that entered one of them is open; where that commits, the id counts as known.
    """
    ordered, now = sorted(ids), stored(now)
    if connections[using].vendor == "postgresql":
        return _enter_array(ordered, now, using)
    known: set[uuid.UUID] = set()
    for start in range(0, len(ordered), CHUNK):
        known |= _enter_values(ordered[start : start + CHUNK], now, using)
    return known


def _enter_array(ids: list[uuid.UUID], now: datetime, using: str) -> set[uuid.UUID]:
    table = connections[using].ops.quote_name(AppliedMessage._meta.db_table)
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (id, applied_at) SELECT new, %s FROM unnest(%s::uuid[]) AS new ORDER BY new"
            " ON CONFLICT (id) DO NOTHING RETURNING id",
            [now, ids],
        )
        return {row[0] for row in cursor.fetchall()}


def _enter_values(ids: list[uuid.UUID], now: datetime, using: str) -> set[uuid.UUID]:
    connection = connections[using]
    table = connection.ops.quote_name(AppliedMessage._meta.db_table)
    when = connection.ops.adapt_datetimefield_value(now)
    values = ", ".join(["(%s, %s)"] * len(ids))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (id, applied_at) VALUES {values} ON CONFLICT (id) DO NOTHING RETURNING id",
            [value for one in ids for value in (one.hex, when)],
        )
        return {uuid.UUID(row[0]) for row in cursor.fetchall()}


def strike(ids: Collection[uuid.UUID], using: str) -> None:
    """Take ids out again that were entered in this transaction and, after all, not applied."""
    AppliedMessage.objects.using(using).filter(pk__in=list(ids)).delete()


def prune(now: datetime, using: str, *, limit: int = 10_000) -> int:
    """Forget at most ``limit`` messages older than LEDGER_DAYS; returns how many. In the caller's transaction.

    Older messages are refused by their age, so none of them can come back. One more day is kept than the age allows.
    """
    oldest = stored(now) - timedelta(days=conf.LEDGER_DAYS + 1)
    rows = AppliedMessage.objects.using(using)
    old = list(rows.filter(applied_at__lt=oldest).order_by("applied_at").values_list("pk", flat=True)[:limit])
    for start in range(0, len(old), CHUNK):
        strike(old[start : start + CHUNK], using)
    return len(old)
