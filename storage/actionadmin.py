"""Actions, trackers and what is left of deleted objects in Django's admin: looked at, and deleted by who may.

Each list loads what its rows are about together, and none reads its whole table: a filter looks through the latest
rows of the chosen period, a search for an object goes by its index. Names, verbs and data come from strangers: they are
made printable and then escaped.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.db import connections, models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from footfall.producers.messages import Ref
from footfall.producers.settings import conf
from footfall.storage import handlers
from footfall.storage.actionids import Range, ids_sql
from footfall.storage.loading import entries_of
from footfall.storage.models import Action, ActionObject, DeletedItem, Tracker
from footfall.storage.periodlist import PeriodList
from footfall.storage.printable import printable
from footfall.storage.readonlyadmin import ReadOnlyAdmin
from footfall.storage.resolving import resolve
from footfall.storage.sentences import enumeration, name_of

#: How many rows of the chosen period a filter or a search for words looks through: the latest.
SEARCHED = 50_000

#: How many rows a search for an object finds at most.
FOUND = 200

#: How much of a name a list shows.
NAME_LENGTH = 60

#: The template of lists with a date hierarchy.
PERIOD_LIST = "admin/footfall_storage/period_list.html"

#: Whom a row is about, and what that is now; None where it is gone without a trace.
Named = tuple[Ref, Any]

_LINE = mark_safe("<br>")
_REF = re.compile(r"\s*(\w+\.\w+):(.*?)\s*")


class DeletableAdmin(ReadOnlyAdmin):
    """Rows that nobody adds or changes; who has the permission deletes them, a page at a time."""

    #: Nothing offers to choose what is on other pages, too: the confirmation would load all of it.
    acts_on_one_page = True
    sortable_by = ()

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return super(ReadOnlyAdmin, self).has_delete_permission(request, obj)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """All: the list itself searches."""
        return queryset, False

    def linked(self, ref: Ref, obj: Any) -> str:
        """An object's name, as a link to its page in this admin where there is one; its Ref where it is gone."""
        if obj is None:
            return printable(str(ref))
        name, url = printable(name_of(obj)), self._url(obj)
        return format_html('<a href="{}">{}</a>', url, name) if url else name

    def _url(self, obj: Any) -> str:
        if isinstance(obj, DeletedItem) and obj.pk is None:  # made from a softly deleted row
            return ""
        page, key = ("changelist", []) if isinstance(obj, type) else ("change", [quote(str(obj.pk))])
        try:
            return reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_{page}", None, key, None, self._site)
        except NoReverseMatch:
            return ""

    @property
    def _site(self) -> str:
        return self.admin_site.name


def _short(obj: Any) -> str:
    return printable(Truncator(name_of(obj)).chars(NAME_LENGTH))


def _make_printable(row: models.Model, *fields: str) -> None:
    """Make texts of a row fit for a page, wherever the admin shows it by its ``str()``; it is not to be saved."""
    for name in fields:
        setattr(row, name, printable(getattr(row, name), keep="\n"))


def _json(value: Any) -> str:
    """As lines of text in a box of their own."""
    return format_html("<pre>{}</pre>", printable(json.dumps(value, indent=2, ensure_ascii=False), keep="\n"))


def _searched_ref(words: str) -> Ref | None:
    """The object that ``app_label.model:id`` names, or without an id the model itself; None for other words."""
    found = _REF.fullmatch(words)
    return Ref(found[1].lower(), found[2]) if found else None


# -- Actions


class LevelFilter(admin.SimpleListFilter):
    """By one of the levels of the settings."""

    title = _("level")
    parameter_name = "level"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(str(number), name) for name, number in conf.LEVELS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if not (value.isdecimal() and int(value) < 1 << 15):  # what its column holds
            raise IncorrectLookupParameters
        return queryset.filter(level=int(value))


class VerbFilter(admin.SimpleListFilter):
    """By a verb: those that have handlers and those on the page are offered, any other may stand in the address."""

    title = _("verb")
    parameter_name = "verb"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return []  # the list knows them, once it has its rows

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if "\0" in value:
            raise IncorrectLookupParameters
        return queryset.filter(verb=value)

    def choices(self, changelist: Any) -> Iterator[Any]:
        """All, and the verbs."""
        verbs = {*changelist.verbs, *handlers.known_verbs(), self.value() or ""}
        self.lookup_choices = [(verb, _short_verb(verb)) for verb in sorted(verbs - {""})]
        return super().choices(changelist)


def _short_verb(verb: str) -> str:
    return printable(Truncator(verb).chars(NAME_LENGTH))


