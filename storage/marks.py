"""Writes marks: how far a user has seen one object, one model, or everything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Q

from footfall.storage.models import ViewMark
from footfall.storage.upsert import latest, upsert

#: User key, object type, object id; type and id blank for everything, id blank for a whole model.
MarkKey = tuple[Any, str, str]


def raise_marks(marks: Mapping[MarkKey, datetime], using: str) -> None:
    """Raise the stored marks to ``marks`` where they are older.

    A raised wider mark deletes the narrower ones that are not newer than it: they say nothing more. Runs in the
    caller's transaction. One statement, and one for each wider mark.
    """
    rows = ((*key, at) for key, at in marks.items())
    upsert(ViewMark, ("user", "object_type", "object_id"), {"at": latest}, rows, using)
    for (user, object_type, object_id), at in sorted(marks.items()):
        if not object_id:
            scope = Q(object_type=object_type) & ~Q(object_id="") if object_type else ~Q(object_type="")
            narrower = ViewMark.objects.using(using).filter(scope, user_id=user, at__lte=at)
            # One that somebody else is raising may stay: it does no harm, and waiting for it might be in a circle.
            idle = narrower.select_for_update(skip_locked=True).values("pk")
            ViewMark.objects.using(using).filter(pk__in=idle).delete()
