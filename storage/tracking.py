"""Follow and unfollow."""

from __future__ import annotations

from typing import Any


def track(user: Any, to_track: Any, log: bool = False, **changes: Any) -> None:
    raise NotImplementedError


def untrack(user: Any, to_untrack: Any, verbs: Any = None, log: bool = False, using: str | None = None) -> None:
    raise NotImplementedError
