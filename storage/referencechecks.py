"""System checks of each model that keeps account of itself: its inner class, its tag, its managers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Caution
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from footfall.storage.cascades import cascade_named
from footfall.storage.handlerefoptions import INNER, keeps_account
from footfall.storage.handles import fault_of
from footfall.storage.referencequeries import HandleRefQuerySet

if TYPE_CHECKING:
    from footfall.storage.references import HandleRefModel


def check_model(model: type[HandleRefModel]) -> list[CheckMessage]:
    """What is wrong with ``model`` beside what Django finds. No query."""
    try:
        options = model._handleref
    except ImproperlyConfigured as wrong:
        return [Error(str(wrong), obj=model, id="footfall.storage.E004")]
    return [
        *_check_cascades(model, options.delete_cascade),
        *_check_tag(model, options.tag),
        *_check_managers(model),
    ]


def _check_cascades(model: type[models.Model], names: list[str]) -> Iterator[CheckMessage]:
    for name in names:
        try:
            cascade_named(model, name)
        except LookupError as wrong:
            text = f"{INNER}.delete_cascade: {wrong.args[0]}"
            hint = "It names relations by their related_name; the models behind them inherit from HandleRefModel."
            yield Error(text, hint=hint, obj=model, id="footfall.storage.E005")


def _check_tag(model: type[models.Model], tag: str) -> Iterator[CheckMessage]:
    fault = fault_of(tag)
    if fault:
        text = f"The tag {tag!r} {fault}: handles made with it can't be read back."
        hint = "Letters, digits, underscores, and between them spaces and hyphens."
        yield Error(text, hint=hint, obj=model, id="footfall.storage.E006")
    others = [other for other in _earlier(model) if _tag_of(other) == tag and _root(other) is not _root(model)]
    if others and model is _root(model):
        text = f"{others[0]._meta.label} has the tag {tag!r} too: a handle doesn't tell which of both is meant."
        yield Caution(text, hint=f"Give one of them another {INNER}.tag.", obj=model, id="footfall.storage.W001")


def _check_managers(model: type[models.Model]) -> Iterator[CheckMessage]:
    default: Any = model._meta.default_manager
    managers = {manager.name: manager for manager in (default, model._meta.managers_map.get("objects")) if manager}
    for name, manager in managers.items():
        if not isinstance(manager.get_queryset(), HandleRefQuerySet):
            text = f"The querysets of {name!r} are no HandleRefQuerySets: bulk changes through it are not counted."
            hint = "Make it from a HandleRefQuerySet or a subclass: SomeQuerySet.as_manager(), or HandleRefManager."
            yield Caution(text, hint=hint, obj=model, id="footfall.storage.W002")


def _earlier(model: type[models.Model]) -> list[Any]:
    """The models that keep account, up to ``model`` in the order of their installation: a pair is told of once."""
    installed: Any = model._meta.apps.get_models()
    before = installed[: installed.index(model)] if model in installed else []
    return [other for other in before if keeps_account(other)]


def _tag_of(model: Any) -> str | None:
    try:
        return str(model._handleref.tag)
    except ImproperlyConfigured:  # which is said of that one
        return None


def _root(model: Any) -> Any:
    """The uppermost model with the same tag that ``model`` shares its keys with."""
    above = [
        base
        for base in model.__mro__
        if keeps_account(base) and not base._meta.abstract and _tag_of(base) == _tag_of(model)
    ]
    return above[-1]
