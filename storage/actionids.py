"""The ids of actions that are found through their entries, as an expression for ``pk__in``.

A feed asks for the newest few of what any of a user's trackers matches. Each pair of a tracker and a role is one range
of an index over `ActionObject` that is already in the order of a feed; the newest N of all are among the newest N of
each. So when N is known, which is when the query is compiled, no more than N rows of each range are read::

    id IN (SELECT action_id FROM (
              SELECT … FROM tracker, LATERAL (SELECT … WHERE <tracker's object, role> ORDER BY … LIMIT N)
              UNION ALL …                                          -- the other ranges
           ) GROUP BY timestamp, action_id ORDER BY timestamp DESC, action_id DESC LIMIT N)

SQLite has no LATERAL: there a tracker is joined with the actions that the same inner query finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Q, QuerySet
from django.db.models.expressions import Col
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler

from footfall.storage.upsert import field_of

if TYPE_CHECKING:
    from footfall.storage.models import Tracker

Compiled = tuple[str, Any]

#: A place in the order of a feed: the timestamp and id of an action.
Position = tuple[datetime, UUID]

#: The order of a feed, however its last part is called.
FEED_ORDER = (("-timestamp", "-id"), ("-timestamp", "-pk"))

#: What the conditions of a range may ask of its tracker, beside the ``role``.
TRACKER_COLUMNS = ("tracked_type", "tracked_id", "verbs", "excluded", "actor_only", "last_updated")

#: The roles of entries, as a table.
_ROLES = "(SELECT 'a' AS role UNION ALL SELECT 't' UNION ALL SELECT 'r')"


@dataclass(frozen=True, eq=False)
class Range:
    """Rows that name actions in the field ``key`` and tell their ``timestamp``.

    With ``trackers`` it is a range for each of them and of the roles that they follow: the conditions of ``rows`` name
    those by `of_tracker`. Of a ``repeated`` range several rows may name the same action. A ``short`` one is always read
    as a whole, by an index that is in another order.
    """

    rows: QuerySet[Any]
    key: str = "action_id"
    trackers: QuerySet[Tracker] | None = None
    repeated: bool = False
    short: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # A queryset is run to be pickled, its query is not.
        trackers = None if self.trackers is None else self.trackers.query
        return _range_of, (self.rows.query, self.key, trackers, self.repeated, self.short)

    def columns(self, name: str = "timestamp") -> QuerySet[Any, Any]:
        """What each row has in the column ``name``, and the id of its action; in no order."""
        return self.rows.order_by().values_list(name, self.key)

    def some(self, limit: int) -> QuerySet[Any, Any]:
        """The timestamps and ids of any ``limit`` of the actions, or of all if they are fewer."""
        return self._each_once()[:limit]

    def newest(self, limit: int) -> QuerySet[Any, Any]:
        """Those of the newest ``limit`` of the actions; of a short range all."""
        return self.columns() if self.short else self._each_once().order_by("-timestamp", f"-{self.key}")[:limit]

    def _each_once(self) -> QuerySet[Any, Any]:
        return self.columns().distinct() if self.repeated else self.columns()

    def after(self, position: Position | None) -> Range:
        """Those rows that a feed has after a position, which may be None."""
        return self if position is None else replace(self, rows=self.rows.filter(later_in_feed(position, self.key)))


def _range_of(rows: Query, key: str, trackers: Query | None, repeated: bool, short: bool) -> Range:
    return Range(_queryset(rows), key, None if trackers is None else _queryset(trackers), repeated, short)


def _queryset(query: Query) -> QuerySet[Any]:
    assert query.model is not None  # of rows
    return QuerySet(query.model, query)


def of_tracker(name: str) -> Col:
    """The field ``name`` of the tracker that a `Range` is of, or its ``role``."""
    from footfall.storage.models import ActionObject, Tracker

    return Col(Tracker._meta.db_table, field_of(ActionObject if name == "role" else Tracker, name))


def later_in_feed(position: Position, key: str = "pk") -> Q:
    """The condition on rows that a feed has them after ``position``; the first part lets an index start there."""
    timestamp, action = position
    return Q(timestamp__lte=timestamp) & (Q(timestamp__lt=timestamp) | Q(**{f"{key}__lt": action}))


class ActionIds(Expression):
    """The ids of the actions in any of ``ranges``; only those ``after`` a position, where one is given."""

    output_field = models.UUIDField()

    def __init__(self, ranges: tuple[Range, ...], after: Position | None = None) -> None:
        super().__init__()
        self.ranges = ranges
        self.after = after

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Compiled:
        """Limited where the query that is compiled wants the first rows of nothing but this."""
        return ids_sql(self.ranges, connection, _wanted(compiler.query, self), self.after)


def ids_sql(
    ranges: tuple[Range, ...], connection: BaseDatabaseWrapper, limit: int | None, after: Position | None = None
) -> Compiled:
    """A SELECT of the ids of the actions in any of ``ranges``: all of them, repeated, or the newest ``limit`` once.

    Raises EmptyResultSet where there can be none.
    """
    quote = connection.ops.quote_name
    ranges = tuple(part.after(after) for part in ranges)
    if limit is None:
        found, params = rows_sql(ranges, connection, Range.columns)
        return f"SELECT {quote('action_id')} FROM ({found}) AS found", params
    found, params = rows_sql(ranges, connection, lambda part: part.newest(limit))
    newest = ", ".join(f"{quote(name)} DESC" for name in ("timestamp", "action_id"))
    grouped = f"GROUP BY {quote('timestamp')}, {quote('action_id')} ORDER BY {newest} LIMIT {limit:d}"
    return f"SELECT {quote('action_id')} FROM ({found}) AS found {grouped}", params


def rows_sql(
    ranges: tuple[Range, ...],
    connection: BaseDatabaseWrapper,
    chosen: Callable[[Range], QuerySet[Any, Any]],
    name: str = "timestamp",
) -> Compiled:
    """A SELECT of what is ``chosen`` of each of ``ranges``: its column ``name`` and ``action_id``.

    Raises EmptyResultSet where there can be nothing.
    """
    parts = list(_compiled(ranges, connection, chosen, name))
    if not parts:
        raise EmptyResultSet
    return " UNION ALL ".join(part for part, _ in parts), [param for _, params in parts for param in params]


def _compiled(
    ranges: tuple[Range, ...],
    connection: BaseDatabaseWrapper,
    chosen: Callable[[Range], QuerySet[Any, Any]],
    name: str,
) -> Iterator[Compiled]:
    for part in ranges:
        try:
            found = _sql(chosen(part), connection)
            trackers = None if part.trackers is None else _sql(part.trackers.values(*TRACKER_COLUMNS), connection)
        except EmptyResultSet:  # no row can fulfil these conditions
            continue
        if trackers is None:
            yield _named(part, found, connection, name)
        else:
            yield _of_each(trackers, found, connection, name)


def _sql(rows: QuerySet[Any, Any], connection: BaseDatabaseWrapper) -> Compiled:
    sql, params = rows.query.get_compiler(connection=connection).as_sql()
    return sql, list(params)


def _named(part: Range, found: Compiled, connection: BaseDatabaseWrapper, name: str) -> Compiled:
    quote, (sql, params) = connection.ops.quote_name, found
    columns = f"{quote(name)}, {quote(part.key)} AS {quote('action_id')}"
    return f"SELECT {columns} FROM ({sql}) AS ranged", params


def _of_each(trackers: Compiled, found: Compiled, connection: BaseDatabaseWrapper, name: str) -> Compiled:
    from footfall.storage.models import Action, Tracker

    quote, (of_user, user), (inner, params) = connection.ops.quote_name, trackers, found
    column, action = quote(name), quote("action_id")
    in_role = f"SELECT * FROM ({of_user}) AS each JOIN {_ROLES} AS roles ON role = 'a' OR NOT {quote('actor_only')}"
    # Under the name of its table, by which `of_tracker` calls it.
    tracker = f"({in_role}) AS {quote(Tracker._meta.db_table)}"
    if connection.vendor == "postgresql":
        # OFFSET keeps the planner from taking the two apart: always from each tracker into an index.
        ranged = f"LATERAL ({inner} OFFSET 0) AS ranged"
        return f"SELECT ranged.{column}, ranged.{action} FROM {tracker} CROSS JOIN {ranged}", [*user, *params]
    # CROSS JOIN keeps the order of the two.
    joined = f"{tracker} CROSS JOIN {quote(Action._meta.db_table)} AS one"
    among = f"one.{quote('id')} IN (SELECT {action} FROM ({inner}) AS ranged)"
    return f"SELECT one.{column}, one.{quote('id')} AS {action} FROM {joined} WHERE {among}", [*user, *params]


# -- What a query asks for


def is_untouched(query: Query) -> bool:
    """Whether ``query`` is for actions that `ActionIds` gives, and nothing else limits, joins or groups them."""
    return (
        isinstance(getattr(_only_condition(query), "rhs", None), ActionIds)
        and not (query.distinct or query.combinator or query.group_by or query.extra_tables)
        and sum(count > 0 for count in query.alias_refcount.values()) <= 1
        and not any(one.contains_over_clause or one.contains_aggregate for one in query.annotations.values())
    )


def in_feed_order(query: Query) -> bool:
    """Whether the rows of ``query`` come newest first, as a feed's."""
    default = query.get_meta().ordering if query.default_ordering else None
    chosen = tuple(query.order_by or default or ())
    return chosen in FEED_ORDER and query.standard_ordering and not query.extra_order_by


def continued(query: Query, after: Position) -> None:
    """Make an untouched query one for what comes after a position."""
    condition = _only_condition(query)
    query.where.children = [type(condition)(condition.lhs, ActionIds(condition.rhs.ranges, after))]


def _wanted(query: Query, ids: ActionIds) -> int | None:
    """How many of ``ids``, the newest, answer ``query``; None for all."""
    if not is_untouched(query) or _only_condition(query).rhs is not ids:
        return None
    # Where the order is none, as when it is asked whether there are any, these do as well as others.
    unordered = not (query.order_by or query.extra_order_by or query.default_ordering)
    return query.high_mark if unordered or in_feed_order(query) else None


def _only_condition(query: Query) -> Any:
    where = query.where
    return where.children[0] if len(where.children) == 1 and not where.negated else None
