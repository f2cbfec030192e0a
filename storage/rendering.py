"""Actions as text and as HTML, for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from footfall.storage.models import Action


def bulk_render(actions: Iterable[Action], user: Any = None, context: Mapping[str, Any] | None = None) -> list[str]:
    raise NotImplementedError
