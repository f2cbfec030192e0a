"""From Refs to what they name: objects, models, what is left of deleted objects; for many at once, and for a viewer.

Nothing that is stored makes a page fail: what can't be found in any way is left out.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from django.db import Error as DatabaseError
from django.db import models, router
from django.db.models import CharField, QuerySet, Value
from django.utils.module_loading import import_string

from footfall.producers.messages import Ref
from footfall.producers.settings import conf
from footfall.storage.keytext import key_text
from footfall.storage.refkeys import installed, is_storable, key_in

logger = logging.getLogger("footfall.resolving")

#: Statements joined into one, each about up to KEYS keys of one model.
JOINED = 20

Keys = dict[Ref, Any]


class _Anybody:
    def __repr__(self) -> str:
        return "ANYBODY"


#: The viewer of code that works for no reader in particular: nothing is held back.
ANYBODY: Any = _Anybody()


class Hidden:
    """Stands for an object that the viewer may not see; ``str()`` says of what model it is. It tells nothing more."""

    __slots__ = ("_name",)

    def __init__(self, model: type[models.Model]) -> None:
        self._name = model._meta.verbose_name

    def __str__(self) -> str:
        return str(self._name)


def resolve(refs: Iterable[Ref], viewer: Any = ANYBODY) -> dict[Ref, Any]:
    """What each of ``refs`` names: an object, a model (as a class) where there is no id, or a `DeletedItem`.

    Objects are read through the base manager, so that none is left out that merely isn't listed, from where their
    model is read; so is what is left of deleted ones. In the place of a softly deleted object (`HandleRefModel`) stands
    a `DeletedItem` that is made from its row, until it is restored. One query per model and 500 objects, and one for
    all that are missing. A Ref is left out whose object is gone without a trace, or whose model is not installed any
    more.

    ``viewer`` is a user, an anonymous one or None, and sees what FOOTFALL["VISIBLE_OBJECTS"] lets through: that is
    called with the viewer and the queryset of the objects, once for each model (softly deleted ones are among them),
    and of what is left of those that are gone. What it holds back is `Hidden`, which takes one more query to tell from
    what is gone; a description it holds back is left out. Where it raises, that is logged, and nothing of that model
    is shown.
    """
    wanted = [ref for ref in dict.fromkeys(refs) if is_storable(ref.type) and is_storable(ref.id or "")]
    found: dict[Ref, Any] = {}
    by_model: dict[type[models.Model], Keys] = defaultdict(dict)
    for ref in wanted:
        model = installed(ref.type)
        if model is not None and ref.id is None:
            found[ref] = model
        elif model is not None and (key := key_in(model, ref.id or "")) is not None:
            by_model[model][ref] = key
    for model, keys in by_model.items():
        found.update(_objects(model, keys, viewer))
    if restricted(viewer):
        found.update(_hidden(by_model, found))
    found.update(_remains([ref for ref in wanted if ref not in found and ref.id is not None], viewer))
    return found


def _objects(model: type[models.Model], keys: Keys, viewer: Any) -> Iterator[tuple[Ref, Any]]:
    from footfall.storage.deletedrows import as_shown

    rows = model._base_manager.using(router.db_for_read(model))
    seen = (one for some in _in_chunks(keys.values()) for one in _seen_by(viewer, rows.filter(pk__in=some)))
    loaded = {one.pk: as_shown(one) for one in seen}
    return ((ref, loaded[key]) for ref, key in keys.items() if key in loaded)


def _remains(refs: list[Ref], viewer: Any) -> Iterator[tuple[Ref, Any]]:
    """What is left of those of ``refs`` that were deleted."""
    from footfall.storage.models import DeletedItem

    rows = DeletedItem._base_manager.using(router.db_for_read(DeletedItem))
    for some in _in_chunks(refs):
        # Wider than asked, where it crosses types and ids: so each is found through the one unique index.
        asked = rows.filter(object_type__in={ref.type for ref in some}, object_id__in={ref.id for ref in some})
        left = {one.footfall_ref: one for one in _seen_by(viewer, asked)}
        yield from ((ref, left[ref]) for ref in some if ref in left)


# -- For a viewer


def restricted(viewer: Any) -> bool:
    """Whether there may be objects that ``viewer`` does not see."""
    return viewer is not ANYBODY and conf.VISIBLE_OBJECTS is not None


def visibility() -> Callable[[Any, QuerySet[Any]], QuerySet[Any]]:
    """The callable that VISIBLE_OBJECTS, which is not None, names. Raises ImportError or TypeError: it names none."""
    rule = import_string(conf.VISIBLE_OBJECTS) if isinstance(conf.VISIBLE_OBJECTS, str) else conf.VISIBLE_OBJECTS
    if not callable(rule):
        raise TypeError(f"{rule!r} can't be called")
    return rule  # type: ignore[no-any-return]  # a setting has any type


def _seen_by(viewer: Any, rows: QuerySet[Any]) -> Iterable[Any]:
    if not restricted(viewer):
        return rows
    try:
        return list(visibility()(viewer, rows))
    except DatabaseError:
        raise  # a transaction may be lost with it, and it is seldom the hook's fault
    except Exception:
        logger.exception("VISIBLE_OBJECTS raised for %s: none of them is shown.", rows.model._meta.label)
        return []


def _hidden(by_model: Mapping[type[models.Model], Keys], found: Mapping[Ref, Any]) -> dict[Ref, Hidden]:
    """Those that were not ``found`` though they exist. One query for each database, if anything is missing."""
    lost = {
        model: missing
        for model, keys in by_model.items()
        if (missing := {ref: key for ref, key in keys.items() if ref not in found})
    }
    existing = {(label, str(key)) for rows in _existing(lost) for label, key in rows}
    return {
        ref: Hidden(model)
        for model, keys in lost.items()
        for ref, key in keys.items()
        if (model._meta.label_lower, str(key)) in existing
    }


def _existing(lost: Mapping[type[models.Model], Keys]) -> Iterator[QuerySet[Any, tuple[str, Any]]]:
    """Querysets of label and key of those objects that exist: of many models in one, where SQL can write the keys."""
    by_alias: dict[str, list[QuerySet[Any, tuple[str, Any]]]] = defaultdict(list)
    for model, keys in lost.items():
        label = Value(model._meta.label_lower, CharField())
        rows = model._base_manager.using(router.db_for_read(model)).order_by()
        for some in _in_chunks(keys.values()):
            asked = rows.filter(pk__in=some)
            try:
                by_alias[rows.db].append(asked.values_list(label, key_text(model)))
            except TypeError:
                yield asked.values_list(label, "pk")
    for together in by_alias.values():
        for start in range(0, len(together), JOINED):
            first, *others = together[start : start + JOINED]
            yield first.union(*others, all=True) if others else first


def _in_chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    from footfall.storage.marks import KEYS, in_chunks

    return in_chunks(items, KEYS)
