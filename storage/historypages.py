"""The history of an object in the admin, to be read: what each version changed, and what it holds.

What snapshots hold is made printable and then escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.formats import localize
from django.utils.text import capfirst
from django.utils.timezone import is_aware, localtime
from django.utils.translation import gettext_lazy as _

from footfall.storage.historylisting import HistoryActionsForm, HistoryListing
from footfall.storage.objectversions import History, VersionNotFound
from footfall.storage.printable import printable
from footfall.storage.recordingadmin import RecordingAdmin
from footfall.storage.snapshottext import Change, Value
from footfall.storage.softdeletion import DELETED

#: Of how many versions one preview shows what they changed, where a page of the list holds no more.
PREVIEWED = 100

READ = ("GET", "HEAD")
_TITLES = {
    "version_id": _("ID"),
    "version_date": _("Date"),
    "version_user": _("User"),
    "version_comment": _("Comment"),
    "version_changes": _("Changes"),
    "version_changed_fields": _("Changed fields"),
}


class HistoryPages(RecordingAdmin):
    """The list of an object's versions, and the page of one."""

    object_history_template = "footfall/handleref/object_history.html"
    version_details_template = "footfall/handleref/version_details.html"

    #: The columns of the history: ``version_x`` is what a version has as ``x``, others are fields of its snapshot.
    version_list_fields: Iterable[str] = (
        "version_id",
        "version",
        "version_date",
        "version_user",
        "status",
        "version_changes",
    )
    #: How many versions a page shows, and the parameter that names the page.
    version_list_per_page = 100
    version_page_var = "p"

    # -- Who may what

    def has_history_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Whether the user may read histories; to go back takes the right to change, too. By default superusers."""
        return request.user.is_active and request.user.is_superuser

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The page, without the button that leads to the history for whom it would lead to the login."""
        context["hides_history"] = not self.has_history_permission(request, context.get("original"))
        return super().render_change_form(request, context, *args, **kwargs)

    # -- To be overridden

    def history_query_set(self, object_id: Any) -> History[Any]:
        """The versions of the object with this key. No query."""
        return self.version_cls.of(self.model, object_id)  # type: ignore[no-any-return]  # a site's class

    def history(self, queryset: Iterable[Any]) -> list[dict[str, Any]]:
        """What the list shows of each of the versions, which know the one before them."""
        return [self.history_entry(version, version.previous) for version in queryset]

    def history_entry(self, version: Any, previous: Any) -> dict[str, Any]:
        """What the list shows of one version: ``id``, ``fields``, pairs of a name and a value, and ``comment``."""
        return {
            "id": version.id,
            "number": version.number,
            "fields": [(name, self._cell(name, version, previous)) for name in self.version_list_fields],
            "comment": _in_a_line(version.comment),
            "is_readable": version.is_readable,
            "is_deleted": version.data.get("status") == DELETED,
        }

    def _cell(self, name: str, version: Any, previous: Any) -> Any:
        match name:
            case "version_changes":
                return self._changes(version, previous)
            case "version_changed_fields":
                return ", ".join(change.label for change in self._changes(version, previous))
            case "version_date":
                return localize(localtime(version.date) if version.date and is_aware(version.date) else version.date)
        value = getattr(version, name[8:]) if name.startswith("version_") else version.data.get(name, "")
        return _in_a_line(value)

    def _changes(self, version: Any, previous: Any) -> list[Change]:
        """What a version changed; of the first one nothing: it has no one before it."""
        before = previous.data if previous else {}
        return [
            Change.between(name, self._label(name), before.get(name), version.data.get(name))
            for name in version.changes(previous) or ()
        ]

    def _label(self, name: str) -> str:
        if name in _TITLES:
            return str(_TITLES[name])
        for found in self.model._meta.get_fields():
            if name in (found.name, getattr(found, "attname", "")):
                return str(capfirst(getattr(found, "verbose_name", name)))
        return str(capfirst(name.removeprefix("version_").replace("_", " ")))

    # -- The list

    def _list(self, request: HttpRequest, obj: Any, extra_context: dict[str, Any] | None) -> HttpResponse:
        versions = self.history_query_set(obj.pk)
        number = request.GET.get(self.version_page_var, "1")
        listing = HistoryListing(versions, number, self.version_list_per_page, self.version_page_var)
        return self._page(
            request,
            self.object_history_template,
            obj,
            history=self.history(listing.versions),
            listing=listing,
            version_list_fields=[(name, self._label(name)) for name in self.version_list_fields],
            actions_form=HistoryActionsForm(),
            **(extra_context or {}),
        )

    # -- One version

    def version_view(self, request: HttpRequest, object_id: str, version_id: str) -> HttpResponse:
        """What a version changed, and what it holds."""
        return self._answer(self._details, READ, request, object_id, version_id)

    def _details(self, request: HttpRequest, obj: Any, version_id: str) -> HttpResponse:
        (version,) = self._versions(obj, [version_id])
        return self._page(
            request,
            self.version_details_template,
            obj,
            version=version,
            about=self._about(version),
            previous=version.previous,
            changes=self._changes(version, version.previous),
            snapshot=[(self._label(name), Value(value)) for name, value in version.data_sorted],
        )

    def _about(self, version: Any) -> list[tuple[str, str]]:
        names = ("version", "version_id", "version_date", "version_user", "version_comment")
        return [(self._label(name), self._cell(name, version, None) or "–") for name in names]

    # -- Within these pages

    def _answer(
        self,
        page: Callable[..., HttpResponse],
        methods: Iterable[str],
        request: HttpRequest,
        object_id: str,
        *more: Any,
    ) -> HttpResponse:
        """What ``page`` answers of the object: to who may see it, where there is one."""
        if not self.has_history_permission(request):
            return self._to_login(request)
        if str(request.method) not in methods:
            return HttpResponseNotAllowed(methods)
        obj = self._object_or_404(request, object_id)
        return page(request, obj, *more) if self.has_history_permission(request, obj) else self._to_login(request)

    def _to_login(self, request: HttpRequest) -> HttpResponse:
        login = reverse("admin:login", current_app=self.admin_site.name)
        return redirect_to_login(request.get_full_path(), login)

    def _versions(self, obj: Any, keys: Iterable[str]) -> list[Any]:
        """The versions of the object with these keys, newest first. Raises Http404 where one is none of its."""
        wanted = set(keys)
        if len(wanted) > max(PREVIEWED, self.version_list_per_page):
            raise Http404("No such versions.")
        try:
            return self.history_query_set(obj.pk).pick(wanted) if wanted else []
        except VersionNotFound:
            raise Http404("No such version.") from None

    def _page(self, request: HttpRequest, template: str, obj: Any, **more: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Version History"),
            "subtitle": printable(str(obj)),
            "object_id": str(obj.pk),
            "instance": obj,
            "opts": self.opts,
            "app_label": self.opts.app_label,
            "module_name": str(capfirst(self.opts.verbose_name_plural)),
            "preserved_filters": self.get_preserved_filters(request),
            "may_change": self.has_change_permission(request, obj),
            "may_delete": obj.status == DELETED or self.has_delete_permission(request, obj),
            **more,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, template, context)


def _in_a_line(value: Any) -> str:
    return "" if value in (None, "") else Value(value).brief
