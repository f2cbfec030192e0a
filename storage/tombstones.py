"""What is left of deleted objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from footfall.storage.models import DeletedItem


def get_del_item(instance: Any) -> DeletedItem:
    raise NotImplementedError
