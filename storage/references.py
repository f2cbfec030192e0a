"""Objects that keep account of themselves: created, updated, version, soft delete, handles, and what changed since.

`HandleRefModel` is what a site's models inherit from; its manager `Model.handleref` asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from threading import Lock
from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.db import models, router
from django.utils.translation import gettext_lazy as _

from footfall.storage import softdeletion
from footfall.storage.changestamps import ChangeStamp, recording
from footfall.storage.handlerefoptions import CompiledOptions
from footfall.storage.handles import handle_of, split_ref
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
from footfall.storage.softdeletion import DELETED, UndeleteRefused, unique_undeleted

__all__ = [
    "DELETED",
    "ChangeStampField",
    "CreatedDateTimeField",
    "HandleRefManager",
    "HandleRefModel",
    "HandleRefQuerySet",
    "UndeleteRefused",
    "UpdatedDateTimeField",
    "VersionField",
    "split_ref",
    "unique_undeleted",
]

#: What the database counts.
NUMBERS = ("version", "change_stamp")
#: What a save writes by itself: no change of the object.
OWN = {"created", "updated", *NUMBERS}
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

    _handleref = CompiledOptions()

    class Meta:
        abstract = True
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

        With ``keep_times`` the ``created`` and ``updated`` that it has are stored (None: now), as a mirror of another
        system wants them. With ``skip_unchanged`` (default: what the inner class says) nothing is written, and no
        signal sent, where no field differs from what is stored; that takes one query more. Raises what Django raises,
        and `UndeleteRefused` where the status of a deleted object is changed while an object above it is deleted.
        """
        skip = self._handleref.skip_unchanged if skip_unchanged is None else skip_unchanged
        if skip and not force_insert and not self._differs(using, update_fields):
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
        softdeletion.undelete(self, using)

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
        if not _keeps_account(cls):
            return super()._save_table(*arguments)  # type: ignore[misc,no-any-return]  # Django's own has no stub
        with recording(using), saving(keep_times=raw or _keeping.get() is self, raw=raw):
            if raw:  # a fixture says all but this, which is the database's to say
                self.change_stamp = ChangeStamp()
            return super()._save_table(*arguments)  # type: ignore[misc,no-any-return]  # likewise

    # Django 6 gives one argument more, and wants what it names to be read back.
    def _do_update(
        self, base_qs: Any, using: Any, pk_val: Any, values: Any, update_fields: Any, forced_update: Any, *wanted: Any
    ) -> Any:
        table = base_qs.model
        if not _keeps_account(table):
            return super()._do_update(base_qs, using, pk_val, values, update_fields, forced_update, *wanted)
        row = base_qs.filter(pk=pk_val)
        if not is_raw():
            row = softdeletion.guarded(self, row, values)
            values = [one for one in values if one[0].name not in DELETION]
        values = [*values, *self._unnamed(table, {field.name for field, _model, _value in values})]
        before, asked = self.__dict__.get("version"), [field for fields in wanted for field in fields]
        rows = update_returning(row, values, [*(table._meta.get_field(name) for name in NUMBERS), *asked])
        for version, stamp, *_others in rows:
            self._show(before, version, stamp)
        return [others for _version, _stamp, *others in rows] if wanted else bool(rows)

    def _unnamed(self, table: type[models.Model], named: set[str]) -> Iterator[tuple[Any, None, Any]]:
        """What a save writes in any case, where ``update_fields``, or fields not loaded, have left it out."""
        kept = {"updated"} if _keeping.get() is self else set()
        for name in {"updated", *NUMBERS} - named - kept:
            field: Any = table._meta.get_field(name)
            yield field, None, field.pre_save(self, add=False)

    def _show(self, before: int | None, version: int, stamp: int) -> None:
        with _showing:
            # Where another thread has shown the outcome of a later save meanwhile, that stays.
            if self.__dict__.get("version") == before or version > self.version:
                self.version, self.change_stamp = version, stamp

    def _differs(self, using: str | None, update_fields: Iterable[str] | None) -> bool:
        """Whether a field that a save would write differs from what is stored. One query, none for a new object."""
        if self._state.adding or self.pk is None:
            return True
        alias = using or router.db_for_write(self.__class__, instance=self)
        stored = self.__class__._base_manager.using(alias).filter(pk=self.pk).first()
        named = None if update_fields is None else set(update_fields)
        return stored is None or any(
            field.get_prep_value(getattr(self, field.attname)) != field.get_prep_value(getattr(stored, field.attname))
            for field in self._meta.concrete_fields
            if field.name not in OWN | DELETION and field.attname in self.__dict__
            if named is None or not named.isdisjoint({field.name, field.attname})
        )


def _keeps_account(table: type[models.Model]) -> bool:
    """Whether it is in ``table`` that versions are counted, not in that of a model which inherits from its model."""
    return any(
        field.name == "version" and isinstance(field, VersionField) for field in table._meta.local_concrete_fields
    )
