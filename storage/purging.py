"""Deletes what names deleted objects: marks, and where nothing is to be left of them, their trackers and actions.

Each in the caller's transaction. Rows are locked in the order in which workers, `track` and other deletions lock them:
two that meet must not wait in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

from django.contrib.auth import get_user_model
from django.db import router
from django.db.models import Exists, OuterRef, Q, QuerySet

from footfall.producers.messages import Ref
from footfall.storage.deletion import where_kept
from footfall.storage.keytext import key_text
from footfall.storage.marks import KEYS, delete_idle, in_chunks, label_of, locked
from footfall.storage.models import Action, ActionObject, Tracker, ViewMark
from footfall.storage.refconditions import about, any_of


def delete_marks(refs: Sequence[Ref], using: str) -> None:
    """Delete everybody's marks on the objects ``refs``, and those of users among them.

    One statement for 500 objects of a model, two for 500 users; on PostgreSQL one for the lot, up to 25,000.
    """
    users = label_of(get_user_model())
    owned = _of_users(ref for ref in refs if ref.type == users)
    for condition in any_of(chain(about(refs, "object_type", "object_id"), owned), using):
        marks = ViewMark.objects.using(using).filter(condition)
        locked(marks, "user_id", "object_type", "object_id").delete()


def purge_trackers(users: Sequence[Ref], tracked: Sequence[Ref], using: str) -> None:
    """Delete the trackers that ``users`` had, and everybody's trackers of the objects ``tracked``.

    As many statements as `delete_marks` would take.
    """
    for condition in any_of(chain(_of_users(users), about(tracked, "tracked_type", "tracked_id")), using):
        trackers = Tracker.objects.using(using).filter(condition)
        locked(trackers, "user_id", "tracked_type", "tracked_id").delete()


def purge_actions(refs: Sequence[Ref], using: str) -> None:
    """Delete the whole actions of which one of ``refs`` is the actor, a target or related, with the marks on them.

    As many queries as `delete_marks` would take, and three statements more for each that meets actions. Until the
    commit a worker waits that would add to one of these, and tries again then; what it added before goes along. What is
    published but not stored yet is out of reach.
    """
    for condition in any_of(about(refs, "object_type", "object_id"), using):
        entries = ActionObject.objects.using(using).filter(condition)
        if entries.exists():
            _purge(entries, using)


def _of_users(users: Iterable[Ref]) -> Iterator[Q]:
    return (Q(user_id__in=some) for some in in_chunks(sorted({ref.id or "" for ref in users}), KEYS))


def _purge(entries: QuerySet[ActionObject], using: str) -> None:
    """Delete the actions of which ``entries`` are some."""
    actions = Action.objects.using(using)
    locked(actions.filter(pk__in=entries.order_by().values("action_id")), "pk")._raw_delete(using)
    # Not those of an action that a worker has just made one about the object: it was not locked, and stays whole.
    gone = entries.exclude(Exists(actions.filter(pk=OuterRef("action_id")))).order_by()
    _delete_marks_on(gone, using)
    ActionObject.objects.using(using).filter(action_id__in=gone.values("action_id")).delete()


def _delete_marks_on(gone: QuerySet[ActionObject], using: str) -> None:
    """Delete the marks on the actions of the entries ``gone``."""
    label = label_of(Action)
    if router.db_for_write(ViewMark) == using:
        keys = gone.values_list(key_text(Action, "action_id"))
        delete_idle(Q(object_type=label, object_id__in=keys), using)
    else:
        refs = [Ref(label, str(key)) for key in gone.values_list("action_id", flat=True).distinct()]
        where_kept(ViewMark, using, partial(delete_marks, refs))
