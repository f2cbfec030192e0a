"""Objects that keep account of themselves: created, updated, version, soft delete, handles, and what changed since.

`HandleRefModel` is what a site's models inherit from; its manager `Model.handleref` asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from datetime import datetime
from threading import Lock
from typing import Any, ClassVar, Self

from asgiref.sync import sync_to_async
from django.core.checks import CheckMessage
from django.db import models, router
from django.utils.translation import gettext_lazy as _

from footfall.storage import softdeletion, undeleting
from footfall.storage.acting import acting_as
from footfall.storage.changestamps import ChangeStamp, recording
from footfall.storage.cursors import CursorExpired
from footfall.storage.handlerefoptions import CompiledOptions
from footfall.storage.handles import handle_of, split_ref
from footfall.storage.parentguard import guarded_update
from footfall.storage.polling import Changes, ForeignStamps, Tombstone, current_cursor
from footfall.storage.referencechecks import check_model
from footfall.storage.referencefields import (
    ChangeStampField,
    CreatedDateTimeField,
    UpdatedDateTimeField,
    VersionField,
    is_raw,
    saving,
)
from footfall.storage.referencequeries import HandleRefManager, HandleRefQuerySet
from footfall.storage.returning import update_returning
from footfall.storage.softdeletion import DELETED, UndeleteRefused, remember_status, status_as_read
from footfall.storage.uniquevalues import unique_undeleted
from footfall.storage.unsavedchanges import has_unsaved_changes

__all__ = [
    "DELETED",
    "ChangeStampField",
    "Changes",
    "CreatedDateTimeField",
    "CursorExpired",
    "ForeignStamps",
    "HandleRefManager",
    "HandleRefModel",
    "HandleRefQuerySet",
    "Tombstone",
    "UndeleteRefused",
    "UpdatedDateTimeField",
    "VersionField",
    "acting_as",
    "current_cursor",
    "split_ref",
    "unique_undeleted",
]

TIMES = ("created", "updated")
#: What the database counts.
NUMBERS = ("version", "change_stamp")
#: What an UPDATE tells the object.
TOLD = (*NUMBERS, "created", "status")
#: What a save writes by itself: no change of the object.
OWN = {*TIMES, *NUMBERS}
#: What deletion and restoration write, and no save: an object that was loaded before may be saved after them.
DELETION = {"change_batch", "former_status"}

#: Of which object the times are to be kept: others that its signals save are not meant.
_keeping: ContextVar[Any] = ContextVar("footfall_keeping", default=None)

#: One live object may be saved by several threads.
_showing = Lock()


class HandleRefModel(models.Model):
    """Knows when it was created and updated and in which version it is; deleted, it stays, and can be restored.

    Any primary key will do. The inner class ``HandleRef`` says more (`footfall.storage.handlerefoptions`). Each save
    raises ``version`` by one in the database, also if several processes save at once, and the object shows it.
    """

    status = models.CharField(_("Status"), max_length=255, blank=True, default="", db_index=False)
    created = CreatedDateTimeField(db_index=True)
    updated = UpdatedDateTimeField(db_index=True)
    version = VersionField(_("Version"), default=0, editable=False, db_index=True)
    #: By which transaction the row was last written: the order in which `since` with a cursor gives rows.
    change_stamp = ChangeStampField(default=0, editable=False, db_index=True)
    #: The deletion, or restoration, that the row last went through together with others.
    change_batch = models.UUIDField(null=True, blank=True, editable=False, db_index=True)
    #: The status that a deleted row had, and that it has again when it is restored.
    former_status = models.CharField(max_length=255, blank=True, default="", editable=False)

    handleref: ClassVar[HandleRefManager] = HandleRefManager()
    objects: ClassVar[HandleRefManager] = HandleRefManager()

    #: Seen marks are held against it (`footfall.storage.changetime`), whatever other times the model has.
    footfall_updated_field: ClassVar[str] = "updated"

    _handleref = CompiledOptions()

    class Meta:
        abstract = True
        # What Django writes by itself is counted, too: related managers' `add`, and SET_NULL.
        base_manager_name = "handleref"
        get_latest_by = "updated"
        ordering = ("-updated", "-created")

    # -- Saving

    def save(
        self,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
        *,
        keep_times: bool = False,
        skip_unchanged: bool | None = None,
    ) -> None:
        """Store it: as Django does, and ``updated``, ``version`` also where ``update_fields`` doesn't name them.

        With ``keep_times`` the ``created`` and ``updated`` that it has are stored, as a mirror of another system wants
        them (None: now, and of a row that is there the ``created`` that it has). With ``skip_unchanged`` (default: what
        the inner class says) nothing is written, and no signal sent, where no field differs from what is stored; that
        takes one query more, for an object that was stored before. An object that was deleted since it was read, and
        whose status was not changed, stays deleted, and shows it. Raises what Django raises, and `UndeleteRefused`
        where the status of a deleted object is changed while an object above it is deleted.
        """
        skip = self._handleref.skip_unchanged if skip_unchanged is None else skip_unchanged
        if skip and not force_insert and not self._would_change(using, update_fields, keep_times):
            return
        token = _keeping.set(self if keep_times else None)
        try:
            super().save(force_insert=force_insert, force_update=force_update, using=using, update_fields=update_fields)
        finally:
            _keeping.reset(token)

    async def asave(self, *args: Any, **kwargs: Any) -> None:
        """`save`, for asynchronous code; in a thread."""
        await sync_to_async(self.save)(*args, **kwargs)

    # -- Deleting

    def delete(  # type: ignore[override]  # Django's returns what it deleted; nothing goes here
        self, using: str | None = None, keep_parents: bool = False, *, hard: bool = False
    ) -> tuple[int, dict[str, int]] | None:
        """Delete it softly, with what its ``delete_cascade`` names: one statement per level, in one transaction.

        The row stays, with the status "deleted"; `undelete` restores just what went together. What is deleted already
        is left as it is. Returns None. With ``hard`` the row goes as Django's deletions go, which returns their count.
        """
        if hard:
            return super().delete(using=using, keep_parents=keep_parents)
        softdeletion.delete(self, using)
        return None

    async def adelete(  # type: ignore[override]  # as above
        self, using: str | None = None, keep_parents: bool = False, *, hard: bool = False
    ) -> tuple[int, dict[str, int]] | None:
        """`delete`, for asynchronous code; in a thread."""
        return await sync_to_async(self.delete)(using=using, keep_parents=keep_parents, hard=hard)

    def undelete(self, using: str | None = None) -> None:
        """Restore it, with just what was deleted together with it, each with the status that it had.

        What is not deleted is left as it is. Raises `UndeleteRefused` where an object above it is deleted, and where a
        unique value is in use again.
        """
        undeleting.undelete(self, using)

    undelete.alters_data = True  # type: ignore[attr-defined]  # as Django marks what templates are not to call

    # -- What it says of itself

    @property
    def ref_tag(self) -> str:
        """The tag of the model, such as "org"."""
        return self._handleref.tag

    @property
    def handle(self) -> str:
        """Tag and key, such as "org1", which `split_ref` reads. Raises ValueError for an object without a key."""
        return handle_of(self.ref_tag, self.pk)

    @property
    def is_deleted(self) -> bool:
        """Whether it is deleted softly."""
        return self.status == DELETED

    @classmethod
    def from_db(cls, db: str | None, field_names: Any, values: Any, **kwargs: Any) -> Self:
        """As Django makes an object of a row; it remembers the status that it was read with."""
        instance: Self = super().from_db(db, field_names, values, **kwargs)
        remember_status(instance)
        return instance

    def refresh_from_db(self, using: str | None = None, fields: Any = None, from_queryset: Any = None) -> None:
        """As Django reads an object again."""
        super().refresh_from_db(using=using, fields=fields, from_queryset=from_queryset)
        if fields is None or "status" in fields:
            remember_status(self)

    @classmethod
    def check(cls, **kwargs: Any) -> list[CheckMessage]:
        """Django's system checks of a model, and those of what this one adds."""
        return [*super().check(**kwargs), *check_model(cls)]

    # -- Within

    def _save_table(
        self,
        raw: bool = False,
        cls: Any = None,
        force_insert: Any = False,
        force_update: Any = False,
        using: Any = None,
        update_fields: Any = None,
    ) -> bool:
        # Of a model that inherits from another with a table of its own, this is called once for each table.
        arguments = (raw, cls, force_insert, force_update, using, update_fields)
        if not _counts_versions(cls):
            return super()._save_table(*arguments)  # type: ignore[misc,no-any-return]  # Django's own has no stub
        with recording(using), saving(keep_times=raw or _keeping.get() is self, raw=raw):
            if raw:  # a fixture says all but this, which is the database's to say
                self.change_stamp = ChangeStamp()
            elif self._state.adding:  # perhaps a copy, which was not deleted together with what its original was
                self.change_batch, self.former_status = None, ""
            updated: bool = super()._save_table(*arguments)  # type: ignore[misc]  # likewise
        if not update_fields or "status" in update_fields:
            remember_status(self)
        return updated

    # Django 6 gives one argument more, and wants what it names to be read back.
    def _do_update(
        self, base_qs: Any, using: Any, pk_val: Any, values: Any, update_fields: Any, forced_update: Any, *wanted: Any
    ) -> Any:
        table = base_qs.model
        if not _counts_versions(table):
            return super()._do_update(base_qs, using, pk_val, values, update_fields, forced_update, *wanted)
        row, asked = base_qs.filter(pk=pk_val), [field for fields in wanted for field in fields]
        told = [*(table._meta.get_field(name) for name in TOLD), *asked]
        before = self.__dict__.get("version")
        if is_raw():
            rows = update_returning(row, values, told)
        else:
            unnamed = self._unnamed(table, {field.name for field, _model, _value in values})
            rows = guarded_update(row, _of_a_save([*values, *unnamed]), told, read=status_as_read(self))
        for version, stamp, created, status, *_others in rows:
            self._show(before, version, stamp, created)
            if status == DELETED and self.__dict__.get("status") == status_as_read(self):
                self.status = status
        if wanted:
            return [others for _version, _stamp, _created, _status, *others in rows]
        return bool(rows) or (self._meta.select_on_save and not forced_update and row.exists())

    def _unnamed(self, table: type[models.Model], named: set[str]) -> Iterator[tuple[Any, None, Any]]:
        """What a save writes in any case, where ``update_fields``, or fields not loaded, have left it out."""
        times = [name for name in TIMES if name in self.__dict__] if _keeping.get() is self else ["updated"]
        for name in (*times, *NUMBERS):
            if name not in named:
                field: Any = table._meta.get_field(name)
                yield field, None, field.pre_save(self, add=False)

    def _show(self, before: int | None, version: int, stamp: int, created: datetime) -> None:
        with _showing:
            # Where another thread has shown the outcome of a later save meanwhile, that stays.
            if self.__dict__.get("version") == before or version > self.version:
                self.version, self.change_stamp = version, stamp
            if self.__dict__.get("created", created) is None:
                self.created = created

    def _would_change(self, using: str | None, update_fields: Iterable[str] | None, keep_times: bool) -> bool:
        if self._state.adding or self.pk is None:
            return True
        alias = using or router.db_for_write(self.__class__, instance=self)
        names = None if update_fields is None else frozenset(update_fields)
        return has_unsaved_changes(self, alias, names, but=DELETION | (OWN.difference(TIMES) if keep_times else OWN))


def _of_a_save(values: Iterable[tuple[Any, Any, Any]]) -> list[tuple[Any, Any, Any]]:
    """Without what only deletions write, and without a time of creation that the object doesn't know."""
    return [
        (field, model, value)
        for field, model, value in values
        if field.name not in DELETION and not (field.name == "created" and value is None)
    ]


def _counts_versions(table: type[models.Model]) -> bool:
    """Whether it is in ``table`` that versions are counted, not in that of a model which inherits from its model."""
    return any(
        field.name == "version" and isinstance(field, VersionField) for field in table._meta.local_concrete_fields
    )
