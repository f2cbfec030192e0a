"""Where the actions are found that somebody follows, did, or is concerned by: ranges of entries, for `ActionIds`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Value

from footfall.producers.settings import conf
from footfall.storage.actionids import Range, of_tracker
from footfall.storage.clock import stored
from footfall.storage.followedverbs import follows_verb
from footfall.storage.handlers import readable_level

if TYPE_CHECKING:
    from footfall.storage.models import ActionObject, Tracker
    from footfall.storage.trackerrules import TrackerRules

#: Nothing is later. Of a range that has only one end PostgreSQL expects a third of the table, also for a whole model,
#: which few follow: then it compiles the query (JIT), and that takes longer than to run it.
LATEST: Final = datetime(9999, 12, 30, tzinfo=UTC)

#: What an entry repeats of its action.
COPIED = frozenset({"verb", "level", "timestamp", "renewed", "changed"})

#: The look-ups that ask for low levels, too. (One that bounds them above does not.)
FROM_LEVEL = frozenset({"level", "level__exact", "level__in", "level__gt", "level__gte", "level__range"})


def entries(filters: Mapping[str, Any], *, readable: bool = False) -> QuerySet[ActionObject]:
    """The entries of actions that fulfil ``filters``, which are look-ups on `Action`. Raises FieldError.

    ``readable``: from READABLE_LEVEL on, unless one of the filters says with which level they begin, or which it is.
    """
    from footfall.storage.models import Action, ActionObject

    own = {name: value for name, value in filters.items() if _is_copied(name, value)}
    rows = ActionObject.objects.filter(**own)
    others = {name: value for name, value in filters.items() if name not in own}
    if others:
        rows = rows.filter(Exists(Action.objects.filter(pk=OuterRef("action_id")).filter(**others)))
    if readable and FROM_LEVEL.isdisjoint(filters):
        rows = rows.filter(level__gte=readable_level())
    return rows


def _is_copied(name: str, value: Any) -> bool:
    # An expression may name what only the action has.
    return _field(name) in COPIED and not hasattr(value, "resolve_expression")


def _field(name: str) -> str:
    return name.partition("__")[0]


def of_object(rows: QuerySet[ActionObject], label: str, key: str, role: str) -> Range:
    """What the object (or, ``key`` blank, the model) is in one role of."""
    return Range(rows.filter(object_type=label, object_id=key, role=role))


def of_rules(rows: QuerySet[ActionObject], tracker: TrackerRules) -> tuple[Range, ...]:
    """What one tracker follows."""
    rows = rows.filter(object_type=tracker.tracked_type)
    rows = rows.filter(verb__in=tracker.verbs) if tracker.verbs else rows
    rows = rows.exclude(verb__in=tracker.excluded) if tracker.excluded else rows
    rows = rows.filter(object_id=tracker.tracked_id) if tracker.tracked_id else rows
    roles = "a" if tracker.actor_only else "atr"
    return tuple(Range(rows.filter(role=role), repeated=not tracker.tracked_id) for role in roles)


def of_trackers(rows: QuerySet[ActionObject], trackers: QuerySet[Tracker]) -> tuple[Range, ...]:
    """What each of ``trackers`` follows; the conditions of ``rows`` may name the tracker by `of_tracker`."""
    follows = follows_verb(F("verb"), of_tracker("verbs"), of_tracker("excluded"))
    rows = rows.filter(follows, object_type=of_tracker("tracked_type"), role=of_tracker("role"))
    of_objects = Range(rows.filter(object_id=of_tracker("tracked_id")), trackers=trackers.exclude(tracked_id=""))
    # Of a model any object, and the model itself; an action may be about several.
    return of_objects, Range(rows, trackers=trackers.filter(tracked_id=""), repeated=True)


def of_trackers_since(rows: QuerySet[ActionObject], trackers: QuerySet[Tracker]) -> tuple[Range, ...]:
    """The same, of what was renewed since the tracker was made: as it happened then, or began before and grew since."""
    made = of_tracker("last_updated")
    grown = rows.filter(timestamp__lt=made, renewed__range=(made, stored(LATEST)), renewed__gt=F("timestamp"))
    return (
        *of_trackers(rows.filter(timestamp__gte=made), trackers),
        *(replace(part, short=True) for part in of_trackers(grown, trackers)),
    )


def since_followed() -> Q:
    """The condition on the entries of a tracker that they were renewed since it was made.

    An event is never further ahead of the clock than MAX_CLOCK_SKEW_SECONDS (and an hour, where the clock that is
    stored is set back), so its action was not stored much earlier either: that bounds what an index has to give.
    """
    ahead = timedelta(hours=1, seconds=conf.MAX_CLOCK_SKEW_SECONDS)
    earliest = of_tracker("last_updated") - Value(ahead)
    return Q(renewed__gte=of_tracker("last_updated"), changed__range=(earliest, stored(LATEST)))
