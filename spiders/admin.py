"""Spiders in Django's admin."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db import models
from django.forms import ModelForm
from django.http import HttpRequest

from footfall.spiders.models import Spider

if TYPE_CHECKING:
    SpiderAdminBase = admin.ModelAdmin[Spider]
else:
    SpiderAdminBase = admin.ModelAdmin


@admin.register(Spider)
class SpiderAdmin(SpiderAdminBase):
    """Lists, searches and edits spiders. One changed here, not just switched, becomes the operator's."""

    list_display = ("name", "pattern", "url", "active", "custom")
    list_editable = ("active",)
    list_filter = ("active", "custom")
    search_fields = ("name", "pattern", "url")
    readonly_fields = ("custom", "updated")
    formfield_overrides = {
        # Django 5.2 warns, unless told, about the scheme it will assume from 6.0 on.
        models.URLField: {"assume_scheme": "https"},
        # Some patterns begin or end with a blank.
        models.CharField: {"strip": False},
    }

    def save_model(self, request: HttpRequest, obj: Spider, form: "ModelForm[Spider]", change: bool) -> None:
        """Save, and mark as custom what says something else than the package now."""
        obj.custom = obj.custom or bool(set(form.changed_data) - {"active"})
        super().save_model(request, obj, form, change)
