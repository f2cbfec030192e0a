"""Forms of objects that may be deleted: nothing is deleted by its status, nor restored where it may not be."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from footfall.storage.reverting import Reverter
from footfall.storage.softdeletion import DELETED, UndeleteRefused


def not_deleting(form: Any) -> Any:
    """``form``, of a `HandleRefModel`, in which no status becomes "deleted": what goes along would be left behind."""

    class NotDeleting(form):  # type: ignore[misc]  # a class made here
        def _post_clean(self) -> None:
            was_deleted = self.instance.status == DELETED
            super()._post_clean()
            if self.instance.status == DELETED and not was_deleted:
                self.add_error(
                    "status" if "status" in self.fields else None,
                    ValidationError(
                        _("Nothing is deleted by its status: use Delete, which takes along what goes with it."),
                        code="deleted_by_hand",
                    ),
                )

    return NotDeleting


def still_there(form: Any) -> Any:
    """``form``, of a row of an inline that leaves out what is deleted: says so where the row has been deleted since."""

    class StillThere(form):  # type: ignore[misc]  # a class made here
        def _post_clean(self) -> None:
            super()._post_clean()
            chosen = self.cleaned_data.get(self._meta.model._meta.pk.name)
            if self.instance.pk is None and getattr(chosen, "status", None) == DELETED:
                self.add_error(None, ValidationError(_("This was deleted meanwhile."), code="deleted_meanwhile"))

    return StillThere


def not_restoring(form: Any) -> Any:
    """``form``, of a deleted object, which may not be restored below a deleted one."""

    class NotRestoring(form):  # type: ignore[misc]  # a class made here
        def _post_clean(self) -> None:
            super()._post_clean()
            if self.instance.status != DELETED:
                try:
                    Reverter().validate_parent_status(self.instance)
                except UndeleteRefused as refusal:
                    self.add_error("status" if "status" in self.fields else None, refusal)

    return NotRestoring
