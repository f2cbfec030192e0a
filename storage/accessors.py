"""What objects of connected models have: ``obj.actions`` and ``obj.trackers``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models, router
from django.db.models import Q, QuerySet

from footfall.storage.actionlists import ActionQuerySet
from footfall.storage.feeds import feed_of, unread_of
from footfall.storage.marks import label_of
from footfall.storage.models import Action, ActionObject, Tracker
from footfall.storage.naming import model_of
from footfall.storage.resolving import Hidden, resolve
from footfall.storage.tracked import ref_of, verbs_of
from footfall.storage.userkeys import is_user, user_key

Role = ActionObject.Role


class _OfAnObject:
    def __init__(self, instance: models.Model) -> None:
        self.instance = instance

    def _user(self, method: str) -> models.Model:
        if not is_user(self.instance):
            raise TypeError(f"{method}() is for users ({settings.AUTH_USER_MODEL}), not for {self.instance!r}.")
        return self.instance


class ObjectActions(_OfAnObject):
    """The actions of one object, newest first, as querysets; ``filters`` are those of `Action`.

    An object that is not saved raises ValueError. What is for users only raises TypeError for other objects.
    """

    def all(self, **filters: Any) -> ActionQuerySet:
        """Those that it did or that were about it, of any level, each once."""
        return self._in((Role.ACTOR, Role.TARGET, Role.RELATED), filters)

    def as_actor(self, **filters: Any) -> ActionQuerySet:
        """Those that it did, of any level."""
        return self._in((Role.ACTOR,), filters)

    def as_target(self, **filters: Any) -> ActionQuerySet:
        """Those done to it, of any level."""
        return self._in((Role.TARGET,), filters)

    def as_related(self, **filters: Any) -> ActionQuerySet:
        """Those done in relation to it, of any level."""
        return self._in((Role.RELATED,), filters)

    def feed(self, include_own: bool = False, since_following: bool = False, **filters: Any) -> ActionQuerySet:
        """The actions that the user follows; see `footfall.storage.feeds.feed_of`. For users only."""
        return feed_of(self._user("feed"), include_own=include_own, since_following=since_following, **filters)

    def unread(self, **filters: Any) -> ActionQuerySet:
        """The actions that are unread for the user. For users only."""
        return unread_of(self._user("unread"), **filters)

    def unread_count(self) -> int:
        """How many actions are unread for the user. One query. For users only."""
        return Action.unread_count(self._user("unread_count"))

    def mark_all_read(self, up_to: datetime | None = None) -> None:
        """The user has read what is stored by now; see `Action.mark_all_read`. Writes now. For users only."""
        Action.mark_all_read(self._user("mark_all_read"), up_to)

    mark_all_read.alters_data = True  # type: ignore[attr-defined]  # for templates, which must not call it

    def _in(self, roles: tuple[str, ...], filters: dict[str, Any]) -> ActionQuerySet:
        ref = ref_of(self.instance)
        return Action.objects.about(ref.type, ref.id or "", roles=roles, **filters)


class ObjectTrackers(_OfAnObject):
    """The trackers of one object; ``filters`` are those of `Tracker`. Raises like `ObjectActions`."""

    def all(self, **filters: Any) -> QuerySet[Tracker]:
        """Those that follow it, and where it is a user those that are its own."""
        own = Q(user_id=self.instance.pk) if is_user(self.instance) else Q()
        return Tracker.objects.filter(self._following() | own, **filters)

    def tracking(self, **filters: Any) -> QuerySet[Tracker]:
        """Those that follow it: the object itself, not all of its model."""
        return Tracker.objects.filter(self._following(), **filters)

    def users(self, **filters: Any) -> QuerySet[Any]:
        """The users who follow it, each once; ``filters`` are those of the user model."""
        users: QuerySet[Any] = get_user_model()._default_manager.filter(**filters)
        followers = self.tracking().values_list("user_id")
        beside = router.db_for_read(Tracker) == users.db
        return users.filter(pk__in=followers if beside else [key for (key,) in followers])

    def owned(self, **filters: Any) -> QuerySet[Tracker]:
        """Those of the user. For users only."""
        return Tracker.objects.filter(user_id=user_key(self._user("owned")), **filters)

    def tracked(self, *models: type[models.Model] | str, verbs: Any = (), **filters: Any) -> set[Any]:
        """What the user follows: objects, models, and the `DeletedItem` of what is gone. For users only.

        Of these ``models`` (or labels) only, if any, and for any of ``verbs``, if any. What the user may not see any
        more (VISIBLE_OBJECTS) is left out. One query, and one for each type and 500 objects. Raises LookupError for a
        label that is not an installed model's.
        """
        rows = Tracker.objects.filter(user_id=user_key(self._user("tracked")), **filters)
        if models:
            rows = rows.filter(tracked_type__in={label_of(model_of(model)) for model in models})
        asked = verbs_of(verbs)
        refs = [row.tracked_ref for row in rows if not asked or any(map(row.follows, asked))]
        found = resolve(refs, viewer=self.instance).values()
        return {one for one in found if not isinstance(one, Hidden)}

    def _following(self) -> Q:
        ref = ref_of(self.instance)
        return Q(tracked_type=ref.type, tracked_id=ref.id or "")


class ActionsAccessor:
    """``actions`` of a connected model: on an object its `ObjectActions`."""

    def __get__(self, instance: models.Model | None, owner: type[models.Model] | None = None) -> Any:
        return self if instance is None else ObjectActions(instance)


class TrackersAccessor:
    """``trackers`` of a connected model: on an object its `ObjectTrackers`."""

    def __get__(self, instance: models.Model | None, owner: type[models.Model] | None = None) -> Any:
        return self if instance is None else ObjectTrackers(instance)
