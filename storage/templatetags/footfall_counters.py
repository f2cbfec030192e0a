"""Counters in templates: ``{% load footfall_counters %}``. Each tag is one query.

::

    {% counter_total article "views" %}
    {% counter_series article "views" last=30 dataset="blog.articledaily" as points %}
    {% counter_top "blog.article" "views" 10 since=day dataset="blog.articledaily" as ranked %}
    {% counter_trending "blog.article" "views" 10 half_life=2 dataset="blog.articledaily" as ranked %}

Without ``dataset`` the first one registered for the model is read. A name that nothing is registered under, and an
unknown counter, raise an error instead of showing nothing.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django import template
from django.apps import apps
from django.db import models

from footfall.storage.datasets import TrackableData, site
from footfall.storage.templatetags.footfall_seen import is_nothing

register = template.Library()


@register.simple_tag
def counter_total(
    obj: Any, field: str, since: date | None = None, until: date | None = None, dataset: str | None = None
) -> int:
    """The sum of a counter of ``obj``, of all time or from ``since`` to ``until``; 0 where there is no object."""
    if is_nothing(obj):
        return 0
    return _dataset(_model_of(obj), dataset).total(obj, field, since, until)


@register.simple_tag
def counter_series(
    obj: Any,
    field: str,
    last: int = 30,
    since: date | None = None,
    until: date | None = None,
    dataset: str | None = None,
) -> list[tuple[Any, int]]:
    """Pairs of slot and number, oldest first: the ``last`` slots, or those from ``since`` on; none of no object."""
    if is_nothing(obj):
        return []
    return _dataset(_model_of(obj), dataset).series(obj, field, last, since, until)


@register.simple_tag
def counter_top(
    model: Any,
    field: str,
    n: int = 10,
    since: date | None = None,
    until: date | None = None,
    among: Any = None,
    dataset: str | None = None,
) -> models.QuerySet[Any]:
    """The ``n`` objects of ``model`` (``app_label.model``) counted most, each with its ``total``; a lazy queryset."""
    known = _model(model)
    return _dataset(known, dataset).top(field, n, since, until, among, known)


@register.simple_tag
def counter_trending(
    model: Any,
    field: str,
    n: int = 10,
    half_life: float | timedelta = 7,
    among: Any = None,
    dataset: str | None = None,
) -> models.QuerySet[Any]:
    """Like ``counter_top``, by a ``score`` that halves with each ``half_life``, in days or a timedelta."""
    known = _model(model)
    length = half_life if isinstance(half_life, timedelta) else timedelta(days=half_life)
    return _dataset(known, dataset).trending(field, n, length, among, known)


def _model_of(obj: Any) -> type[models.Model]:
    if not isinstance(obj, models.Model):
        raise TypeError(f"{obj!r} is not a model instance.")
    return obj.__class__


def _model(model: Any) -> type[models.Model]:
    if not isinstance(model, str) or model.count(".") != 1:
        raise ValueError(f'A model is named "app_label.model", not {model!r}.')
    return apps.get_model(model)


def _dataset(model: type[models.Model], label: str | None) -> type[TrackableData]:
    datasets = site.datasets_of(model)
    if not datasets:
        raise LookupError(f"No dataset is registered for {model._meta.label}.")
    if label is None:
        return datasets[0]
    found = site.by_label(str(label).lower())
    if found not in datasets:
        names = ", ".join(dataset._meta.label_lower for dataset in datasets)
        raise LookupError(f"{label!r} is not registered for {model._meta.label}, which is counted in {names}.")
    return found
