"""What changed since a cursor: rows in the order of their stamps, none missed, none twice; deleted ones as tombstones.

A poll gives the window of what is committed now and was not when the cursor was made, whatever times the rows have. It
comes from three lists: tombstones of rows that are gone, before all else, so that a row which was made again under the
same key comes after them; then, merged by their stamps, those of rows deleted softly, and the rows that are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import models, router
from django.db.models import F, Max, Q
from django.db.models.query import ModelIterable
from django.db.utils import DEFAULT_DB_ALIAS

from footfall.producers.messages import Ref
from footfall.storage.changesnapshots import NOTHING, Present, Snapshot, present
from footfall.storage.cursors import Cursor, Position, cursor_of
from footfall.storage.handles import handle_of
from footfall.storage.softdeletion import DELETED

#: The lists of a window, in this order.
GONE, SOFTLY, LIVE = range(3)

#: Where the stamp of a row is while it is being read: the queryset may leave out the field.
STAMP = "_footfall_stamp"

RESTAMP = "Run manage.py restamp_changes, once, after data was restored or copied from another database."


class ForeignStamps(RuntimeError):
    """Rows carry stamps that this database has not given out yet: they were restored, or copied, from another one."""


@dataclass(frozen=True)
class Tombstone:
    """A deleted row, as a poll gives it: which one, and when. Its content stays in the database, or is gone."""

    #: The primary key, of the type that the model's objects have.
    id: Any
    #: When it was deleted.
    updated: datetime
    ref: Ref
    ref_tag: str
    status: str = DELETED

    @property
    def pk(self) -> Any:
        """The primary key."""
        return self.id

    @property
    def handle(self) -> str:
        """As that of the object was, such as "org1"."""
        return handle_of(self.ref_tag, self.id)

    @property
    def is_deleted(self) -> bool:
        """As a deleted object says."""
        return True


class Changes(NamedTuple):
    """What a poll gave: rows and tombstones, in the order in which they are to be applied, and the next cursor."""

    rows: list[Any]
    cursor: str

    @property
    def more(self) -> bool:
        """Whether ``limit`` has left something of the window for the next poll."""
        return cursor_of(self.cursor).position is not None


class Found(NamedTuple):
    """What a list of the window holds at one place."""

    stamp: int
    stage: int
    key: Any
    row: Any


def current_cursor(using: str | None = None) -> str:
    """The cursor of now: as ``cursor`` for who wants to hear of later changes only, as ``until`` for a common end.

    One query on ``using`` (None: "default").
    """
    now = present(using or DEFAULT_DB_ALIAS)
    return str(Cursor(now.identity, now.seen))


def changes_since(
    rows: models.QuerySet[Any], cursor: str, limit: int | None, until: str | None, *, deleted: bool
) -> Changes:
    """See `HandleRefQuerySet.since`. Two to six queries."""
    _check(rows, limit)
    start, bound = cursor_of(cursor), None if until is None else cursor_of(until)
    rows = rows.using(rows.db)  # where a router chooses among replicas, one of them is asked throughout
    _check_position(rows.model, start.position)
    newest = _newest_stamps(rows) if start.seen == NOTHING and start.position is None else []
    now = present(rows.db)
    _check_stamps(rows.model, newest, now)
    for given in (start, bound):
        if given is not None:
            given.check(now)
    return _window(rows, start, _end(start, bound, now), now, limit, deleted=deleted)


def _end(start: Cursor, bound: Cursor | None, now: Present) -> Snapshot:
    """What is seen at the end of the window; never more than there is, whatever the cursors say."""
    end = now.seen if start.until is None else start.until.common(now.seen)
    if bound is None:
        return end
    limit = bound.seen if bound.until is None else bound.until
    return end.common(limit)


def _window(
    rows: models.QuerySet[Any], start: Cursor, end: Snapshot, now: Present, limit: int | None, *, deleted: bool
) -> Changes:
    chosen = now.within(start.seen, end)
    wanted = None if limit is None else limit + 1
    found = list(islice(_found(rows, chosen, start.position, wanted, deleted=deleted), wanted))
    if limit is None or len(found) <= limit:
        return Changes([one.row for one in found], str(Cursor(now.identity, start.seen.united(end))))
    last = found[limit - 1]
    position = Position(_label(rows.model), last.stage, last.stamp, str(last.key))
    return Changes([one.row for one in found[:limit]], str(Cursor(now.identity, start.seen, end, position)))


def _found(
    rows: models.QuerySet[Any], chosen: Q, position: Position | None, wanted: int | None, *, deleted: bool
) -> Iterator[Found]:
    if deleted and (position is None or position.stage == GONE):
        yield from _gone(rows, chosen, position, wanted)
    lists = [_live(rows, chosen, position, wanted)]
    if deleted:
        lists.append(_softly_deleted(rows, chosen, position, wanted))
    yield from merge(*lists, key=lambda one: one[:2])


def _gone(rows: models.QuerySet[Any], chosen: Q, position: Position | None, wanted: int | None) -> Iterator[Found]:
    """The tombstones of rows that were really deleted."""
    model = rows.model
    items = _left(rows).filter(chosen).values_list("change_stamp", "pk", "object_id", "deleted_at")
    for stamp, number, text, at in _read(items, _after(position, GONE, int), wanted):
        yield Found(stamp, GONE, number, _tombstone(model, _key_in(model, text), at))


def _softly_deleted(
    rows: models.QuerySet[Any], chosen: Q, position: Position | None, wanted: int | None
) -> Iterator[Found]:
    """The tombstones of rows that are still there: nothing else of them is read."""
    these = rows.filter(chosen, status=DELETED).prefetch_related(None).values_list("change_stamp", "pk", "updated")
    for stamp, key, at in _read(these, _after(position, SOFTLY, _key(rows.model)), wanted):
        yield Found(stamp, SOFTLY, key, _tombstone(rows.model, key, at))


def _live(rows: models.QuerySet[Any], chosen: Q, position: Position | None, wanted: int | None) -> Iterator[Found]:
    these = rows.filter(chosen).exclude(status=DELETED).annotate(**{STAMP: F("change_stamp")})
    for row in _read(these, _after(position, LIVE, _key(rows.model)), wanted):
        yield Found(row.__dict__.pop(STAMP), LIVE, row.pk, row)


def _read(rows: models.QuerySet[Any], parts: list[Q], wanted: int | None) -> Iterator[Any]:
    """So many of each of the ``parts``, which follow one another; one query for each that is reached."""
    ordered = rows.order_by("change_stamp", "pk")
    ordered.query.standard_ordering = True  # whatever `reverse` has said of the order before
    for part in parts:
        yield from ordered.filter(part)[:wanted]


def _after(position: Position | None, stage: int, key: Callable[[str], Any]) -> list[Q]:
    """What the list ``stage`` holds after ``position``, in parts."""
    if position is None or (position.stage == GONE != stage):
        return [Q()]
    stamp = position.stamp
    if position.stage < stage:  # of one stamp those deleted softly come first
        return [Q(change_stamp__gte=stamp)]
    rest = Q(change_stamp__gt=stamp)
    if position.stage > stage:
        return [rest]
    # By itself this is found by the key, of a hundred thousand rows that were changed together.
    return [Q(change_stamp=stamp, pk__gt=key(position.key)), rest]


def _tombstone(model: type[models.Model], key: Any, at: datetime) -> Tombstone:
    tag: str = model._handleref.tag  # type: ignore[attr-defined]  # a model in general has none
    return Tombstone(key, at, Ref(_label(model), str(key)), tag)


def _left(rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """What is left of deleted objects of the model; nothing where that is kept in another database than its rows."""
    from footfall.storage.models import DeletedItem  # what it imports may ask for the rows' model

    if router.db_for_write(DeletedItem) != router.db_for_write(rows.model):
        return DeletedItem.objects.none()
    return DeletedItem.objects.using(rows.db).filter(object_type=_label(rows.model))


# -- What is refused


def _check(rows: models.QuerySet[Any], limit: int | None) -> None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise TypeError(f"limit is a whole number, not {limit!r}.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is at least 1, not {limit}.")
    if rows._iterable_class is not ModelIterable:
        raise TypeError("since(cursor=…) gives objects: values(), values_list() and dates() can't be before it.")
    if rows.query.is_sliced or rows.query.combinator or rows.query.distinct_fields:
        raise TypeError("since(cursor=…) has its own order and limit: no slice, union or distinct(…) before it.")


def _check_position(model: type[models.Model], position: Position | None) -> None:
    """Raises ValueError for a cursor that stands amid the rows of another model, or at no row's key."""
    if position is None:
        return
    if position.label != _label(model) or position.stage not in (GONE, SOFTLY, LIVE):
        raise ValueError(f"This cursor stands amid the rows of another model than {model._meta.label}.")
    try:
        int(position.key) if position.stage == GONE else _key(model)(position.key)
    except (ValidationError, ValueError, ArithmeticError):
        raise ValueError(f"This cursor stands at what is no key of {model._meta.label}.") from None


