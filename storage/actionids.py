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

from collections.abc import Iterator
from dataclasses import dataclass
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

#: What the conditions of a range may ask of its tracker.
TRACKER_COLUMNS = ("tracked_type", "tracked_id", "verbs", "excluded", "actor_only", "last_updated")


@dataclass(frozen=True, eq=False)
class Range:
    """Rows that name actions in the field ``key`` and tell their ``timestamp``.

    With ``trackers`` it is a range for each of them: the conditions of ``rows`` name them by `of_tracker`. Of a
    ``repeated`` range several rows may name the same action.
    """

    rows: QuerySet[Any]
    key: str = "action_id"
    trackers: QuerySet[Tracker] | None = None
    repeated: bool = False

    def newest(self, limit: int | None, after: Position | None) -> QuerySet[Any, Any]:
        """The rows after a position, all or the first ``limit``; their columns are timestamp and action id."""
        rows = self.rows.order_by() if after is None else self.rows.filter(later_in_feed(after, self.key)).order_by()
        columns = rows.values_list("timestamp", self.key)
        if limit is None:
            return columns
        columns = columns.distinct() if self.repeated else columns
        return columns.order_by("-timestamp", f"-{self.key}")[:limit]


def of_tracker(name: str) -> Col:
    """The field ``name`` of the tracker that a `Range` is of."""
    from footfall.storage.models import Tracker

    return Col(Tracker._meta.db_table, field_of(Tracker, name))


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
    parts = list(_compiled(ranges, connection, limit, after))
    if not parts:
        raise EmptyResultSet
    quote = connection.ops.quote_name
    timestamp, action = quote("timestamp"), quote("action_id")
    sql = f"SELECT {action} FROM ({' UNION ALL '.join(part for part, _ in parts)}) AS found"
    if limit is not None:
        sql += f" GROUP BY {timestamp}, {action} ORDER BY {timestamp} DESC, {action} DESC LIMIT {limit:d}"
    return sql, [param for _, params in parts for param in params]


def _compiled(
    ranges: tuple[Range, ...], connection: BaseDatabaseWrapper, limit: int | None, after: Position | None
) -> Iterator[Compiled]:
    for part in ranges:
        try:
            found = _sql(part.newest(limit, after), connection)
            trackers = None if part.trackers is None else _sql(part.trackers.values(*TRACKER_COLUMNS), connection)
        except EmptyResultSet:  # no row can fulfil these conditions
            continue
        yield _named(part, found, connection) if trackers is None else _of_each(trackers, found, connection)


def _sql(rows: QuerySet[Any, Any], connection: BaseDatabaseWrapper) -> Compiled:
    sql, params = rows.query.get_compiler(connection=connection).as_sql()
    return sql, list(params)


def _named(part: Range, found: Compiled, connection: BaseDatabaseWrapper) -> Compiled:
    quote, (sql, params) = connection.ops.quote_name, found
    columns = f"{quote('timestamp')}, {quote(part.key)} AS {quote('action_id')}"
    return f"SELECT {columns} FROM ({sql}) AS ranged", params


def _of_each(trackers: Compiled, found: Compiled, connection: BaseDatabaseWrapper) -> Compiled:
    from footfall.storage.models import Action, Tracker

    quote, (of_user, user), (inner, params) = connection.ops.quote_name, trackers, found
    # Under the name of its table, by which `of_tracker` calls it.
    tracker = f"({of_user}) AS {quote(Tracker._meta.db_table)}"
    timestamp, action = quote("timestamp"), quote("action_id")
    if connection.vendor == "postgresql":
        # OFFSET keeps the planner from taking the two apart: always from each tracker into an index.
        ranged = f"LATERAL ({inner} OFFSET 0) AS ranged"
        return f"SELECT ranged.{timestamp}, ranged.{action} FROM {tracker} CROSS JOIN {ranged}", [*user, *params]
    # CROSS JOIN keeps the order of the two.
    joined = f"{tracker} CROSS JOIN {quote(Action._meta.db_table)} AS one"
    among = f"one.{quote('id')} IN (SELECT {action} FROM ({inner}) AS ranged)"
    return f"SELECT one.{timestamp}, one.{quote('id')} AS {action} FROM {joined} WHERE {among}", [*user, *params]


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
