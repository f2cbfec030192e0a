"""Deletes what names a deleted object, where nothing is to be left of it: the actions about it, and its trackers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain

from django.db import router
from django.db.models import Q, QuerySet

from footfall.producers.messages import Ref
from footfall.storage.deletion import where_kept
from footfall.storage.keytext import key_text
from footfall.storage.marks import KEYS, delete_idle, in_chunks, label_of
from footfall.storage.models import Action, ActionObject, ActionStamp, Tracker, ViewMark
from footfall.storage.refconditions import about
from footfall.storage.unmarking import delete_marks


def purge_trackers(users: Sequence[Ref], tracked: Sequence[Ref], using: str) -> None:
    """Delete the trackers that ``users`` had, and everybody's trackers of the objects ``tracked``.

    One statement for 500 users, or objects of a model. In the caller's transaction.
    """
    owned = (Q(user_id__in=some) for some in in_chunks({ref.id for ref in users}, KEYS))
    trackers = Tracker.objects.using(using)
    for condition in chain(owned, about(tracked, "tracked_type", "tracked_id")):
        # Locked in one order: two deletions that meet must not wait in a circle.
        doomed = trackers.filter(condition).order_by("pk").select_for_update().values("pk")
        trackers.filter(pk__in=doomed).delete()


def purge_actions(refs: Sequence[Ref], using: str) -> None:
    """Delete the whole actions of which one of ``refs`` is the actor, a target or related, with the marks on them.

    One query for 500 objects of a model, three statements more where there are such actions, and one that holds the
    row of `ActionStamp` until the commit: a worker that groups at the same time must not add to what is being deleted.
    What is published but not stored yet is out of reach. In the caller's transaction.
    """
    entries = ActionObject.objects.using(using)
    met = [
        some for condition in about(refs, "object_type", "object_id") if (some := entries.filter(condition)).exists()
    ]
    if met:
        list(ActionStamp.objects.using(using).select_for_update())
    for some in met:
        _purge(some, using)


def _purge(some: QuerySet[ActionObject], using: str) -> None:
    """Delete the actions of which ``some`` are entries."""
    _delete_marks(some, using)
    named = some.order_by().values("action_id")
    Action.objects.using(using).filter(pk__in=named)._raw_delete(using)
    ActionObject.objects.using(using).filter(action_id__in=named).delete()


def _delete_marks(some: QuerySet[ActionObject], using: str) -> None:
    label = label_of(Action)
    if router.db_for_write(ViewMark) == using:
        keys = some.order_by().values_list(key_text(Action, "action_id"))
        delete_idle(Q(object_type=label, object_id__in=keys), using)
    else:
        refs = [Ref(label, str(key)) for key in some.order_by().values_list("action_id", flat=True).distinct()]
        where_kept(ViewMark, using, partial(delete_marks, refs))
