"""The times and numbers that a saved object keeps of itself: when it was created and updated, its version, its stamp.

What they write is decided once for each save: `saving` reads the clock, and every field of the save takes that time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from footfall.storage.changestamps import ChangeStamp

if TYPE_CHECKING:
    _DateTimeField = models.DateTimeField[Any, Any]
    _IntegerField = models.IntegerField[Any, Any]
    _BigIntegerField = models.BigIntegerField[Any, Any]
else:
    _DateTimeField, _IntegerField, _BigIntegerField = models.DateTimeField, models.IntegerField, models.BigIntegerField


@dataclass(frozen=True)
class Saving:
    """One save: its time, whether the times that the objects have are to be kept, and whether a fixture says all."""

    now: datetime
    keep_times: bool = False
    raw: bool = False


_saving: ContextVar[Saving | None] = ContextVar("footfall_saving", default=None)


@contextmanager
def saving(*, keep_times: bool = False, raw: bool = False) -> Iterator[Saving]:
    """What is saved in the block is saved at one time. With ``keep_times`` objects keep those that they have."""
    current = Saving(timezone.now(), keep_times, raw)
    token = _saving.set(current)
    try:
        yield current
    finally:
        _saving.reset(token)


def save_time() -> datetime:
    """The time of the save that is going on; where none is, now."""
    current = _saving.get()
    return timezone.now() if current is None else current.now


def own_columns() -> dict[str, Any]:
    """What every change of rows in bulk writes."""
    return {"updated": save_time(), "version": F("version") + 1, "change_stamp": ChangeStamp()}


def is_raw() -> bool:
    """Whether a fixture is being loaded, which says what the row is to be."""
    current = _saving.get()
    return current is not None and current.raw


class _Public:
    """Migrations name the public module, which stays."""

    def deconstruct(self) -> Any:
        """What migrations write of the field."""
        name, path, args, kwargs = super().deconstruct()  # type: ignore[misc]  # that of the field it is mixed into
        # A site's own subclass is where the site has put it.
        return name, path.replace(f"{__name__}.", "footfall.storage.references.", 1), args, kwargs


class _TimeField(_Public, _DateTimeField):
    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """The time of this save, where it is this field's to take; the same for all fields that are born with it."""
        current = _saving.get()
        if not add and not self.auto_now:
            return getattr(model_instance, self.attname)
        if current is not None and current.keep_times and getattr(model_instance, self.attname) is not None:
            return getattr(model_instance, self.attname)
        at = current.now if current is not None else self._earlier(model_instance, add) or timezone.now()
        setattr(model_instance, self.attname, at)
        return at

    def _earlier(self, instance: models.Model, add: bool) -> Any:
        """What a field of this kind that comes before this one has just taken, where the object is born."""
        first = next(field for field in instance._meta.concrete_fields if isinstance(field, _TimeField))
        return getattr(instance, first.attname) if add and first is not self else None


class CreatedDateTimeField(_TimeField):
    """When an object was created: set at its first save, and left alone by the later ones."""

    def __init__(self, verbose_name: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(verbose_name or _("Created"), *args, **{**kwargs, "auto_now_add": True})


class UpdatedDateTimeField(_TimeField):
    """When an object was last saved. At its first save the same time as a `CreatedDateTimeField` takes."""

    def __init__(self, verbose_name: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(verbose_name or _("Updated"), *args, **{**kwargs, "auto_now": True})


class VersionField(_Public, _IntegerField):
    """How often an object was saved: 1 when it is created, one more with each save, counted by the database."""

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """1 for a new object, else what the database counts."""
        if add:
            setattr(model_instance, self.attname, 1)
            return 1
        return F(self.name) + 1


class ChangeStampField(_Public, _BigIntegerField):
    """By which transaction a row was last written: see `footfall.storage.changestamps`."""

    #: Django reads back what the database has put into a new row.
    db_returning = True

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """An expression: the database knows."""
        return ChangeStamp()
