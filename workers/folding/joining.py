"""Which actions are one: combined within their unit of work, then grouped within it and within a window of time.

Pure: drafts in, drafts out; the site's handlers decide and are asked in a fixed order. Actions are taken one after the
other, as they came, and what is stored already stands beside those before it. So where an actor's actions come in the
order of their times, it makes no difference into which batches and messages they were split.
"""

from __future__ import annotations

import uuid
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import chain, islice
from operator import attrgetter
from typing import NamedTuple

import msgspec
from django.db import Error as DatabaseError

from footfall.producers.messages import MAX_REFS, Ref
from footfall.producers.settings import conf
from footfall.storage.drafts import Draft, merged
from footfall.storage.handlers import handler_of

#: An action is joined with one of so many before it, that hold no more than so many objects together: a unit of work
#: and a window may hold any number, and each pair costs.
LOOK_BACK = 100
OBJECTS = 5000

#: Ids count milliseconds, and are made a moment after the time of the event was taken.
GRAIN = timedelta(milliseconds=2)

#: Whose actions of which verb: only these are ever one.
Key = tuple[Ref | None, str]


class HandlerFailed(Exception):
    """A handler raised; ``index`` is the place of the event that was being joined among those given."""

    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.index = index


class Stored(NamedTuple):
    """What is in the database for an action: to be compared with what it becomes."""

    level: int
    data: dict[str, object]
    timestamp: datetime
    changed: datetime
    refs: frozenset[tuple[str, Ref]]


@dataclass(slots=True, eq=False)
class Candidate:
    """An action that may be joined with others: an event of a batch, or ``stored`` already.

    ``place`` is that of its event among those given. ``window`` is how long before it an action of another unit may
    have happened to be one with it; ``grouped`` is False for one that is not grouped with any before it.
    """

    draft: Draft
    unit: Hashable = None
    place: int = -1
    window: timedelta = timedelta(0)
    grouped: bool = True
    stored: Stored | None = None

    @property
    def key(self) -> Key:
        return (self.draft.actor, self.draft.verb)


def bounded(found: Iterable[Candidate]) -> Iterator[Candidate]:
    """The first LOOK_BACK of ``found``, as long as their targets and related objects are no more than OBJECTS."""
    held = 0
    for one in islice(found, LOOK_BACK):
        held += len(one.draft.targets) + len(one.draft.related)
        if held > OBJECTS:
            return
        yield one


# -- Combine: actions of different verbs that their handlers call one, within a unit of work


def combine(given: Sequence[Candidate]) -> list[Candidate]:
    """Those that are left of ``given``, in their order. Raises HandlerFailed, and what the database raises."""
    units: dict[Hashable, list[Candidate]] = defaultdict(list)
    hook_of = cache(_hook)
    for newer in given:
        mates = units[newer.unit, newer.draft.actor]
        if not (mates and _combines(newer, mates, hook_of)):
            mates.append(newer)
    return sorted((one for mates in units.values() for one in mates), key=lambda one: one.place)


Hook = Callable[[Draft, Draft], bool]


def _hook(verb: str, other: str) -> Hook | None:
    return handler_of(verb).combinator(other)


def _combines(newer: Candidate, mates: list[Candidate], hook_of: Callable[[str, str], Hook | None]) -> bool:
    """Whether ``newer`` went into an older one of ``mates``, newest first; those that go into it are taken out."""
    new = newer.draft
    able = (one for one in mates[::-1] if hook_of(new.verb, one.draft.verb) or hook_of(one.draft.verb, new.verb))
    for older in bounded(able):
        old = older.draft
        if len(new.targets) > len(old.targets) or not set(new.targets) <= set(old.targets):
            continue
        into_old, into_new = hook_of(new.verb, old.verb), hook_of(old.verb, new.verb)
        if into_old and _agreed(newer, into_old, new, old):
            _unite(newer, old, new)
            return True
        if into_new and _agreed(newer, into_new, old, new):
            _unite(newer, new, old)
            mates.remove(older)
    return False


# -- Group: actions of one actor and verb


def windows(given: Iterable[Candidate]) -> dict[Key, tuple[datetime, datetime]]:
    """From when to when stored actions may be one with any of ``given``, for those actors and verbs that need it."""
    found: dict[Key, tuple[datetime, datetime]] = {}
    for one in given:
        if one.window:
            since, until = one.draft.timestamp - one.window, one.draft.timestamp + one.window
            if one.key in found:
                since, until = min(since, found[one.key][0]), max(until, found[one.key][1])
            found[one.key] = (since, until)
    return found


def group(given: Iterable[Candidate], stored: Iterable[Candidate]) -> list[Candidate]:
    """Group each of ``given``, in their order, with what came before it or is ``stored``.

    Returns those of ``given`` that are left; what is stored is changed in place. Raises as `combine` does.
    """
    pools = _Pools()
    for one in stored:
        pools.add(one)
    return [newer for newer in given if not pools.grouped(newer)]


