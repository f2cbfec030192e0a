"""Bounds how many labels a day may bring: strangers can make up any number of them, and each would be rows for ever.

A label, category and element that was counted before is known and counts under its own name whatever comes. Of those
that are new on a day, MAX_NEW_LABELS_PER_DAY are entered; the hits of the others count under ``(other)``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import date

from django.db import connections

from footfall.producers.settings import conf
from footfall.storage.models import KnownLabel
from footfall.workers.folding.entries import enter, standing

Key = tuple[str, str, str]
DayKey = tuple[str, str, str, date]

#: What hits beyond the cap count under. It takes no room of a day.
OTHER: Key = ("(other)", "None", "None")

NAMES = ("label", "category", "dom_id")

#: The advisory lock under which PostgreSQL lets one transaction at a time enter new labels: "footfall" in ASCII.
LOCK = int.from_bytes(b"footfall", "big")


def capped(hits: Mapping[DayKey, int], using: str) -> dict[DayKey, int]:
    """``hits`` per label, category, dom_id and day with those of labels beyond the cap under `OTHER`.

    The sum of each day stays what it was. Enters new labels, in the caller's transaction; waits for others that do.
    """
    first_days: dict[Key, date] = {}
    for *names, day in hits:
        key: Key = (names[0], names[1], names[2])
        first_days[key] = min(day, first_days.get(key, day))
    known = standing(KnownLabel, NAMES, {*first_days, OTHER}, using)
    strangers = first_days.keys() - known - {OTHER}
    strangers -= _enter({key: first_days[key] for key in strangers}, using)
    folded = _folded(hits, strangers)
    if OTHER not in known and (days := [key[-1] for key in folded if key[:-1] == OTHER]):
        enter(KnownLabel, NAMES, ("first_day",), [(*OTHER, min(days))], using)
    return folded


def _enter(new: Mapping[Key, date], using: str) -> set[Key]:
    """Enter of ``new`` labels what there is room for; returns those that are known now, whoever entered them."""
    days = set(new.values())
    # The lock is for those who find room: when a flood has filled a day, nobody waits for anybody.
    if not any(_room(day, using) > 0 for day in days):
        return set()
    _lock(using)
    known = {(key[0], key[1], key[2]) for key in standing(KnownLabel, NAMES, new.keys(), using)}
    rows = []
    for day in sorted(days):
        wanted = sorted(key for key, first in new.items() if first == day and key not in known)
        rows += [(*key, day) for key in wanted[: _room(day, using)]]
    enter(KnownLabel, NAMES, ("first_day",), rows, using)
    return known | {(row[0], row[1], row[2]) for row in rows}


def _room(day: date, using: str) -> int:
    entered = KnownLabel.objects.using(using).filter(first_day=day)
    taken = entered.exclude(**dict(zip(NAMES, OTHER, strict=True))).count()
    return max(0, int(conf.MAX_NEW_LABELS_PER_DAY) - taken)


def _lock(using: str) -> None:
    # SQLite has one writer at a time, and this transaction has written its ledger already.
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _folded(hits: Mapping[DayKey, int], strangers: Collection[object]) -> dict[DayKey, int]:
    sums: dict[DayKey, int] = defaultdict(int)
    for (label, category, dom_id, day), count in hits.items():
        key = (label, category, dom_id)
        sums[(*(OTHER if key in strangers else key), day)] += count
    return sums
