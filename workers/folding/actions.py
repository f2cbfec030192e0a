"""Joins the actions of a unit of work and writes what is left, in bulk.

Within one unit, a newer action may be combined with an older one (its handlers decide) or grouped with one of the same
actor and verb; the older one survives with its time. Actions of different units are rows of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import Error as DatabaseError
from django.db import connections, router
from django.utils import timezone

from footfall.producers.messages import Action as ActionEvent
from footfall.producers.messages import Ref
from footfall.producers.reasons import Reason
from footfall.producers.rules import Malformed
from footfall.producers.settings import conf
from footfall.storage.clock import stored
from footfall.storage.drafts import Draft
from footfall.storage.handlers import handler_of, level_of
from footfall.storage.models import Action, ActionObject, ActionStamp, AppliedMessage
from footfall.workers.folding.references import canonical

#: An action is joined with one of so many before it; a scope may hold any number, and each pair costs.
LOOK_BACK = 100


class HandlerFailed(Exception):
    """A handler raised; ``index`` is the place of the event that was being joined among those folded."""

    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.index = index


def check(event: ActionEvent) -> tuple[Ref, ...]:
    """What must exist: nothing, for an action outlives its objects. Raises Malformed for what isn't known here."""
    for ref in (*event.targets, *event.related, *([event.actor] if event.actor else [])):
        canonical(ref)
    if event.using is not None and not keeps_actions(event.using):
        raise Malformed(Reason.UNKNOWN_ALIAS, f"{event.using[:80]!r} is not a database alias.")
    return ()


def keeps_actions(alias: str) -> bool:
    """Whether ``alias`` is a database with Footfall's tables. One query, until it is."""
    if alias not in connections or not router.allow_migrate_model(alias, Action):
        return False
    if alias not in _keeping and AppliedMessage._meta.db_table in connections[alias].introspection.table_names():
        _keeping.add(alias)
    return alias in _keeping


_keeping: set[str] = set()


def fold(events: Iterable[ActionEvent]) -> list[Draft]:
    """The drafts that are left when each unit's actions have been joined, in order. Calls the site's handlers."""
    kept: list[Draft] = []
    by_unit: dict[object, list[Draft]] = {}
    for index, event in enumerate(events):
        mates = by_unit.setdefault(event.unit or event.id, [])
        draft, delay = _draft(event), _delay(event)
        try:
            _join(draft, mates, kept, delay)
        except DatabaseError:
            raise  # it says itself whether to wait or whom to blame
        except Exception as error:
            raise HandlerFailed(index, error) from error
    return kept


def _draft(event: ActionEvent) -> Draft:
    return Draft(
        id=event.id,
        actor=None if event.actor is None else canonical(event.actor),
        verb=event.verb,
        timestamp=stored(event.at),
        level=level_of(event.verb) if event.level is None else event.level,
        targets=list(dict.fromkeys(map(canonical, event.targets))),
        related=list(dict.fromkeys(map(canonical, event.related))),
        data=event.data,
        using=event.using,
    )


def _delay(event: ActionEvent) -> int:
    return int(conf.GROUPING_DELAY) if event.grouping_delay is None else event.grouping_delay


def _join(newer: Draft, mates: list[Draft], kept: list[Draft], delay: int) -> None:
    for older in reversed(mates[-LOOK_BACK:]):
        if older.actor != newer.actor:
            continue
        if set(newer.targets) <= set(older.targets):
            if _combines(newer, older):
                older.absorb(newer)
                return
            if _combines(older, newer):
                newer.absorb(older)
                mates.remove(older)
                kept.remove(older)
                continue
        if delay >= 0 and newer.verb == older.verb and handler_of(newer.verb).group(newer, older):
            older.absorb(newer)
            return
    mates.append(newer)
    kept.append(newer)


def _combines(one: Draft, other: Draft) -> bool:
    hook = handler_of(one.verb).combinator(other.verb)
    return hook is not None and bool(hook(one, other))


def write(drafts: Sequence[Draft], using: str) -> None:
    """Insert the drafts and their objects, by COPY on PostgreSQL. Raises what the database raises."""
    ordered = sorted(drafts, key=lambda draft: draft.id)
    if not ordered:
        return
    changed = _stamp(using)
    rows = [_row(draft, changed) for draft in ordered]
    objects = [
        (draft.id, role, ref.type, ref.id or "", draft.verb, draft.level, draft.timestamp, draft.timestamp, changed)
        for draft in ordered
        for role, refs in (("a", [draft.actor]), ("t", draft.targets), ("r", draft.related))
        for ref in refs
        if ref is not None
    ]
    if connections[using].vendor == "postgresql":
        as_json = _ACTION_COLUMNS.index("data")
        _copy(Action, _ACTION_COLUMNS, [(*r[:as_json], json.dumps(r[as_json]), *r[as_json + 1 :]) for r in rows], using)
        _copy(ActionObject, _OBJECT_COLUMNS, objects, using)
    else:
        actions = [Action(**dict(zip(_ACTION_COLUMNS, row, strict=True))) for row in rows]
        Action.objects.using(using).bulk_create(actions, batch_size=100)
        about = [ActionObject(**dict(zip(_OBJECT_COLUMNS, row, strict=True))) for row in objects]
        ActionObject.objects.using(using).bulk_create(about, batch_size=100)


_ACTION_COLUMNS = ("id", "actor_type", "actor_id", "verb", "level", "data", "timestamp", "renewed", "changed")
_OBJECT_COLUMNS = (
    "action_id",
    "role",
    "object_type",
    "object_id",
    "verb",
    "level",
    "timestamp",
    "renewed",
    "changed",
)


def _stamp(using: str) -> datetime:
    """Hold the row of `ActionStamp` until the commit; returns a time later than any that was given before."""
    stamps = ActionStamp.objects.using(using)
    now = timezone.now()
    stamps.get_or_create(id=1, defaults={"at": now})
    row = stamps.select_for_update().get(id=1)
    row.at = max(now, row.at + timedelta(microseconds=1))
    row.save(using=using, update_fields=["at"])
    return row.at


def _row(draft: Draft, changed: datetime) -> tuple[Any, ...]:
    actor = draft.actor
    who = ("", "") if actor is None else (actor.type, actor.id or "")
    times = (draft.timestamp, draft.timestamp, changed)
    return (draft.id, *who, draft.verb, draft.level, draft.data, *times)


def _copy(
    model: type[Action] | type[ActionObject],
    columns: Sequence[str],
    rows: Sequence[tuple[object, ...]],
    using: str,
) -> None:
    connection = connections[using]
    quote = connection.ops.quote_name
    names = ", ".join(map(quote, columns))
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.cursor.copy(f"COPY {quote(model._meta.db_table)} ({names}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)
