"""Models that keep their rows in one table, what goes with these rows when they are deleted, what stands above.

A model that inherits from a `HandleRefModel` with a table of its own shares its rows: the status of both is in the
table of the first, here called the *keeper*. A proxy shares them as well. Nothing here queries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from django.db import models
from django.db.models import ManyToOneRel

from footfall.storage.cascades import cascades
from footfall.storage.handlerefoptions import keeps_account


class ParentLink(NamedTuple):
    """``field`` of ``holder`` points to an object above."""

    holder: type[models.Model]
    field: models.ForeignKey[Any, Any]

    @property
    def keeper(self) -> type[models.Model]:
        """In whose table the status of the object above is."""
        return keeper(self.field.remote_field.model)


def keeper(model: type[models.Model]) -> type[models.Model]:
    """The model in whose table the status of the rows of ``model`` is kept."""
    return model._meta.get_field("status").model


def going_with(model: type[models.Model]) -> list[ManyToOneRel]:
    """The relations by which rows go with those of ``model``: those that it names, and models with further columns."""
    return _unique(kind for kind in _kinds(model) if kind is model or not kind._meta.proxy)


def gone_with(model: type[models.Model]) -> list[ManyToOneRel]:
    """The relations by which rows may have gone with rows of ``model``, under whatever model these were deleted."""
    return _unique(_kinds(keeper(model)))


def reached(model: type[models.Model]) -> set[type[models.Model]]:
    """The keepers of all that may have gone with rows of ``model``, however far below; that of ``model``, too."""
    found, todo = set(), [keeper(model)]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += [keeper(relation.related_model) for relation in gone_with(one)]
    return found


def parent_links(model: type[models.Model]) -> list[ParentLink]:
    """What points from the rows of ``model`` to a `HandleRefModel`: foreign keys and one-to-one fields."""
    table = keeper(model)
    return [
        ParentLink(kind, field)
        for kind in _kinds(table)
        if not kind._meta.proxy
        for field in (kind._meta.concrete_fields if kind is table else kind._meta.local_concrete_fields)
        if isinstance(field, models.ForeignKey) and not field.remote_field.parent_link
        if keeps_account(field.remote_field.model)
    ]


def top_down(keepers: Collection[type[models.Model]]) -> list[type[models.Model]]:
    """``keepers`` in one order for all: each comes before what goes with it, as deletions reach them."""
    if len(keepers) < 2:
        return list(keepers)
    upwards: dict[type[models.Model], None] = {}
    entered: set[type[models.Model]] = set()

    def visit(table: type[models.Model]) -> None:
        if table not in entered:
            entered.add(table)
            for relation in gone_with(table):
                visit(keeper(relation.related_model))
            upwards[table] = None

    registry: Any = next(iter(keepers))._meta.apps
    for model in registry.get_models():
        if keeps_account(model):
            visit(keeper(model))
    return [table for table in reversed(upwards) if table in keepers]


def _kinds(model: type[models.Model]) -> list[type[models.Model]]:
    """``model``, and the models that inherit from it."""
    registry: Any = model._meta.apps
    return [kind for kind in registry.get_models() if issubclass(kind, model)]


def _unique(kinds: Iterable[Any]) -> list[ManyToOneRel]:
    return list(dict.fromkeys(relation for kind in kinds for relation in cascades(kind)))
