"""What a worker tidies up beside its work: entries that are too old to matter, a few thousand an hour."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta

from django.db import Error, router, transaction

from footfall.producers.settings import conf
from footfall.storage.clock import stored
from footfall.storage.models import AppliedMessage, Attempt
from footfall.workers import ledger
from footfall.workers.sessions import aliases, bound

logger = logging.getLogger("footfall.upkeep")

INTERVAL = 600.0  # seconds between two rounds of a process
AT_ONCE = 10_000  # rows removed in a round: about a minute's worth of messages at 150 a second

_lock = threading.Lock()
_last = time.monotonic()


def now_and_then() -> None:
    """Tidy up if the last round of this process was INTERVAL seconds ago. Never raises: the next round tries again."""
    global _last
    with _lock:
        if time.monotonic() - _last < INTERVAL:
            return
        _last = time.monotonic()
    try:
        tidy_up(datetime.now(UTC))
    except Error as error:
        logger.warning("Old entries were not removed: %s", error)


def tidy_up(now: datetime) -> int:
    """Remove what is older than LEDGER_DAYS from the ledger of each alias, and starts of suspects nobody settled.

    At most AT_ONCE rows an alias; returns how many.
    """
    oldest = stored(now - timedelta(days=conf.LEDGER_DAYS))
    removed, _ = Attempt.objects.using(router.db_for_write(Attempt)).filter(started_at__lt=oldest).delete()
    keeping = [alias for alias in aliases() if router.allow_migrate_model(alias, AppliedMessage)]
    return removed + sum(_prune(now, alias) for alias in keeping)


def _prune(now: datetime, alias: str) -> int:
    with transaction.atomic(using=alias):
        bound(alias)
        return ledger.prune(now, alias, limit=AT_ONCE)