class ActionList(PeriodList):
    """The list of actions, the latest first."""

    @property
    def search_note(self) -> str:
        """What people are to know of what is not searched."""
        if self._ref is not None:
            return gettext("At most %d actions of an object are found: the latest of the period.") % FOUND
        if self._looks_through:
            return gettext("The latest %d actions of the period are looked through.") % SEARCHED
        return ""

    @cached_property
    def _ref(self) -> Ref | None:
        return _searched_ref(self.query)

    @property
    def _looks_through(self) -> bool:
        return bool(self.query.strip() or {"verb", "level"} & self.params.keys())

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """The rows chosen by period, filters and search."""
        rows = super().get_queryset(request, exclude_parameters)
        if self._ref is not None:
            return rows.filter(pk__in=self._ids_about(self._ref))
        if self._looks_through:
            rows = self.among_latest(rows, SEARCHED)
        return rows.filter(verb__istartswith=self.query.strip()) if self.query.strip() else rows

    def _ids_about(self, ref: Ref) -> list[Any]:
        """The latest actions of the period in which an object plays any role. One query, of three index ranges."""
        entries = ActionObject.objects.filter(self.in_period, object_type=ref.type, object_id=ref.id)
        ranges = tuple(Range(entries.filter(role=role)) for role in ActionObject.Role)
        connection = connections[self.root_queryset.db]
        with connection.cursor() as cursor:
            cursor.execute(*ids_sql(ranges, connection, FOUND))
            return [row[0] for row in cursor.fetchall()]

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """By time, then by id: the one order that an index gives."""
        return ["-timestamp", "-id"]

    def get_results(self, request: HttpRequest) -> None:
        """A page of rows, with whom they are about. One query for that, and one for each model among them."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        self.verbs = {action.verb for action in self.result_list}
        _load_about(self.result_list)


def _load_about(actions: list[Action]) -> None:
    """Give each action what is named by its entries: in each role pairs of a Ref and what that is now, if anything."""
    found = resolve(ref for action in actions for _role, ref in _entries(action))
    for action in actions:
        about: dict[str, list[Named]] = defaultdict(list)
        for role, ref in _entries(action):
            about[role].append((ref, found.get(ref)))
        action.about = about  # type: ignore[attr-defined]  # ours alone
        _make_printable(action, "actor_type", "actor_id", "verb")


def _entries(action: Action) -> list[tuple[str, Ref]]:
    actor = [("a", Ref(action.actor_type, action.actor_id or None))] if action.actor_type else []
    return [*actor, *(entry for entry in entries_of(action) if entry[0] != "a")]


@admin.register(Action)
class ActionAdmin(DeletableAdmin):
    """Who did what, to what."""

    list_display = ("timestamp", "actor_name", "verb_name", "target_names", "related_names", "level_name")
    list_filter = (LevelFilter, VerbFilter)
    change_list_template = PERIOD_LIST
    date_hierarchy = "timestamp"
    search_fields = ("verb",)
    search_help_text = _("The beginning of a verb, or an object as app_label.model:id.")
    fields = (
        "timestamp",
        "actor_link",
        "verb_name",
        "target_links",
        "related_links",
        "level_name",
        "shown_data",
        "renewed",
        "changed",
        "id",
    )
    readonly_fields = ("actor_link", "verb_name", "target_links", "related_links", "level_name", "shown_data")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ActionList

    # -- The list

    @admin.display(description=_("actor"))
    def actor_name(self, action: Action) -> str:
        """Who did it."""
        return self._names(action, ActionObject.Role.ACTOR)

    @admin.display(description=_("verb"))
    def verb_name(self, action: Action) -> str:
        """What they did, as it is stored."""
        return action.verb

    @admin.display(description=_("targets"))
    def target_names(self, action: Action) -> str:
        """What it was done to: the first of them, and how many more."""
        return self._names(action, ActionObject.Role.TARGET)

    @admin.display(description=_("related"))
    def related_names(self, action: Action) -> str:
        """What it stands in relation to, likewise."""
        return self._names(action, ActionObject.Role.RELATED)

    def _names(self, action: Any, role: str) -> str:
        return enumeration([_short(ref if obj is None else obj) for ref, obj in action.about[role]])

    @admin.display(description=_("level"))
    def level_name(self, action: Action) -> str:
        """Its level by the settings' name, or as a number where they have none for it."""
        return next((name for name, number in conf.LEVELS.items() if number == action.level), str(action.level))

    # -- One action

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Action | None:
        """The row, with whom it is about."""
        action: Action | None = super().get_object(request, object_id, from_field)
        if action is not None:
            _load_about([action])
        return action

    @admin.display(description=_("actor"))
    def actor_link(self, action: Action) -> str:
        """Who did it."""
        return self._lines(action, ActionObject.Role.ACTOR)

    @admin.display(description=_("targets"))
    def target_links(self, action: Action) -> str:
        """What it was done to, one a line."""
        return self._lines(action, ActionObject.Role.TARGET)

    @admin.display(description=_("related"))
    def related_links(self, action: Action) -> str:
        """What it stands in relation to, one a line."""
        return self._lines(action, ActionObject.Role.RELATED)

    def _lines(self, action: Any, role: str) -> str:
        return format_html_join(_LINE, "{}", ((self.linked(*named),) for named in action.about[role]))

    @admin.display(description=_("data"))
    def shown_data(self, action: Action) -> str:
        """Its data as JSON."""
        return _json(action.data)


# -- Trackers


