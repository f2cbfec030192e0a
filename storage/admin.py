"""Footfall's books in Django's admin: what workers write and people look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from footfall.storage.letteradmin import DeadLetterAdmin
from footfall.storage.models import Action, ActionObject, SpiderTally, Statistic, Tally

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

__all__ = ["ActionAdmin", "DeadLetterAdmin", "ReadOnlyAdmin", "SpiderTallyAdmin", "StatisticAdmin", "TallyAdmin"]


class ReadOnlyAdmin(_ModelAdmin):
    """Rows that workers write and people look at."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


@admin.register(Tally)
class TallyAdmin(ReadOnlyAdmin):
    """What came in and what became of it, by hour and kind."""

    list_display = ("hour", "kind", "name", "count")
    list_filter = ("name",)
    date_hierarchy = "hour"


@admin.register(SpiderTally)
class SpiderTallyAdmin(ReadOnlyAdmin):
    """Which spiders were filtered, by day."""

    list_display = ("day", "spider", "count")
    search_fields = ("spider",)
    date_hierarchy = "day"


@admin.register(Statistic)
class StatisticAdmin(ReadOnlyAdmin):
    """How often labels were hit, by day."""

    list_display = ("label", "category", "dom_id", "day", "counter")
    search_fields = ("label",)
    date_hierarchy = "day"


@admin.register(Action)
class ActionAdmin(ReadOnlyAdmin):
    """What actors did, with objects by their type and id."""

    list_display = ("timestamp", "actor", "verb", "level")
    fields = ("timestamp", "actor", "verb", "level", "targets", "related", "data")
    readonly_fields = ("actor", "targets", "related")

    @admin.display(description=_("actor"))
    def actor(self, action: Action) -> str:
        """Who, as ``app_label.model:id``."""
        return f"{action.actor_type}:{action.actor_id}" if action.actor_type else ""

    @admin.display(description=_("targets"))
    def targets(self, action: Action) -> str:
        """What it was done to, one a line."""
        return _refs(action, ActionObject.Role.TARGET)

    @admin.display(description=_("related"))
    def related(self, action: Action) -> str:
        """What it stands in relation to, one a line."""
        return _refs(action, ActionObject.Role.RELATED)


def _refs(action: Action, role: ActionObject.Role) -> str:
    rows = ActionObject.objects.using(action._state.db).filter(action_id=action.pk, role=role)
    return "\n".join(map(str, rows.order_by("object_type", "object_id")))
