"""What is asked of the rows of `HandleRefModel`s, and what is done to many of them at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext
from datetime import UTC, date, datetime, time
from decimal import Decimal
from numbers import Real
from typing import Any, Self, overload

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import NotSupportedError, connections, models, transaction
from django.db.models import Max, Q
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from footfall.storage import parentguard, softdeletion, undeleting
from footfall.storage.changestamps import recording
from footfall.storage.clock import stored
from footfall.storage.polling import Changes, changes_since
from footfall.storage.referencefields import own_columns, saving
from footfall.storage.softdeletion import DELETED

#: What rows say of themselves, and objects show when many are changed at once.
SHOWN = ("updated", "version", "change_stamp")


class HandleRefQuerySet(models.QuerySet[Any]):
    """Rows that keep account of themselves: bulk changes are counted like single ones, bulk deletion is soft."""

    # -- Asking

    @overload
    def since(self, timestamp: Any = ..., version: int | None = ..., deleted: bool | None = ...) -> Self: ...

    @overload
    def since(
        self, *, cursor: str, limit: int | None = ..., until: str | None = ..., deleted: bool | None = ...
    ) -> Changes: ...

    def since(
        self,
        timestamp: Any = None,
        version: int | None = None,
        deleted: bool | None = None,
        *,
        cursor: str | None = None,
        limit: int | None = None,
        until: str | None = None,
    ) -> Self | Changes:
        """Rows created or updated after ``timestamp`` (exclusive), and of a later version than ``version``.

        ``timestamp`` is a datetime, a date, either as text, or a unix time in seconds; what has no time zone is in the
        current one. Without arguments: all that are not deleted; with ``deleted`` also those that are. No query.
        Raises ValueError for a text that is no time, TypeError for what is none of these. What is committed late, with
        an earlier time, is missed by who asks for what came after the latest time that he has seen.

        With ``cursor`` nothing is: ``rows, cursor = rows.since(cursor=cursor)``, to start with "". Evaluated at once,
        so filters come before it. It gives a `Changes`: a list of what was committed since the cursor was made, in the
        order in which it is to be applied (by ``change_stamp``, whatever order the queryset has), each changed row
        once and as it is now; and the next cursor, a text to be kept. Deleted rows come as `Tombstone`s, really
        deleted ones too (where their model was not connected with ``use_del_items=False``, and they are kept in the
        database of `DeletedItem`), unless ``deleted`` is False. A filter holds for rows as they are now: one that no
        longer fits it is not given; tombstones of what was really deleted are, all those of the model.

        - ``limit``: at most so many; ``more`` of the `Changes` says whether the next poll goes on within the window.
        - ``until``: a cursor up to which rows are given, for several tables at one point of time.
        - In a transaction that has written rows itself, these are given by each poll until it is committed, and once
          more afterwards.
        - On a standby of PostgreSQL rows are given as soon as no transaction that began before theirs is running.

        Two queries, two more for tombstones, two more to start, one or two to go on in a window. Raises ValueError for
        a text that is no cursor, CursorExpired (one, too) for one of another database, ForeignStamps where rows came
        from another database, TypeError beside ``timestamp`` or ``version``, and for a slice, or a queryset of anything
        but whole objects.
        """
        if cursor is not None:
            if timestamp is not None or version is not None:
                raise TypeError("since() takes a cursor, or a time and a version, not both.")
            return changes_since(self, cursor, limit, until, deleted=deleted is None or bool(deleted))
        if limit is not None or until is not None:
            raise TypeError("limit and until go with a cursor: since(cursor='', …) to start.")
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
        times = self.aggregate(created=Max("created"), updated=Max("updated"))
        return max((at for at in times.values() if at is not None), default=None)

    # -- Changing many

    def update(self, **kwargs: Any) -> int:
        """Django's `update`, which also sets ``updated`` and raises ``version`` where these are not given.

        Without arguments it changes nothing. Raises what Django raises, and UndeleteRefused where it would restore a
        row below a deleted one.
        """
        if not kwargs:
            return super().update()
        self._for_write = True
        # Of a model with a table beside its parent's there is a statement for each.
        whole = transaction.atomic(using=self.db) if self.model._meta.parents else nullcontext()
        with whole, parentguard.guarding(self, kwargs) as besides, recording(self.db):
            return super().update(**{**own_columns(), **kwargs, **besides})

    def bulk_create(
        self,
        objs: Iterable[Any],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
        *,
        keep_times: bool = False,
    ) -> list[Any]:
        """Django's `bulk_create`: all are created at one time, or, with ``keep_times``, at those that they have.

        Raises NotSupportedError for ``update_conflicts``, which can't count versions.
        """
        if update_conflicts:
            raise NotSupportedError("bulk_create(update_conflicts=True) can't count versions: look up, then save.")
        self._for_write = True
        with recording(self.db), saving(keep_times=keep_times):
            return super().bulk_create(objs, batch_size, ignore_conflicts)

    def bulk_update(  # type: ignore[override]  # any sequence of names
        self, objs: Iterable[Any], fields: Sequence[str], batch_size: int | None = None
    ) -> int:
        """Django's `bulk_update`, which also sets ``updated`` and raises ``version`` where these are not named.

        The objects show them as they are stored afterwards: that is one query more for each batch, at most.
        """
        self._for_write = True
        objs = tuple(objs)
        # A transaction, so that what is read is what was written.
        with transaction.atomic(using=self.db, savepoint=False), saving():
            changed = super().bulk_update(objs, fields, batch_size)
            if changed:
                self._show(objs, batch_size)
        return changed

    def _show(self, objs: Sequence[Any], batch_size: int | None) -> None:
        """Let ``objs`` have what their rows say of themselves."""
        by_key = defaultdict(list)
        for one in objs:
            by_key[self.model._meta.pk.to_python(one.pk)].append(one)
        keys, rows = list(by_key), models.QuerySet[Any](self.model, using=self.db).order_by()
        most = connections[self.db].features.max_query_params
        size = min(filter(None, (batch_size, most, len(keys))))
        for start in range(0, len(keys), size):
            some = rows.filter(pk__in=keys[start : start + size])
            for key, *told in some.values_list("pk", *SHOWN):
                for one in by_key[key]:
                    one.__dict__.update(zip(SHOWN, told, strict=True))

    def delete(self, *, hard: bool = False) -> tuple[int, dict[str, int]]:
        """Delete the rows softly, with what goes with them; with ``hard`` as Django does. How many, of each model."""
        return super().delete() if hard else softdeletion.delete_rows(self)

    delete.queryset_only = True  # type: ignore[attr-defined]  # as Django marks it for managers

    async def adelete(self, *, hard: bool = False) -> tuple[int, dict[str, int]]:
        """`delete`, for asynchronous code; in a thread."""
        return await sync_to_async(self.delete)(hard=hard)

    adelete.queryset_only = True  # type: ignore[attr-defined]  # as `delete`

    def undelete(self) -> tuple[int, dict[str, int]]:
        """Restore those of the rows that are deleted, with just what went together with each. How many, of each model.

        Raises UndeleteRefused like `HandleRefModel.undelete`; then none is restored.
        """
        return undeleting.undelete_rows(self)

    undelete.alters_data = True  # type: ignore[attr-defined]  # as Django marks it for templates
    undelete.queryset_only = True  # type: ignore[attr-defined]  # and for managers, as `delete`


class HandleRefManager(models.Manager.from_queryset(HandleRefQuerySet)):  # type: ignore[misc]  # a class made here
    """`Model.handleref`."""

    @property
    def tag(self) -> str:
        """The tag of the model."""
        return self.model._handleref.tag  # type: ignore[no-any-return]  # a model in general has none

    def prop(self, key: str) -> Any:
        """What the inner class ``HandleRef`` says under ``key``. Raises AttributeError where it says nothing."""
        return getattr(self.model._handleref, key)

    @overload
    def since(
        self, *, timestamp: Any = ..., version: int | None = ..., deleted: bool | None = ...
    ) -> HandleRefQuerySet: ...

    @overload
    def since(
        self, *, cursor: str, limit: int | None = ..., until: str | None = ..., deleted: bool | None = ...
    ) -> Changes: ...

    def since(self, **given: Any) -> Any:
        """`HandleRefQuerySet.since` of all rows; keywords only."""
        return self.get_queryset().since(**given)


def _time(given: Any) -> datetime:
    """A time as the database keeps it."""
    at = _datetime(given)
    try:
        if timezone.is_naive(at):
            return timezone.make_aware(at).astimezone(UTC) if settings.USE_TZ else at
        return stored(at.astimezone(UTC))
    except OverflowError:
        raise ValueError(f"{at.isoformat()} is outside the calendar.") from None


def _datetime(given: Any) -> datetime:
    if isinstance(given, str):
        return _parsed(given)
    if isinstance(given, datetime):
        return given
    if isinstance(given, date):
        return datetime.combine(given, time.min)
    if not isinstance(given, (Real, Decimal)):
        raise TypeError(f"A time is a datetime, a date, a text of either or a unix time, not {given!r}.")
    try:
        return datetime.fromtimestamp(float(given), UTC)
    except (ValueError, OverflowError, OSError):  # as the system's C library has it
        raise ValueError(f"{given!r} is no unix time in seconds: it is outside the calendar.") from None


def _parsed(text: str) -> datetime:
    try:
        at, day = parse_datetime(text), parse_date(text)
    except ValueError:  # it looks like one, but has a thirteenth month
        at = day = None
    if at is None and day is not None:
        at = datetime.combine(day, time.min)
    if at is None:
        raise ValueError(
            f"{text[:80]!r} is no time: a date, or a date and time, as in 2026-05-01 or 2026-05-01T12:00Z."
        )
    return at
