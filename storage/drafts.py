"""An action on its way into the database, as handlers see it in the worker: plain data, no query unless asked for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from footfall.producers.messages import Ref


@dataclass(slots=True, eq=False)
class Draft:
    """An action that is being joined with others. ``targets`` and ``related`` keep the order in which they came.

    ``renewed`` is when it last gained an object; at first that is its ``timestamp``.
    """

    id: uuid.UUID
    actor: Ref | None
    verb: str
    timestamp: datetime
    level: int
    targets: list[Ref] = field(default_factory=list)
    related: list[Ref] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    using: str | None = None
    renewed: datetime = field(init=False, repr=False)
    _loaded: DraftObjects | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self.renewed = self.timestamp

    def absorb(self, other: Draft) -> None:
        """Take in ``other``: levels at their highest, objects united, data merged deep; what stands here wins.

        Where that brings an object that wasn't here, it is renewed when ``other`` was, if that is later.
        """
        before = len(self.targets) + len(self.related)
        self.targets = list(dict.fromkeys([*self.targets, *other.targets]))
        self.related = list(dict.fromkeys([*self.related, *other.related]))
        if len(self.targets) + len(self.related) > before:
            self.renewed = max(self.renewed, other.renewed)
        self.level = max(self.level, other.level)
        self.data = merged(self.data, other.data)

    # -- For handlers that must look at the objects themselves

    def load_actor(self) -> Any:
        """The object that did it, its `DeletedItem`, or None. Queries as `load_targets` does."""
        found = self._load("actor")
        return found[0] if found else None

    def load_targets(self) -> list[Any]:
        """The targets: objects, models (as classes), and `DeletedItem`; what is gone without a trace is left out.

        Blocks on the database: the first call loads the targets of many actions of the batch, one query per model.
        The objects are shared by all drafts of the batch: look at them, don't change them.
        """
        return self._load("targets")

    def load_related(self) -> list[Any]:
        """What it stands in relation to; as `load_targets`."""
        return self._load("related")

    def _load(self, side: str) -> list[Any]:
        loaded = self._loaded or DraftObjects([self])
        return loaded.get(self, side)


def load_together(drafts: Sequence[Draft]) -> None:
    """From now on the objects that any of ``drafts`` is asked for are loaded for all of them."""
    objects = DraftObjects(drafts)
    for draft in drafts:
        draft._loaded = objects


class DraftObjects:
    """The objects that ``drafts`` are about: loaded for all of them together, when one is asked for."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self._drafts = drafts
        self._asked: set[Ref] = set()
        self._found: dict[Ref, Any] = {}

    def get(self, draft: Draft, side: str) -> list[Any]:
        """What the Refs on one ``side`` of ``draft`` (actor, targets, related) name. May query for all drafts."""
        refs = list(_side(draft, side))
        if not self._asked.issuperset(refs):
            self._load({ref for one in [*self._drafts, draft] for ref in _side(one, side)} - self._asked)
        return [self._found[ref] for ref in refs if ref in self._found]

    def _load(self, refs: set[Ref]) -> None:
        from footfall.storage.resolving import resolve  # which needs the models, which need this module

        self._found |= resolve(sorted(refs, key=str))
        self._asked |= refs


def _side(draft: Draft, side: str) -> Iterator[Ref]:
    if side == "actor":
        return iter(() if draft.actor is None else (draft.actor,))
    return iter(draft.targets if side == "targets" else draft.related)


def merged(kept: Any, other: Any) -> Any:
    """Data merged deep: dicts key by key, lists without what stands in them already; else ``kept`` wins."""
    if isinstance(kept, dict) and isinstance(other, dict):
        both = {key: merged(kept[key], other[key]) for key in kept.keys() & other.keys()}
        return other | kept | both
    if isinstance(kept, list) and isinstance(other, list):
        known = set(map(_identity, kept))
        return [*kept, *(item for item in other if _identity(item) not in known)]
    return kept


def _identity(item: Any) -> Any:
    """What two equal items of a list have in common, so that each is looked up instead of compared with all."""
    if isinstance(item, dict):
        return (dict, frozenset((key, _identity(value)) for key, value in item.items()))
    if isinstance(item, list):
        return (list, *map(_identity, item))
    # Numbers are what Python takes them for: PostgreSQL gives 1e16 back as an integer.
    return (bool, item) if isinstance(item, bool) else item


def copied(data: Any) -> Any:
    """A copy of JSON data, all the way down: who changes it in place changes nobody else's."""
    if isinstance(data, dict):
        return {key: copied(value) for key, value in data.items()}
    return [copied(item) for item in data] if isinstance(data, list) else data
