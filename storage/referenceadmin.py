"""Objects that keep account of themselves, in Django's admin: deletion is soft there too, and can be taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import models, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import select_template
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from footfall.storage.deletedfilter import DeletedFilter
from footfall.storage.deletingforever import DeletingForEver
from footfall.storage.deletionpages import going
from footfall.storage.handlerefoptions import keeps_account
from footfall.storage.printable import printable
from footfall.storage.softdeletion import DELETED, UndeleteRefused
from footfall.storage.statusforms import not_deleting, not_restoring, still_there

#: What every object says of itself beside its own fields.
ACCOUNT = ("handle", "version", "created", "updated")


class HandleRefAdmin(DeletingForEver):
    """For `HandleRefModel`s: deletes softly, restores, and deletes for ever; lists what is not deleted, or what is.

    Who may delete deletes softly, who may change restores. To delete for ever takes `has_hard_delete_permission`, too.
    Registering it for another model raises ImproperlyConfigured.
    """

    change_form_template = "footfall/handleref/change_form.html"
    delete_confirmation_template = "footfall/handleref/delete_confirmation.html"
    delete_selected_confirmation_template = "footfall/handleref/delete_selected_confirmation.html"

    def __init__(self, model: type[models.Model], admin_site: admin.AdminSite) -> None:
        if not hasattr(model, "_handleref"):
            raise ImproperlyConfigured(f"{self.__class__.__name__} is for HandleRefModels, not for {model.__name__}.")
        super().__init__(model, admin_site)
        if self.actions is not None:  # as Django has it: None takes the actions away
            ours = ("restore_selected", "hard_delete_selected")
            self.actions = [*self.actions, *(name for name in ours if name not in self.actions)]

    # -- What is shown

    def get_list_display(self, request: HttpRequest) -> Any:
        """As it was set, else the name and what every object says of itself."""
        if tuple(self.list_display) != ("__str__",):
            return self.list_display
        return ("__str__", "handle", "status", "version", "updated")

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Whether deleted, and those that were set."""
        filters = super().get_list_filter(request)
        return filters if DeletedFilter in filters else [DeletedFilter, *filters]

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Those that were set, and what every object says of itself."""
        names = super().get_readonly_fields(request, obj)
        return [*names, *(name for name in ACCOUNT if name not in names)]

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """As it was set, else all; what an object says of itself not before it is there."""
        names = super().get_fields(request, obj)
        return names if self.fields or obj is not None else [name for name in names if name not in ACCOUNT]

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """The page, which says so where the object is deleted, with a button for what this user may do with it."""
        is_deleted = obj is not None and _is_deleted(obj)
        context["is_deleted"] = is_deleted
        context["may_restore"] = is_deleted and self.has_change_permission(request, obj)
        context["may_delete_for_ever"] = obj is not None and self.has_delete_for_ever_permission(request, obj)
        context["change_form_base"] = self._django_template("change_form.html")
        if is_deleted:
            context.setdefault("show_delete", False)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_view_on_site_url(self, obj: Any = None) -> Any:
        """Where the site shows the object; None where it is deleted."""
        return None if obj is not None and _is_deleted(obj) else super().get_view_on_site_url(obj)

    def _django_template(self, name: str) -> Any:
        """Django's template, or what the site has put before it for the app or the model."""
        app, model = self.opts.app_label, self.opts.model_name
        return select_template([f"admin/{app}/{model}/{name}", f"admin/{app}/{name}", f"admin/{name}"])

    # -- Saving

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """The form, which deletes nothing by a status, and refuses to restore an object below a deleted one."""
        form = super().get_form(request, obj, change, **kwargs)
        return not_restoring(form) if obj is not None and _is_deleted(obj) else not_deleting(form)

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        """The form of a row in the list, which deletes nothing by a status."""
        return not_deleting(super().get_changelist_form(request, **kwargs))

    def get_formsets_with_inlines(self, request: HttpRequest, obj: Any = None) -> Iterator[Any]:
        """Those of the page's inlines, which delete nothing by a status."""
        for formset, inline in super().get_formsets_with_inlines(request, obj):
            if keeps_account(inline.model):
                formset.form = still_there(not_deleting(formset.form))
            yield formset, inline

    def get_formset_kwargs(self, request: HttpRequest, obj: Any, inline: Any, prefix: str) -> dict[str, Any]:
        """Of an inline: it leaves out what is deleted, as lists do."""
        kwargs = super().get_formset_kwargs(request, obj, inline, prefix)
        if keeps_account(inline.model):
            kwargs["queryset"] = kwargs["queryset"].exclude(status=DELETED)
        return kwargs

    def recorded(self, request: HttpRequest) -> AbstractContextManager[Any]:
        """A context for what a request changes: where an exception leaves it, nothing of that is kept."""
        return nullcontext()

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Add or change an object. What may not be restored, in whatever form of the page, is said in a message."""
        return self._unless_refused(request, super().changeform_view, object_id, form_url, extra_context)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, its actions, and what is changed in it. What may not be restored is said in a message."""
        return self._unless_refused(request, super().changelist_view, extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Delete an object softly, after the question."""
        return self._unless_refused(request, super().delete_view, object_id, extra_context)

    def _unless_refused(self, request: HttpRequest, view: Callable[..., HttpResponse], *arguments: Any) -> HttpResponse:
        try:
            with self.recorded(request):
                return view(request, *arguments)
        except UndeleteRefused as refusal:
            self._say(request, refusal)
            return HttpResponseRedirect(request.get_full_path())

    def _say(self, request: HttpRequest, refusal: UndeleteRefused) -> None:
        self.message_user(request, printable(" ".join(refusal.messages)), messages.ERROR)

    # -- Deleting

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list[Any], dict[str, Any], set[str], Any]:
        """What is deleted softly with ``objs``: named a level, counted by model. Nothing is protected: all of it stays.

        Of a queryset those that are deleted already take nothing with them; of a list they do, as `delete` has it.
        """
        is_queryset = isinstance(objs, models.QuerySet)
        rows = objs if is_queryset else self._rows(objs)
        gone = [] if is_queryset else [obj.pk for obj in objs if _is_deleted(obj)]
        return (*going(rows, gone, request, self.admin_site), [])

    # -- Restoring

    def restore_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> int:
        """Restore those of the rows that are deleted: how many objects there are again, with what went with them.

        Raises UndeleteRefused, then none is restored.
        """
        count, _of_each = queryset.undelete()  # type: ignore[attr-defined]  # a queryset of HandleRefModels
        return int(count)

    @admin.action(permissions=["change"], description=_("Restore selected %(verbose_name_plural)s"))
    def restore_selected(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Restore, and say what came of it."""
        chosen = queryset.order_by().values("pk")
        restored = list(self.model.handleref.filter(pk__in=chosen, status=DELETED))
        if not all(self.has_change_permission(request, obj) for obj in restored):
            raise PermissionDenied
        try:
            with transaction.atomic(using=router.db_for_write(self.model)):
                count = self.restore_queryset(request, self._rows(restored))
                LogEntry.objects.log_actions(request.user.pk, restored, CHANGE, gettext("Restored."))  # type: ignore[arg-type]  # who gets here is in the database
        except UndeleteRefused as refusal:
            self._say(request, refusal)
            return
        if count:
            text = ngettext("%d object was restored.", "%d objects were restored.", count)
            self.message_user(request, text % count, messages.SUCCESS)
        else:
            self.message_user(request, gettext("Nothing to restore: none of them is deleted."), messages.WARNING)

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button *Restore* posts to."""
        obj = self._object_or_404(request, object_id)
        if not self.has_change_permission(request, obj):
            raise PermissionDenied
        with self.recorded(request):
            self.restore_selected(request, self._rows([obj]))
        return HttpResponseRedirect(self._url("change", obj.pk))

    # -- Where the pages are

    def get_urls(self) -> list[Any]:
        """The admin's own pages, and where the buttons lead."""
        restore = self._path("<path:object_id>/restore/", require_POST(self.restore_view), "restore")
        return [restore, *super().get_urls()]


def _is_deleted(obj: Any) -> bool:
    return bool(obj.status == DELETED)
