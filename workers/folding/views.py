"""Folds views into marks: the latest time per user and scope. The order of events doesn't matter, nor repetition."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.contrib.auth import get_user_model

from footfall.producers.messages import Ref, View
from footfall.storage.clock import stored
from footfall.storage.marks import MarkKey, raise_marks
from footfall.workers.folding.references import canonical, key_of


def check(event: View) -> tuple[Ref, ...]:
    """What must exist for the event to mean something: the user, and the object seen. Raises Malformed."""
    user = canonical(Ref(get_user_model()._meta.label_lower, event.user))
    return (user,) if event.object is None else (user, canonical(event.object))


def fold(events: Iterable[View]) -> dict[MarkKey, datetime]:
    """The latest mark per (user key, object type, object id); pure."""
    marks: dict[MarkKey, datetime] = {}
    user_model = get_user_model()
    for event in events:
        ref = None if event.object is None else canonical(event.object)
        key = (key_of(user_model, event.user), ref.type if ref else "", (ref.id or "") if ref else "")
        at = stored(event.at)
        if key not in marks or marks[key] < at:
            marks[key] = at
    return marks


def write(marks: dict[MarkKey, datetime], using: str) -> None:
    """Raise the stored marks."""
    raise_marks(marks, using)
