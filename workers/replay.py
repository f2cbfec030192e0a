"""Replay in place: runs dead letters through the pipeline again and settles their state in the same transaction.

It needs no broker. The letters are locked, so two replays at once share the work and a second one finds nothing.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import connections, models, router, transaction

from footfall.storage.models import DeadLetter, Tally
from footfall.storage.upsert import add, upsert
from footfall.workers import deadletters, ledger
from footfall.workers.decoding import open_delivery, open_event
from footfall.workers.outcomes import DUPLICATE, WHOLE, Fate, Parcel
from footfall.workers.pipeline import alias_of, rules, settle

CHUNK = 100  # letters locked and settled in one transaction


@dataclass(slots=True)
class Summary:
    """What a replay came to, in letters: how many were settled, how many stay open and why, how many were busy."""

    replayed: int = 0
    still_dead: int = 0
    busy: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def replay(
    letters: models.QuerySet[DeadLetter],
    *,
    dry_run: bool = False,
    limit: int | None = None,
    now: datetime | None = None,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Apply the open ones among ``letters`` (at most ``limit``), oldest first.

    A letter whose events were applied, filtered or known already is replayed; one that dies again stays open with its
    new reason. ``dry_run`` does all of it and rolls back. ``progress`` is called with the number of letters done.
    Blocks on the database; raises what it raises, with the finished chunks of 100 letters committed.
    """
    using = router.db_for_write(DeadLetter) if letters._db is None else letters._db
    moment = now or datetime.now(UTC)
    wanted = letters.using(using).filter(state=DeadLetter.State.OPEN).order_by("pk").values_list("pk", flat=True)
    ids = list(wanted if limit is None else wanted[:limit])
    summary = Summary()
    for start in range(0, len(ids), CHUNK):
        _replay_chunk(ids[start : start + CHUNK], using, moment, dry_run, summary)
        if progress is not None:
            progress(min(start + CHUNK, len(ids)))
    return summary


def _replay_chunk(ids: list[Any], using: str, now: datetime, dry_run: bool, summary: Summary) -> None:
    with transaction.atomic(using=using):
        rows = DeadLetter.objects.using(using).filter(pk__in=ids, state=DeadLetter.State.OPEN).order_by("pk")
        if connections[using].features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True)
        letters = list(rows)
        summary.busy += len(ids) - len(letters)
        opened = {letter: _open(letter, now, using) for letter in letters}
        _settle_all([parcel for parcels in opened.values() for parcel in parcels], using, now, dry_run)
        for letter, parcels in opened.items():
            _close(letter, parcels, now, using, summary)
        if dry_run:
            transaction.set_rollback(True, using=using)


def _open(letter: DeadLetter, now: datetime, using: str) -> list[Parcel]:
    """The parcels in a letter: its one event, or what a whole delivery holds once its bytes can be opened."""
    limits = rules()
    if not letter.whole:
        return [open_event(letter.current_body, letter.message_id, letter.position, letter.queue, now, limits)]
    message = open_delivery(letter.current_body, letter.queue, now, limits)
    if message.id != letter.message_id and not (message.parcels and message.parcels[0].position == WHOLE):
        if not ledger.enter([message.id], now, using):
            for parcel in message.parcels:
                parcel.outcome = DUPLICATE
    return message.parcels


def _settle_all(parcels: list[Parcel], using: str, now: datetime, dry_run: bool) -> None:
    shares: dict[str, list[Parcel]] = {}
    for parcel in parcels:
        if parcel.outcome is None:
            shares.setdefault(alias_of(parcel), []).append(parcel)
    for alias, share in sorted(shares.items()):
        if alias == using:
            settle(share, alias)
        else:
            _settle_elsewhere(share, alias, now, dry_run)


def _settle_elsewhere(parcels: list[Parcel], alias: str, now: datetime, dry_run: bool) -> None:
    """Settle on another alias, which commits before the letters do: a ledger entry per letter makes a retry exact."""
    keys = {uuid.uuid5(parcel.message_id, f"replay:{parcel.position}"): parcel for parcel in parcels}
    with transaction.atomic(using=alias):
        fresh = ledger.enter(list(keys), now, alias)
        for key, parcel in keys.items():
            if key not in fresh:
                parcel.outcome = DUPLICATE
        settle([keys[key] for key in fresh], alias)
        ledger.strike([key for key in fresh if keys[key].outcome is not None and _died(keys[key])], alias)
        if dry_run:
            transaction.set_rollback(True, using=alias)


def _died(parcel: Parcel) -> bool:
    return parcel.outcome is not None and parcel.outcome.fate is Fate.DEAD


def _close(letter: DeadLetter, parcels: Iterable[Parcel], now: datetime, using: str, summary: Summary) -> None:
    """Settle the letter's state: replayed, or open again with the new reason."""
    again = [parcel for parcel in parcels if _died(parcel)]
    letter.attempts += 1
    letter.last_seen = now
    if again and (not letter.whole or again[0].position == WHOLE):
        _reopen(letter, again[0], summary)
    else:
        deadletters.write(again, now, using)
        letter.state = DeadLetter.State.REPLAYED
        letter.settled_at = now
        summary.replayed += 1
        hour = now.replace(minute=0, second=0, microsecond=0)
        row = (hour, letter.kind or "unknown", Tally.Name.REPLAYED.value, 1)
        upsert(Tally, ("hour", "kind", "name"), {"count": add}, [row], using)
    letter.save(using=using)


def _reopen(letter: DeadLetter, parcel: Parcel, summary: Summary) -> None:
    assert parcel.outcome is not None and parcel.outcome.reason is not None  # it died
    letter.reason = parcel.outcome.reason.value
    letter.error = parcel.outcome.error
    letter.stage = parcel.outcome.stage
    letter.kind = parcel.kind
    summary.still_dead += 1
    summary.reasons[letter.reason] += 1
