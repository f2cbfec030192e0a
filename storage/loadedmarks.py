"""Marks of one user that are loaded, and the rule in Python; `footfall.storage.seen` is the same rule in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Q

from footfall.storage.marks import KEYS, in_chunks
from footfall.storage.models import ViewMark
from footfall.storage.seen import later_than, wide_mark

#: Where a user instance keeps what was loaded for the page that is being made.
CACHE = "_footfall_marks"


class LoadedMarks:
    """Marks of one user by scope: (label, id), (label, "") and ("", "")."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, str], tuple[datetime, bool]] = {}

    def add(self, rows: Iterable[tuple[str, str, datetime, bool]]) -> LoadedMarks:
        """Take in rows of (label, id, at, seen); returns itself."""
        self._marks.update(((label, key), (at, seen)) for label, key, at, seen in rows)
        return self

    def say_seen(self, label: str, key: str, changed: datetime) -> bool:
        """The rule: of the three scopes the latest mark decides, and it covers what is not newer than it."""
        at, seen = self.latest(label, key)
        return at is not None and seen and at >= changed

    def latest(self, label: str, key: str) -> tuple[datetime | None, bool]:
        """The time of the mark that decides on an object, None without any, and whether it says *seen*."""
        scopes = (("", ""), (label, ""), (label, key))
        return max((self._marks[scope] for scope in scopes if scope in self._marks), default=(None, False))


def marks_on(user: Any, refs: Iterable[tuple[str, str]]) -> LoadedMarks:
    """What decides on the objects ``refs`` (label, id) for the user with the key ``user``.

    One query, and one more for each further 500 objects.
    """
    loaded = LoadedMarks()
    for some in in_chunks(dict.fromkeys(refs), KEYS):
        labels, keys = zip(*some, strict=True)
        # Wider than asked, where it crosses labels and keys: so each is found through the one unique index.
        rows = ViewMark.objects.filter(user_id=user, object_type__in={"", *labels}, object_id__in={"", *keys})
        loaded.add(_values(rows))
    return loaded


def cached_marks(user: Any, key: Any, label: str) -> LoadedMarks:
    """What decides on any object of the model ``label``, kept on ``user``, whose key is ``key``. One query at first.

    Own marks that are not later than the user's mark on the model or on everything decide nothing and are not loaded.
    """
    cache = cache_of(user)
    if label not in cache:
        rows = ViewMark.objects.filter(user_id=key, object_type__in=("", label))
        cache[label] = LoadedMarks().add(_values(rows.filter(Q(object_id="") | later_than(wide_mark(key, label)))))
    return cache[label]


def cache_of(user: Any) -> dict[str, LoadedMarks]:
    """What is loaded on this user instance, by label: the same dict until `forget_cached`, then another one."""
    cache: dict[str, LoadedMarks] | None = getattr(user, CACHE, None)
    if cache is None:
        cache = {}
        setattr(user, CACHE, cache)
    return cache


def forget_cached(user: Any) -> None:
    """Load the marks of this user instance anew when they are asked for again."""
    if getattr(user, CACHE, None) is not None:
        delattr(user, CACHE)


def _values(rows: Any) -> Iterable[tuple[str, str, datetime, bool]]:
    values: Iterable[tuple[str, str, datetime, bool]] = rows.values_list("object_type", "object_id", "at", "seen")
    return values
