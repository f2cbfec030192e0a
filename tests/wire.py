"""Messages as a program writes them that uses no code of Footfall's: plain dicts and JSON."""

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.db import models

#: When the tests' events happen, and when the pipeline is told that it is.
NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)

Event = dict[str, Any]


def ref(obj: models.Model | type[models.Model] | None) -> Any:
    """An object, a whole model, or nothing, as it stands in an event."""
    if obj is None:
        return None
    found: dict[str, str] = {"type": obj._meta.label_lower}
    return found if isinstance(obj, type) else found | {"id": str(obj.pk)}


def view(user: Any, obj: models.Model | type[models.Model] | None = None, **fields: Any) -> Event:
    """A view by ``user`` (a model instance or a key) of an object, a model, or everything."""
    key = user if isinstance(user, str) else str(user.pk)
    return _event("view", {"user": key, "object": ref(obj)} | fields)


def increment(obj: models.Model, field: str = "views", **fields: Any) -> Event:
    """An increment of a counter of ``obj`` in the newsroom's totals."""
    return _event("increment", {"dataset": "newsroom.articletotals", "object": ref(obj), "field": field} | fields)


def hit(label: str = "home", category: str | None = None, dom_id: str | None = None, **fields: Any) -> Event:
    """A hit of a label."""
    key = {"label": label} | ({"category": category} if category else {}) | ({"dom_id": dom_id} if dom_id else {})
    return _event("increment", {"label": key} | fields)


def action(actor: models.Model | None, verb: str, /, *targets: models.Model, **fields: Any) -> Event:
    """``actor`` did ``verb`` to ``targets``."""
    return _event("action", {"actor": ref(actor), "verb": verb, "targets": [ref(one) for one in targets]} | fields)


def _event(kind: str, fields: Event) -> Event:
    event = {"kind": kind, "id": str(uuid.uuid4()), "at": NOW.isoformat()} | fields
    return {name: str(value) if isinstance(value, (uuid.UUID, datetime)) else value for name, value in event.items()}


def body(events: Iterable[Event | bytes], queue: str = "footfall.increments", **envelope: Any) -> bytes:
    """A message of ``events``, each a dict or bytes that are taken as they are. ``envelope`` replaces its fields."""
    raws = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
    fields = {
        "queue_name": queue,
        "actor_name": queue,
        "kwargs": {},
        "options": {},
        "message_id": str(uuid.uuid4()),
        "message_timestamp": int(NOW.timestamp() * 1000),
    } | envelope
    head = json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()
    return head[:-1] + b', "args": [[' + b", ".join(raws) + b"]]}"
