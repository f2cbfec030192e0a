"""An action on its way into the database, as handlers see it in the worker: plain data, no query."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from footfall.producers.messages import Ref


@dataclass(slots=True, eq=False)
class Draft:
    """An action that is not stored yet. ``targets`` and ``related`` keep the order in which they came."""

    id: uuid.UUID
    actor: Ref | None
    verb: str
    timestamp: datetime
    level: int
    targets: list[Ref] = field(default_factory=list)
    related: list[Ref] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    using: str | None = None

    def absorb(self, other: Draft) -> None:
        """Take in ``other``: levels at their highest, objects united, data merged deep; what stands here wins."""
        self.level = max(self.level, other.level)
        self.targets = list(dict.fromkeys([*self.targets, *other.targets]))
        self.related = list(dict.fromkeys([*self.related, *other.related]))
        self.data = _merged(self.data, other.data)


def _merged(kept: Any, other: Any) -> Any:
    if isinstance(kept, dict) and isinstance(other, dict):
        both = {key: _merged(kept[key], other[key]) for key in kept.keys() & other.keys()}
        return other | kept | both
    if isinstance(kept, list) and isinstance(other, list):
        return [*kept, *(item for item in other if item not in kept)]
    return kept
