"""What is done in the admin, put down in revisions of django-reversion, with who did it and what was there before."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib import admin
from django.db import models, router
from django.http import HttpRequest
from django.utils.translation import gettext

from footfall.storage.deletionpreview import levels
from footfall.storage.handlerefoptions import keeps_account
from footfall.storage.referenceadmin import HandleRefAdmin
from footfall.storage.revisions import keep_first_versions, revision
from footfall.storage.softdeletion import DELETED
from footfall.storage.versions import ReversionVersion, register


class RecordingAdmin(HandleRefAdmin):
    """A `HandleRefAdmin` whose changes are in revisions; an object without versions is put down as it is first.

    The model is registered with django-reversion unless it is. Raises ImproperlyConfigured where that is not installed.
    With a ``version_cls`` of another store all this is left to the site.
    """

    version_cls: Any = ReversionVersion

    def __init__(self, model: type[models.Model], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        if self._is_reversion:
            register(model)

    @property
    def _is_reversion(self) -> bool:
        return issubclass(self.version_cls, ReversionVersion)

    @contextmanager
    def recorded(self, request: HttpRequest) -> Iterator[None]:
        """A revision of the request's user; nothing for a request that changes nothing."""
        if request.method != "POST" or not self._is_reversion:
            yield
            return
        with revision(request.user):
            yield

    # -- What was there before

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the object, after what it was before."""
        if change:
            self._keep_first(self.model, [obj.pk])
        super().save_model(request, obj, form, change)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Save the objects of an inline, after what they were before."""
        model, gone = formset.model, [one.instance.pk for one in formset.deleted_forms]
        self._keep_first(model, [one.instance.pk for one in formset.initial_forms if one.has_changed()])
        if gone and keeps_account(model):
            self._keep_first_of_going(model.handleref.filter(pk__in=gone))
        super().save_formset(request, form, formset, change)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete the object, after what it was before, and what goes along."""
        self._keep_first_of_going(self._rows([obj]), [obj.pk] if obj.status == DELETED else [])
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Delete the objects, after what they were before, and what goes along."""
        self._keep_first_of_going(queryset)
        super().delete_queryset(request, queryset)

    def restore_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> int:
        """Restore the rows, after what they were before, with a comment that says so."""
        self._keep_first(self.model, list(queryset.values_list("pk", flat=True)))
        self._comment(gettext("Restored."))
        return super().restore_queryset(request, queryset)

    def _keep_first_of_going(self, rows: models.QuerySet[Any], gone: Collection[Any] = ()) -> None:
        if self._is_reversion:
            for level in levels(rows, list(gone), all_of_them=True):
                self._keep_first(level.model, level.keys)

    def _keep_first(self, model: type[models.Model], keys: Iterable[Any]) -> None:
        if self._is_reversion:
            keep_first_versions(model, list(keys), gettext("Initial version."), router.db_for_write(model))

    # -- What is said of it

    def log_addition(self, request: HttpRequest, obj: models.Model, message: Any) -> Any:
        """Log it, and say the same of the revision."""
        return self._commented(super().log_addition(request, obj, message))

    def log_change(self, request: HttpRequest, obj: models.Model, message: Any) -> Any:
        """Log it, and say the same of the revision."""
        return self._commented(super().log_change(request, obj, message))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Log them, and say so of the revision."""
        self._comment(gettext("Deleted."))
        return super().log_deletions(request, queryset)

    def _commented(self, entry: Any) -> Any:
        self._comment(entry.get_change_message())
        return entry

    def _comment(self, text: str) -> None:
        if self._is_reversion:
            import reversion

            if reversion.is_active():
                reversion.set_comment(text)
