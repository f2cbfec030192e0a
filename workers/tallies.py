"""The account of what came in and what became of it, written in the transaction that settles a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from django.utils import timezone

from footfall.storage.clock import stored
from footfall.storage.models import SpiderTally, Tally
from footfall.storage.upsert import add, upsert
from footfall.workers.outcomes import Message, Parcel

Counts = Counter[tuple[str, str]]


def received(messages: Iterable[Message]) -> Counts:
    """What came in, before anything is decided: deliveries and events by (kind, name)."""
    counts: Counts = Counter()
    for message in messages:
        counts[message.kind, Tally.Name.DELIVERIES.value] += 1
        for parcel in message.parcels:
            counts[parcel.kind, Tally.Name.RECEIVED.value] += 1
    return counts


def settled(parcels: Iterable[Parcel]) -> Counts:
    """What became of it, by (kind, fate)."""
    counts: Counts = Counter()
    for parcel in parcels:
        assert parcel.outcome is not None  # the pipeline decides about each
        counts[parcel.kind, parcel.outcome.fate.value] += 1
    return counts


def write(counts: Counts, parcels: Iterable[Parcel], now: datetime, using: str) -> None:
    """Add ``counts`` to this hour, and the filtered spiders among ``parcels`` to their event's day."""
    hour = stored(now.replace(minute=0, second=0, microsecond=0))
    rows = ((hour, kind, name, count) for (kind, name), count in counts.items())
    upsert(Tally, ("hour", "kind", "name"), {"count": add}, rows, using)
    spiders: Counter[tuple[object, str]] = Counter()
    for parcel in parcels:
        if parcel.outcome is not None and parcel.outcome.spider and parcel.event is not None:
            at = timezone.localtime(parcel.event.at, timezone.get_default_timezone())
            spiders[at.date(), parcel.outcome.spider] += 1
    days = ((*key, count) for key, count in spiders.items())
    upsert(SpiderTally, ("day", "spider"), {"count": add}, days, using)
