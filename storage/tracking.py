"""Follow and unfollow: there is one tracker for a user and an object, whoever asks for it and how often at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db import connections, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, QuerySet
from django.utils.translation import gettext_noop

from footfall.producers.messages import Ref
from footfall.producers.publish import publish_action
from footfall.storage.changetime import site_time
from footfall.storage.loadedmarks import forget_cached
from footfall.storage.marks import KEYS
from footfall.storage.models import Tracker
from footfall.storage.refconditions import about, any_of
from footfall.storage.tracked import refs_of, verbs_of
from footfall.storage.upsert import replaced, upsert
from footfall.storage.userkeys import user_key

#: What is logged, untranslated, and translated where it is shown.
STARTED = gettext_noop("started tracking")
STOPPED = gettext_noop("stopped tracking")

KEY = ("user", "tracked_type", "tracked_id")

#: Stands as ``excluded`` in what is new until `_take_new`, in the same transaction: no verb, and nobody else sees it.
NEW = ["*"]

Values = dict[str, Any]


def track(
    user: Any,
    to_track: Any,
    log: bool = False,
    *,
    verbs: Any = None,
    actor_only: bool | None = None,
    last_updated: datetime | None = None,
    using: str | None = None,
) -> None:
    """``user`` follows ``to_track``: an object, a model (all of it), or an iterable of any of them.

    ``verbs`` (one or several) are those followed; none means all, also for what was followed already. ``actor_only``
    (True for what is new): only what the object itself does, not what is done to it. What happened before
    ``last_updated`` (now, for what is new) is never unread. What is left out of these two stays as it was.

    With ``log`` one action "started tracking" is published about those that are new, if any. ``using`` is the alias of
    the database of the trackers. One statement for any number of objects, with ``log`` a few.

    Raises TypeError for what is no user or can't be followed, ValueError for what is not saved, for what is no verb,
    for a time without a zone where USE_TZ is on, and where more is new than one action can be about; then nothing is
    stored.
    """
    key, objects, alias = user_key(user), refs_of(to_track), _alias(using)
    given = _given(verbs, actor_only, last_updated)
    with transaction.atomic(using=alias):
        _write(key, objects, {**given, "excluded": NEW if log else []}, alias)
        if log:
            new = _take_new(key, alias)
            _log(user, STARTED, [obj for ref, obj in objects.items() if ref in new], using)
    forget_cached(user)


def untrack(user: Any, to_untrack: Any, verbs: Any = None, log: bool = False, using: str | None = None) -> None:
    """``user`` no longer follows ``to_untrack`` (as for `track`), or no longer for ``verbs``; the others stay.

    The last verb takes the tracker with it; a tracker of all verbs remembers those taken out of it. What was not
    followed is passed over. With ``log`` one action "stopped tracking" is published about those that are not followed
    at all any more, if any. A few statements for 500 objects of a model. Raises like `track`.
    """
    key, objects, alias = user_key(user), refs_of(to_untrack), _alias(using)
    taken = None if verbs is None else verbs_of(verbs)
    with transaction.atomic(using=alias):
        gone = {ref for some in _held(key, objects, alias) for ref in _take(some, taken, alias)}
        if log:
            _log(user, STOPPED, [obj for ref, obj in objects.items() if ref in gone], using)
    forget_cached(user)


def _alias(using: str | None) -> str:
    return using or router.db_for_write(Tracker)


def _given(verbs: Any, actor_only: bool | None, last_updated: datetime | None) -> Values:
    given: Values = {"verbs": verbs_of(verbs)}
    if actor_only is not None:
        given["actor_only"] = bool(actor_only)
    if last_updated is not None:
        given["last_updated"] = site_time(last_updated)
    return given


def _write(user: Any, refs: Iterable[Ref], given: Values, using: str) -> None:
    """Store trackers with the values ``given``, over those that stand: these exclude nothing any more."""
    changes = {**dict.fromkeys(given, replaced), "excluded": _emptied}
    rows = ((user, ref.type, ref.id or "", *(given[name] for name in changes)) for ref in refs)
    upsert(Tracker, KEY, changes, rows, using)


def _emptied(connection: BaseDatabaseWrapper, stored: str, given: str, field: models.Field[Any, Any]) -> str:
    return "'[]'"


def _take_new(user: Any, using: str) -> set[Ref]:
    """Whom those follow that were not there before this transaction; they are as any other then."""
    rows = Tracker.objects.using(using).filter(user_id=user, excluded=NEW)
    new = {tracker.tracked_ref for tracker in rows}
    rows.update(excluded=[])
    return new


def _held(user: Any, refs: Iterable[Ref], using: str) -> Iterator[list[Tracker]]:
    """The user's trackers of ``refs``, locked until the end of the transaction: all at once, on SQLite some hundred."""
    for condition in any_of(about(refs, "tracked_type", "tracked_id"), using):
        rows = Tracker.objects.using(using).filter(condition, user_id=user)
        if not connections[using].features.has_select_for_update:
            # SQLite: who writes first is alone until the commit, and reads what then stands.
            rows.update(actor_only=F("actor_only"))
        # In the order in which `track` writes: two that meet must not wait in a circle.
        yield list(rows.select_for_update().order_by("tracked_type", "tracked_id"))


def _take(trackers: Iterable[Tracker], verbs: list[str] | None, using: str) -> set[Ref]:
    """Take ``verbs`` (None: all) out of ``trackers``; returns whom those follow that are gone with it."""
    gone, kept = list[Tracker](), list[Tracker]()
    for tracker in trackers:
        left = verbs is not None and _subtract(tracker, verbs)
        (kept if left else gone).append(tracker)
    rows: QuerySet[Tracker] = Tracker.objects.using(using)
    rows.filter(pk__in=[tracker.pk for tracker in gone]).delete()
    rows.bulk_update(kept, ["verbs", "excluded"], batch_size=KEYS)
    return {tracker.tracked_ref for tracker in gone}


def _subtract(tracker: Tracker, verbs: list[str]) -> bool:
    """Take ``verbs`` out of ``tracker``; returns whether it still follows any."""
    if not tracker.verbs:
        tracker.excluded = list(dict.fromkeys([*tracker.excluded, *verbs]))
        return True
    tracker.verbs = [verb for verb in tracker.verbs if verb not in verbs]
    return bool(tracker.verbs)


def _log(user: Any, verb: str, objects: list[Any], using: str | None) -> None:
    if objects:
        publish_action(user, verb, targets=objects, using=using)
