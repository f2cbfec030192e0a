"""What the admin's pages say of a soft deletion before it is done: what goes, how much of it, and who may not.

Names come from people: they are made printable and then escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.contrib.admin.options import ModelAdmin
from django.contrib.admin.sites import AdminSite
from django.contrib.admin.utils import quote
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.text import Truncator, capfirst
from django.utils.translation import gettext, ngettext

from footfall.storage.deletionpreview import Level, leading_to, levels
from footfall.storage.printable import printable

#: How many objects of a level a page names, and how much of a name it shows.
NAMED = 20
NAME_LENGTH = 100


class Going(NamedTuple):
    """What goes: its names as nested lists, how many of each model, and the models that the user may not delete."""

    named: list[Any]
    counts: dict[str, int | str]
    lacking: set[str]


def going(rows: QuerySet[Any], gone: Sequence[Any], request: HttpRequest, site: AdminSite) -> Going:
    """What is deleted softly with ``rows``, and below the objects with the keys ``gone``, which are deleted already.

    One query a level and relation, and one for the names of each. Whoever may delete is asked as Django asks: of each
    object where an admin has its own ``has_delete_permission``, which then means to count, and to load, all of them;
    else of the models, those too of which not everything was counted.
    """
    named: list[Any] = []
    counts: Counter[str] = Counter()
    lacking: set[str] = set()
    more: set[str] = set()
    asks_each = any(_asks_each(site, model) for model in leading_to(rows.model))
    for level in levels(rows, gone, all_of_them=asks_each):
        counts[str(level.model._meta.verbose_name_plural)] += len(level.keys)
        more |= {str(model._meta.verbose_name_plural) for model in level.more}
        named += _named(level, rows.db, site)
        lacking |= {str(model._meta.verbose_name) for model in _lacking(level, rows.db, request, site)}
    shown = {name: gettext("at least %d") % count if name in more else count for name, count in (+counts).items()}
    return Going(named, shown, lacking)


# -- Who may


def _lacking(level: Level, using: str, request: HttpRequest, site: AdminSite) -> set[type[Model]]:
    """The models of which the user may not delete what is on the level, or what may be beyond it."""
    return {model for model in {level.model, *level.more} if not _may_delete(model, level, using, request, site)}


def _may_delete(model: type[Model], level: Level, using: str, request: HttpRequest, site: AdminSite) -> bool:
    if not site.is_registered(model):
        return True  # as Django has it: nobody said who may
    admin = site.get_model_admin(model)
    if _asks_each(site, model):
        return all(admin.has_delete_permission(request, obj) for obj in level.objects(using))
    return admin.has_delete_permission(request)


def _asks_each(site: AdminSite, model: type[Model]) -> bool:
    """Whether the model's admin may answer otherwise for one object than for another: Django's own does not."""
    if not site.is_registered(model):
        return False
    asked: Any = site.get_model_admin(model).has_delete_permission
    return getattr(asked, "__func__", None) is not ModelAdmin.has_delete_permission


# -- What it is called


def _named(level: Level, using: str, site: AdminSite) -> list[Any]:
    names: list[Any] = [_linked(obj, site) for obj in level.first(NAMED, using)]
    more = len(level.keys) - len(names)
    if level.more:
        names.append(gettext("and perhaps more: counting has stopped here"))
    elif more > 0:
        names.append(ngettext("and %d more", "and %d more", more) % more)
    return names if level.depth == 0 else [capfirst(level.model._meta.verbose_name_plural), names]


def _linked(obj: Model, site: AdminSite) -> str:
    opts = obj._meta
    kind, name = capfirst(opts.verbose_name), printable(Truncator(str(obj)).chars(NAME_LENGTH))
    try:
        page = f"admin:{opts.app_label}_{opts.model_name}_change"
        url = reverse(page, args=[quote(str(obj.pk))], current_app=site.name)
    except NoReverseMatch:
        return f"{kind}: {name}"
    return format_html('{}: <a href="{}">{}</a>', kind, url, name)
