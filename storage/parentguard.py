"""No object is restored below a deleted one: on whatever path its status is changed, this module is asked.

A parent is whatever a foreign key or one-to-one field points to, if that is a `HandleRefModel`. What points to it is
written first under a mark that nothing else bears, in a transaction; then the parents of the marked rows are locked
and looked at. So a parent that is being deleted meanwhile is waited for, and one that is locked can't be deleted
before the commit. All who lock do it from the top down, parents before what goes with them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections, models, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.lookups import Exact
from django.utils.translation import gettext_lazy as _

from footfall.storage.families import ParentLink, keeper, parent_links, top_down
from footfall.storage.returning import Values, update_returning
from footfall.storage.softdeletion import DELETED, UndeleteRefused, rows_of

if TYPE_CHECKING:
    from footfall.storage.references import HandleRefModel

    #: Some rows of each model, which is a keeper.
    Chosen = Mapping[type[models.Model], Q]


def guarded_update(
    rows: models.QuerySet[Any], values: Values, fields: Sequence[models.Field[Any, Any]], read: Any = None
) -> list[Sequence[Any]]:
    """`update_returning` of the one row of a save; a status set by hand is accounted for.

    One statement for a row that is not deleted, and is not to be. A row that was deleted since the object was ``read``
    with the status that it still has stays deleted. Raises UndeleteRefused where the row is deleted, would not be any
    more, and an object above it is.
    """
    model, values = rows.model, list(values)
    given = {field.name: value for field, _model, value in values}
    if "status" not in given:
        return update_returning(rows, values, fields)
    restores = given["status"] != DELETED
    if restores and not hasattr(given["status"], "resolve_expression"):
        found = update_returning(rows.exclude(status=DELETED), values, fields)
        if found or not rows.exists():
            return found
        if given["status"] == read:
            return update_returning(rows, [one for one in values if one[0].name != "status"], fields)
    mark = uuid.uuid4()
    own = by_hand(given["status"], mark)
    values += [(model._meta.get_field(name), None, value) for name, value in own.items()]
    if not (restores and parent_links(model)):
        return update_returning(rows, values, fields)
    with transaction.atomic(using=rows.db):
        lock_parents({model: Q(pk__in=rows.values("pk"))}, rows.db)
        found = update_returning(rows, values, fields)
        refuse_below_deleted({model: Q(change_batch=mark)}, rows.db)
    return found


@contextmanager
def guarding(rows: models.QuerySet[Any], values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """In the block ``rows`` are given ``values``, and what it yields besides: a status set by hand is accounted for.

    Nothing where the status is not among the values. Raises UndeleteRefused, and undoes the block, where one of the
    rows is deleted, would not be any more, and an object above it is.
    """
    if "status" not in values:
        yield {}
        return
    mark, table = uuid.uuid4(), keeper(rows.model)
    own = by_hand(values["status"], mark)
    if values["status"] == DELETED or not parent_links(table):
        yield own
        return
    with transaction.atomic(using=rows.db):
        lock_parents({table: Q(pk__in=rows.order_by().filter(status=DELETED).values("pk"))}, rows.db)
        yield own
        refuse_below_deleted({table: Q(change_batch=mark)}, rows.db)


def by_hand(status: Any, mark: uuid.UUID) -> dict[str, Any]:
    """What is written beside a ``status`` that is no deletion's or restoration's.

    A row that it deletes belongs to no batch, and keeps the status that it had; one that it restores bears ``mark``.
    """
    was = Q(status=DELETED)
    will = Q(Exact(status, Value(DELETED))) if hasattr(status, "resolve_expression") else None
    ways: list[tuple[Q, Value, Value | F]] = []
    if will is not None or status == DELETED:
        gone = ~was if will is None else ~was & will
        ways.append((gone, Value(None, output_field=models.UUIDField()), F("status")))
    if will is not None or status != DELETED:
        back = was if will is None else was & ~will
        ways.append((back, Value(mark, output_field=models.UUIDField()), Value("")))
    return {
        "change_batch": Case(*(When(way, then=batch) for way, batch, _former in ways), default=F("change_batch")),
        "former_status": Case(*(When(way, then=former) for way, _batch, former in ways), default=F("former_status")),
    }


# -- Parents


def lock_parents(chosen: Chosen, using: str, also: Chosen | None = None) -> None:
    """Lock what is above the ``chosen`` rows against deletion and restoration; nothing where databases lock as a whole.

    ``also``: further rows, such as those that are to be above them. One query for each model above, in a transaction.
    """
    if connections[using].features.has_select_for_update:
        parents = dict(_above(chosen, using))
        for model, which in (also or {}).items():
            parents[model] = parents.get(model, Q()) | which
        for rows in _locked(parents, using):
            list(rows.values_list("pk"))


def pointed_at(model: type[models.Model], values: Mapping[str, Any], using: str) -> Chosen:
    """What is above an object of ``model`` with these ``values`` of its columns, by their names. No query."""
    found: dict[type[models.Model], Q] = {}
    for link in _own_links(model):
        key = values.get(link.field.attname)
        if key is not None:
            found[link.keeper] = found.get(link.keeper, Q()) | Q(pk__in=_pointed_at(link, key, using).values("pk"))
    return found


def refuse_under_deleted(instance: HandleRefModel, using: str) -> None:
    """As `refuse_below_deleted`, of one object as it stands in memory, whatever is stored of it."""
    values = {link.field.attname: getattr(instance, link.field.attname) for link in _own_links(instance.__class__)}
    with transaction.atomic(using=using):
        for rows in _locked(pointed_at(instance.__class__, values, using), using):
            if DELETED in rows.values_list("status", flat=True):
                raise _refused(instance, _deleted_above(instance, values, using))


def refuse_below_deleted(chosen: Chosen, using: str) -> None:
    """Lock what is above the ``chosen`` rows and is not chosen itself. Raises UndeleteRefused if one of it is deleted.

    One query for each model above, in a transaction.
    """
    for rows in _locked(_above(chosen, using), using):
        if DELETED in rows.exclude(chosen.get(rows.model, Q(pk__in=[]))).values_list("status", flat=True):
            raise _refusal(chosen, using)


def _above(chosen: Chosen, using: str) -> Chosen:
    above: dict[type[models.Model], Q] = {}
    for model, which in chosen.items():
        for link in parent_links(model):
            keys = rows_of(link.holder, using).filter(which).values(f"{link.field.name}__pk")
            above[link.keeper] = above.get(link.keeper, Q()) | Q(pk__in=keys)
    return above


def _locked(parents: Chosen, using: str) -> Iterator[models.QuerySet[Any]]:
    for model in top_down(parents):
        # Of a status found by the condition the database would not tell that it has changed while it waited.
        yield rows_of(model, using).filter(parents[model]).order_by("pk").select_for_update(no_key=True)


def _own_links(model: type[models.Model]) -> list[ParentLink]:
    """Those that an object of ``model`` has itself, and not only one that inherits from it."""
    return [link for link in parent_links(model) if issubclass(model, link.holder)]


def _pointed_at(link: ParentLink, key: Any, using: str) -> models.QuerySet[Any]:
    target: Any = link.field.target_field
    return rows_of(link.field.remote_field.model, using).filter(**{target.attname: key})


def _deleted_above(instance: HandleRefModel, values: Mapping[str, Any], using: str) -> HandleRefModel:
    links = (link for link in _own_links(instance.__class__) if values[link.field.attname] is not None)
    found = (_pointed_at(link, values[link.field.attname], using).filter(status=DELETED).first() for link in links)
    parent: HandleRefModel = next(parent for parent in found if parent is not None)
    return parent


def _refusal(chosen: Chosen, using: str) -> UndeleteRefused:
    """Says which object it was, and what above it."""
    for model, which in chosen.items():
        for holder, field in parent_links(model):
            below = rows_of(holder, using).filter(which, **{f"{field.name}__status": DELETED}).order_by("pk").first()
            if below is not None:
                return _refused(below, getattr(below, field.name))
    raise AssertionError("A parent was found to be deleted, and no row below it.")


def _refused(below: HandleRefModel, parent: HandleRefModel) -> UndeleteRefused:
    """By their handles, as what is deleted may not be for all eyes."""
    return UndeleteRefused(
        _("%(object)s can't be restored: %(parent)s above it is deleted."),
        code="parent_deleted",
        params={"object": below.handle, "parent": parent.handle},
    )