def _newest_stamps(rows: models.QuerySet[Any]) -> list[int | None]:
    """The latest stamp of all rows of the model, and of what is left of deleted ones. Two queries."""
    kept = rows.model._base_manager.using(rows.db)
    return [some.order_by().aggregate(newest=Max("change_stamp"))["newest"] for some in (kept, _left(rows))]


def _check_stamps(model: type[models.Model], newest: list[int | None], now: Present) -> None:
    """Raises ForeignStamps; what was newest was asked before ``now``, so that nothing that is right can be later."""
    for stamp in newest:
        own = now.own is not None and stamp is not None and now.own[0] <= stamp <= now.own[1]
        if stamp is not None and stamp >= now.next and not own:
            raise ForeignStamps(f"Rows of {model._meta.label} carry stamps of another database. {RESTAMP}")


# -- What things are called


def _label(model: type[models.Model]) -> str:
    return (model._meta.concrete_model or model)._meta.label_lower


def _key_in(model: type[models.Model], text: str) -> Any:
    """The key of a row that is gone: the text that is kept of it, where that can't be read as one (several columns)."""
    try:
        return _key(model)(text)
    except (ValidationError, ValueError, ArithmeticError):
        return text


def _key(model: type[models.Model]) -> Callable[[str], Any]:
    """What makes a primary key of its text."""
    field: Any = model._meta.pk
    return field.to_python  # type: ignore[no-any-return]  # so each field says
