"""Replay in place: runs dead letters through the pipeline again and settles their state in the same transaction.

It needs no broker. The letters are locked, so two replays at once share the work and a second one finds nothing.
Where a letter's events are written on another database than the letter, that one commits first, and entries in its
ledger make a second try exact.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import connections, models, transaction

from footfall.producers.messages import decode_unit
from footfall.producers.queues import SPOOL
from footfall.producers.reasons import Reason
from footfall.storage.clock import stored
from footfall.storage.models import DeadLetter, Tally
from footfall.workers import deadletters, ledger, tallies
from footfall.workers.decoding import open_event
from footfall.workers.outcomes import DUPLICATE, UNKNOWN_KIND, WHOLE, Fate, Parcel, undecided
from footfall.workers.pipeline import Delivery, alias_of, open_one, rules, settle

CHUNK = 100  # letters locked and settled in one transaction


@dataclass(slots=True)
class Summary:
    """What a replay came to.

    Letters settled; events still dead and why; letters that another replay is busy with; letters left out, for they
    took their worker down and would take down this process.
    """

    replayed: int = 0
    still_dead: int = 0
    busy: int = 0
    left_out: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, eq=False)
class Case:
    """One letter being replayed; ``message_id`` is that of the delivery in it, under which a good copy is known."""

    letter: DeadLetter
    parcels: list[Parcel]
    message_id: uuid.UUID | None = None

    def key(self, what: str) -> uuid.UUID:
        """The ledger id of a part of this replay, on a database other than the letter's."""
        return uuid.uuid5(self.letter.message_id, f"replay:{what}")


