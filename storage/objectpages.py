"""The pages that an admin has for each of its objects, beside Django's: where they are, and what they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


class ObjectPages(_ModelAdmin):
    """For `HandleRefModel`s."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The object, None for a key that no database takes."""
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)

    def _object_or_404(self, request: HttpRequest, object_id: str) -> Any:
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404
        return obj

    def _rows(self, objs: Iterable[models.Model]) -> Any:
        """A queryset of just these objects, whatever the model's own manager leaves out."""
        return self.model.handleref.filter(pk__in=[obj.pk for obj in objs])

    def _path(self, route: str, view: Callable[..., HttpResponse], name: str) -> URLPattern:
        return path(
            route, self.admin_site.admin_view(view), name=f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        )

    def _url(self, name: str, key: Any = None) -> str:
        """The address of a page of the admin, below the object with this key where one is given."""
        page = f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"
        args = [] if key is None else [quote(str(key))]
        return reverse(page, args=args, current_app=self.admin_site.name)
