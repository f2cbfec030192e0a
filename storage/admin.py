"""Footfall's books in Django's admin: what workers write and people look at.

And what sites inherit from for their own objects: `HandleRefAdmin`, and `VersionAdmin` with their history.
"""

from __future__ import annotations

from django.contrib import admin

from footfall.storage.actionadmin import ActionAdmin, DeletedItemAdmin, TrackerAdmin
from footfall.storage.letteradmin import DeadLetterAdmin
from footfall.storage.models import SpiderTally, Tally
from footfall.storage.readonlyadmin import ReadOnlyAdmin
from footfall.storage.referenceadmin import HandleRefAdmin
from footfall.storage.statisticadmin import StatisticAdmin
from footfall.storage.versionadmin import VersionAdmin

__all__ = [
    "ActionAdmin",
    "DeadLetterAdmin",
    "DeletedItemAdmin",
    "HandleRefAdmin",
    "ReadOnlyAdmin",
    "SpiderTallyAdmin",
    "StatisticAdmin",
    "TallyAdmin",
    "TrackerAdmin",
    "VersionAdmin",
]


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
