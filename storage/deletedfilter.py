"""The filter of the admin's lists by which deleted objects are found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from footfall.storage.softdeletion import DELETED


class DeletedFilter(admin.SimpleListFilter):
    """Live objects, deleted ones, or all. Without a choice: live ones."""

    title = _("deleted")
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, Any]]:
        return [("no", _("No")), ("yes", _("Yes")), ("all", _("All"))]

    def value(self) -> str:
        """The choice."""
        return super().value() or "no"

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        match self.value():
            case "no":
                return queryset.exclude(status=DELETED)
            case "yes":
                return queryset.filter(status=DELETED)
            case "all":
                return queryset
        raise IncorrectLookupParameters

    def choices(self, changelist: Any) -> Iterator[Any]:
        """The three, without the one that Django adds."""
        offered = super().choices(changelist)
        next(offered)
        return offered
