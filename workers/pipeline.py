"""From deliveries to rows: decode, ledger, filter, fold, write; a whole batch in one transaction.

`apply` reads downwards. A batch is split by database alias, one transaction each, all committed when it returns.
Every event gets exactly one outcome; what the database refuses is found by savepoints inside the transaction, so that
its neighbours commit with it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from django.db import Error, router, transaction

from footfall.producers.messages import Action, Event, Increment, Unit, View
from footfall.producers.reasons import Reason
from footfall.producers.settings import conf
from footfall.storage.models import Action as StoredAction
from footfall.storage.models import DeadLetter, SpoolPosition, ViewMark
from footfall.workers import deadletters, ledger, sessions, tallies
from footfall.workers.decoding import Rules, open_delivery, open_unit
from footfall.workers.failures import Blame, Transient, blame
from footfall.workers.folding import actions, increments
from footfall.workers.outcomes import DUPLICATE, HELD, Fate, Message, Outcome, Parcel, undecided
from footfall.workers.screening import screen
from footfall.workers.writing import write

logger = logging.getLogger("footfall.pipeline")

Also = Callable[[str], None]
Wanted = Callable[[Event], bool]


@dataclass(frozen=True, slots=True)
class Delivery:
    """The raw bytes that came from a queue; ``unit`` where they are a spool line that was decoded already."""

    body: bytes
    queue: str
    unit: Unit | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """What a batch came to, in events. Those held are dead letters too, but for the tallies only."""

    applied: int = 0
    filtered: int = 0
    duplicate: int = 0
    dead: int = 0
    held: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Totals)))


def rules() -> Rules:
    """The limits of the settings, as the decoder takes them."""
    return Rules(
        max_message_bytes=conf.MAX_MESSAGE_BYTES,
        max_event_bytes=conf.MAX_EVENT_BYTES,
        skew=timedelta(seconds=conf.MAX_CLOCK_SKEW_SECONDS),
        oldest=timedelta(days=conf.LEDGER_DAYS),
    )


def apply(
    deliveries: Sequence[Delivery],
    *,
    now: datetime | None = None,
    also: Also | None = None,
    wanted: Wanted | None = None,
) -> Totals:
    """Apply a batch; everything is committed when this returns. Blocks on the database.

    ``also(alias)`` is called inside the transaction on the alias of `SpoolPosition`, which commits last. An event that
    could be applied and is not ``wanted`` (asked once for each, in their order) is held: it becomes a letter, to be
    replayed. Raises Transient when the database can't answer, Fault when the code is at fault; then nothing is left of
    the batch on the alias that failed, and the ledger makes a second try exact on the others.
    """
    moment = now or datetime.now(UTC)
    limits = rules()
    messages = [open_one(delivery, moment, limits) for delivery in deliveries]
    shares = _by_alias(messages)
    home = router.db_for_write(SpoolPosition)
    if also is not None:
        shares.setdefault(home, [])
    totals: Counter[str] = Counter()
    for alias in sorted(shares, key=lambda alias: (alias == home, alias)):
        totals += _apply_share(shares[alias], alias, moment, also if alias == home else None, wanted)
    return Totals(**totals)


def open_one(delivery: Delivery, now: datetime, limits: Rules) -> Message:
    """Open a delivery, whichever transport it came by."""
    if delivery.unit is not None:
        return open_unit(delivery.unit, delivery.queue, now, limits)
    return open_delivery(delivery.body, delivery.queue, now, limits)


def alias_of(parcel: Parcel) -> str:
    """The database alias that a parcel is settled on: where its rows are written, or where letters lie."""
    match parcel.event:
        case View() if parcel.outcome is None:
            return router.db_for_write(ViewMark)
        case Increment() if parcel.outcome is None:
            return increments.alias_of(parcel.event) or router.db_for_write(DeadLetter)
        case Action(using=str(using)) if parcel.outcome is None and actions.keeps_actions(using):
            return using
        case Action() if parcel.outcome is None:
            return router.db_for_write(StoredAction)
        case _:
            return router.db_for_write(DeadLetter)


def _by_alias(messages: Iterable[Message]) -> dict[str, list[Message]]:
    shares: dict[str, list[Message]] = {}
    for message in messages:
        parts: dict[str, list[Parcel]] = {}
        for parcel in message.parcels:
            parts.setdefault(alias_of(parcel), []).append(parcel)
        for alias, parcels in (parts or {router.db_for_write(DeadLetter): []}).items():
            shares.setdefault(alias, []).append(Message(message.id, message.kind, parcels))
    return shares


def _apply_share(
    messages: list[Message], alias: str, now: datetime, also: Also | None, wanted: Wanted | None
) -> Counter[str]:
    try:
        with transaction.atomic(using=alias):
            sessions.bound(alias)
            counts = tallies.received(messages)
            parcels = _unknown(messages, now, alias)
            settle(undecided(parcels), alias, wanted=wanted)
            deadletters.write(parcels, now, alias)
            counts += tallies.settled(parcels)
            tallies.write(counts, parcels, now, alias)
            if also is not None:
                also(alias)
    except Error as error:
        if blame(error) is Blame.TRANSIENT:
            raise Transient(str(error)) from error
        raise
    _report(parcels)
    return Counter(_end_of(parcel.outcome) for parcel in parcels if parcel.outcome is not None)


def _end_of(outcome: Outcome) -> str:
    return Reason.HELD.value if outcome is HELD else outcome.fate.value


def _unknown(messages: list[Message], now: datetime, alias: str) -> list[Parcel]:
    """All parcels; those of messages that the ledger knows, or that stand twice in the batch, are duplicates."""
    fresh = ledger.enter({message.id for message in messages}, now, alias)
    for message in messages:
        if message.id not in fresh:
            for parcel in message.parcels:
                parcel.outcome = DUPLICATE
        fresh.discard(message.id)
    return [parcel for message in messages for parcel in message.parcels]


def settle(parcels: list[Parcel], alias: str, *, guarded: bool = True, wanted: Wanted | None = None) -> None:
    """Decide about ``parcels`` and write those that apply and are ``wanted``, in the caller's transaction.

    Raises Fault where most of them fail in one way, unless ``guarded`` is off: what died before may die again.
    """
    screen(parcels)
    if wanted is not None:
        for parcel in undecided(parcels):
            if parcel.event is not None and not wanted(parcel.event):
                parcel.outcome = HELD
    write(undecided(parcels), alias, guarded=guarded)


def _report(parcels: Iterable[Parcel]) -> None:
    outcomes = [p.outcome for p in parcels if p.outcome is not None and p.outcome is not HELD]
    reasons = Counter(outcome.reason for outcome in outcomes if outcome.fate is Fate.DEAD)
    for reason, count in reasons.items():
        logger.warning("Dead letters (%s): %d. See `manage.py dead_letters`.", reason, count)
