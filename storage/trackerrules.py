"""Which actions a tracker is about: the same rules for those that are stored and for one that is only asked."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from footfall.storage.models import Action


class TrackerRules:
    """What `Tracker` and `TempTracker` can be asked."""

    tracked_type: Any
    tracked_id: Any
    verbs: Any
    excluded: Any
    actor_only: Any
    last_updated: Any

    def matches(self, action: Action) -> bool:
        raise NotImplementedError


class TempTracker(TrackerRules):
    """A tracker that is not stored: it asks what a user would be told of by following ``tracked``."""

    def __init__(
        self,
        user: Any,
        tracked: Any,
        verbs: Any = (),
        actor_only: bool = True,
        last_updated: datetime | None = None,
    ) -> None:
        raise NotImplementedError
