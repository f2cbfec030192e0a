"""What a user has seen: asked, and marked at once.

There are two ways to say that somebody has seen something, and they end in the same marks:

- ``ViewTracker(user).mark_…`` writes now, in the request and in its transaction: for a button ("mark all as read",
  "mark as unread") and wherever the page that comes next must show it.
- `footfall.producers.publish_view` (``publish_model_view``, ``publish_all_viewed``, ``TrackViewMixin``,
  ``track_view``) writes nothing in the request; a worker folds the mark in shortly after. For the many: each reading of
  each page, where a write per page view would slow the site and nobody minds the moment between.

Marks only rise and the latest decides, so the two mix in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import models, router, transaction
from django.db.models import BooleanField, Count, ExpressionWrapper, Manager, Max, Q, QuerySet, Value
from django.utils import timezone

from footfall.producers.settings import conf
from footfall.storage.changetime import (
    MODIFICATION_FIELD_NAMES,
    NoChangeTime,
    change_time,
    change_time_or_earliest,
    earliest,
    site_time,
)
from footfall.storage.loadedmarks import cached_marks, forget_cached, marks_on
from footfall.storage.marks import MarkKey, in_chunks, label_of, raise_marks
from footfall.storage.models import ViewMark
from footfall.storage.naming import Rows, model_of, object_of, of_rows, rows_of
from footfall.storage.seen import unseen_condition
from footfall.storage.userkeys import user_key

__all__ = ["MODIFICATION_FIELD_NAMES", "NoChangeTime", "ViewTracker", "change_time"]

#: Marks written by one statement.
ROWS = 5_000

M = TypeVar("M", bound=models.Model)


class ViewTracker:
    """The marks of one user. An anonymous user (or None) has seen everything, and nothing is stored for them.

    A user has marks on objects, on models and on everything. Of the three that concern an object the latest decides
    (at the same time one that says *seen*): the object is seen when that mark is not older than its last change.

    Where a method takes ``updated_field``, that names the time of change; without it ``updated`` of a `HandleRefModel`
    tells, of others the first of MODIFICATION_FIELD_NAMES that holds a datetime. Whole tables are asked in SQL, which
    knows columns and annotations only, and takes a row whose time of change is NULL for unseen until there is any mark
    on it.
    """

    def __init__(self, user: Any) -> None:
        self.user = user

    # -- One object

    def has_viewed(
        self, instance: models.Model, last_update: datetime | None = None, updated_field: str | None = None
    ) -> bool:
        """Whether the user has seen ``instance`` since it last changed. One query.

        The time of change is ``last_update``, else the attribute, path or method ``updated_field``, else ``updated`` of
        a `HandleRefModel`, else the first of MODIFICATION_FIELD_NAMES that holds a datetime. Raises NoChangeTime where
        there is none, ValueError for an unsaved instance or a time without a zone where USE_TZ is on, TypeError for a
        last_update of another type.
        """
        if self._anonymous:
            return True
        label, key = object_of(instance)
        changed = site_time(last_update) if last_update is not None else change_time(instance, updated_field)
        return marks_on(self._key, [(label, key)]).say_seen(label, key, changed)

    def mark_instance_viewed(self, instance: models.Model) -> bool | None:
        """The user has seen ``instance``, now. Raises ValueError for an unsaved one.

        As all that marks, it returns True for an anonymous user, for whom nothing is to be stored, else None.
        """
        return self._mark([object_of(instance)])

    def mark_model_viewed(self, model: type[models.Model] | models.Model | str) -> bool | None:
        """The user has seen every object of ``model``: a class, an instance of it, or its label ``app_label.model``.

        Raises LookupError for a label that is not an installed model's.
        """
        return self._mark([(label_of(model_of(model)), "")])

    def mark_all_viewed(self) -> bool | None:
        """The user has seen everything, now."""
        return self._mark([("", "")])

    def last_activity(self) -> datetime | None:
        """The time of the user's latest mark, None where there is none. One query."""
        if self._anonymous:
            return None
        latest: datetime | None = ViewMark.objects.filter(user_id=self._key).aggregate(latest=Max("at"))["latest"]
        return latest

    # -- Many objects, marked

    def mark_viewed(self, objects: models.Model | Rows | Iterable[models.Model]) -> bool | None:
        """The user has seen ``objects``, now: a queryset, any iterable of saved instances, or one instance.

        One query for the keys of a queryset, and one statement for 5,000 marks, in one transaction.
        """
        return self._mark(self._refs(objects))

    def mark_unseen(self, objects: models.Model | Rows | Iterable[models.Model]) -> bool | None:
        """The user has not seen ``objects`` (as for `mark_viewed`), whatever was marked before.

        They are seen again with the next mark on them, on their model, or on everything.
        """
        return self._mark(self._refs(objects), seen=False)

    def set_watermark(
        self, when: datetime, model: type[models.Model] | models.Model | str | None = None
    ) -> bool | None:
        """The user has seen everything (of ``model``) up to ``when``; a later mark stays.

        Raises ValueError for a time further ahead than MAX_CLOCK_SKEW_SECONDS, or without a time zone where USE_TZ is
        on; TypeError for what is no datetime; LookupError as `mark_model_viewed`.
        """
        return self._mark([("" if model is None else label_of(model_of(model)), "")], watermark(when))

    # -- Many objects, asked

    def unseen(self, queryset: Rows, updated_field: str | None = None) -> QuerySet[Any]:
        """Those of ``queryset`` that the user has not seen, as a queryset; none for an anonymous user. No query.

        ``updated_field`` is a DateTimeField, also over relations (``thread__updated``), or an annotation. Raises
        NoChangeTime where there is no such column, TypeError for a kind of primary key that SQL can't write as text,
        ValueError where the marks are kept in another database.
        """
        rows = rows_of(queryset)
        if rows.query.is_sliced:
            raise TypeError("A slice can't be filtered: ask annotate(), or flag() for what is loaded.")
        if self._anonymous:
            return rows.none()
        unseen: QuerySet[Any] = rows.filter(unseen_condition(self._key, rows, updated_field))
        return unseen

    def expression(self, queryset: Rows, updated_field: str | None = None) -> ExpressionWrapper[Any] | Value:
        """Whether the user has seen a row, for ``queryset.annotate(seen=tracker.expression(Article))``.

        Never NULL. Takes and raises what `unseen` does; give the queryset itself where ``updated_field`` is an
        annotation of it or it is not in its model's usual database.
        """
        if self._anonymous:
            return Value(True, BooleanField())  # noqa: FBT003 - it stands for a column
        return ExpressionWrapper(~unseen_condition(self._key, rows_of(queryset), updated_field), BooleanField())

    def annotate(self, queryset: Rows, updated_field: str | None = None, name: str = "seen") -> QuerySet[Any]:
        """``queryset`` whose rows say under ``name`` whether the user has seen them. Raises like `unseen`."""
        rows = rows_of(queryset)
        annotated: QuerySet[Any] = rows.annotate(**{name: self.expression(rows, updated_field)})
        return annotated

    def unseen_count(self, queryset: Rows, updated_field: str | None = None) -> int:
        """How many of ``queryset`` (also a slice) the user has not seen. One query, none for an anonymous user."""
        if self._anonymous:
            return 0
        rows = rows_of(queryset)
        if not rows.query.is_sliced:
            return self.unseen(rows, updated_field).count()
        flagged = self.annotate(rows, updated_field, "footfall_seen")
        return int(flagged.aggregate(unseen=Count("pk", filter=Q(footfall_seen=False)))["unseen"])

    def has_unseen(self, queryset: Rows, updated_field: str | None = None) -> bool:
        """Whether there is any in ``queryset`` that the user has not seen. One query, none for an anonymous user."""
        if self._anonymous:
            return False
        rows = rows_of(queryset)
        if rows.query.is_sliced:
            return self.unseen_count(rows, updated_field) > 0
        return self.unseen(rows, updated_field).exists()

    def flag(self, objects: Iterable[M], updated_field: str | None = None) -> list[M]:
        """Set ``seen`` on each of ``objects`` (of any models and databases), and return them as a list.

        One query for 500 objects, beside that of a queryset. ``updated_field`` may be a method, too; where it is None
        an object is unseen until there is any mark on it. Raises NoChangeTime, ValueError for an unsaved object.
        """
        flagged = list(objects)
        for one, seen in zip(flagged, self._seen(flagged, updated_field), strict=True):
            one.seen = seen  # type: ignore[attr-defined]  # what this is for
        return flagged

    def count_unseen_of(self, objects: Iterable[models.Model], updated_field: str | None = None) -> int:
        """How many of ``objects``, which are loaded, the user has not seen; leaves them as they are. Like `flag`."""
        return self._seen(list(objects), updated_field).count(False)

    def has_viewed_by_loaded_marks(self, instance: models.Model, updated_field: str | None = None) -> bool:
        """Like `flag` for one object, asked of all marks on its model: these are loaded once for a user instance.

        What another instance of the user, or a worker, marks afterwards is not seen by it.
        """
        if self._anonymous:
            return True
        label, key = object_of(instance)
        changed = change_time_or_earliest(instance, updated_field)
        return cached_marks(self.user, self._key, label).say_seen(label, key, changed)

    # -- Within

    @property
    def _anonymous(self) -> bool:
        if isinstance(self.user, type):  # a class has the attribute, too
            return False
        return self.user is None or bool(getattr(self.user, "is_anonymous", False))

    @property
    def _key(self) -> Any:
        return user_key(self.user)

    def _refs(self, objects: Any) -> Iterable[tuple[str, str]]:
        if self._anonymous:
            return []
        if isinstance(objects, (QuerySet, Manager, type, str)):
            return of_rows(rows_of(objects))
        return map(object_of, [objects] if isinstance(objects, models.Model) else objects)

    def _mark(self, refs: Iterable[tuple[str, str]], at: datetime | None = None, *, seen: bool = True) -> bool | None:
        if self._anonymous:
            return True
        user, using = self._key, router.db_for_write(ViewMark)
        at = at or site_time(timezone.now())
        # Sorted as a whole, so that two who mark many at once don't wait for each other in a circle.
        keys: list[MarkKey] = [(user, label, key) for label, key in sorted(set(refs))]
        with transaction.atomic(using=using):
            for some in in_chunks(keys, ROWS):
                raise_marks(dict.fromkeys(some, at), using, seen=seen)
        forget_cached(self.user)
        return None

    def _seen(self, objects: list[Any], updated_field: str | None) -> list[bool]:
        if self._anonymous:
            return [True] * len(objects)
        asked = [(*object_of(one), change_time_or_earliest(one, updated_field)) for one in objects]
        marks = marks_on(self._key, ((label, key) for label, key, _ in asked))
        return [marks.say_seen(label, key, changed) for label, key, changed in asked]


def watermark(when: datetime) -> datetime:
    """``when`` as a mark that is set by hand may have it. Raises like `ViewTracker.set_watermark`."""
    at = site_time(when)
    ahead = timedelta(seconds=conf.MAX_CLOCK_SKEW_SECONDS)
    if at > site_time(timezone.now()) + ahead:
        raise ValueError(f"{when.isoformat()} is in the future: what comes until then would count as seen.")
    if at < earliest():
        raise ValueError(f"{when.isoformat()} is before all time.")
    return at
