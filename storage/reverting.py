"""The way back: single fields, or a whole object, as they were in an earlier snapshot.

`Reverter` does the work, `Reverter.recorded` says how it is put down in the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models, router, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from footfall.storage.families import keeper
from footfall.storage.objectversions import OWN, Version
from footfall.storage.parentguard import lock_parents, pointed_at, refuse_under_deleted
from footfall.storage.references import HandleRefModel
from footfall.storage.snapshotvalues import held_by, in_order, is_same
from footfall.storage.softdeletion import DELETED


class Reverter:
    """Writes values of earlier snapshots into an object, checked like those of a form, and saves it.

    The row is locked and read again first: what the given instance holds unsaved is dropped. All or nothing: where
    anything raises, the database and the instance stay as they were. ``user`` is who does it, None for nobody. A time
    that a snapshot holds to the millisecond only leaves one as it is that was the same.

    The status goes back as well. Where it becomes "deleted", the object is deleted softly with what its
    ``delete_cascade`` names, so that nothing live stays below it; other values are saved then, which counts once more.
    Where it was "deleted" and is no longer, the object is restored alone, without what was deleted together with it,
    and not below a deleted one.
    """

    def recorded(self, instance: HandleRefModel, user: Any, comment: str) -> AbstractContextManager[Any]:
        """A context in which what is saved becomes part of the history, by ``user``, with ``comment``."""
        raise NotImplementedError

    def revert_fields(self, instance: HandleRefModel, fields: Mapping[str, Version], user: Any = None) -> None:
        """Set each of ``fields`` (by its name or its column's) to what it was in the version given for it; save.

        Raises ValidationError for a field that the model or the version doesn't have or that can't be set, a version
        of another object, and a value that does not fit any more (a related object that is gone, a choice that is no
        longer one); UndeleteRefused, which is one, under a deleted object; the model's DoesNotExist where the row is
        gone. Without fields nothing is done.
        """
        if not fields:
            return
        values = {}
        for name, version in fields.items():
            field = _settable(instance, name)
            values[field.attname] = _value(instance, field, version)
        numbers = sorted({version.number for version in fields.values()})
        comment = f"reverted some fields via versions: {', '.join(map(str, numbers))}"
        self._write(instance, values, user, comment)

    def rollback(self, instance: HandleRefModel, version: Version, user: Any = None) -> None:
        """Set all fields that ``version`` holds to what they were, but for `created`, `updated` and `version`; save.

        Raises like `revert_fields`.
        """
        _check(instance, version)
        values = {name: value for name, value in version.data.items() if is_revertible(_field(instance, name))}
        self._write(instance, values, user, f"rollback to version {version.number}")

    def validate_status_change(self, instance: HandleRefModel, status: str) -> None:
        """Raise UndeleteRefused where ``status`` would restore ``instance`` below a deleted object."""
        if instance.status == DELETED and status != DELETED:
            self.validate_parent_status(instance)

    def validate_parent_status(self, instance: HandleRefModel) -> None:
        """Raise UndeleteRefused where an object that ``instance`` refers to is deleted. A query per model of these.

        In a transaction these objects stay as they are until its end.
        """
        refuse_under_deleted(instance, _home(instance))

    # -- Within

    def _write(self, instance: HandleRefModel, values: dict[str, Any], user: Any, comment: str) -> None:
        names = [field.attname for field in instance._meta.concrete_fields]
        before = {name: instance.__dict__[name] for name in names if name in instance.__dict__}
        using, model = _home(instance), instance.__class__
        columns, many = _fitting(instance, values, using)
        try:
            with transaction.atomic(using=using), self.recorded(instance, user, comment):
                # From the top down, as deletions lock: what is above it, and what is to be, first.
                lock_parents({keeper(model): Q(pk=instance.pk)}, using, also=pointed_at(model, columns, using))
                _read_again(instance, using)
                self._apply(instance, columns, many, using)
        except BaseException:
            for name, value in before.items():
                setattr(instance, name, value)
            raise

    def _apply(self, instance: HandleRefModel, columns: dict[str, Any], many: dict[str, list[Any]], using: str) -> None:
        status = columns.pop("status", instance.status)
        deletes = status == DELETED != instance.status
        changed = [name for name, value in columns.items() if not is_same(getattr(instance, name), value)]
        regrouped = [name for name, keys in many.items() if not is_same(held_by(instance, name), in_order(keys))]
        for name in changed:
            setattr(instance, name, columns[name])
        if status != DELETED and pointed_at(instance.__class__, {name: columns[name] for name in changed}, using):
            self.validate_parent_status(instance)
        self.validate_status_change(instance, status)
        instance.status = status
        instance.full_clean()
        if deletes:
            # Before the other values are saved, since another may have its unique one by now.
            instance.delete(using=using)
        if changed or regrouped or not deletes:
            instance.save(using=using, skip_unchanged=False)
        for name in regrouped:
            getattr(instance, name).set(many[name])


# -- Fields and values


def _field(instance: HandleRefModel, name: str) -> Any:
    try:
        return instance._meta.get_field(name)
    except FieldDoesNotExist:
        raise ValidationError(
            _("%(model)s has no field %(field)s."),
            code="unknown_field",
            params={"model": instance._meta.verbose_name, "field": repr(name[:80])},
        ) from None


def _settable(instance: HandleRefModel, name: str) -> Any:
    field = _field(instance, name)
    if not is_revertible(field):
        raise ValidationError(_("%(field)s can't be reverted."), code="fixed_field", params={"field": field.name})
    return field


def is_revertible(field: Any) -> bool:
    """Whether a field of a model can be set to an earlier value: none that is filled by the database, or by a save."""
    if field.auto_created or field.name in OWN or field.primary_key:
        return False
    if getattr(field, "generated", False) or getattr(field, "auto_now", False):
        return False
    if field.many_to_many:
        return bool(field.remote_field.through._meta.auto_created)
    return field.concrete and not (field.is_relation and field.remote_field.parent_link)


def _check(instance: HandleRefModel, version: Version) -> None:
    if not version or not version.belongs_to(instance):
        raise ValidationError(_("This is a version of another object."), code="foreign_version")
    if not version.is_readable:
        raise ValidationError(_("This version can't be read."), code="unreadable")


def _value(instance: HandleRefModel, field: Any, version: Version) -> Any:
    _check(instance, version)
    if field.attname not in version.data:
        raise ValidationError(
            _("Version %(number)s holds no value of %(field)s."),
            code="missing_field",
            params={"number": version.number, "field": field.name},
        )
    return version.data[field.attname]


def _fitting(
    instance: HandleRefModel, values: Mapping[str, Any], using: str
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The columns, and the many-to-many fields, with their values. Raises ValidationError for those that don't fit."""
    columns, many, errors = {}, {}, {}
    for name, value in values.items():
        field: Any = instance._meta.get_field(name)
        try:
            if field.many_to_many:
                many[name] = _existing(field, value, using)
            else:
                columns[name] = _converted(field, value)
        except ValidationError as error:
            errors[field.name] = error.error_list
    if errors:
        raise ValidationError(errors)
    return columns, many


def _converted(field: Any, value: Any) -> Any:
    if value is None and not field.null:  # which the cleaning of a model lets pass where a blank is allowed
        raise ValidationError(field.error_messages["null"], code="null")
    return field.to_python(value)


def _existing(field: Any, keys: Any, using: str) -> list[Any]:
    """``keys``, all of which exist: a database would look at its foreign keys not before it commits."""
    rows = field.related_model._base_manager.using(using)
    try:
        missing = set(keys) - set(rows.filter(pk__in=keys).values_list("pk", flat=True))
    except (TypeError, ValueError, ValidationError):
        raise ValidationError(_("%(keys)s are no keys."), params={"keys": str(keys)[:80]}) from None
    if missing:
        text = _("These no longer exist: %(keys)s.") % {"keys": ", ".join(sorted(map(str, missing)))}
        raise ValidationError(text, code="missing_objects")
    return list(keys)


# -- The row


def _home(instance: models.Model) -> str:
    return router.db_for_write(instance.__class__, instance=instance)


def _read_again(instance: HandleRefModel, using: str) -> None:
    instance.refresh_from_db(using=using, from_queryset=instance.__class__._base_manager.select_for_update(no_key=True))
