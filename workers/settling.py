"""Settling one batch: apply it, wait out a database that is away, or give it back. On a worker's thread.

The answer is a bool: True when everything is committed, and only then may deliveries be acknowledged. An outage is
waited out with the deliveries unacknowledged, for a minute; after that they are better off in their queue.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Event

from django.db import Error

from footfall.producers.queues import QUARANTINE
from footfall.workers import attempts, deadletters, pipeline, sessions, upkeep
from footfall.workers.batches import Batch
from footfall.workers.consumer import QueueBatch
from footfall.workers.embedded import SpoolBatch
from footfall.workers.failures import Blame, Fault, Transient, blame, not_migrated, timed_out
from footfall.workers.pipeline import Delivery
from footfall.workers.spoolreader import ALONE, Piece, begin, conclude

logger = logging.getLogger("footfall.settling")

#: Seconds an outage is waited out with a batch in hand: RabbitMQ's own consumer timeout runs on meanwhile.
PATIENCE = 60.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0

#: Seconds a batch is held after a fault of the code. Each return to the queue counts towards the delivery limit, and
#: a batch in hand can't be tried in vain by another worker with the same code. RabbitMQ's consumer timeout, 30 minutes,
#: would take it back and close the channel: 25 leave time for the apply that comes before.
FAULT_PAUSE = 1500.0
#: Seconds before a batch goes back that failed in a way nobody thought of: not to spin.
SURPRISE_PAUSE = 1.0

#: How many workers a suspect may take down, or keep until they give up, before it is buried without being run.
SUSPECT_LIMIT = 2


def settle(batch: QueueBatch, stop: Event) -> bool:
    """Apply ``batch``; True: committed. False: nothing of it may be acknowledged. Blocks; never raises.

    Setting ``stop`` ends every wait.
    """
    if not batch.alive:
        return False
    deliveries = [Delivery(body, batch.queue) for body in batch.bodies]
    if batch.queue == QUARANTINE:
        return all(settle_suspect(delivery, batch, stop) for delivery in deliveries)
    return persevere(partial(apply, deliveries), batch, stop)


def settle_suspect(delivery: Delivery, batch: Batch, stop: Event) -> bool:
    """Settle one delivery that came back too often: alone, counted, and buried when it keeps ending its worker."""
    key = suspect_key(delivery.body)
    settled = persevere(partial(_try_suspect, delivery, key), batch, stop)
    if not settled:
        _let_go(key)
    return settled


def suspect_key(body: bytes) -> str:
    """Under which key a suspect's starts are counted: it may have no valid id."""
    return f"quarantine:{hashlib.sha256(body).hexdigest()}"


def _try_suspect(delivery: Delivery, key: str) -> None:
    kills = attempts.begin(key)
    if kills >= SUSPECT_LIMIT:
        deadletters.bury(delivery, error=f"{kills} workers ended, or gave up, while they applied it.")
        attempts.forget(key)
        return
    try:
        apply([delivery], also=lambda alias: attempts.forget(key))
    except Exception as error:
        if _is_as_good_as_a_kill(error):
            attempts.own_up(key)
        raise


def _is_as_good_as_a_kill(error: Exception) -> bool:
    """Whether a suspect would never finish: else the queue would stand still behind it."""
    if isinstance(error, Fault):
        return False
    return timed_out(error) or not is_transient(error)


def _let_go(key: str) -> None:
    try:
        attempts.take_back(key)
    except Error:
        logger.debug("The database is away: the start of %s stays counted.", key)


def settle_pieces(batch: SpoolBatch, stop: Event) -> bool:
    """Apply a batch of the embedded broker, and with it the place up to which the spool is applied. As `settle`."""
    if not batch.alive:
        return False
    settled = persevere(partial(_try_pieces, batch.pieces), batch, stop)
    if not settled:
        for piece in batch.pieces:
            _let_go(piece.region.key)
    return settled


def _try_pieces(pieces: Sequence[Piece]) -> None:
    begin(pieces)
    try:
        for piece in pieces:
            if piece.region.kills >= ALONE + SUSPECT_LIMIT:
                _bury_piece(piece)
                return
        deliveries = [delivery for piece in pieces for delivery in piece.deliveries()]
        apply(deliveries, also=lambda alias: conclude(pieces))
    except Exception as error:
        if _is_as_good_as_a_kill(error):
            for piece in pieces:
                attempts.own_up(piece.region.key)
        raise


def _bury_piece(piece: Piece) -> None:
    error = f"{piece.region.kills} workers ended, or gave up, while they applied it or its neighbours."
    for delivery in piece.unread():
        deadletters.bury(delivery, error=error)
    # Burying is idempotent: dying here costs nothing, and the letter may be in another database than the position.
    conclude([piece])


def apply(deliveries: Sequence[Delivery], also: Callable[[str], None] | None = None) -> None:
    """Apply ``deliveries`` through the pipeline, and raise what it raises."""
    pipeline.apply(deliveries, also=also)
    upkeep.now_and_then()


def persevere(work: Callable[[], object], batch: Batch, stop: Event) -> bool:
    """Do ``work`` until it goes through (True), or until it can't be helped or ``stop`` is set (False).

    Blocks for PATIENCE seconds and a last try at most, and not once ``batch`` is on its way to somebody else. Never
    raises an Exception: it is logged.
    """
    pauses = backoff()
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            work()
        except Exception as error:
            if not is_transient(error):
                _report(error, stop)
                return False
            hint = " Was `manage.py migrate` run?" if not_migrated(error) else ""
            logger.warning("The database can't apply a batch now: %s%s", error, hint)
        else:
            return True
        sessions.drop_broken()
        pause = next(pauses)
        if time.monotonic() + pause > deadline or stop.wait(pause) or not batch.alive:
            return False


def backoff() -> Iterator[float]:
    """Pauses in seconds, each about twice the last, so spread that waiting workers don't come back all at once."""
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads a load, keeps no secret
        pause = min(2 * pause, LONGEST_PAUSE)


def is_transient(error: BaseException) -> bool:
    """Whether the same work may go through later."""
    return isinstance(error, Transient) or (isinstance(error, Error) and blame(error) is Blame.TRANSIENT)


def _report(error: Exception, stop: Event) -> None:
    if isinstance(error, Fault):
        logger.critical("The code is at fault, not the data: nothing was written, nothing is lost. %s", error)
        stop.wait(FAULT_PAUSE)
    else:
        logger.error("A batch failed in an unexpected way and goes back.", exc_info=error)
        stop.wait(SURPRISE_PAUSE)
