"""Slots of time: the hour, day, week or month in which something happened, by the clock of the site's time zone.

The rules of this file:

- A slot is known by its start: the day, the week's Monday or the first of the month as a date; the start of an hour
  as a moment in UTC, so that an hour which the clock shows twice is two slots, each equal to itself whoever asks.
- An hour begins when the clock shows a full hour, also where a zone is half an hour off; where the clock is put
  forward or back by less, the hour in which that happens is so much shorter or longer.
- Functions here know neither models nor databases. Which column holds a slot is the dataset's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from django.utils import timezone

Slot = date  # of an hour: a datetime, which is a date, too
Rule = Callable[[datetime], Slot]

_INSTANT = timedelta(microseconds=1)


def hour_of(at: datetime) -> datetime:
    """The start, in UTC, of the hour of ``at``. Raises ValueError for a time without a zone, as all rules do."""
    _refuse_naive(at)
    # The clock is set at full minutes, so what a minute's start belongs to, all of it does.
    return _hour(timezone.get_default_timezone(), at.astimezone(UTC).replace(second=0, microsecond=0))


def day_of(at: datetime) -> date:
    """The day of ``at``, be it 23, 24 or 25 hours long."""
    _refuse_naive(at)
    return at.astimezone(timezone.get_default_timezone()).date()


def week_of(at: datetime) -> date:
    """The Monday of the week of ``at``."""
    day = day_of(at)
    return day - timedelta(days=day.weekday())


def month_of(at: datetime) -> date:
    """The first of the month of ``at``."""
    return day_of(at).replace(day=1)


RULES: dict[str, Rule] = {"hour": hour_of, "day": day_of, "week": week_of, "month": month_of}


def start_of(slot: Slot) -> datetime:
    """The moment at which ``slot`` begins; a day whose midnight the clock skips begins after that."""
    if isinstance(slot, datetime):
        return slot
    return datetime.combine(slot, time(), timezone.get_default_timezone())


def first_slot(rule: Rule, since: date) -> Slot:
    """The slot that holds ``since``: a moment, or the first of a day."""
    return rule(start_of(since))


def last_slot(rule: Rule, until: date) -> Slot:
    """The slot that holds ``until``: a moment, or the last of a day."""
    if isinstance(until, datetime):
        return rule(until)
    return rule(_before(until + timedelta(days=1)))


def backwards(rule: Rule, slot: Slot) -> Iterator[Slot]:
    """``slot``, the one before it, the one before that, and so on to the beginning of the calendar.

    Raises ValueError for a rule that does not know its slots by their start: no step back would lead out of one.
    """
    while True:
        yield slot
        try:
            earlier = rule(_before(slot))
        except OverflowError:
            return
        if earlier >= slot:
            raise ValueError(f"A slot is known by its start, but what is before {slot} lies in {earlier}.")
        slot = earlier


@lru_cache(maxsize=4096)
def _hour(zone: tzinfo, minute: datetime) -> datetime:
    shown = minute.astimezone(zone).replace(minute=0)
    # The clock shows it once, twice, or (in a gap) never, which Python puts at the time the clock was set.
    starts = (shown.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return max(start for start in starts if start <= minute)


def _before(slot: Slot) -> datetime:
    # In UTC: a time of day in a zone of its own would be reckoned by the clock on the wall.
    return start_of(slot).astimezone(UTC) - _INSTANT


def _refuse_naive(at: datetime) -> None:
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone.")
