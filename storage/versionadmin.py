"""The history of objects in Django's admin, and the way back, by fields or as a whole.

Needs django-reversion, the extra ``footfall[history]``, as soon as a model is registered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DataError, IntegrityError, router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext

from footfall.storage.historylisting import HistoryActionsForm
from footfall.storage.historypages import READ, HistoryPages
from footfall.storage.printable import printable
from footfall.storage.reverting import is_revertible
from footfall.storage.snapshottext import Change, Choice, Revertible, Value
from footfall.storage.snapshotvalues import held_by, is_same
from footfall.storage.softdeletion import DELETED
from footfall.storage.versions import ReversionReverter

#: What is posted for a field that is to be left as it is.
LEFT = ("", "0")


class VersionAdmin(HistoryPages):
    """A `HandleRefAdmin` with the history of its objects; what is done here is put down in revisions, with its user.

    The model is registered with django-reversion unless it is. Raises ImproperlyConfigured where that is not installed.
    Another store of versions: a `Version` and a `Reverter` of its own as ``version_cls`` and ``reverter_cls``.
    """

    version_revert_template = "footfall/handleref/version_revert.html"
    version_rollback_template = "footfall/handleref/version_rollback.html"

    reverter_cls: Any = ReversionReverter

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The history, newest first; by POST, the preview of what the chosen versions changed."""
        return self._answer(self._history, (*READ, "POST"), request, object_id, extra_context)

    def _history(self, request: HttpRequest, obj: Any, extra_context: dict[str, Any] | None) -> HttpResponse:
        if request.method != "POST":
            return self._list(request, obj, extra_context)
        if not HistoryActionsForm(request.POST).is_valid():
            self.message_user(request, gettext("No action selected."), messages.WARNING)
        elif not request.POST.getlist("version_id"):
            self.message_user(request, gettext("No version selected."), messages.WARNING)
        else:
            return self._preview(request, obj)
        return HttpResponseRedirect(self._url("history", obj.pk))

    # -- Who may go back

    def _require_change(self, request: HttpRequest, obj: Any) -> None:
        if not self.has_change_permission(request, obj):
            raise PermissionDenied

    def _require_delete(self, request: HttpRequest, obj: Any) -> None:
        _named, _counts, lacking = self._going(request, obj)
        if lacking:
            raise PermissionDenied

    def _going(self, request: HttpRequest, obj: Any) -> tuple[list[Any], dict[str, Any], set[str]]:
        """What is deleted with the object: named, counted, and the models that the user may not delete."""
        named, counts, lacking, _protected = self.get_deleted_objects([obj], request)
        own = () if self.has_delete_permission(request, obj) else (str(self.opts.verbose_name),)
        return named, counts, {*lacking, *own}

    # -- Reverting fields

    def revert_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What chosen versions changed, and what each field may be set back to."""
        return self._answer(self._preview, (*READ, "POST"), request, object_id)

    def _preview(self, request: HttpRequest, obj: Any, errors: Iterable[str] = ()) -> HttpResponse:
        self._require_change(request, obj)
        asked = [*request.GET.getlist("version_id"), *request.POST.getlist("version_id")]
        versions = self._versions(obj, asked)
        return self._page(
            request,
            self.version_revert_template,
            obj,
            versions=versions,
            changes=list(self._revertible(request, obj, versions)),
            errors=list(errors),
        )

    def _revertible(self, request: HttpRequest, obj: Any, versions: Iterable[Any]) -> Iterator[Revertible]:
        """The fields that the versions changed, each to be set to what it was before the oldest of them, or before
        another one; what was chosen on the page already stays chosen."""
        offered: dict[str, list[Any]] = {}
        for version in versions:
            for name in version.changes(version.previous) or ():
                if name in version.previous.data and self._may_set(request, obj, name, version.previous):
                    offered.setdefault(name, []).append(version.previous)
        for name, holders in offered.items():
            chosen = request.POST.get(f"field_{name}", str(holders[-1].id))
            choices = [
                Choice(str(one.id), one.number, Value(one.data[name]), str(one.id) == chosen)
                for one in _distinct(name, holders)
            ]
            yield Revertible(name, self._label(name), Value(held_by(obj, name)), choices)

    def _may_set(self, request: HttpRequest, obj: Any, name: str, version: Any) -> bool:
        if not is_revertible(self.model._meta.get_field(name)):
            return False
        return not (name == "status" and _deletes(obj, version)) or self.has_delete_permission(request, obj)

    def revert_process_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Set fields to what chosen versions hold, and save."""
        return self._answer(self._revert, ("POST",), request, object_id)

    def _revert(self, request: HttpRequest, obj: Any) -> HttpResponse:
        self._require_change(request, obj)
        chosen = {
            name.removeprefix("field_"): str(key)
            for name, key in request.POST.items()
            if name.startswith("field_") and key not in LEFT
        }
        held = {str(version.id): version for version in self._versions(obj, chosen.values())}
        if not chosen:
            self.message_user(request, gettext("Nothing was chosen to be reverted."), messages.WARNING)
            return HttpResponseRedirect(self._url("history", obj.pk))
        if not held.keys() >= set(chosen.values()):  # a key in another writing, which no page has offered
            raise Http404("No such version.")
        fields = {name: held[key] for name, key in chosen.items()}
        errors = self._attempt(
            request,
            obj,
            "status" in fields and _deletes(obj, fields["status"]),
            lambda: self._reverter().revert_fields(obj, fields, user=request.user),
        )
        if errors:
            return self._preview(request, obj, errors)
        labels = ", ".join(self._label(name) for name in fields)
        return self._done(request, obj, gettext("Reverted: %s.") % labels)

    # -- Rolling back

    def rollback_view(self, request: HttpRequest, object_id: str, version_id: str) -> HttpResponse:
        """Ask whether to set everything to what a version holds."""
        return self._answer(self._ask_to_roll_back, READ, request, object_id, version_id)

    def _ask_to_roll_back(
        self, request: HttpRequest, obj: Any, version_id: str, errors: Iterable[str] = ()
    ) -> HttpResponse:
        self._require_change(request, obj)
        (version,) = self._versions(obj, [version_id])
        named, counts, lacking = self._going(request, obj) if _deletes(obj, version) else ([], {}, set())
        return self._page(
            request,
            self.version_rollback_template,
            obj,
            version=version,
            about=self._about(version),
            previous=version.previous,
            changes=list(self._rolled_back(obj, version)),
            deleted_objects=named,
            model_count=counts.items(),
            perms_lacking=sorted(lacking),
            errors=list(errors),
        )

    def _rolled_back(self, obj: Any, version: Any) -> Iterator[Change]:
        for name, then in version.data_sorted:
            current = held_by(obj, name)
            if is_revertible(self.model._meta.get_field(name)) and not is_same(current, then):
                yield Change.between(name, self._label(name), current, then)

    def rollback_process_view(self, request: HttpRequest, object_id: str, version_id: str) -> HttpResponse:
        """Set everything to what a version holds, and save."""
        return self._answer(self._roll_back, ("POST",), request, object_id, version_id)

    def _roll_back(self, request: HttpRequest, obj: Any, version_id: str) -> HttpResponse:
        self._require_change(request, obj)
        (version,) = self._versions(obj, [version_id])
        errors = self._attempt(
            request,
            obj,
            _deletes(obj, version),
            lambda: self._reverter().rollback(obj, version, user=request.user),
        )
        if errors:
            return self._ask_to_roll_back(request, obj, version_id, errors)
        return self._done(request, obj, gettext("Rolled back to version %s.") % version.number)

    # -- Both

    def _reverter(self) -> Any:
        return self.reverter_cls()

    def _attempt(self, request: HttpRequest, obj: Any, deletes: bool, change: Callable[[], None]) -> list[str]:
        """Do it, all or nothing, the object too: what is to be said where it was refused."""
        if deletes:
            self._require_delete(request, obj)
        try:
            with transaction.atomic(using=router.db_for_write(self.model)):
                if deletes:
                    self._keep_first_of_going(self._rows([obj]))
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


def _deletes(obj: Any, version: Any) -> bool:
    """Whether to give the object the status of the version is to delete it."""
    return bool(version.data.get("status") == DELETED != obj.status)


def _distinct(name: str, holders: Sequence[Any]) -> list[Any]:
    """Of versions, newest first, those that hold different values of a field: of each value the earliest."""
    kept: list[Any] = []
    for one in reversed(holders):
        if all(one.data[name] != other.data[name] for other in kept):
            kept.append(one)
    return kept[::-1]
