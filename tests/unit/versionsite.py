"""A site of its own whose admin knows the newsroom's objects: some with their history, some without."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.sites import AdminSite
from django.http import HttpRequest, HttpResponse
from django.urls import path
from newsroom.models import Desk, Issue, Magazine, Masthead, Photo, Publisher, SpecialIssue, Story, Supplement

from footfall.storage.admin import HandleRefAdmin, VersionAdmin

site = AdminSite(name="newsdesk")


class MagazineInline(admin.TabularInline):  # type: ignore[type-arg]  # Django's is no generic class when it runs
    model = Magazine
    fields = ("title",)
    extra = 0


@admin.register(Publisher, site=site)
class PublisherAdmin(VersionAdmin):
    inlines = (MagazineInline,)
    search_fields = ("name",)


@admin.register(Magazine, site=site)
class MagazineAdmin(VersionAdmin):
    list_display = ("title", "handle", "publisher")
    list_filter = ("publisher",)
    actions = ("shout",)

    @admin.action
    def shout(self, request: object, magazines: object) -> None:
        """Say nothing."""


class Greeting:
    """A mixin of the site's own, as it might have one for all of its admin."""

    def get_urls(self) -> list[Any]:
        return [path("hello/", lambda request: HttpResponse("hello"), name="newsroom_hello"), *super().get_urls()]  # type: ignore[misc]  # of an admin

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["greeting", *super().get_readonly_fields(request, obj)]  # type: ignore[misc]  # likewise

    @admin.display
    def greeting(self, obj: Any) -> str:
        """Something to read."""
        return "good morning"


@admin.register(Story, site=site)
class StoryAdmin(Greeting, VersionAdmin):
    version_list_fields = (*VersionAdmin.version_list_fields, "title", "version_changed_fields")


@admin.register(Photo, Masthead, Desk, Supplement, SpecialIssue, site=site)
class ObjectAdmin(VersionAdmin):
    """As it comes."""


@admin.register(Issue, site=site)
class IssueAdmin(HandleRefAdmin):
    """Without history; changed in the list, too."""

    list_display = ("handle", "number", "status")
    list_editable = ("number", "status")


urlpatterns = [path("newsdesk/", site.urls)]
