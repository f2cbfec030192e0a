"""What a message names, held against what this site has: models, primary keys, and whether the objects still exist."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

from django.db import models, router

from footfall.producers.messages import Ref
from footfall.producers.reasons import Reason
from footfall.producers.rules import Malformed
from footfall.storage.models import KEY_LENGTH
from footfall.storage.refkeys import installed, key_in

CHUNK = 500  # keys asked for at once: SQLite limits the parameters of a statement


def model_of(label: str) -> type[models.Model]:
    """The concrete model of ``app_label.model``. Raises Malformed for one that is not installed."""
    model = installed(label)
    if model is None:
        raise Malformed(Reason.UNKNOWN_TYPE, f"{label[:80]!r} is not an installed model.")
    return model


def key_of(model: type[models.Model], text: str) -> Any:
    """The primary key that ``text`` stands for, as a Python value. Raises Malformed where it fits no row."""
    key = key_in(model, text)
    if key is None:
        raise Malformed(Reason.BAD_KEY, f"{text[:80]!r} is not a primary key of {model._meta.label}.")
    if len(str(key)) > KEY_LENGTH:
        raise Malformed(Reason.BAD_KEY, f"{text[:80]!r} is too long for a key.")
    return key


@lru_cache(maxsize=65536)
def canonical(ref: Ref) -> Ref:
    """The one way to write ``ref``: the concrete model's label in lower case and the key as Python writes it.

    Raises Malformed for a model that is not installed or a key that doesn't fit it. No query.
    """
    model = model_of(ref.type)
    label = model._meta.label_lower
    return Ref(label) if ref.id is None else Ref(label, str(key_of(model, ref.id)))


def missing(refs: Iterable[Ref]) -> set[Ref]:
    """Those of the canonical ``refs`` with an id whose object is gone. One query per model and 500 objects.

    Asked where the model is written, since a replica may not know yet an object that was made just now.
    """
    by_type: dict[str, set[Ref]] = defaultdict(set)
    for ref in refs:
        if ref.id is not None:
            by_type[ref.type].add(ref)
    return {ref for label, wanted in sorted(by_type.items()) for ref in _missing_of(model_of(label), wanted)}


def _missing_of(model: type[models.Model], wanted: set[Ref]) -> set[Ref]:
    rows = model._base_manager.using(router.db_for_write(model))
    found: set[str] = set()
    for some in _chunks(sorted(wanted)):
        keys = [key_of(model, ref.id or "") for ref in some]
        found.update(str(key) for key in rows.filter(pk__in=keys).values_list("pk", flat=True))
    return {ref for ref in wanted if ref.id not in found}


def _chunks(refs: list[Ref]) -> Iterator[list[Ref]]:
    iterator = iter(refs)
    while some := list(islice(iterator, CHUNK)):
        yield some