class TrackerList(ChangeList):
    """The list of trackers, the newest first."""

    def get_filters(self, request: HttpRequest) -> Any:
        """None: whatever an address asks for beside the search is refused."""
        if self.get_filters_params():
            raise IncorrectLookupParameters
        return super().get_filters(request)

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """All, those on an object, or those of a user."""
        rows = super().get_queryset(request, exclude_parameters)
        words = self.query.strip()
        if not words:
            return rows
        return rows.filter(pk__in=list(self._chosen(words).values_list("pk", flat=True)[:FOUND]))

    def _chosen(self, words: str) -> QuerySet[Any]:
        ref = _searched_ref(words)
        if ref is not None:
            return self.root_queryset.order_by().filter(tracked_type=ref.type, tracked_id=ref.id)
        model = get_user_model()
        named = model._default_manager.filter(**{model.USERNAME_FIELD: words}).values_list("pk", flat=True)[:1]
        return self.root_queryset.order_by().filter(user__in=list(named))

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """By id: by the index that there is."""
        return ["-id"]

    def get_results(self, request: HttpRequest) -> None:
        """A page of rows, each with its user and what they follow. One query for each model among them."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        _load_both(self.result_list)


def _load_both(trackers: list[Tracker]) -> None:
    found = resolve(ref for tracker in trackers for ref in _both(tracker))
    for tracker in trackers:
        tracker.both = [(ref, found.get(ref)) for ref in _both(tracker)]  # type: ignore[attr-defined]  # ours alone
        _make_printable(tracker, "tracked_type", "tracked_id")


def _both(tracker: Tracker) -> tuple[Ref, Ref]:
    return Ref(get_user_model()._meta.label_lower, str(tracker.user_id)), tracker.tracked_ref


@admin.register(Tracker)
class TrackerAdmin(DeletableAdmin):
    """Who follows what."""

    list_display = ("user_link", "tracked_link", "shown_verbs", "shown_excluded", "actor_only", "last_updated")
    list_display_links = ("last_updated",)
    search_fields = ("user",)
    search_help_text = _("The name of a user, or an object as app_label.model:id.")
    fields = list_display
    readonly_fields = ("user_link", "tracked_link", "shown_verbs", "shown_excluded")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TrackerList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Tracker | None:
        """The row, with its user and what they follow."""
        tracker: Tracker | None = super().get_object(request, object_id, from_field)
        if tracker is not None:
            _load_both([tracker])
        return tracker

    @admin.display(description=_("user"))
    def user_link(self, tracker: Any) -> str:
        """Who follows."""
        return self.linked(*tracker.both[0])

    @admin.display(description=_("follows"))
    def tracked_link(self, tracker: Any) -> str:
        """What: an object, what is left of it, or all of a model."""
        return self.linked(*tracker.both[1])

    @admin.display(description=_("verbs"))
    def shown_verbs(self, tracker: Tracker) -> str:
        """Those followed."""
        return printable(", ".join(tracker.verbs)) or gettext("all")

    @admin.display(description=_("but for"))
    def shown_excluded(self, tracker: Tracker) -> str:
        """Those taken out."""
        return printable(", ".join(tracker.excluded))


# -- What is left of deleted objects


class DeletedItemList(PeriodList):
    """The list of deleted objects, the latest first."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """All, one object, or those whose description has these words."""
        rows = super().get_queryset(request, exclude_parameters)
        ref = _searched_ref(self.query)
        if ref is not None:
            return rows.filter(object_type=ref.type, object_id=ref.id)
        words = self.query.strip()
        return self.among_latest(rows, SEARCHED).filter(description__icontains=words) if words else rows

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """By time, then by id."""
        return ["-deleted_at", "-id"]

    def get_results(self, request: HttpRequest) -> None:
        """A page of rows, as a page may show them."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        for item in self.result_list:
            _make_printable(item, *_ITEM_TEXTS)


_ITEM_TEXTS = ("object_type", "object_id", "description")


@admin.register(DeletedItem)
class DeletedItemAdmin(DeletableAdmin):
    """What stands in the place of deleted objects: without it, actions no longer show them."""

    list_display = ("short_description", "object_type", "object_id", "deleted_at")
    change_list_template = PERIOD_LIST
    date_hierarchy = "deleted_at"
    search_fields = ("description",)
    search_help_text = _("Words of a description, or an object as app_label.model:id.")
    fields = ("description", "object_type", "object_id", "deleted_at", "shown_serialization")
    readonly_fields = ("shown_serialization",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DeletedItemList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> DeletedItem | None:
        """The row, as a page may show it."""
        item: DeletedItem | None = super().get_object(request, object_id, from_field)
        if item is not None:
            _make_printable(item, *_ITEM_TEXTS)
        return item

    @admin.display(description=_("description"))
    def short_description(self, item: DeletedItem) -> str:
        """The beginning of how it described itself."""
        return _short(item) or "-"

    @admin.display(description=_("serialization"))
    def shown_serialization(self, item: DeletedItem) -> str:
        """What its site kept of it, as JSON."""
        return _json(item.serialization)
