"""Datasets in Django's admin: pass `TrackableDataAdmin`, or a subclass, to ``site.register`` as ``admin_cls``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.sites import AdminSite
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from footfall.storage.datasets import TrackableData
from footfall.storage.printable import printable
from footfall.storage.readonlyadmin import ReadOnlyAdmin


class DatasetList(ChangeList):
    """A page of rows, whose objects are loaded with one query a model."""

    def get_results(self, request: HttpRequest) -> None:
        """The rows of the page, each with its object as ``counted``, None where that is gone."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        objects = _objects_of(self.result_list)
        for row in self.result_list:
            row.counted = objects.get((row.object_type, row.object_id))


class TrackableDataAdmin(ReadOnlyAdmin):
    """Lists the rows of a dataset: which object, by name and by its Ref, which slot, and the counters. Read-only."""

    def __init__(self, model: type[TrackableData], admin_site: AdminSite) -> None:
        super().__init__(model, admin_site)
        if "collected_during" in model.key_fields:
            # The admin asks the instance, too; which datasets have slots is known only here.
            self.date_hierarchy = self.date_hierarchy or "collected_during"  # type: ignore[misc]  # a class variable

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DatasetList

    def get_list_display(self, request: HttpRequest) -> Any:
        """As it was set, else the object, the rest of the key, and the counters."""
        if tuple(self.list_display) != ("__str__",):
            return self.list_display
        return ("ref", "object_name", *self.model.key_fields[2:], *self.model.get_trackable_fields())

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """All of the row: its key, which no form has, and its counters."""
        return self.fields or ("ref", *self.model.key_fields[2:], *self.model.get_trackable_fields())

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        return self.get_fields(request, obj)

    @admin.display(description=_("object"), ordering="object_id")
    def ref(self, row: TrackableData) -> str:
        """What it counts, as ``app_label.model:id``."""
        return f"{row.object_type}:{row.object_id}"

    @admin.display(description=_("name"), empty_value="-")
    def object_name(self, row: Any) -> str | None:
        """What the object calls itself, or a dash where it is gone."""
        return None if row.counted is None else printable(str(row.counted))


def _objects_of(rows: Iterable[TrackableData]) -> dict[tuple[str, str], models.Model]:
    by_type: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        by_type[row.object_type].add(row.object_id)
    return {
        (label, str(obj.pk)): obj for label, keys in sorted(by_type.items()) for obj in _objects_of_type(label, keys)
    }


def _objects_of_type(label: str, keys: Iterable[str]) -> Iterable[models.Model]:
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        return []  # a model that the site no longer has
    objects: Iterable[models.Model] = model._base_manager.filter(pk__in=list(_valid(model, keys)))
    return objects


def _valid(model: type[models.Model], keys: Iterable[str]) -> Iterable[Any]:
    for key in keys:
        try:
            yield model._meta.pk.to_python(key)
        except (ValidationError, ValueError):
            continue  # of a model that had another kind of key once