def replay(
    letters: models.QuerySet[DeadLetter],
    *,
    dry_run: bool = False,
    killers: bool = False,
    limit: int | None = None,
    now: datetime | None = None,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Apply the open ones among ``letters`` (at most ``limit``), oldest first.

    A letter whose events were applied, filtered or known already is replayed; one that dies again stays open with its
    new reason. One that took its worker down is run only with ``killers``, or once it is mended. ``dry_run`` rolls all
    of it back. ``progress`` is called with the number of letters done.
    Blocks on the database; raises what it raises, with the finished chunks of 100 letters committed.
    """
    using = letters.select_for_update().db  # the alias that is written
    moment = now or datetime.now(UTC)
    wanted = letters.using(using).filter(state=DeadLetter.State.OPEN)
    risky = wanted.filter(reason=Reason.KILLED_WORKER, edited_at=None)
    summary = Summary(left_out=0 if killers else risky.count())
    if summary.left_out:
        wanted = wanted.exclude(pk__in=risky.values("pk"))
    ids = list(wanted.order_by("pk").values_list("pk", flat=True)[:limit])
    for start in range(0, len(ids), CHUNK):
        _replay_chunk(ids[start : start + CHUNK], using, moment, dry_run, summary)
        if progress is not None:
            progress(min(start + CHUNK, len(ids)))
    return summary


def _replay_chunk(ids: list[Any], using: str, now: datetime, dry_run: bool, summary: Summary) -> None:
    with transaction.atomic(using=using):
        letters = _locked(ids, using)
        summary.busy += len(ids) - len(letters)
        cases = [_opened(letter, now) for letter in letters]
        _settle_all(cases, using, now, dry_run)
        for case in cases:
            _close(case, now, using, summary)
        _tally(cases, now, using)
        if dry_run:
            transaction.set_rollback(True, using=using)


def _locked(ids: list[Any], using: str) -> list[DeadLetter]:
    rows = DeadLetter.objects.using(using).filter(pk__in=ids, state=DeadLetter.State.OPEN).order_by("pk")
    if connections[using].features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True)
    return list(rows)


def _opened(letter: DeadLetter, now: datetime) -> Case:
    """The parcels in a letter: its one event, or what a whole delivery holds once its bytes can be opened."""
    # However old: the ledger may have forgotten it, and a person has decided.
    limits = msgspec.structs.replace(rules(), oldest=timedelta.max)
    body = letter.current_body
    if not letter.whole:
        return Case(letter, [open_event(body, letter.message_id, letter.position, letter.queue, now, limits)])
    # A line of the spool is no message: the embedded worker opens it by its unit.
    unit = decode_unit(body) if letter.queue == SPOOL else None
    message = open_one(Delivery(body, letter.queue, unit), now, limits)
    closed = any(parcel.position == WHOLE for parcel in message.parcels)
    # The ledger has the letter's own id since the letter was written.
    return Case(letter, message.parcels, None if closed or message.id == letter.message_id else message.id)


def _settle_all(cases: list[Case], home: str, now: datetime, dry_run: bool) -> None:
    """Settle on every alias that the cases touch: each other one in a transaction of its own, then the letters' own."""
    shares: dict[str, dict[Case, list[Parcel]]] = {}
    for case in cases:
        for parcel in undecided(case.parcels):
            shares.setdefault(alias_of(parcel), {}).setdefault(case, []).append(parcel)
    for alias in sorted(shares, key=lambda alias: (alias == home, alias)):
        with transaction.atomic(using=alias):
            _settle_share(shares[alias], alias, now, retried=alias != home)
            if dry_run and alias != home:
                transaction.set_rollback(True, using=alias)


def _settle_share(share: dict[Case, list[Parcel]], alias: str, now: datetime, *, retried: bool) -> None:
    """Settle what no good copy, and no earlier try that committed here and not at home, has applied already."""
    ids = {case.message_id for case in share if case.message_id is not None}
    keys = {parcel: case.key(str(parcel.position)) for case, parcels in share.items() for parcel in parcels}
    own = {case.key("whole") for case in share} | set(keys.values()) if retried else set()
    fresh = ledger.enter(ids | own, now, alias)
    for case, parcels in share.items():
        known = case.message_id is not None and case.message_id not in fresh
        again = retried and case.key("whole") not in fresh
        for parcel in parcels:
            if (known and not again) or (retried and keys[parcel] not in fresh):
                parcel.outcome = DUPLICATE
        if case.message_id is not None:
            fresh.discard(case.message_id)
    settle(undecided(keys), alias, guarded=False)
    if retried:
        ledger.strike([key for parcel, key in keys.items() if _died(parcel)], alias)


def _died(parcel: Parcel) -> bool:
    return parcel.outcome is not None and parcel.outcome.fate is Fate.DEAD


def _close(case: Case, now: datetime, using: str, summary: Summary) -> None:
    """Settle the letter's state: replayed, or open again with the new reason."""
    letter, again = case.letter, [parcel for parcel in case.parcels if _died(parcel)]
    letter.attempts += 1
    letter.last_seen = stored(now)
    if again and (not letter.whole or again[0].position == WHOLE):
        _reopen(letter, again[0])
    else:
        deadletters.write(again, now, using)
        letter.state = DeadLetter.State.REPLAYED
        letter.settled_at = stored(now)
        summary.replayed += 1
    _count(again, summary)
    letter.save(using=using)


def _reopen(letter: DeadLetter, parcel: Parcel) -> None:
    assert parcel.outcome is not None and parcel.outcome.reason is not None  # it died
    letter.reason = parcel.outcome.reason.value
    letter.error = parcel.outcome.error
    letter.stage = parcel.outcome.stage
    letter.kind = parcel.kind


def _count(again: Iterable[Parcel], summary: Summary) -> None:
    for parcel in again:
        assert parcel.outcome is not None and parcel.outcome.reason is not None  # it died
        summary.still_dead += 1
        summary.reasons[parcel.outcome.reason.value] += 1


def _tally(cases: Iterable[Case], now: datetime, using: str) -> None:
    """Count the letters that are settled, in one sorted write: two replays at once must not wait in a circle."""
    settled = [case.letter for case in cases if case.letter.state == DeadLetter.State.REPLAYED]
    counts = Counter((letter.kind or UNKNOWN_KIND, Tally.Name.REPLAYED.value) for letter in settled)
    tallies.write(counts, [parcel for case in cases for parcel in case.parcels], now, using)
