"""Deleting for ever in the admin: asked for first, with all that Django's own deletion would take."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import get_deleted_objects, model_ngettext
from django.core.exceptions import PermissionDenied
from django.db import models, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods

from footfall.storage.objectpages import ObjectPages


class DeletingForEver(ObjectPages):
    """An action and a page of each object, for `HandleRefModel`s."""

    hard_delete_confirmation_template = "footfall/handleref/hard_delete_confirmation.html"

    # -- Who may

    def has_hard_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Whether the user may delete for ever what they may delete: by default who is a superuser.

        Of what goes along with an object, whether it may be deleted is asked, as Django does.
        """
        return request.user.is_active and request.user.is_superuser

    def has_delete_for_ever_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Whether the action and the button are there: for who may delete, and delete for ever."""
        return self.has_delete_permission(request, obj) and self.has_hard_delete_permission(request, obj)

    # -- The action and the page

    def hard_delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Delete the rows for ever, as Django does."""
        queryset.delete(hard=True)  # type: ignore[call-arg]  # a queryset of HandleRefModels

    @admin.action(permissions=["delete_for_ever"], description=_("Delete selected %(verbose_name_plural)s for ever"))
    def hard_delete_selected(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> HttpResponse | None:
        """Ask, with all that goes; asked and confirmed, delete."""
        return self._delete_for_ever(request, queryset, None)

    def hard_delete_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask whether to delete one object for ever, with all that goes; by POST, do it."""
        obj = self._object_or_404(request, object_id)
        if not self.has_delete_for_ever_permission(request, obj):
            raise PermissionDenied
        done = self._delete_for_ever(request, self._rows([obj]), obj)
        return done or HttpResponseRedirect(self._url("changelist"))

    def get_urls(self) -> list[Any]:
        """The admin's own pages, and the one that asks."""
        view = require_http_methods(["GET", "HEAD", "POST"])(self.hard_delete_view)
        return [self._path("<path:object_id>/delete-for-ever/", view, "hard_delete"), *super().get_urls()]

    def _delete_for_ever(
        self, request: HttpRequest, queryset: models.QuerySet[Any], obj: models.Model | None
    ) -> HttpResponse | None:
        """The page that asks, or None where it is done."""
        named, counts, lacking, protected = get_deleted_objects(queryset, request, self.admin_site)
        if not all(self.has_delete_for_ever_permission(request, one) for one in queryset):
            lacking.add(str(self.opts.verbose_name))
        if not request.POST.get("post") or protected:
            return self._ask(request, queryset, obj, (named, counts, lacking, protected))
        if lacking:
            raise PermissionDenied
        with transaction.atomic(using=router.db_for_write(self.model)):
            count = len(queryset)
            self.log_deletions(request, queryset)
            self.hard_delete_queryset(request, queryset)
        text = ngettext(
            "%(count)d %(items)s was deleted for ever.", "%(count)d %(items)s were deleted for ever.", count
        )
        items = model_ngettext(self.opts, count)
        self.message_user(request, text % {"count": count, "items": items}, messages.SUCCESS)
        return None

    def _ask(
        self, request: HttpRequest, queryset: models.QuerySet[Any], obj: models.Model | None, collected: Any
    ) -> HttpResponse:
        named, counts, lacking, protected = collected
        context = {
            **self.admin_site.each_context(request),
            "title": _("Delete for ever"),
            "subtitle": None,
            "object": obj,
            "queryset": queryset,
            "objects_name": model_ngettext(queryset),
            "deleted_objects": named,
            "model_count": counts.items(),
            "perms_lacking": lacking,
            "protected": protected,
            "back_url": self._url("change", obj.pk) if obj else self._url("changelist"),
            "opts": self.opts,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "media": self.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.hard_delete_confirmation_template, context)
