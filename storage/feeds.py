"""What a user is told of: the actions that their trackers follow, and which of them they have not read; in SQL.

``unread(user, action)`` is so, where TRACK_UNREAD is on and the action's level is not below READABLE_LEVEL, when

- the user marked it as unread, later than they marked all actions, or everything, as read; or
- a tracker of theirs follows it, it was renewed since that tracker was made, and no mark of theirs is as late as its
  last change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Exists, OuterRef, Q, QuerySet, Value
from django.db.models.expressions import Col, Combinable
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact

from footfall.producers.settings import conf
from footfall.storage.actionids import Compiled, Range, rows_sql
from footfall.storage.actionlists import ActionQuerySet
from footfall.storage.changetime import earliest
from footfall.storage.followedverbs import follows_verb
from footfall.storage.handlers import readable_level
from footfall.storage.keytext import key_from_text, key_text
from footfall.storage.marks import KEYS, in_chunks, label_of
from footfall.storage.models import Action, ActionObject, Tracker, ViewMark
from footfall.storage.naming import object_of
from footfall.storage.ranges import entries, of_object, of_trackers, of_trackers_since, since_followed
from footfall.storage.seen import later_than, refuse_another_database, wide_mark
from footfall.storage.upsert import field_of
from footfall.storage.userkeys import key_or_none


def feed_of(user: Any, include_own: bool = False, since_following: bool = False, **filters: Any) -> ActionQuerySet:
    """The actions that the trackers of ``user`` follow, newest first; with ``include_own`` their own, too. No query.

    ``since_following`` leaves out what was not renewed since its tracker was made. ``filters`` are look-ups on
    `Action`; without a lower level (``level__gte``, …) those from READABLE_LEVEL on. A slice or page of it reads no
    more of the entries of each tracker than it shows, and comes with its objects and its unread flags; what is filtered
    further, or ordered otherwise, is chosen from all. An anonymous user, or None, has an empty feed. Raises FieldError.
    """
    reader = key_or_none(user)
    if reader is None:
        return Action.objects.filter(**filters).none()
    rows = entries(filters, readable=True)
    trackers = Tracker.objects.filter(user_id=reader)
    ranges = of_trackers_since(rows, trackers) if since_following else of_trackers(rows, trackers)
    if include_own:
        ranges += (of_object(rows, *object_of(user), "a"),)
    return Action.objects.all().found(ranges).for_viewer(user)


def unread_of(user: Any, **filters: Any) -> ActionQuerySet:
    """The actions that are unread for ``user``, newest first; as `feed_of`, but never below READABLE_LEVEL. No query.

    Raises FieldError, and ValueError where marks are kept in another database than actions.
    """
    reader = key_or_none(user)
    if reader is None or not conf.TRACK_UNREAD:
        return Action.objects.filter(**filters).none()
    return Action.objects.all().found(_unread(reader, filters)).for_viewer(user)


def unread_count_of(user: Any, using: str | None = None, limit: int | None = None) -> int:
    """How many actions are unread for ``user``; counting ends at ``limit``. One query, none for an anonymous user.

    ``using`` is where actions and marks are read, else the read router's choice. Raises ValueError where marks are kept
    in another database.
    """
    reader = key_or_none(user)
    if reader is None or not conf.TRACK_UNREAD:
        return 0
    connection = connections[using or router.db_for_read(Action)]
    try:
        if limit is None:
            sql, params = _unread_sql(reader, connection, using)
        else:
            sql, params = _some_unread_sql(reader, connection, using, limit)
    except EmptyResultSet:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM ({sql}) AS unread", params)
        (count,) = cursor.fetchone()
    return int(count)


def _unread_sql(user: Any, connection: BaseDatabaseWrapper, using: str | None) -> Compiled:
    """A SELECT of all that is unread. The marks are looked at once, for all of them, and not for each entry."""
    ranges = _unless_read(user, {}, using)
    found, params = rows_sql(ranges, connection, lambda part: part.columns("changed"), "changed")
    action, changed = (Col("entry", field_of(ActionObject, name)) for name in ("action", "changed"))
    marks, of_marks = _read_marks(user, action, changed).query.get_compiler(connection=connection).as_sql()
    entry = f"(SELECT DISTINCT * FROM ({found}) AS found) AS entry"
    return f"SELECT * FROM {entry} WHERE NOT EXISTS ({marks})", [*params, *of_marks]


def _some_unread_sql(user: Any, connection: BaseDatabaseWrapper, using: str | None, limit: int) -> Compiled:
    """The same for any ``limit`` of them: no more of any range is read, so the marks are looked at in each."""
    found, params = rows_sql(_unread(user, {}, using), connection, lambda part: part.some(limit))
    return f"SELECT DISTINCT {connection.ops.quote_name('action_id')} FROM ({found}) AS found LIMIT {limit:d}", params


def followed(user: Any, ids: Iterable[UUID], using: str | None = None) -> set[UUID]:
    """Those of the actions ``ids`` that a tracker of ``user`` follows and that were renewed since it was made.

    Whatever their level and the user's marks. One query, and one more for each further 500 ids; none for an anonymous
    user.
    """
    reader = key_or_none(user)
    if reader is None:
        return set()
    rows = ActionObject.objects.using(using).filter(Exists(_trackers_of_entry(reader))).order_by()
    return {
        action
        for some in in_chunks(dict.fromkeys(ids), KEYS)
        for action in rows.filter(action_id__in=some).values_list("action_id", flat=True)
    }


def _trackers_of_entry(user: Any) -> QuerySet[Tracker]:
    """The trackers that follow the entry of the query around, and are not younger than it."""
    mine = Tracker.objects.filter(
        user_id=user,
        tracked_type=OuterRef("object_type"),
        tracked_id__in=[OuterRef("object_id"), Value("")],
        last_updated__lte=OuterRef("renewed"),
    )
    in_role = Q(actor_only=False) | Q(Exact(OuterRef("role"), Value("a")))
    return mine.filter(in_role).filter(follows_verb(OuterRef("verb")))


def _unread(user: Any, filters: Mapping[str, Any], using: str | None = None) -> tuple[Range, ...]:
    """Where the actions are found that are unread for the user with the key ``user``."""
    read = Exists(_read_marks(user, OuterRef("action_id"), OuterRef("changed")))
    return _unless_read(user, filters, using, ~read)


def _unless_read(
    user: Any, filters: Mapping[str, Any], using: str | None, *conditions: Q | Combinable
) -> tuple[Range, ...]:
    """The same, but for the marks that say of one action that it is read: if the ``conditions`` see to them."""
    refuse_another_database(Action.objects.using(using))
    label = label_of(Action)
    wide = wide_mark(user, label)
    read_up_to = Coalesce(wide, Value(earliest(), DateTimeField()))
    new = Q(level__gte=readable_level(), changed__gt=read_up_to)
    unmarked = ViewMark.objects.filter(later_than(wide), user_id=user, object_type=label, seen=False)
    taken_back = Action.objects.filter(**filters).filter(
        pk__in=unmarked.values_list(key_from_text(Action)), level__gte=readable_level()
    )
    rows = entries(filters).filter(since_followed(), new, *conditions)
    return (*of_trackers(rows, Tracker.objects.filter(user_id=user)), Range(taken_back, key="id"))


def _read_marks(user: Any, action: Any, changed: Any) -> QuerySet[ViewMark]:
    """The user's marks that say of an ``action`` that it is read as it was ``changed``."""
    marks = ViewMark.objects.filter(user_id=user, object_type=label_of(Action), seen=True)
    return marks.filter(object_id=key_text(Action, action), at__gte=changed)
