"""Tells Footfall which datasets count the site's models; found by its app registry."""

from typing import TYPE_CHECKING

from django.contrib import admin

from articles.models import Article, ArticleDaily, ArticleTotals
from footfall.storage.datasets import site

if TYPE_CHECKING:
    DailyAdminBase = admin.ModelAdmin[ArticleDaily]
    TotalsAdminBase = admin.ModelAdmin[ArticleTotals]
else:
    DailyAdminBase = TotalsAdminBase = admin.ModelAdmin


class DailyAdmin(DailyAdminBase):
    list_display = ("object_id", "collected_during", "views", "readers", "comments")
    date_hierarchy = "collected_during"


class TotalsAdmin(TotalsAdminBase):
    list_display = ("object_id", "views", "comments", "likes")


site.register(Article, ArticleDaily, DailyAdmin)
site.register(Article, ArticleTotals, TotalsAdmin)
