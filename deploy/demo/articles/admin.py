from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from articles.models import Article, Comment
from footfall.producers import publish_action
from footfall.storage.admin import HandleRefAdmin, VersionAdmin


@admin.register(Article)
class ArticleAdmin(VersionAdmin):
    """With the history of each article: what it was, by whom, and back to it."""

    list_display = ("title", "section", "published", "status", "version")
    list_filter = ("section",)
    search_fields = ("title",)
    prepopulated_fields: ClassVar = {"slug": ["title"]}

    def save_model(self, request: HttpRequest, obj: Article, form: Any, change: Any) -> None:
        """Those who follow the author are told of a new article."""
        super().save_model(request, obj, form, change)
        if not change:
            publish_action(obj.author, "published", obj)


@admin.register(Comment)
class CommentAdmin(HandleRefAdmin):
    list_display = ("text", "article", "author", "written", "status")
    list_select_related = ("article", "author")
    readonly_fields = ("ticket",)
