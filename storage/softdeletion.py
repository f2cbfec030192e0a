"""Soft deletion: rows stay, with the status "deleted", and are restored together with what went together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q, UniqueConstraint
from django.dispatch import Signal

if TYPE_CHECKING:
    from footfall.storage.references import HandleRefModel

#: The status of a row that is deleted softly.
DELETED = "deleted"

#: Sent once for each model, after rows of it were deleted softly, or restored, and before the commit.
#: ``sender``: the model; ``rows``: a queryset of them; ``using``: the database's alias.
soft_deleted = Signal()
undeleted = Signal()


class UndeleteRefused(ValidationError):
    """A deleted object can't be restored: an object above it is deleted, or its unique value is in use again."""


def unique_undeleted(*fields: str, name: str) -> UniqueConstraint:
    """A constraint for ``Meta.constraints``: ``fields`` are unique among rows that are not deleted softly."""
    return UniqueConstraint(fields=fields, condition=~Q(status=DELETED), name=name)


def delete(instance: HandleRefModel, using: str | None = None) -> None:
    """See `HandleRefModel.delete`."""
    raise NotImplementedError


def delete_rows(rows: models.QuerySet[Any]) -> tuple[int, dict[str, int]]:
    """Delete ``rows`` softly with what goes with them: how many, and how many of each model."""
    raise NotImplementedError


def undelete(instance: HandleRefModel, using: str | None = None) -> None:
    """See `HandleRefModel.undelete`."""
    raise NotImplementedError


def undelete_rows(rows: models.QuerySet[Any]) -> tuple[int, dict[str, int]]:
    """Restore those of ``rows`` that are deleted, with what went together with them: how many of each model."""
    raise NotImplementedError


def guarded(instance: HandleRefModel, row: models.QuerySet[Any], values: Sequence[tuple[Any, Any, Any]]) -> Any:
    """``row``, that is to be given ``values``. Raises UndeleteRefused where that would restore it, and may not."""
    return row
