"""Values that are unique among rows which are not deleted softly: those of deleted rows can be used again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, IntegrityError, models
from django.db.models import Q, UniqueConstraint
from django.utils.text import get_text_list
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from footfall.storage.softdeletion import DELETED, UndeleteRefused


def unique_undeleted(*fields: str, name: str) -> UniqueConstraint:
    """A constraint for ``Meta.constraints``: ``fields`` are unique among rows that are not deleted softly."""
    return _UniqueUndeleted(fields=fields, condition=~Q(status=DELETED), name=name)


def value_in_use(error: IntegrityError, restored: Iterable[type[models.Model]]) -> UndeleteRefused:
    """What is said where the database refuses to restore rows of the models ``restored``; which fields, if known."""
    for model in restored:
        for constraint in model._meta.constraints:
            if isinstance(constraint, UniqueConstraint) and constraint.fields and _is_broken(constraint, model, error):
                fields: list[Any] = [model._meta.get_field(name) for name in constraint.fields]
                names = get_text_list([str(field.verbose_name) for field in fields], gettext("and"))
                return UndeleteRefused(
                    _("This can't be restored: a unique value is in use again (%(model)s: %(fields)s)."),
                    code="value_in_use",
                    params={"model": model._meta.verbose_name, "fields": names},
                )
    return UndeleteRefused(_("This can't be restored: a unique value is in use again."), code="value_in_use")


def _is_broken(constraint: UniqueConstraint, model: type[models.Model], error: IntegrityError) -> bool:
    """PostgreSQL names the constraint in the first line, SQLite the columns."""
    said = set(re.findall(r"[^\s\"',:]+", str(error).partition("\n")[0]))
    opts: Any = model._meta
    columns = {f"{opts.db_table}.{opts.get_field(name).column}" for name in constraint.fields}
    return constraint.name in said or columns == {one for one in said if one.startswith(f"{opts.db_table}.")}


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
