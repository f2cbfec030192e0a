from typing import TYPE_CHECKING, ClassVar

from django.contrib import admin

from articles.models import Article, Comment

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


@admin.register(Comment)
class CommentAdmin(CommentAdminBase):
    list_display = ("text", "article", "author", "written")
    list_select_related = ("article", "author")
    readonly_fields = ("ticket",)
