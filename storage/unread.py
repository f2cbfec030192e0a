"""What a user has not read of what they follow: computed from trackers and marks; nothing is stored by reading."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from footfall.storage.models import Action


def bulk_is_unread(user: Any, actions: Iterable[Action]) -> list[bool]:
    raise NotImplementedError


def bulk_mark_read(user: Any, actions: Iterable[Action], *, force: bool = False) -> list[bool]:
    raise NotImplementedError


def mark_unread(user: Any, actions: Iterable[Action]) -> None:
    raise NotImplementedError


def mark_all_read(user: Any, up_to: datetime | None = None) -> None:
    raise NotImplementedError


def unread_count(user: Any) -> int:
    raise NotImplementedError
