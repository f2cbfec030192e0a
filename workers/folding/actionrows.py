"""Writes joined actions: new rows and those that were changed, with their objects, in a few statements for all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import OperationalError, connections, models

from footfall.producers.messages import Ref
from footfall.storage.drafts import Draft
from footfall.storage.models import Action, ActionObject
from footfall.storage.upsert import array_type, column_of, field_of, prepared
from footfall.workers.folding.joining import Candidate

Row = tuple[Any, ...]

_ACTION = ("id", "actor_type", "actor_id", "verb", "level", "data", "timestamp", "renewed", "changed")
_CHANGING = ("id", "level", "data", "timestamp", "renewed", "changed")
_OBJECT = ("action_id", "role", "object_type", "object_id", "verb", "level", "timestamp", "renewed", "changed")
_FOLLOWING = ("action_id", "verb", "level", "timestamp", "renewed", "changed")


def write(new: Iterable[Candidate], changed: Iterable[Candidate], stamp: datetime, using: str) -> None:
    """Insert what is ``new``, and bring up to date what is stored and was ``changed``, with ``stamp`` if it gained.

    The same number of statements however many there are, in the order of ids. Raises what the database raises;
    OperationalError, to try again, where an action was deleted meanwhile.
    """
    known, fresh = sorted(changed, key=_by_id), sorted(new, key=_by_id)
    if known and connections[using].features.has_select_for_update:
        # An update locks as it finds them; whoever deletes some of these locks them in the order of ids.
        rows = Action.objects.using(using).filter(pk__in=[one.draft.id for one in known])
        list(rows.order_by("pk").select_for_update().values_list("pk"))
    if _update(Action, _CHANGING, [_changing(one, stamp) for one in known], using) < len(known):
        raise OperationalError("An action was deleted while it was being changed.")
    _update(ActionObject, _FOLLOWING, [_following(one, stamp) for one in known], using)
    _insert(Action, _ACTION, [_action(one.draft, stamp) for one in fresh], using)
    _insert(ActionObject, _OBJECT, [row for one in (*known, *fresh) for row in _objects(one, stamp)], using)


def _by_id(one: Candidate) -> int:
    return one.draft.id.int


def is_changed(one: Candidate) -> bool:
    """Whether what is stored has become another by what went into it."""
    now, then = one.draft, one.stored
    assert then is not None  # it was looked up
    return (now.level, now.timestamp, now.data) != (then.level, then.timestamp, then.data) or bool(_gained(one))


def _gained(one: Candidate) -> list[tuple[str, Ref]]:
    """Its objects that are not stored yet, each with its role, in the order in which they came."""
    draft, known = one.draft, one.stored.refs if one.stored else frozenset()
    roles = ActionObject.Role
    sides = ((roles.ACTOR, [draft.actor]), (roles.TARGET, draft.targets), (roles.RELATED, draft.related))
    pairs = dict.fromkeys((role.value, ref) for role, refs in sides for ref in refs if ref is not None)
    return [pair for pair in pairs if pair not in known]


# -- As rows


def _action(draft: Draft, stamp: datetime) -> Row:
    actor = draft.actor
    who = ("", "") if actor is None else (actor.type, actor.id or "")
    return (draft.id, *who, draft.verb, draft.level, draft.data, draft.timestamp, draft.renewed, stamp)


def _changing(one: Candidate, stamp: datetime) -> Row:
    draft = one.draft
    return (draft.id, draft.level, draft.data, draft.timestamp, draft.renewed, _changed_at(one, stamp))


def _following(one: Candidate, stamp: datetime) -> Row:
    draft = one.draft
    return (draft.id, draft.verb, draft.level, draft.timestamp, draft.renewed, _changed_at(one, stamp))


def _objects(one: Candidate, stamp: datetime) -> list[Row]:
    draft = one.draft
    copies = (draft.verb, draft.level, draft.timestamp, draft.renewed, stamp)
    return [(draft.id, role, ref.type, ref.id or "", *copies) for role, ref in _gained(one)]


def _changed_at(one: Candidate, stamp: datetime) -> datetime:
    # A repeat that brings nothing new is nothing to read again.
    return one.stored.changed if one.stored and not _gained(one) else stamp


# -- As statements


def _insert(model: type[models.Model], names: Sequence[str], rows: list[Row], using: str) -> None:
    if not rows:
        return
    connection, fields = connections[using], [field_of(model, name) for name in names]
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    columns = ", ".join(quote(column_of(field)) for field in fields)
    if connection.vendor == "postgresql":
        _copy(f"COPY {table} ({columns}) FROM STDIN", rows, using)
    else:
        marks = ", ".join(["%s"] * len(fields))
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", prepared(connection, fields, rows))


def _copy(statement: str, rows: Iterable[Row], using: str) -> None:
    connection = connections[using]
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.cursor.copy(statement) as copy,
    ):
        for row in rows:
            copy.write_row([json.dumps(value) if isinstance(value, dict) else value for value in row])


def _update(model: type[models.Model], names: Sequence[str], rows: list[Row], using: str) -> int:
    """Set in the rows of ``model`` the fields ``names``, of which the first says in which; returns in how many."""
    if not rows:
        return 0
    connection, fields = connections[using], [field_of(model, name) for name in names]
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    key, *columns = (quote(column_of(field)) for field in fields)
    values = prepared(connection, fields, rows)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            arrays = ", ".join(f"%s::{array_type(connection, field)}" for field in fields)
            changes = ", ".join(f"{column} = new.{column}" for column in columns)
            source = f"unnest({arrays}) AS new ({', '.join([key, *columns])})"
            sql = f"UPDATE {table} SET {changes} FROM {source} WHERE {table}.{key} = new.{key}"
            cursor.execute(sql, [list(column) for column in zip(*values, strict=True)])
        else:
            changes = ", ".join(f"{column} = %s" for column in columns)
            cursor.executemany(f"UPDATE {table} SET {changes} WHERE {key} = %s", [(*row[1:], row[0]) for row in values])
        return int(cursor.rowcount)
