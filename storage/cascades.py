"""Which rows go with an object that is deleted softly: the relations that ``delete_cascade`` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import ManyToOneRel

from footfall.storage.handlerefoptions import keeps_account
from footfall.storage.suggestions import near

if TYPE_CHECKING:
    from footfall.storage.references import HandleRefModel


def cascades(model: type[HandleRefModel]) -> list[ManyToOneRel]:
    """The relations that ``delete_cascade`` names, in order: the rows of their ``related_model`` go too.

    Their ``field`` points to ``model``, or to one that it inherits from: the rows of both have the same keys. Raises
    LookupError like `cascade_named`. No query.
    """
    return list(dict.fromkeys(cascade_named(model, name) for name in model._handleref.delete_cascade))


def cascade_named(model: type[models.Model], name: str) -> ManyToOneRel:
    """The relation ``name``: an attribute such as ``magazines`` or ``issue_set``, or, as in filters, ``issue``.

    A ForeignKey or OneToOneField of a `HandleRefModel` makes it. Raises LookupError, saying what is wrong, where there
    is none, and where its model is none.
    """
    known = _pointing_here(model)
    relation = known.get(name)
    if relation is None:
        raise LookupError(f"{name!r} is no relation that a foreign key to {model.__name__} makes.{near(name, known)}")
    if not keeps_account(relation.related_model):
        raise LookupError(f"{name!r} leads to {relation.related_model.__name__}, which is no HandleRefModel.")
    return relation


def _pointing_here(model: type[models.Model]) -> dict[str, ManyToOneRel]:
    """The relations by which others point to ``model``, by their names: that of an attribute goes before."""
    pointing = [
        relation
        for relation in model._meta.related_objects
        if isinstance(relation, ManyToOneRel) and not relation.parent_link
    ]
    by_query = {relation.name: relation for relation in pointing}
    return {**by_query, **{str(relation.get_accessor_name()): relation for relation in pointing}}
