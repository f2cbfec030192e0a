"""What a soft deletion takes with it, level by level, told before it is done."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Model, QuerySet

from footfall.storage.families import going_with, keeper
from footfall.storage.marks import in_chunks
from footfall.storage.softdeletion import DELETED

#: How many rows are counted in all, and how many queries count them; without a limit, more than there can be.
COUNTED = 10_000
QUERIES = 100
UNLIMITED = 2**62

#: How many rows are read at once, and how many keys a statement is given.
AT_ONCE = 10_000


@dataclass(frozen=True)
class Level:
    """Rows of one model that go at one distance from what is deleted.

    ``more``: the models of which there may be rows that were not counted; where counting has stopped only.
    """

    depth: int
    model: type[Model]
    keys: Sequence[Any]
    more: Collection[type[Model]] = ()

    def objects(self, using: str) -> Iterator[Model]:
        """Its objects, as far as they are still there, in order. One query for each `AT_ONCE`."""
        for some in in_chunks(self.keys, AT_ONCE):
            rows = self.model._base_manager.using(using).in_bulk(some)
            yield from (rows[key] for key in some if key in rows)

    def first(self, number: int, using: str) -> list[Model]:
        """The first ``number`` of its objects. One query."""
        return list(Level(self.depth, self.model, self.keys[:number]).objects(using))


def levels(rows: QuerySet[Any], gone: Sequence[Any] = (), all_of_them: bool = False) -> Iterator[Level]:
    """What is deleted softly with ``rows``: these first, then what ``delete_cascade`` names, and so on downwards.

    What is deleted already is left out, and what is below it, but for what is below those of the keys ``gone``. One
    query a level and relation. Ends after `COUNTED` rows or `QUERIES`, then the last level has ``more``; with
    ``all_of_them`` it ends where the rows do.
    """
    left, queries = (UNLIMITED, UNLIMITED) if all_of_them else (COUNTED, QUERIES)
    seen: defaultdict[type[Model], set[Any]] = defaultdict(set)  # by the model that keeps the row
    waiting = deque([(0, rows), *((1, below) for below in _below(rows, gone))])
    while waiting:
        depth, rows = waiting.popleft()
        if not queries:
            yield Level(depth, rows.model, [], _leading_on(rows, waiting))
            return
        queries -= 1
        known = seen[keeper(rows.model)]
        found = rows.order_by("pk").exclude(status=DELETED).values_list("pk", flat=True)
        # As many more as are known: those may be the first.
        fresh = [key for key in found[: left + len(known) + 1] if key not in known]
        if len(fresh) > left:
            yield Level(depth, rows.model, fresh[:left], _leading_on(rows, waiting))
            return
        if fresh:
            left -= len(fresh)
            known.update(fresh)
            yield Level(depth, rows.model, fresh)
            waiting.extend((depth + 1, below) for below in _below(rows, fresh))


def leading_to(*models: type[Model]) -> set[type[Model]]:
    """The models of which rows may go with rows of ``models``, however far below, and these. No query."""
    found: set[type[Model]] = set()
    todo = [*models]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += [relation.related_model for relation in going_with(one)]
    return found


def _leading_on(rows: QuerySet[Any], waiting: Collection[tuple[int, QuerySet[Any]]]) -> set[type[Model]]:
    return leading_to(rows.model, *(others.model for _depth, others in waiting))


def _below(rows: QuerySet[Any], keys: Sequence[Any]) -> Iterator[QuerySet[Any]]:
    for relation in going_with(rows.model):
        children = relation.related_model._base_manager.using(rows.db)
        for some in in_chunks(keys, AT_ONCE):
            yield children.filter(**{f"{relation.field.name}__pk__in": some})
