"""Softly deleted rows, and what is shown in their place: each is its own tombstone, nothing is stored beside it."""

from __future__ import annotations

from typing import Any

from footfall.producers.messages import Ref
from footfall.storage.marks import label_of
from footfall.storage.models import DeletedItem
from footfall.storage.naming import key_of
from footfall.storage.references import DELETED, HandleRefModel
from footfall.storage.tombstones import description_of, serialization_of


def is_deleted_row(obj: Any) -> bool:
    """Whether ``obj`` is an object of a `HandleRefModel` that is deleted softly, as it was loaded. No query."""
    return isinstance(obj, HandleRefModel) and obj.status == DELETED


def as_shown(obj: Any) -> Any:
    """``obj``; in the place of a softly deleted one its `DeletedItem`, see `item_of`."""
    return item_of(obj) if is_deleted_row(obj) else obj


def item_of(row: HandleRefModel) -> DeletedItem:
    """What a softly deleted ``row`` leaves until it is restored: made from it, not stored.

    It describes itself by the two methods of `footfall.storage.tombstones`, without which it is ``str()`` and the key.
    No query but those that these make; where one of them raises that is logged, but errors of the database are raised.
    """
    ref = Ref(label_of(row.__class__), key_of(row))
    return DeletedItem(
        object_type=ref.type,
        object_id=ref.id or "",
        description=description_of(row, ref),
        serialization=serialization_of(row, ref),
        deleted_at=row.updated,
        change_stamp=row.change_stamp,
    )
