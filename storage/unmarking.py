"""Deletes the marks on objects that are deleted, and those of deleted users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models import Q

from footfall.producers.messages import Ref
from footfall.storage.marks import KEYS, in_chunks, label_of
from footfall.storage.models import ViewMark
from footfall.storage.refconditions import about

#: How many times KEYS objects are deleted at once where rows are locked. A statement has fewer than 65,536 parameters.
LOCKED = 50


def delete_marks(refs: Iterable[Ref], using: str) -> None:
    """Delete everybody's marks on the objects ``refs``, and those of users among them.

    One statement for 500 objects of a model, two for 500 users; on PostgreSQL one for the lot, up to 25,000.
    """
    marks = ViewMark.objects.using(using)
    conditions = _conditions(list(refs))
    for some in in_chunks(conditions, LOCKED if connections[using].features.has_select_for_update else 1):
        # Locked in the order in which workers write them: two that meet must not wait in a circle.
        doomed = marks.filter(Q(*some, _connector=Q.OR)).order_by("user_id", "object_type", "object_id")
        marks.filter(pk__in=doomed.select_for_update().values("pk")).delete()


def _conditions(refs: list[Ref]) -> Iterator[Q]:
    yield from about(refs, "object_type", "object_id")
    users = label_of(get_user_model())
    for some in in_chunks({ref.id for ref in refs if ref.type == users}, KEYS):
        yield Q(user_id__in=some)
