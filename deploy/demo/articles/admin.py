from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from articles.models import Article, Comment
from footfall.producers import publish_action

if TYPE_CHECKING:
    ArticleAdminBase = admin.ModelAdmin[Article]
    CommentAdminBase = admin.ModelAdmin[Comment]
else:
    ArticleAdminBase = CommentAdminBase = admin.ModelAdmin


@admin.register(Article)
class ArticleAdmin(ArticleAdminBase):
    list_display = ("title", "section", "published")
    list_filter = ("section",)
    search_fields = ("title",)
    prepopulated_fields: ClassVar = {"slug": ["title"]}

    def save_model(self, request: HttpRequest, obj: Article, form: Any, change: Any) -> None:
        """Those who follow the author are told of a new article."""
        super().save_model(request, obj, form, change)
        if not change:
            publish_action(obj.author, "published", obj)


@admin.register(Comment)
class CommentAdmin(CommentAdminBase):
    list_display = ("text", "article", "author", "written")
    list_select_related = ("article", "author")
    readonly_fields = ("ticket",)