class _Pools:
    """What an action may be grouped with: sorted by time, and beside that by unit of work in the order of arrival."""

    def __init__(self) -> None:
        self._by_time: dict[Key, list[Candidate]] = defaultdict(list)
        self._by_unit: dict[tuple[Hashable, Key], list[Candidate]] = defaultdict(list)
        self._handler_of = cache(handler_of)

    def add(self, one: Candidate) -> None:
        insort(self._by_time[one.key], one, key=in_time)

    def grouped(self, newer: Candidate) -> bool:
        """Whether it went into an action that is here; else it is here from now on."""
        found = self._joined(newer) if newer.grouped else None
        if found is None:
            self.add(newer)
        self._by_unit[newer.unit, newer.key].append(found or newer)
        return found is not None

    def _joined(self, newer: Candidate) -> Candidate | None:
        agrees = self._handler_of(newer.draft.verb).group
        for older in self._before(newer):
            if _agreed(newer, agrees, newer.draft, older.draft) and _fits(newer, older.draft):
                _unite(newer, older.draft, newer.draft)
                return older
        for later in bounded(self._after(newer)):
            if _agreed(newer, agrees, later.draft, newer.draft) and _fits(newer, later.draft):
                self._date_back(later, newer)
                return later
        return None

    def _before(self, newer: Candidate) -> Iterator[Candidate]:
        """Those in its window, newest first, then its unit mates, whose time doesn't count; each once."""
        asked = set()
        mates = dict.fromkeys(self._by_unit[newer.unit, newer.key][: -LOOK_BACK - 1 : -1])
        for older in chain(bounded(self._in_window(newer)), bounded(mates)):
            if older not in asked:
                asked.add(older)
                yield older

    def _in_window(self, newer: Candidate) -> Iterator[Candidate]:
        if newer.window:
            dated, at = self._by_time[newer.key], newer.draft.timestamp
            for index in range(bisect_right(dated, at, key=_when) - 1, -1, -1):
                if dated[index].draft.timestamp < at - newer.window:
                    return
                yield dated[index]

    def _after(self, newer: Candidate) -> Iterator[Candidate]:
        """Those that happened later and were published later, so that ``newer`` is merely late: the nearest first."""
        if newer.window:
            dated, at = self._by_time[newer.key], newer.draft.timestamp
            first = bisect_right(dated, at, key=_when)
            for later in dated[first : first + LOOK_BACK]:
                if later.draft.timestamp > at + newer.window:
                    return
                if _was_published_later(later.draft, newer.draft):
                    yield later

    def _date_back(self, later: Candidate, newer: Candidate) -> None:
        """``newer`` is the older one of the two: its time and data stand, in the row that is there."""
        self._by_time[later.key].remove(later)
        data = later.draft.data
        _unite(newer, later.draft, newer.draft)
        later.draft.data = merged(newer.draft.data, data)
        later.draft.timestamp = newer.draft.timestamp
        self.add(later)


def _when(one: Candidate) -> datetime:
    return one.draft.timestamp


def in_time(one: Candidate) -> tuple[datetime, int]:
    """Its place in the order of times; among the same times ids decide, whichever came first."""
    return one.draft.timestamp, one.draft.id.int


def _was_published_later(one: Draft, other: Draft) -> bool:
    """Whether ``one``, which happened later, was published later too, as far as ids of version 7 can tell."""
    if one.id.version != 7 or other.id.version != 7:
        return False
    milliseconds = (one.id.int >> 80) - (other.id.int >> 80)
    return milliseconds > 0 or (milliseconds == 0 and one.timestamp - other.timestamp < GRAIN)


def _fits(newer: Candidate, older: Draft) -> bool:
    """Whether the two together are no more than one event may say."""
    new = newer.draft
    for some, more in ((older.targets, new.targets), (older.related, new.related)):
        if len(some) + len(more) > MAX_REFS and len({*some, *more}) > MAX_REFS:
            return False
    if not new.data or not older.data or new.data == older.data:
        return True
    with _blaming(newer):
        return len(msgspec.json.encode(merged(older.data, new.data))) <= int(conf.MAX_EVENT_BYTES)


# -- The site's code


@contextmanager
def _blaming(newer: Candidate) -> Iterator[None]:
    """What is raised inside is the fault of the event that is being joined."""
    try:
        yield
    except DatabaseError:  # says itself whether to wait or whom to blame
        raise
    except Exception as error:
        raise HandlerFailed(newer.place, error) from error


#: What decides which drafts are held against which.
_Standing = tuple[uuid.UUID, Ref | None, str, datetime, datetime]
_standing = attrgetter("id", "actor", "verb", "timestamp", "renewed")


def _agreed(newer: Candidate, hook: Hook, one: Draft, other: Draft) -> bool:
    before: list[tuple[Draft, _Standing]] = [(draft, _standing(draft)) for draft in (one, other)]
    try:
        with _blaming(newer):
            return bool(hook(one, other))
    finally:
        # A hook may level and fill its drafts; who did what when is not for it to say.
        for draft, standing in before:
            draft.id, draft.actor, draft.verb, draft.timestamp, draft.renewed = standing


def _unite(newer: Candidate, kept: Draft, other: Draft) -> None:
    with _blaming(newer):
        kept.absorb(other)
