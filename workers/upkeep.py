"""What a worker does beside its work: removes entries too old to matter, and applies what was set aside."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db import Error, router, transaction

from footfall.producers.settings import conf
from footfall.storage.clock import stored
from footfall.storage.models import AppliedMessage, Attempt
from footfall.workers import ledger
from footfall.workers.folding import once
from footfall.workers.held import replay_held
from footfall.workers.sessions import aliases, bound

logger = logging.getLogger("footfall.upkeep")

INTERVAL = 600.0  # seconds between two rounds of a process
AT_ONCE = 10_000  # rows removed in a transaction: about a minute's worth of messages at 150 a second
HELD_AT_ONCE = 1_000  # events that fold_messages set aside, applied in a round
TOKEN_ROUNDS = 50  # transactions a round for tokens: there may be one an event, and a message holds many

_lock = threading.Lock()
_last = time.monotonic()


def now_and_then() -> None:
    """Tidy up, and apply what `fold_messages` set aside, if the last round was INTERVAL seconds ago.

    Never raises what the database raises: the next round tries again. Not to be called in a transaction.
    """
    global _last
    with _lock:
        if time.monotonic() - _last < INTERVAL:
            return
        _last = time.monotonic()
    try:
        tidy_up(datetime.now(UTC))
    except Error as error:
        logger.warning("Old entries were not removed: %s", error)
    try:
        replay_held(HELD_AT_ONCE)
    except Error as error:
        logger.warning("What was set aside was not applied: %s", error)


def tidy_up(now: datetime) -> int:
    """Remove what is older than LEDGER_DAYS from each alias: messages from the ledger, and tokens of visitors that
    were counted once; and starts of suspects nobody settled.

    At most AT_ONCE messages and TOKEN_ROUNDS times as many tokens an alias; returns how many.
    """
    oldest = stored(now - timedelta(days=conf.LEDGER_DAYS))
    removed, _ = Attempt.objects.using(router.db_for_write(Attempt)).filter(started_at__lt=oldest).delete()
    keeping = [alias for alias in aliases() if router.allow_migrate_model(alias, AppliedMessage)]
    return removed + sum(_prune(ledger.prune, now, alias) + _prune_tokens(now, alias) for alias in keeping)


def _prune_tokens(now: datetime, alias: str) -> int:
    removed = 0
    for _ in range(TOKEN_ROUNDS):
        some = _prune(once.prune, now, alias)
        removed += some
        if some < AT_ONCE:
            break
    return removed


def _prune(prune: Callable[..., int], now: datetime, alias: str) -> int:
    with transaction.atomic(using=alias):
        bound(alias)
        return prune(now, alias, limit=AT_ONCE)
