"""Footfall's books in Django's admin: what workers write and people look at."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from footfall.storage.letteradmin import DeadLetterAdmin
from footfall.storage.models import Action, ActionObject, SpiderTally, Tally
from footfall.storage.readonlyadmin import ReadOnlyAdmin
from footfall.storage.statisticadmin import StatisticAdmin

__all__ = ["ActionAdmin", "DeadLetterAdmin", "ReadOnlyAdmin", "SpiderTallyAdmin", "StatisticAdmin", "TallyAdmin"]


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
