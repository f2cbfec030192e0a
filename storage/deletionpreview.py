"""What a soft deletion takes with it, level by level, told before it is done."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Model, QuerySet

from footfall.storage.families import going_with, keeper
from footfall.storage.softdeletion import DELETED

#: How many rows are counted in all, and how many queries count them.
COUNTED = 10_000
QUERIES = 100


@dataclass(frozen=True)
class Level:
    """Rows of one model that go at one distance from what is deleted; ``is_cut`` where there are more of them."""

    depth: int
    model: type[Model]
    keys: list[Any]
    is_cut: bool

    def first(self, number: int, using: str) -> list[Model]:
        """The first ``number`` of its objects. One query."""
        rows = self.model._base_manager.using(using).in_bulk(self.keys[:number])
        return [rows[key] for key in self.keys[:number] if key in rows]


def levels(rows: QuerySet[Any]) -> Iterator[Level]:
    """What is deleted softly with ``rows``: these first, then what ``delete_cascade`` names, and so on downwards.

    What is deleted already is left out. One query a level and relation; ends after `COUNTED` rows or `QUERIES`.
    """
    seen: defaultdict[type[Model], set[Any]] = defaultdict(set)  # by the model that keeps the row
    waiting, left = deque([(0, rows)]), COUNTED
    for _query in range(QUERIES):
        if not (waiting and left):
            return
        depth, rows = waiting.popleft()
        found = rows.order_by("pk").exclude(status=DELETED).values_list("pk", flat=True)[: left + 1]
        fresh = [key for key in found if key not in seen[keeper(rows.model)]]
        keys = fresh[:left]
        if keys:
            left -= len(keys)
            seen[keeper(rows.model)].update(keys)
            yield Level(depth, rows.model, keys, is_cut=len(fresh) > len(keys))
            waiting.extend((depth + 1, below) for below in _below(rows, keys))


def _below(rows: QuerySet[Any], keys: list[Any]) -> Iterator[QuerySet[Any]]:
    for relation in going_with(rows.model):
        children = relation.related_model._base_manager.using(rows.db)
        yield children.filter(**{f"{relation.field.name}__pk__in": keys})
