"""What is asked of the rows of `HandleRefModel`s, and what is done to many of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from numbers import Real
from typing import Any, Self

from django.conf import settings
from django.db import NotSupportedError, models
from django.db.models import F, Max, Q
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from footfall.storage import softdeletion
from footfall.storage.changestamps import ChangeStamp, recording
from footfall.storage.clock import stored
from footfall.storage.referencefields import saving
from footfall.storage.softdeletion import DELETED


class HandleRefQuerySet(models.QuerySet[Any]):
    """Rows that keep account of themselves: bulk changes are counted like single ones, bulk deletion is soft."""

    # -- Asking

    def since(
        self, timestamp: Any = None, version: int | None = None, deleted: bool = False, cursor: str | None = None
    ) -> Self:
        """Rows created or updated after ``timestamp`` (exclusive), and of a later version than ``version``.

        ``timestamp`` is a datetime, a date, either as text, or a unix time in seconds; what has no time zone is in the
        current one. Without arguments: all that are not deleted; with ``deleted`` also those that are. No query.
        Raises ValueError for a text that is no time, TypeError for what is none of these.
        """
        rows = self.all() if deleted else self.undeleted()
        if timestamp is not None:
            at = _time(timestamp)
            rows = rows.filter(Q(created__gt=at) | Q(updated__gt=at))
        return rows if version is None else rows.filter(version__gt=version)

    def undeleted(self) -> Self:
        """Rows that are not deleted softly: those of any other status, the blank one too. No query."""
        return self.exclude(status=DELETED)

    def last_change(self) -> datetime | None:
        """When the latest of the rows, deleted ones included, was created or updated; None without any. One query."""
        times = self.order_by().aggregate(created=Max("created"), updated=Max("updated"))
        return max((at for at in times.values() if at is not None), default=None)

    # -- Changing many

    def update(self, **kwargs: Any) -> int:
        """Django's `update`, which also sets ``updated`` and raises ``version`` where these are not given."""
        self._for_write = True
        with recording(self.db), saving() as current:
            own = {"updated": current.now, "version": F("version") + 1, "change_stamp": ChangeStamp()}
            return super().update(**{**own, **kwargs})

    update.alters_data = True  # type: ignore[attr-defined]  # as Django marks it for templates

    def bulk_create(self, objs: Iterable[Any], *args: Any, keep_times: bool = False, **kwargs: Any) -> list[Any]:
        """Django's `bulk_create`: all are created at one time, or, with ``keep_times``, at those that they have.

        Raises NotSupportedError for ``update_conflicts``, which can't count versions.
        """
        if kwargs.get("update_conflicts"):
            raise NotSupportedError("bulk_create(update_conflicts=True) can't count versions: look up, then save.")
        self._for_write = True
        with recording(self.db), saving(keep_times=keep_times):
            return super().bulk_create(objs, *args, **kwargs)

    bulk_create.alters_data = True  # type: ignore[attr-defined]  # as Django marks it for templates

    def bulk_update(self, objs: Iterable[Any], fields: Sequence[str], batch_size: int | None = None) -> int:  # type: ignore[override]  # any sequence
        """Django's `bulk_update`, which also sets ``updated`` and raises ``version``; the objects show both."""
        raise NotImplementedError

    bulk_update.alters_data = True  # type: ignore[attr-defined]  # as Django marks it for templates

    def delete(self, *, hard: bool = False) -> tuple[int, dict[str, int]]:
        """Delete the rows softly, with what goes with them; with ``hard`` as Django does. How many, of each model."""
        return super().delete() if hard else softdeletion.delete_rows(self)

    delete.alters_data = True  # type: ignore[attr-defined]  # as Django marks it for templates
    delete.queryset_only = True  # type: ignore[attr-defined]  # and for managers

    def undelete(self) -> tuple[int, dict[str, int]]:
        """Restore those of the rows that are deleted, with just what went together with each. How many, of each model.

        Raises UndeleteRefused like `HandleRefModel.undelete`; then none is restored.
        """
        return softdeletion.undelete_rows(self)

    undelete.alters_data = True  # type: ignore[attr-defined]  # as Django marks it for templates
    undelete.queryset_only = True  # type: ignore[attr-defined]  # and for managers


class HandleRefManager(models.Manager.from_queryset(HandleRefQuerySet)):  # type: ignore[misc]  # a class made here
    """`Model.handleref`."""

    @property
    def tag(self) -> str:
        """The tag of the model."""
        return self.model._handleref.tag  # type: ignore[no-any-return]  # a model in general has none

    def prop(self, key: str) -> Any:
        """What the inner class ``HandleRef`` says under ``key``. Raises AttributeError where it says nothing."""
        return getattr(self.model._handleref, key)

    def since(
        self, *, timestamp: Any = None, version: int | None = None, deleted: bool = False, cursor: Any = None
    ) -> Any:
        """`HandleRefQuerySet.since` of all rows."""
        return self.get_queryset().since(timestamp=timestamp, version=version, deleted=deleted, cursor=cursor)


def _time(given: Any) -> datetime:
    """A time as the database keeps it."""
    if isinstance(given, str):
        given = _parsed(given)
    if isinstance(given, Real):
        return stored(datetime.fromtimestamp(float(given), UTC))
    if isinstance(given, date) and not isinstance(given, datetime):
        given = datetime.combine(given, time.min)
    if not isinstance(given, datetime):
        raise TypeError(f"A time is a datetime, a date, a text of either or a unix time, not {given!r}.")
    if timezone.is_aware(given):
        return stored(given)
    return timezone.make_aware(given) if settings.USE_TZ else given


def _parsed(text: str) -> datetime | date:
    parsed = parse_datetime(text) or parse_date(text)
    if parsed is None:
        raise ValueError(
            f"{text[:80]!r} is no time: a date, or a date and time, as in 2026-05-01 or 2026-05-01T12:00Z."
        )
    return parsed
