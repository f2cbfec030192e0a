"""Values that are unique among rows which are not deleted softly: those of deleted rows can be used again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, models
from django.db.models import Q, UniqueConstraint

from footfall.storage.softdeletion import DELETED


def unique_undeleted(*fields: str, name: str) -> UniqueConstraint:
    """A constraint for ``Meta.constraints``: ``fields`` are unique among rows that are not deleted softly."""
    return _UniqueUndeleted(fields=fields, condition=~Q(status=DELETED), name=name)


class _UniqueUndeleted(UniqueConstraint):
    """Django's, which holds also in forms that have no field for the status, and says which field it is about."""

    def deconstruct(self) -> Any:
        """What migrations write: Django's constraint is all that the database needs."""
        _path, args, kwargs = super().deconstruct()
        return "django.db.models.UniqueConstraint", args, kwargs

    def validate(
        self,
        model: type[models.Model],
        instance: models.Model,
        exclude: Collection[str] | None = None,
        using: str = DEFAULT_DB_ALIAS,
    ) -> None:
        """Raises ValidationError where another row that is not deleted has the values; one query."""
        try:
            super().validate(model, instance, set(exclude or ()) - {"status"}, using)
        except ValidationError:
            raise instance.unique_error_message(model, self.fields) from None
