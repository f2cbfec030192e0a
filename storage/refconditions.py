"""Conditions on rows that name objects by two texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from django.db.models import Q

from footfall.producers.messages import Ref
from footfall.storage.marks import KEYS, in_chunks


def about(refs: Iterable[Ref], type_field: str, id_field: str) -> Iterator[Q]:
    """That a row names one of ``refs`` (all of them objects): a condition for 500 objects of a model."""
    by_type: dict[str, set[str]] = defaultdict(set)
    for ref in refs:
        assert ref.id  # a blank one stands for a whole model
        by_type[ref.type].add(ref.id)
    for label, keys in sorted(by_type.items()):
        for some in in_chunks(sorted(keys), KEYS):
            yield Q(**{type_field: label, f"{id_field}__in": some})
