"""Writes dead letters, in the transaction that settles their batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import Error, router, transaction

from footfall.producers.reasons import Reason
from footfall.storage.clock import stored
from footfall.storage.models import DeadLetter
from footfall.workers import ledger, tallies
from footfall.workers.failures import Blame, Transient, blame
from footfall.workers.outcomes import DUPLICATE, UNKNOWN_KIND, WHOLE, Fate, Message, Parcel, dead, digest_id

if TYPE_CHECKING:
    from footfall.workers.pipeline import Delivery

_REOPENED = ["last_seen", "state", "stage", "reason", "error", "settled_at"]


def write(parcels: Iterable[Parcel], now: datetime, using: str) -> None:
    """Store a letter for each dead parcel; one that stands already is opened again. In the caller's transaction."""
    letters = [letter_of(p, now) for p in parcels if p.outcome is not None and p.outcome.fate is Fate.DEAD]
    letters.sort(key=lambda letter: (letter.message_id, letter.position))
    DeadLetter.objects.using(using).bulk_create(
        letters,
        batch_size=50,
        update_conflicts=True,
        unique_fields=["message_id", "position"],
        update_fields=_REOPENED,
    )


def letter_of(parcel: Parcel, now: datetime) -> DeadLetter:
    """The letter of a dead parcel, not saved yet."""
    outcome = parcel.outcome
    assert outcome is not None and outcome.reason is not None  # every death has a reason
    return DeadLetter(
        message_id=parcel.message_id,
        position=parcel.position,
        event_id=None if parcel.event is None else parcel.event.id,
        kind=parcel.kind,
        queue=parcel.queue,
        stage=outcome.stage,
        reason=outcome.reason.value,
        error=outcome.error,
        body=parcel.raw,
        first_seen=stored(now),
        last_seen=stored(now),
    )


def bury(
    delivery: Delivery, *, error: str, now: datetime | None = None, also: Callable[[str], None] | None = None
) -> None:
    """Make a delivery one dead letter without running it, for running it ended its worker. Idempotent.

    One transaction on the alias of dead letters, in which ``also(alias)`` is called. Raises Transient.
    """
    moment = now or datetime.now(UTC)
    using = router.db_for_write(DeadLetter)
    message = _killer(delivery, error)
    try:
        with transaction.atomic(using=using):
            if not ledger.enter([message.id], moment, using):
                message.parcels[0].outcome = DUPLICATE
            write(message.parcels, moment, using)
            counts = tallies.received([message]) + tallies.settled(message.parcels)
            tallies.write(counts, message.parcels, moment, using)
            if also is not None:
                also(using)
    except Error as failure:
        if blame(failure) is Blame.TRANSIENT:
            raise Transient(str(failure)) from failure
        raise


def _killer(delivery: Delivery, error: str) -> Message:
    # Known by its digest: to read more of it might be what kills.
    message_id = digest_id(delivery.body)
    outcome = dead(Reason.KILLED_WORKER, error, "worker")
    parcel = Parcel(message_id, WHOLE, delivery.body, delivery.queue, UNKNOWN_KIND, outcome=outcome)
    return Message(message_id, UNKNOWN_KIND, [parcel])
