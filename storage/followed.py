"""Whether the user who makes a request follows an object: a page that asks of many objects asks the database once."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.http import HttpRequest

from footfall.storage.models import Tracker
from footfall.storage.tracked import ref_of

#: How many trackers of a user on one model are loaded; of who has more, each object is looked up on its own.
LOADED = 5000

#: Where a request keeps what was loaded for the page that is being made.
CACHE = "_footfall_following"


def is_followed(request: HttpRequest, obj: models.Model) -> bool:
    """Whether the request's user, who is logged in, follows this very object, or did what is left of it; by any verbs.

    One query for all objects of a model that are asked about during the request. Raises ValueError for an object that
    is not saved.
    """
    ref = ref_of(obj)
    label, key = ref.type, ref.id or ""
    cache: dict[str, set[str] | None] = request.__dict__.setdefault(CACHE, {})
    if label not in cache:
        cache[label] = _loaded(request, label)
    known = cache[label]
    return _rows(request, label).filter(tracked_id=key).exists() if known is None else key in known


def _loaded(request: HttpRequest, label: str) -> set[str] | None:
    """The ids of the objects of one model that the user follows; None where they are too many."""
    ids = list(_rows(request, label).values_list("tracked_id", flat=True)[: LOADED + 1])
    return set(ids) if len(ids) <= LOADED else None


def _rows(request: HttpRequest, label: str) -> models.QuerySet[Tracker]:
    key: Any = request.user.pk
    return Tracker.objects.filter(user_id=key, tracked_type=label)
