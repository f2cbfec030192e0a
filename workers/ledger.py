"""The ledger of applied messages: a message that stands here is never applied again."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta

from footfall.producers.settings import conf
from footfall.storage.clock import stored
from footfall.storage.models import AppliedMessage
from footfall.workers.folding import entries

CHUNK = 400


def enter(ids: Collection[uuid.UUID], now: datetime, using: str) -> set[uuid.UUID]:
    """Enter ``ids`` and return those that were not there before. Runs in the caller's transaction.

    Blocks while another transaction that entered one of them is open; where that commits, the id counts as known.
    """
    rows = [(one, stored(now)) for one in ids]
    return {key[0] for key in entries.enter(AppliedMessage, ("id",), ("applied_at",), rows, using)}


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
