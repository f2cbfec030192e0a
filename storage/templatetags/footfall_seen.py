"""What the user has seen, in templates: ``{% load footfall_seen %}``.

- ``{% if article|unseen_by:user %}`` and ``{% if article|seen_by:user %}``: for any object, anywhere on the page. The
  user's marks on the object's model are loaded once for a user instance, so a page costs one query for each model.
- ``{% for article in articles|with_seen:user %}{% if not article.seen %}…``: loads the marks on just those objects, in
  one query. Better where the user has very many marks, and for a list that is short.
- ``{% unseen_count %}`` counts in the list of a ListView; ``{% unseen_count articles %}`` in a queryset, a list or the
  model of a label ``"blog.article"``; ``{% unseen_count articles user as n %}`` for a chosen user. One query.

Where there is no object (None, a variable that is missing), or it is not saved yet, nothing is new or counted.
The filters need a time of change that the objects tell by themselves (MODIFICATION_FIELD_NAMES, also as a property);
else call ``ViewTracker.flag(…, updated_field=…)`` in the view. The tag takes ``updated_field="…"``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template
from django.db import models
from django.db.models import Manager, QuerySet
from django.template.context import RequestContext

from footfall.storage.viewtracker import ViewTracker

register = template.Library()

#: For an argument that was not given.
NOT_GIVEN: Any = object()


@register.filter
def seen_by(instance: Any, user: Any) -> bool:
    """Whether ``user`` has seen the object since it last changed; True for an anonymous user, and for no object."""
    if is_nothing(instance):
        return True
    return ViewTracker(user).has_viewed_by_loaded_marks(instance)


@register.filter
def unseen_by(instance: Any, user: Any) -> bool:
    """Whether ``user`` has not seen the object since it last changed; False for an anonymous user."""
    return not seen_by(instance, user)


@register.filter
def with_seen(objects: Iterable[Any], user: Any) -> list[Any]:
    """The objects as a list, each with ``seen``; those that are not saved are."""
    if is_nothing(objects):
        return []
    listed = list(objects)
    for one in filter(is_nothing, listed):
        one.seen = True
    ViewTracker(user).flag(one for one in listed if not is_nothing(one))
    return listed


def is_nothing(value: Any) -> bool:
    """Whether a template has nothing here: None, what Django puts for a missing variable, or an unsaved object."""
    if isinstance(value, models.Model):
        return value.pk is None or value._state.adding
    return value is None or value == ""


@register.simple_tag(takes_context=True)
def unseen_count(
    context: RequestContext, objects: Any = NOT_GIVEN, user: Any = NOT_GIVEN, updated_field: str | None = None
) -> int:
    """How many of ``objects`` (default: the context's ``object_list``) ``user`` (default: the request's) has not seen.

    Raises TemplateSyntaxError where there is no list or no user to be found.
    """
    if objects is NOT_GIVEN:
        objects = _found(context, "object_list", "objects")
    if user is NOT_GIVEN:
        request: Any = context.get("request")
        user = request.user if hasattr(request, "user") else _found(context, "user", "user")
    tracker = ViewTracker(user)
    if is_nothing(objects):
        return 0
    if isinstance(objects, (QuerySet, Manager, type, str)):
        return tracker.unseen_count(objects, updated_field)
    if isinstance(objects, Iterable):
        return tracker.count_unseen_of(objects, updated_field)
    raise template.TemplateSyntaxError(f"unseen_count counts in a queryset, a list or a model, not in {objects!r}.")


def _found(context: RequestContext, name: str, argument: str) -> Any:
    if name not in context:
        raise template.TemplateSyntaxError(f"unseen_count: there is no {name!r} in the context: name the {argument}.")
    return context[name]
