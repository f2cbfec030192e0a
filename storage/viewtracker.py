"""What a user has seen: asked, and marked at once, for the page that must show it.

`footfall.producers.publish_view` says the same out of band, without a write in the request.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import models, router, transaction
from django.db.models import Max, Q
from django.utils import timezone

from footfall.storage.marks import MarkKey, raise_marks
from footfall.storage.models import ViewMark

#: Where an object's time of change is looked for when nobody says.
MODIFICATION_FIELD_NAMES = ("last_modified", "last_updated", "modified", "updated", "changed", "created")


class NoChangeTime(LookupError):
    """An object does not tell when it last changed."""


class ViewTracker:
    """The marks of one user. An anonymous user (or None) has seen everything, and nothing is stored for them.

    An object counts as seen when a mark on it, on its model or on everything is not older than its last change.
    """

    def __init__(self, user: Any) -> None:
        self.user = user

    @property
    def _anonymous(self) -> bool:
        return self.user is None or bool(getattr(self.user, "is_anonymous", False))

    def has_viewed(
        self, instance: models.Model, last_update: datetime | None = None, updated_field: str | None = None
    ) -> bool:
        """Whether the user has seen ``instance`` since it last changed. One query.

        The time of change is ``last_update``, else the attribute (or method) ``updated_field``, else the first of
        MODIFICATION_FIELD_NAMES that holds a datetime. Raises NoChangeTime where there is none.
        """
        if self._anonymous:
            return True
        changed = last_update if last_update is not None else change_time(instance, updated_field)
        label = _label_of(instance.__class__)
        scopes = Q(object_id="", object_type__in=("", label)) | Q(object_type=label, object_id=str(instance.pk))
        return ViewMark.objects.filter(scopes, user_id=self.user.pk, at__gte=changed).exists()

    def mark_instance_viewed(self, instance: models.Model) -> None:
        """The user has seen ``instance``, now. Raises ValueError for an unsaved one."""
        if instance.pk is None or instance._state.adding:
            raise ValueError(f"{instance._meta.label} instance is not saved: it has no identity yet.")
        self._mark(_label_of(instance.__class__), str(instance.pk))

    def mark_model_viewed(self, model: type[models.Model] | models.Model | str) -> None:
        """The user has seen every object of ``model``: a class, an instance of it, or its label ``app_label.model``."""
        if isinstance(model, str):
            model = apps.get_model(model)
        self._mark(_label_of(model if isinstance(model, type) else model.__class__), "")

    def mark_all_viewed(self) -> None:
        """The user has seen everything, now."""
        self._mark("", "")

    def _mark(self, object_type: str, object_id: str) -> None:
        if self._anonymous:
            return
        using = router.db_for_write(ViewMark)
        key: MarkKey = (self.user.pk, object_type, object_id)
        with transaction.atomic(using=using):
            raise_marks({key: timezone.now()}, using)

    def last_activity(self) -> datetime | None:
        """The time of the user's latest mark, None where there is none. One query."""
        if self._anonymous:
            return None
        latest: datetime | None = ViewMark.objects.filter(user_id=self.user.pk).aggregate(latest=Max("at"))["latest"]
        return latest


def change_time(instance: models.Model, updated_field: str | None = None) -> datetime:
    """When ``instance`` last changed, by its own word. Raises NoChangeTime, which names what was looked for."""
    names = MODIFICATION_FIELD_NAMES if updated_field is None else (updated_field,)
    for name in names:
        value = getattr(instance, name, None)
        value = value() if callable(value) else value
        if isinstance(value, datetime):
            return value
    looked = ", ".join(names)
    raise NoChangeTime(f"{instance._meta.label} has no datetime in {looked}: give last_update or updated_field.")


def _label_of(model: type[models.Model]) -> str:
    return (model._meta.concrete_model or model)._meta.label_lower
