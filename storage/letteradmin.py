"""Dead letters in Django's admin: listed, searched, shown, mended, replayed and discarded.

What a letter holds comes from strangers: it is made printable and then escaped, never marked as safe.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.module_loading import import_string
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from footfall.producers.messages import KINDS
from footfall.producers.queues import QUEUES, SPOOL
from footfall.producers.settings import conf
from footfall.storage.letters import LetterSettledError, discard, mend
from footfall.storage.models import DeadLetter
from footfall.storage.paging import BoundedPaginator
from footfall.storage.printable import printable, readable

if TYPE_CHECKING:
    _LetterAdmin = admin.ModelAdmin[DeadLetter]
    _LetterForm = forms.ModelForm[DeadLetter]
else:
    _LetterAdmin = admin.ModelAdmin
    _LetterForm = forms.ModelForm

logger = logging.getLogger("footfall.letters")

#: How much of a body a page shows, and how large a body may be to be edited in a page.
SHOWN_BYTES = 64 * 1024

#: How many letters a request replays; the command has no limit.
REPLAY_LIMIT = 1000


class LinesField(forms.CharField):
    """Text whose line ends are newlines, whatever a browser makes of them."""

    widget = AdminTextareaWidget

    def to_python(self, value: Any) -> Any:
        """The text, with its line ends made one."""
        return _one_line_end(str(super().to_python(value)))


def _one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


class DeadLetterForm(_LetterForm):
    """The mended text, which begins as what a replay would take now, where that is a text that fits into a page."""

    mended = LinesField(
        label=_("Mended body"),
        required=False,
        strip=False,
        help_text=_(
            "A replay takes this instead of the original, which is kept. Leave it empty to take the original again. "
            "It begins empty where the bytes are not UTF-8 or too many for a page."
        ),
    )

    class Meta:
        model = DeadLetter
        fields: list[str] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["mended"] = _editable(self.instance.current_body)


def _editable(body: bytes) -> str:
    if len(body) > SHOWN_BYTES or b"\0" in body:
        return ""
    try:
        return _one_line_end(body.decode())
    except UnicodeDecodeError:
        return ""


class _ChoiceFilter(admin.SimpleListFilter):
    """A filter over values that are known beforehand: to ask the table for them would read all of it."""

    values: tuple[str, ...]

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(value, value) for value in self.values]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(**{self.parameter_name or "": self.value()})


class KindFilter(_ChoiceFilter):
    """By the kind of the event."""

    title = _("kind")
    parameter_name = "kind"
    values = (*KINDS, "unknown")


class QueueFilter(_ChoiceFilter):
    """By the queue that it came from."""

    title = _("queue")
    parameter_name = "queue"
    values = (*QUEUES, SPOOL)


class LetterList(ChangeList):
    """The list of letters, without their bytes."""

    def get_queryset(self, *args: Any, **kwargs: Any) -> models.QuerySet[Any]:
        """The rows of the page."""
        return super().get_queryset(*args, **kwargs).defer("body", "edited_body")


@admin.register(DeadLetter)
class DeadLetterAdmin(_LetterAdmin):
    """Lists, searches and shows dead letters; mends, replays and discards the open ones, each under its permission."""

    form = DeadLetterForm
    actions = ("replay_selected", "discard_selected")
    list_display = (
        "id",
        "state",
        "reason",
        "kind",
        "queue",
        "stage",
        "short_error",
        "first_seen",
        "last_seen",
        "attempts",
        "is_mended",
    )
    list_filter = ("state", "reason", KindFilter, "stage", QueueFilter)
    list_per_page = 50
    paginator = BoundedPaginator
    show_full_result_count = False
    date_hierarchy = "last_seen"
    search_fields = ("error",)
    search_help_text = _("Words of the error, or the whole id of a message or an event.")

    # -- Who may what

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: DeadLetter | None = None) -> bool:
        """Nobody: letters are discarded, and stay to be read."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: DeadLetter | None = None) -> bool:
        """To change one is to mend it, which ends when it is settled."""
        return super().has_change_permission(request, obj) and (obj is None or _is_open(obj))

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Whether the actions and buttons that replay are there."""
        return request.user.has_perm("footfall_storage.replay_deadletter")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Whether the actions and buttons that discard are there."""
        return request.user.has_perm("footfall_storage.discard_deadletter")

    # -- The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LetterList

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """By the id of a message or an event where the term is one, else by words of the error."""
        try:
            number = uuid.UUID(search_term.strip())
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        return queryset.filter(models.Q(message_id=number) | models.Q(event_id=number)), False

    @admin.display(description=_("error"))
    def short_error(self, letter: DeadLetter) -> str:
        """The beginning of the error."""
        return printable(Truncator(letter.error).chars(100))

    @admin.display(boolean=True, description=_("mended"))
    def is_mended(self, letter: DeadLetter) -> bool:
        """Whether mended bytes stand beside the original."""
        return letter.edited_at is not None

    @admin.action(permissions=["replay"], description=_("Replay selected dead letters"))
    def replay_selected(self, request: HttpRequest, letters: models.QuerySet[DeadLetter]) -> None:
        """Replay in place, through the pipeline, and say what came of it."""
        found = letters.filter(state=DeadLetter.State.OPEN).count()
        try:
            summary = import_string(conf.REPLAY)(letters, limit=REPLAY_LIMIT)
        except Exception as error:  # what a site's own code or the database raises; the operator is to read it
            logger.exception("A replay from the admin stopped.")
            self.message_user(request, _("The replay stopped: %s") % printable(str(error)), messages.ERROR)
            return
        self._report_replay(request, summary)
        if found > REPLAY_LIMIT:
            left = _("%d are left: replay them too, or use the command replay_dead_letters.") % (found - REPLAY_LIMIT)
            self.message_user(request, left, messages.WARNING)

    def _report_replay(self, request: HttpRequest, summary: Any) -> None:
        if summary.replayed:
            text = ngettext("%d dead letter replayed.", "%d dead letters replayed.", summary.replayed)
            self.message_user(request, text % summary.replayed, messages.SUCCESS)
        if summary.still_dead:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in summary.reasons.most_common())
            text = _("%(count)d still dead: %(reasons)s.") % {"count": summary.still_dead, "reasons": reasons}
            self.message_user(request, text, messages.WARNING)
        if summary.busy:
            self.message_user(request, _("%d in the hands of another replay.") % summary.busy, messages.WARNING)
        if summary.left_out:
            left_out = _("%d left out: they took their worker down. Mend them, or name them in replay_dead_letters.")
            self.message_user(request, left_out % summary.left_out, messages.WARNING)
        if not (summary.replayed or summary.still_dead or summary.busy or summary.left_out):
            self.message_user(request, _("Nothing to replay: no letter of them is open."), messages.WARNING)

    @admin.action(permissions=["discard"], description=_("Discard selected dead letters"))
    def discard_selected(self, request: HttpRequest, letters: models.QuerySet[DeadLetter]) -> None:
        """Settle the open ones as discarded."""
        count = discard(letters, request.user.get_username(), datetime.now(UTC))
        if count:
            text = ngettext("%d dead letter discarded.", "%d dead letters discarded.", count) % count
            self.message_user(request, text, messages.SUCCESS)
        else:
            self.message_user(request, _("Nothing to discard: no letter of them is open."), messages.WARNING)

    # -- One letter

    def get_fieldsets(self, request: HttpRequest, obj: DeadLetter | None = None) -> Any:
        """All of the letter; the mended text is a field where it may be changed, else shown like the original."""
        mended = "mended" if self.has_change_permission(request, obj) else "mended_body"
        return (
            (None, {"fields": ("state", "reason", "full_error", "stage", "attempts")}),
            (_("When"), {"fields": ("first_seen", "last_seen", "settled_at")}),
            (_("What"), {"fields": ("kind", "queue", "message_id", "position", "event_id", "original_body")}),
            (_("Mended"), {"fields": ("edited_by", "edited_at", mended)}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: DeadLetter | None = None) -> list[str]:
        """Everything but the mended text."""
        names = [name for _title, options in self.get_fieldsets(request, obj) for name in options["fields"]]
        return [name for name in names if name != "mended"]

    @admin.display(description=_("error"))
    def full_error(self, letter: DeadLetter) -> str:
        """The error."""
        return printable(letter.error, keep="\n")

    @admin.display(description=_("original body"))
    def original_body(self, letter: DeadLetter) -> str:
        """The bytes that came, as text with escapes or as a hexdump."""
        return _preformatted(bytes(letter.body))

    @admin.display(description=_("mended body"))
    def mended_body(self, letter: DeadLetter) -> str:
        """The bytes that a person put beside them."""
        return "" if letter.edited_body is None else _preformatted(bytes(letter.edited_body))

    def save_model(self, request: HttpRequest, obj: DeadLetter, form: Any, change: bool) -> None:
        """Keep the mended text beside the original. Nothing else of the row is written."""
        if "mended" not in form.changed_data:
            return
        body = form.cleaned_data["mended"].encode() or None
        try:
            mend(obj, body, request.user.get_username(), datetime.now(UTC))
        except LetterSettledError:
            raise PermissionDenied(_("The letter was settled meanwhile.")) from None

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: DeadLetter | None = None,
    ) -> HttpResponse:
        """The page, with a button for what this user may do now."""
        is_open = obj is not None and _is_open(obj)
        context["may_replay"] = is_open and self.has_replay_permission(request)
        context["may_discard"] = is_open and self.has_discard_permission(request)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_urls(self) -> list[URLPattern]:
        """The admin's own pages, and where the buttons post to."""
        return [
            self._button("replay", self.replay_one),
            self._button("discard", self.discard_one),
            *super().get_urls(),
        ]

    def _button(self, name: str, view: Callable[..., HttpResponse]) -> URLPattern:
        guarded = self.admin_site.admin_view(require_POST(view))
        return path(f"<path:object_id>/{name}/", guarded, name=f"footfall_storage_deadletter_{name}")

    def replay_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button *Replay* posts to."""
        letter = self._letter_for(request, object_id, self.has_replay_permission)
        self.replay_selected(request, self.get_queryset(request).filter(pk=letter.pk))
        self.log_change(request, letter, "Replayed.")
        return self._back_to(letter)

    def discard_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button *Discard* posts to."""
        letter = self._letter_for(request, object_id, self.has_discard_permission)
        self.discard_selected(request, self.get_queryset(request).filter(pk=letter.pk))
        self.log_change(request, letter, "Discarded.")
        return self._back_to(letter)

    def _letter_for(
        self, request: HttpRequest, object_id: str, is_allowed: Callable[[HttpRequest], bool]
    ) -> DeadLetter:
        if not is_allowed(request):
            raise PermissionDenied
        letter = self.get_object(request, unquote(object_id))
        if letter is None:
            raise Http404
        if not self.has_view_permission(request, letter):
            raise PermissionDenied
        return letter

    def _back_to(self, letter: DeadLetter) -> HttpResponse:
        return redirect(f"{self.admin_site.name}:footfall_storage_deadletter_change", letter.pk)


def _is_open(letter: DeadLetter) -> bool:
    return letter.state == DeadLetter.State.OPEN


def _preformatted(body: bytes) -> str:
    return format_html('<pre style="white-space: pre-wrap; margin: 0">{}</pre>', readable(body, SHOWN_BYTES))
