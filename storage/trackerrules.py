"""Which actions a tracker is about: the same rules for those that are stored and for one that is only asked."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from footfall.producers.messages import Ref
from footfall.producers.settings import conf
from footfall.storage.changetime import site_time
from footfall.storage.handlers import readable_level
from footfall.storage.loading import entries_of
from footfall.storage.resolving import resolve

if TYPE_CHECKING:
    from footfall.storage.actionlists import ActionQuerySet
    from footfall.storage.models import Action


class TrackerRules:
    """What `Tracker` and `TempTracker` can be asked."""

    user_id: Any
    tracked_type: Any
    tracked_id: Any
    verbs: Any
    excluded: Any
    actor_only: Any
    last_updated: Any

    @property
    def tracked_ref(self) -> Ref:
        """Whom it follows; without an id all of a model."""
        return Ref(self.tracked_type, self.tracked_id or None)

    @property
    def tracked(self) -> Any:
        """Whom it follows: an object, a model, the `DeletedItem` of what is gone, None without one. One query or two.

        For many trackers at once ask ``user.trackers.tracked()``.
        """
        return resolve([self.tracked_ref]).get(self.tracked_ref)

    def follows(self, verb: str) -> bool:
        """Whether it is about actions of ``verb``."""
        return (not self.verbs or verb in self.verbs) and verb not in self.excluded

    def matches(self, action: Action) -> bool:
        """Whether it is about ``action``, however old or low. At most one query, for all that the action came with."""
        if not self.follows(action.verb):
            return False
        if self.actor_only:
            return self._is_about(action.actor_type, action.actor_id)
        return any(self._is_about(ref.type, ref.id or "") for _, ref in entries_of(action))

    def actions(self, **filters: Any) -> ActionQuerySet:
        """The actions that it is about, also those from before it; see `ActionQuerySet.tracked_by`. No query."""
        from footfall.storage.models import Action

        return Action.objects.tracked_by(self, **filters)

    def unread(self) -> ActionQuerySet:
        """Those of its actions that its user has not read, by this tracker alone; none for an anonymous user.

        No query.
        """
        from footfall.storage.seen import unseen_condition

        rows = self.actions(level__gte=readable_level(), renewed__gte=self.last_updated)
        if not conf.TRACK_UNREAD or self.user_id is None:
            return rows.none()
        return rows.filter(unseen_condition(self.user_id, rows, "changed"))

    def update_unread(self) -> set[Action]:
        """`unread` as a set: the name of old. Nothing is written."""
        return set(self.unread())

    def _is_about(self, object_type: str, object_id: str) -> bool:
        return object_type == self.tracked_type and self.tracked_id in ("", object_id)


class TempTracker(TrackerRules):
    """A tracker that is not stored: it asks what a user would be told of by following ``tracked``.

    ``tracked`` is an object, a model, or what is left of a deleted object; ``verbs`` one or several, none means all;
    ``last_updated``, default now, is the time from which on actions are unread. ``user`` may be anonymous or None.
    Raises ValueError for an unsaved object or what is no verb, TypeError for what is no user or can't be followed.
    """

    def __init__(
        self,
        user: Any,
        tracked: Any,
        verbs: Any = (),
        actor_only: bool = True,
        last_updated: datetime | None = None,
    ) -> None:
        from footfall.storage.tracked import ref_of, verbs_of
        from footfall.storage.userkeys import key_or_none

        ref = ref_of(tracked)
        self.user, self.user_id = user, key_or_none(user)
        self.tracked_type, self.tracked_id = ref.type, ref.id or ""
        self.verbs, self.excluded = verbs_of(verbs), list[str]()
        self.actor_only = actor_only
        self.last_updated = site_time(timezone.now() if last_updated is None else last_updated)
