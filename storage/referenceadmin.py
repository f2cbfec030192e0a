"""Objects that keep account of themselves, in Django's admin: deletion is soft there too, and can be taken back.

Names come from people: they are made printable and then escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import model_ngettext, quote, unquote
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import models, router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import select_template
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.text import Truncator, capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST

from footfall.storage.deletionpreview import COUNTED, Level, levels
from footfall.storage.printable import printable
from footfall.storage.reverting import Reverter
from footfall.storage.softdeletion import DELETED, UndeleteRefused

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

#: How many objects of a level a confirmation names, and how much of a name it shows.
NAMED = 20
NAME_LENGTH = 100

#: What every object says of itself beside its own fields.
ACCOUNT = ("handle", "version", "created", "updated")


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


class HandleRefAdmin(_ModelAdmin):
    """For `HandleRefModel`s: deletes softly, restores, and deletes for ever; lists what is not deleted, or what is.

    Who may delete deletes softly, who may change restores. To delete for ever takes `has_hard_delete_permission`, too.
    Registering it for another model raises ImproperlyConfigured.
    """

    change_form_template = "footfall/handleref/change_form.html"
    delete_confirmation_template = "footfall/handleref/delete_confirmation.html"
    delete_selected_confirmation_template = "footfall/handleref/delete_selected_confirmation.html"
    hard_delete_confirmation_template = "footfall/handleref/hard_delete_confirmation.html"

    def __init__(self, model: type[models.Model], admin_site: admin.AdminSite) -> None:
        if not hasattr(model, "_handleref"):
            raise ImproperlyConfigured(f"{self.__class__.__name__} is for HandleRefModels, not for {model.__name__}.")
        super().__init__(model, admin_site)
        if self.actions is not None:  # as Django has it: None takes the actions away
            ours = ("restore_selected", "hard_delete_selected")
            self.actions = [*self.actions, *(name for name in ours if name not in self.actions)]

    # -- Who may what

    def has_hard_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Whether the user may delete for ever what they may delete: by default who is a superuser."""
        return request.user.is_active and request.user.is_superuser

    def has_delete_for_ever_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Whether the action and the button are there: for who may delete, and delete for ever."""
        return self.has_delete_permission(request, obj) and self.has_hard_delete_permission(request, obj)

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

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The object, None for a key that no database takes."""
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)

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

    def _django_template(self, name: str) -> Any:
        """Django's template, or what the site has put before it for the app or the model."""
        app, model = self.opts.app_label, self.opts.model_name
        return select_template([f"admin/{app}/{model}/{name}", f"admin/{app}/{name}", f"admin/{name}"])

    # -- Saving

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """The form, which refuses to restore an object below a deleted one."""
        form = super().get_form(request, obj, change, **kwargs)
        return _refusing(form) if obj is not None and _is_deleted(obj) else form

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

        One query a level and relation, and one for the names of each.
        """
        rows = objs if isinstance(objs, models.QuerySet) else self._rows(objs)
        named: list[Any] = []
        counts: dict[str, Any] = {}
        lacking: set[str] = set()
        for level in levels(rows):
            name = str(level.model._meta.verbose_name_plural)
            counts[name] = _plus(counts.get(name, 0), level)
            named = [*named, *self._named(level, rows.db)]
            if not self._may_delete(request, level.model):
                lacking.add(str(level.model._meta.verbose_name))
        return named, counts, lacking, []

    def _named(self, level: Level, using: str) -> list[Any]:
        names: list[Any] = [self._linked(obj) for obj in level.first(NAMED, using)]
        more = len(level.keys) - len(names)
        if level.is_cut:
            names.append(gettext("and more: not all of them are counted"))
        elif more > 0:
            names.append(ngettext("and %d more", "and %d more", more) % more)
        return names if level.depth == 0 else [capfirst(level.model._meta.verbose_name_plural), names]

    def _linked(self, obj: models.Model) -> str:
        opts = obj._meta
        kind, name = capfirst(opts.verbose_name), printable(Truncator(str(obj)).chars(NAME_LENGTH))
        try:
            name_of_page = f"admin:{opts.app_label}_{opts.model_name}_change"
            url = reverse(name_of_page, args=[quote(str(obj.pk))], current_app=self.admin_site.name)
        except NoReverseMatch:
            return f"{kind}: {name}"
        return format_html('{}: <a href="{}">{}</a>', kind, url, name)

    def _may_delete(self, request: HttpRequest, model: type[models.Model]) -> bool:
        if not self.admin_site.is_registered(model):
            return True  # as Django has it: nobody said who may
        return self.admin_site.get_model_admin(model).has_delete_permission(request)

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
        rows = self.model._default_manager.filter(pk__in=queryset.order_by().values("pk"), status=DELETED)
        restored = list(rows)
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

    def _rows(self, objs: Iterable[models.Model]) -> Any:
        return self.model._default_manager.filter(pk__in=[obj.pk for obj in objs])

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button *Restore* posts to."""
        obj = self._object_or_404(request, object_id)
        if not self.has_change_permission(request, obj):
            raise PermissionDenied
        with self.recorded(request):
            self.restore_selected(request, self._rows([obj]))
        return HttpResponseRedirect(self._url("change", obj.pk))

    # -- Deleting for ever

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

    def _delete_for_ever(
        self, request: HttpRequest, queryset: models.QuerySet[Any], obj: models.Model | None
    ) -> HttpResponse | None:
        """The page that asks, or None where it is done."""
        named, counts, lacking, protected = super().get_deleted_objects(queryset, request)
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

    # -- Where the pages are

    def get_urls(self) -> list[Any]:
        """The admin's own pages, and where the buttons lead."""
        return [
            self._path("<path:object_id>/restore/", require_POST(self.restore_view), "restore"),
            self._path(
                "<path:object_id>/delete-for-ever/",
                require_http_methods(["GET", "HEAD", "POST"])(self.hard_delete_view),
                "hard_delete",
            ),
            *super().get_urls(),
        ]

    def _path(self, route: str, view: Callable[..., HttpResponse], name: str) -> URLPattern:
        return path(
            route, self.admin_site.admin_view(view), name=f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        )

    def _url(self, name: str, key: Any = None) -> str:
        """The address of a page of the admin, below the object with this key where one is given."""
        page = f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"
        args = [] if key is None else [quote(str(key))]
        return reverse(page, args=args, current_app=self.admin_site.name)

    def _object_or_404(self, request: HttpRequest, object_id: str) -> Any:
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404
        return obj


def _is_deleted(obj: Any) -> bool:
    return bool(obj.status == DELETED)


def _refusing(form: Any) -> Any:
    """``form``, of a deleted object, which may not be restored below a deleted one."""

    class Refusing(form):  # type: ignore[misc]  # a class made here
        def _post_clean(self) -> None:
            super()._post_clean()
            if not _is_deleted(self.instance):
                try:
                    Reverter().validate_parent_status(self.instance)
                except UndeleteRefused as refusal:
                    self.add_error("status" if "status" in self.fields else None, refusal)

    return Refusing


def _plus(count: int | str, level: Level) -> int | str:
    if level.is_cut or isinstance(count, str):
        return gettext("more than %d") % COUNTED
    return count + len(level.keys)
