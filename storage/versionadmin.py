"""The history of objects in Django's admin: what each version changed, and the way back, by fields or as a whole.

Needs django-reversion, the extra ``footfall[history]``, as soon as a model is registered. What snapshots hold is made
printable and then escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, models, router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from footfall.storage.historylisting import HistoryActionsForm, HistoryListing
from footfall.storage.objectversions import OWN
from footfall.storage.printable import printable
from footfall.storage.referenceadmin import HandleRefAdmin
from footfall.storage.snapshottext import Change, Choice, Revertible, Value
from footfall.storage.versions import ReversionReverter, ReversionVersion, VersionNotFound, register

#: Of how many versions one preview shows what they changed.
PREVIEWED = 100

#: Longer numbers are no keys of anything.
DIGITS = 18

_READ = ("GET", "HEAD")
_TITLES = {
    "version_id": _("ID"),
    "version_date": _("Date"),
    "version_user": _("User"),
    "version_comment": _("Comment"),
    "version_changes": _("Changes"),
    "version_changed_fields": _("Changed fields"),
}


class VersionAdmin(HandleRefAdmin):
    """A `HandleRefAdmin` with the history of its objects; what is done here is put down in revisions, with its user.

    The model is registered with django-reversion unless it is. Raises ImproperlyConfigured where that is not installed.
    """

    object_history_template = "footfall/handleref/object_history.html"
    version_details_template = "footfall/handleref/version_details.html"
    version_revert_template = "footfall/handleref/version_revert.html"
    version_rollback_template = "footfall/handleref/version_rollback.html"

    version_cls: Any = ReversionVersion
    reverter_cls: Any = ReversionReverter

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

    def __init__(self, model: type[models.Model], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        register(model)

    # -- Who may what

    def has_history_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Whether the user may read histories, and revert: by default who is a superuser."""
        return request.user.is_active and request.user.is_superuser

    # -- To be overridden

    def history_query_set(self, object_id: Any) -> Any:
        """The versions of the object with this key, newest first: a sequence like `ReversionHistory`. No query."""
        return self.version_cls.of(self.model, object_id)

    def history(self, queryset: Iterable[Any]) -> list[dict[str, Any]]:
        """What the list shows of each of the versions, which know the one before them."""
        return [self.history_entry(version, version.previous) for version in queryset]

    def history_entry(self, version: Any, previous: Any) -> dict[str, Any]:
        """What the list shows of one version: ``id``, ``fields``, pairs of a name and a value, and ``comment``."""
        return {
            "id": version.id,
            "fields": [(name, self._cell(name, version, previous)) for name in self.version_list_fields],
            "comment": _in_a_line(version.comment),
            "is_readable": version.is_readable,
        }

    def _cell(self, name: str, version: Any, previous: Any) -> Any:
        match name:
            case "version_changes":
                return self._changes(version, previous)
            case "version_changed_fields":
                return ", ".join(change.label for change in self._changes(version, previous))
        value = getattr(version, name[8:]) if name.startswith("version_") else version.data.get(name, "")
        return _in_a_line(value)

    def _changes(self, version: Any, previous: Any) -> list[Change]:
        """What a version changed; of the first one nothing: it has no one before it."""
        before = previous.data if previous else {}
        return [
            Change(name, self._label(name), Value(before.get(name)), Value(version.data.get(name)))
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

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The history, newest first; by POST, the preview of what the chosen versions changed."""
        return self._answer(self._history, (*_READ, "POST"), request, object_id, extra_context)

    def _history(self, request: HttpRequest, obj: Any, extra_context: dict[str, Any] | None) -> HttpResponse:
        if request.method == "POST":
            return self._act(request, obj)
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

    def _act(self, request: HttpRequest, obj: Any) -> HttpResponse:
        if not HistoryActionsForm(request.POST).is_valid():
            self.message_user(request, gettext("No action selected."), messages.WARNING)
        elif not request.POST.getlist("version_id"):
            self.message_user(request, gettext("No version selected."), messages.WARNING)
        else:
            return self._preview(request, obj)
        return HttpResponseRedirect(self._url("history", obj.pk))

    # -- One version

    def version_view(self, request: HttpRequest, object_id: str, version_id: str) -> HttpResponse:
        """What a version changed, and what it holds."""
        return self._answer(self._details, _READ, request, object_id, version_id)

    def _details(self, request: HttpRequest, obj: Any, version_id: str) -> HttpResponse:
        (version,) = self._versions(obj, [version_id])
        return self._page(
            request,
            self.version_details_template,
            obj,
            version=version,
            number=_number(version),
            about=self._about(version),
            previous=version.previous,
            changes=self._changes(version, version.previous),
            snapshot=[(self._label(name), Value(value)) for name, value in version.data_sorted],
        )

    def _about(self, version: Any) -> list[tuple[str, str]]:
        names = ("version", "version_id", "version_date", "version_user", "version_comment")
        return [(self._label(name), self._cell(name, version, None) or "–") for name in names]

    # -- Reverting fields

    def revert_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What chosen versions changed, and what each field may be set back to."""
        return self._answer(self._preview, (*_READ, "POST"), request, object_id)

    def _preview(self, request: HttpRequest, obj: Any, errors: Iterable[str] = ()) -> HttpResponse:
        asked = [*request.GET.getlist("version_id"), *request.POST.getlist("version_id")]
        versions = self._versions(obj, asked)
        return self._page(
            request,
            self.version_revert_template,
            obj,
            versions=versions,
            changes=list(self._revertible(obj, versions, request.POST)),
            errors=list(errors),
        )

    def _revertible(self, obj: Any, versions: Iterable[Any], posted: Any) -> Iterator[Revertible]:
        """The fields that the versions changed, each to be set to what it was before the oldest of them, or before
        another one; what was chosen on the page already stays chosen."""
        offered: dict[str, list[Any]] = {}
        for version in versions:
            for name in version.changes(version.previous) or ():
                if name in version.previous.data:
                    offered.setdefault(name, []).append(version.previous)
        for name, holders in offered.items():
            chosen = posted.get(f"field_{name}", str(holders[-1].id))
            choices = [
                Choice(str(one.id), _number(one), Value(one.data[name]), str(one.id) == chosen) for one in holders
            ]
            yield Revertible(name, self._label(name), Value(_current(obj, name)), choices)

    def revert_process_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Set fields to what chosen versions hold, and save."""
        return self._answer(self._revert, ("POST",), request, object_id)

    def _revert(self, request: HttpRequest, obj: Any) -> HttpResponse:
        chosen = {
            name.removeprefix("field_"): str(key)
            for name, key in request.POST.items()
            if name.startswith("field_") and key not in ("", "0")
        }
        held = {str(version.id): version for version in self._versions(obj, chosen.values())}
        if not chosen:
            self.message_user(request, gettext("Nothing was chosen to be reverted."), messages.WARNING)
            return HttpResponseRedirect(self._url("history", obj.pk))
        fields = {name: held[str(int(key))] for name, key in chosen.items()}
        errors = self._attempt(lambda: self._reverter().revert_fields(obj, fields, user=request.user))
        if errors:
            return self._preview(request, obj, errors)
        labels = ", ".join(self._label(name) for name in fields)
        return self._done(request, obj, gettext("Reverted: %s.") % labels)

    # -- Rolling back

    def rollback_view(self, request: HttpRequest, object_id: str, version_id: str) -> HttpResponse:
        """Ask whether to set everything to what a version holds."""
        return self._answer(self._ask_to_roll_back, _READ, request, object_id, version_id)

    def _ask_to_roll_back(
        self, request: HttpRequest, obj: Any, version_id: str, errors: Iterable[str] = ()
    ) -> HttpResponse:
        (version,) = self._versions(obj, [version_id])
        return self._page(
            request,
            self.version_rollback_template,
            obj,
            version=version,
            number=_number(version),
            about=self._about(version),
            previous=version.previous,
            changes=list(self._rolled_back(obj, version)),
            errors=list(errors),
        )

    def _rolled_back(self, obj: Any, version: Any) -> Iterator[Change]:
        for name, value in version.data_sorted:
            current, then = Value(_current(obj, name)), Value(value)
            if name not in OWN and current != then:
                yield Change(name, self._label(name), current, then)

    def rollback_process_view(self, request: HttpRequest, object_id: str, version_id: str) -> HttpResponse:
        """Set everything to what a version holds, and save."""
        return self._answer(self._roll_back, ("POST",), request, object_id, version_id)

    def _roll_back(self, request: HttpRequest, obj: Any, version_id: str) -> HttpResponse:
        (version,) = self._versions(obj, [version_id])
        errors = self._attempt(lambda: self._reverter().rollback(obj, version, user=request.user))
        if errors:
            return self._ask_to_roll_back(request, obj, version_id, errors)
        return self._done(request, obj, gettext("Rolled back to version %s.") % _number(version))

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
        if len(wanted) > PREVIEWED or not all(_is_number(key) for key in wanted):
            raise Http404("No such versions.")
        try:
            return self.history_query_set(obj.pk).pick(wanted) if wanted else []
        except VersionNotFound:
            raise Http404("No such version.") from None

    def _reverter(self) -> Any:
        return self.reverter_cls()

    def _attempt(self, change: Callable[[], None]) -> list[str]:
        """Do it, all or nothing, the object too: what is to be said where it was refused."""
        try:
            with transaction.atomic(using=router.db_for_write(self.model)):
                change()
        except ValidationError as refusal:
            return [printable(text) for text in self._refusals(refusal)]
        except (IntegrityError, DataError):
            return [gettext("The database refused these values: others refer to the object, or have them already.")]
        except self.model.DoesNotExist:
            raise Http404("The object is gone.") from None
        return []

    def _refusals(self, refusal: ValidationError) -> list[str]:
        if not hasattr(refusal, "error_dict"):
            return refusal.messages
        named = refusal.message_dict.items()
        return [
            text if name == "__all__" else f"{self._label(name)}: {text}" for name, texts in named for text in texts
        ]

    def _done(self, request: HttpRequest, obj: Any, text: str) -> HttpResponse:
        self.log_change(request, obj, text)
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(self._url("history", obj.pk))

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
            **more,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, template, context)

    # -- What is done in the admin, in revisions

    @contextmanager
    def recorded(self, request: HttpRequest) -> Iterator[None]:
        """A revision of the request's user; nothing for a request that changes nothing."""
        if request.method != "POST":
            yield
            return
        import reversion

        with reversion.create_revision():
            reversion.set_user(request.user)
            yield

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Change an object; one that has no version yet is given that of before first."""
        if request.method == "POST":
            self._take_first_version(request, object_id)
        return super().change_view(request, object_id, form_url, extra_context)

    def restore_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> int:
        """Restore the rows, with a comment that says so."""
        _comment(gettext("Restored."))
        return super().restore_queryset(request, queryset)

    def log_addition(self, request: HttpRequest, obj: models.Model, message: Any) -> Any:
        """Log it, and say the same of the revision."""
        return _commented(super().log_addition(request, obj, message))

    def log_change(self, request: HttpRequest, obj: models.Model, message: Any) -> Any:
        """Log it, and say the same of the revision."""
        return _commented(super().log_change(request, obj, message))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Log them, and say so of the revision."""
        _comment(gettext("Deleted."))
        return super().log_deletions(request, queryset)

    def _take_first_version(self, request: HttpRequest, object_id: str) -> None:
        import reversion

        obj = self.get_object(request, unquote(object_id))
        if obj is None or not self.has_change_permission(request, obj) or self.history_query_set(obj.pk).count():
            return
        with reversion.create_revision():
            reversion.set_comment(gettext("Initial version."))
            reversion.add_to_revision(obj)

    # -- Where the pages are

    def get_urls(self) -> list[Any]:
        """The pages of a `HandleRefAdmin`, and those of the history."""
        at = "<path:object_id>/history/"
        return [
            self._path(f"{at}revert/", self.revert_view, "version_revert"),
            self._path(f"{at}revert/process/", self.revert_process_view, "version_revert_process"),
            self._path(f"{at}<str:version_id>/rollback/", self.rollback_view, "version_rollback"),
            self._path(
                f"{at}<str:version_id>/rollback/process/", self.rollback_process_view, "version_rollback_process"
            ),
            self._path(f"{at}<str:version_id>/", self.version_view, "version"),
            *super().get_urls(),
        ]


def _current(obj: Any, name: str) -> Any:
    """What the object holds in a field of a snapshot; None where it has no such field."""
    value = getattr(obj, name, None)
    return sorted(value.values_list("pk", flat=True), key=str) if isinstance(value, models.Manager) else value


def _in_a_line(value: Any) -> str:
    return "" if value in (None, "") else Value(value).brief


def _number(version: Any) -> Any:
    """What people call the version: the number that its object had."""
    return version.id if version.version is None else version.version


def _is_number(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) <= DIGITS


def _commented(entry: Any) -> Any:
    _comment(entry.get_change_message())
    return entry


def _comment(text: str) -> None:
    import reversion

    if reversion.is_active():
        reversion.set_comment(text)
