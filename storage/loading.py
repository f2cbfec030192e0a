"""What actions are about, loaded for many actions at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from footfall.storage.models import Action


@dataclass
class Objects:
    """Whom one action is about."""

    actor: Any = None
    targets: list[Any] = field(default_factory=list)
    related: list[Any] = field(default_factory=list)


def objects_of(action: Action) -> Objects:
    raise NotImplementedError
