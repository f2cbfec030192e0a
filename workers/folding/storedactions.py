"""The actions that are stored already: held still while a batch is joined with them, and looked up for that."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.utils import timezone

from footfall.producers.messages import EARLIEST, Ref
from footfall.storage.clock import stored
from footfall.storage.drafts import Draft, copied
from footfall.storage.models import Action, ActionObject, ActionStamp
from footfall.storage.upsert import array_type, field_of, latest, prepared, upsert
from footfall.workers.folding.joining import LOOK_BACK, OBJECTS, Candidate, Key, Stored, bounded, in_time

Windows = Mapping[Key, tuple[datetime, datetime]]

_KEY = ("actor_type", "actor_id", "verb")
_WANTED = (*_KEY, "timestamp", "timestamp")


def hold(using: str) -> datetime:
    """Keep all others from storing actions until the commit; returns a time later than any that was given before.

    Blocks while another transaction holds it. Four workers then group as one would: each sees what was committed
    before, and nothing is committed beside it.
    """
    # Not one but the row itself is locked by this, and made where it is missing.
    upsert(ActionStamp, ("id",), {"at": latest}, [(1, stored(EARLIEST))], using)
    row = ActionStamp.objects.using(using).get(id=1)
    row.at = max(timezone.now(), row.at + timedelta(microseconds=1))
    row.save(using=using, update_fields=["at"])
    return row.at


def look_up(windows: Windows, using: str) -> list[Candidate]:
    """The last actions of each actor and verb in their window, with all their objects. One query, or none.

    Of each actor and verb at most LOOK_BACK, that hold at most OBJECTS objects.
    """
    if not windows:
        return []
    sql, parameters = statement(windows, using)
    found: dict[Key, list[Candidate]] = defaultdict(list)
    for row in Action.objects.using(using).raw(sql, parameters):
        one = _of_row(row)
        found[one.key].append(one)
    for some in found.values():
        some.sort(key=in_time, reverse=True)
    # The last that the statement brings may lack some of its objects: then those are more than are taken.
    return [one for some in found.values() for one in bounded(some)]


def statement(windows: Windows, using: str) -> tuple[str, list[Any]]:
    """The look-up and its parameters."""
    connection = connections[using]
    rows = [
        ("" if actor is None else actor.type, "" if actor is None else actor.id or "", verb, since, until)
        for (actor, verb), (since, until) in windows.items()
    ]
    fields = [field_of(Action, name) for name in _WANTED]
    wanted: Sequence[Any] = prepared(connection, fields, rows)
    quote = connection.ops.quote_name
    tables = {"action": quote(Action._meta.db_table), "object": quote(ActionObject._meta.db_table)}
    # A row is an object, the actor's too; or an action without any.
    limits = {"actions": LOOK_BACK, "rows": OBJECTS + LOOK_BACK + 1}
    if connection.vendor == "postgresql":
        arrays = ", ".join(f"%s::{array_type(connection, field)}" for field in fields)
        columns = [list(column) for column in zip(*wanted, strict=True)]
        return _POSTGRESQL.format(arrays=arrays, **tables, **limits), columns
    return _SQLITE.format(**tables, **limits), [json.dumps(wanted)]


# Ids decide among the same times, as they do among those of a batch. The inner LATERAL: objects are read action by
# action, until they are too many, and not all of them first.
_POSTGRESQL = """
SELECT found.*, held.entries
FROM unnest({arrays}) AS wanted (actor_type, actor_id, verb, since, until)
CROSS JOIN LATERAL (
    SELECT row.action_id, jsonb_agg(jsonb_build_array(row.id, row.role, row.object_type, row.object_id))
        FILTER (WHERE row.id IS NOT NULL) AS entries
    FROM (
        SELECT last.id AS action_id, o.id, o.role, o.object_type, o.object_id
        FROM (
            SELECT a.id, a.timestamp FROM {action} a
            WHERE a.actor_type = wanted.actor_type AND a.actor_id = wanted.actor_id AND a.verb = wanted.verb
            AND a.timestamp BETWEEN wanted.since AND wanted.until
            ORDER BY a.timestamp DESC, a.id DESC LIMIT {actions}
        ) last LEFT JOIN LATERAL (
            SELECT * FROM {object} WHERE action_id = last.id LIMIT {rows}
        ) o ON TRUE
        ORDER BY last.timestamp DESC, last.id DESC LIMIT {rows}
    ) row
    GROUP BY row.action_id
) held JOIN {action} found ON found.id = held.action_id
"""

# A CROSS JOIN is taken in the order written.
_SQLITE = """
SELECT found.*, (
    SELECT json_group_array(json_array(o.id, o.role, o.object_type, o.object_id))
    FROM {object} o WHERE o.action_id = found.id
) AS entries
FROM json_each(%s) AS wanted CROSS JOIN {action} AS found
WHERE found.id IN (
    SELECT row.id FROM (
        SELECT last.id FROM (
            SELECT a.id, a.timestamp FROM {action} a
            WHERE a.actor_type = json_extract(wanted.value, '$[0]') AND a.actor_id = json_extract(wanted.value, '$[1]')
            AND a.verb = json_extract(wanted.value, '$[2]')
            AND a.timestamp BETWEEN json_extract(wanted.value, '$[3]') AND json_extract(wanted.value, '$[4]')
            ORDER BY a.timestamp DESC, a.id DESC LIMIT {actions}
        ) last LEFT JOIN {object} o ON o.action_id = last.id
        ORDER BY last.timestamp DESC, last.id DESC LIMIT {rows}
    ) row
)
"""


def _of_row(row: Any) -> Candidate:
    """A row of the look-up; its ``entries`` are id, role, type and key of each object."""
    entries = [(role, Ref(kind, key or None)) for _, role, kind, key in sorted(json.loads(row.entries or "[]"))]
    draft = Draft(
        id=row.id,
        actor=Ref(row.actor_type, row.actor_id or None) if row.actor_type else None,
        verb=row.verb,
        timestamp=row.timestamp,
        level=row.level,
        targets=[ref for role, ref in entries if role == ActionObject.Role.TARGET],
        related=[ref for role, ref in entries if role == ActionObject.Role.RELATED],
        data=copied(row.data),
    )
    draft.renewed = row.renewed
    return Candidate(draft, stored=Stored(row.level, row.data, row.timestamp, row.changed, frozenset(entries)))
