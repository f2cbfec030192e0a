"""Stored actions and trackers for the tests of what reads them, as workers and `track` leave them."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models

from footfall.storage.models import Action, ActionObject, Tracker

#: A time before which these tests' trackers were made, and after which their actions come.
START = datetime(2024, 5, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def ref(named: Any) -> tuple[str, str]:
    """Label and id of an object or a model, or a pair of these itself."""
    if isinstance(named, tuple):
        return named
    return named._meta.label_lower, str(named.pk) if isinstance(named, models.Model) else ""


def store(
    actor: Any,
    verb: str = "wrote",
    targets: Iterable[Any] = (),
    related: Iterable[Any] = (),
    *,
    seconds: float = 0,
    **values: Any,
) -> Action:
    """An action ``seconds`` after START, with its entries; ``values`` are other fields of it."""
    when = at(seconds)
    who = ("", "") if actor is None else ref(actor)
    times = {"timestamp": when, "renewed": when, "changed": when}
    fields = {"id": uuid.uuid4(), "verb": verb, **times, **values}
    action = Action.objects.create(actor_type=who[0], actor_id=who[1], **fields)
    copied = {name: getattr(action, name) for name in ("verb", "level", "timestamp", "renewed", "changed")}
    roles = {"a": [who] if actor is not None else [], "t": map(ref, targets), "r": map(ref, related)}
    ActionObject.objects.bulk_create(
        ActionObject(action=action, role=role, object_type=label, object_id=key, **copied)
        for role, named in roles.items()
        for label, key in named
    )
    return action


def follow(user: Any, tracked: Any, *verbs: str, seconds: float = -60, **values: Any) -> Tracker:
    """A tracker that was made ``seconds`` after START (before it, unless something else is said)."""
    label, key = ref(tracked)
    fields = {"verbs": list(verbs), "last_updated": at(seconds), **values}
    return Tracker.objects.create(user_id=user.pk, tracked_type=label, tracked_id=key, **fields)
