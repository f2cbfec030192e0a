"""Gives a model's objects their ``actions`` and ``trackers``, and says what becomes of these when an object is deleted.

A model is connected in its own module, as a decorator, or in any app's module ``action_handlers``. What inherits from
it (a proxy, a child with a table of its own) is connected, too, and what is connected as a proxy is its concrete model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import TypeVar, overload

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from footfall.producers.settings import conf
from footfall.storage.accessors import ActionsAccessor, TrackersAccessor

M = TypeVar("M", bound=type[models.Model])
A = TypeVar("A", ActionsAccessor, TrackersAccessor)


@dataclass(frozen=True)
class Connection:
    """How a model is connected. Without ``use_del_items`` deleted objects take their actions and trackers along."""

    use_del_items: bool


_connections: dict[type[models.Model], Connection] = {}


@overload
def connect(model: M, *, use_del_items: bool = True) -> M: ...


@overload
def connect(model: None = None, *, use_del_items: bool = True) -> Callable[[M], M]: ...


def connect(model: M | None = None, *, use_del_items: bool = True) -> M | Callable[[M], M]:
    """Give objects of ``model`` their ``actions`` and ``trackers``: as a function, or a decorator with or without ().

    A deleted object leaves a `DeletedItem` to which its actions and trackers lead; with ``use_del_items=False`` its
    actions and trackers are deleted with it. Connected twice, the last word counts. Returns the model; no query.

    Raises AssertionError for an abstract model, TypeError for what is no model, and ImproperlyConfigured where the
    model has something else under one of the names (FOOTFALL["ACTIONS_ATTR"], FOOTFALL["TRACKERS_ATTR"]).
    """
    if model is None:
        return lambda decorated: connect(decorated, use_del_items=use_del_items)
    _refuse_what_is_no_table(model)
    named = [_free(model, "ACTIONS_ATTR", ActionsAccessor), _free(model, "TRACKERS_ATTR", TrackersAccessor)]
    for name, accessor in named:
        setattr(model, name, accessor())
    _connections[model._meta.concrete_model or model] = Connection(use_del_items)
    _listen(model)
    return model


def connection_of(model: type[models.Model]) -> Connection | None:
    """How ``model``, or the nearest model that it inherits from, is connected; None where it isn't. No query."""
    return next((_connections[base] for base in model.__mro__ if base in _connections), None)


def connected_models() -> list[type[models.Model]]:
    """Every installed model that is connected, also by what it inherits from."""
    return [model for model in apps.get_models() if connection_of(model) is not None]


def overwritten(model: type[models.Model]) -> list[str]:
    """What has come under the accessors' names on ``model`` itself since it was connected, a sentence each.

    Django puts what a relation points back by (``related_name``) over what is there, without a word.
    """
    accessors = (("ACTIONS_ATTR", ActionsAccessor), ("TRACKERS_ATTR", TrackersAccessor))
    return [
        _taken(model, setting)
        for setting, accessor in accessors
        if not isinstance(vars(model).get(getattr(conf, setting)), (accessor, NoneType))
    ]


def _refuse_what_is_no_table(model: type[models.Model]) -> None:
    if not (isinstance(model, type) and issubclass(model, models.Model)):
        raise TypeError(f"connect takes a model class, not {model!r}.")
    if model._meta.abstract:
        raise AssertionError(f"{model.__name__} is abstract: connect the models that inherit from it.")


def _free(model: type[models.Model], setting: str, accessor: type[A]) -> tuple[str, type[A]]:
    name: str = getattr(conf, setting)
    there = next((vars(base)[name] for base in model.__mro__ if name in vars(base)), None)
    if there is not None and not isinstance(there, accessor):
        raise ImproperlyConfigured(_taken(model, setting))
    return name, accessor


def _taken(model: type[models.Model], setting: str) -> str:
    return f'{model._meta.label} has a {getattr(conf, setting)!r} of its own: set FOOTFALL["{setting}"].'


def _listen(model: type[models.Model]) -> None:
    from footfall.storage.forgetting import listen_to  # it reads this registry

    listen_to(model)
    if apps.models_ready:  # else whoever starts the app listens to what inherits from it
        for one in connected_models():
            listen_to(one)
