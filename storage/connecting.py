"""Gives a model's objects their ``actions`` and ``trackers``."""

from __future__ import annotations

from typing import Any


def connect(model: Any = None, *, use_del_items: bool = True) -> Any:
    raise NotImplementedError
