"""Lists of actions: querysets that load what their actions are about together, and pages of them."""

from __future__ import annotations

from typing import Any

from django.db import models


class ActionQuerySet(models.QuerySet["Action"]):
    """Actions, newest first."""

    def tracked_by(self, tracker: Any, **filters: Any) -> ActionQuerySet:
        raise NotImplementedError
