"""Datasets: counters of a site's objects, declared as models and registered for the models that they count.

A site declares a model of its own from `TrackableData` (one row an object) or `TrackableTimeSeriesData` (one row an
object and day) and registers it in a module ``trackabledata`` of any installed app::

    class ArticleDaily(TrackableTimeSeriesData):
        views = models.PositiveIntegerField(default=0)

    site.register(Article, ArticleDaily)

What a message may touch comes from this registry, never from the message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, TypeVar, cast

from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.db import models, router, transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest
from django.utils import timezone

from footfall.storage.models import KEY_LENGTH, TYPE_LENGTH

Operation = TypeVar("Operation", bound=Callable[..., None])


class AlreadyRegistered(ImproperlyConfigured):
    """The dataset is registered for that model already."""


class NotRegistered(ImproperlyConfigured):
    """The dataset, or the model, is not registered."""


def operation(method: Operation) -> Operation:
    """Allow messages to name this method of a dataset as their operation.

    The worker calls ``row.method(field, value)`` on a locked row, in the batch's transaction, and saves the counter
    fields afterwards. It may be called more than once for one event; an exception makes that event a dead letter.
    """
    method.footfall_operation = True  # type: ignore[attr-defined]  # a mark on the function, read by is_operation
    return method


class TrackableData(models.Model):
    """Counters of an object: subclass it, add integer fields with a default, inherit Meta, register it."""

    object_type = models.CharField(max_length=TYPE_LENGTH, editable=False)
    object_id = models.CharField(max_length=KEY_LENGTH, editable=False)

    key_fields: ClassVar[tuple[str, ...]] = ("object_type", "object_id")

    class Meta:
        abstract = True
        ordering = ["object_type", "object_id"]
        constraints = [models.UniqueConstraint(fields=["object_type", "object_id"], name="%(app_label)s_%(class)s_key")]

    def __str__(self) -> str:
        return f"{self.object_type}:{self.object_id}"

    @classmethod
    def slot_of(cls, at: datetime, **options: Any) -> tuple[Any, ...]:
        """The rest of the row's key for something that happened at ``at``: nothing here.

        A dataset with a rule of its own overrides this together with ``key_fields``. ``options`` are those that the
        publisher gave. It must be pure, and what it raises refuses the event.
        """
        return ()

    @classmethod
    def get_trackable_fields(cls) -> tuple[str, ...]:
        """The names of the counter fields: the integer fields that begin at zero (``default=0``, no NULL)."""
        return _counter_fields(cls)

    @classmethod
    def greatest_of(cls, name: str) -> int:
        """The greatest number that the column of the counter ``name`` holds on PostgreSQL, whatever is in use."""
        internal_type = cls._meta.get_field(name).get_internal_type()
        bits = 15 if "Small" in internal_type else 63 if "Big" in internal_type else 31
        return (1 << bits) - 1

    @classmethod
    def is_operation(cls, name: str) -> bool:
        """Whether a message may name ``name`` as its operation on this dataset."""
        return name in ("incr", "decr") or hasattr(getattr(cls, name, None), "footfall_operation")

    @property
    def parent(self) -> models.Model | None:
        """The object that this row counts, or None where it is gone. One query."""
        from django.apps import apps

        parent: models.Model | None = apps.get_model(self.object_type)._base_manager.filter(pk=self.object_id).first()
        return parent

    def incr(self, field: str, value: int = 1) -> None:
        """Add ``value`` to ``field`` now, touching no other field. Raises ValueError for an unknown field."""
        if field not in self.get_trackable_fields():
            raise ValueError(f"{type(self).__name__} has no counter field {field!r}.")
        using = router.db_for_write(type(self), instance=self)
        change: Any = F(field) + value
        if value < 0 and clamps_at_zero(cast("models.Field[Any, Any]", self._meta.get_field(field))):
            change = Greatest(change, Value(0))
        with transaction.atomic(using=using):
            type(self)._base_manager.using(using).filter(pk=self.pk).update(**{field: change})
            self.refresh_from_db(using=using, fields=[field])

    def decr(self, field: str, value: int = 1) -> None:
        """Take ``value`` from ``field`` now; a positive field stops at zero."""
        self.incr(field, -value)


class TrackableTimeSeriesData(TrackableData):
    """Counters of an object and a day: the day of the event, in the site's time zone."""

    collected_during = models.DateField(editable=False)

    key_fields = ("object_type", "object_id", "collected_during")

    class Meta(TrackableData.Meta):
        abstract = True
        ordering = ["-collected_during", "object_type", "object_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["object_type", "object_id", "collected_during"], name="%(app_label)s_%(class)s_key"
            )
        ]

    @classmethod
    def slot_of(cls, at: datetime, **options: Any) -> tuple[Any, ...]:
        """The day of ``at`` in the site's time zone."""
        return (timezone.localtime(at, timezone.get_default_timezone()).date(),)


@cache
def _counter_fields(dataset: type[TrackableData]) -> tuple[str, ...]:
    fields = dataset._meta.concrete_fields
    return tuple(f.name for f in fields if isinstance(f, models.IntegerField) and not f.primary_key and _counts(f))


def _counts(field: models.Field[Any, Any]) -> bool:
    # Sums begin at zero: from another default, or from NULL, the outcome would depend on what came together.
    return field.default == 0 and not field.null


def clamps_at_zero(field: models.Field[Any, Any]) -> bool:
    """Whether a counter field stops at zero: the positive integer fields do, the others are signed."""
    return isinstance(field, models.fields.PositiveIntegerRelDbTypeMixin)


class TrackableRegistry:
    """Which datasets count which models. ``site`` below is the one that messages are held against."""

    def __init__(self) -> None:
        self._datasets: dict[type[models.Model], list[type[TrackableData]]] = {}
        self._by_label: dict[str, type[TrackableData]] = {}
        self.revision = 0  # rises with each change, so that what was looked up can be remembered

    def register(
        self,
        model_or_iterable: type[models.Model] | Iterable[type[models.Model]],
        trackable_cls: type[TrackableData],
        admin_cls: type[admin.ModelAdmin[Any]] | None = None,
    ) -> None:
        """Count ``model`` in ``trackable_cls``; the first dataset of a model is its default.

        ``admin_cls`` also puts the dataset into the admin. Raises AlreadyRegistered for a pair that stands already,
        ImproperlyConfigured for a dataset without a unique key (its Meta does not inherit) or without counters.
        """
        _refuse_unusable(trackable_cls)
        models_ = list(_models(model_or_iterable))
        for model in models_:
            if trackable_cls in self.datasets_of(model):
                raise AlreadyRegistered(f"{trackable_cls.__name__} is registered for {model.__name__} already.")
        for model in models_:
            self._datasets.setdefault(model._meta.concrete_model or model, []).append(trackable_cls)
        self._by_label[trackable_cls._meta.label_lower] = trackable_cls
        self.revision += 1
        if admin_cls is not None and not admin.site.is_registered(trackable_cls):
            admin.site.register(trackable_cls, admin_cls)

    def unregister(self, model_or_iterable: type[models.Model] | Iterable[type[models.Model]]) -> None:
        """Forget every dataset of the model or models. Raises NotRegistered for one that has none."""
        models_ = list(_models(model_or_iterable))
        for model in models_:
            if not self.datasets_of(model):
                raise NotRegistered(f"{model.__name__} has no dataset.")
        for model in models_:
            self._datasets.pop(model._meta.concrete_model or model, None)
        kept = {dataset for datasets in self._datasets.values() for dataset in datasets}
        self._by_label = {dataset._meta.label_lower: dataset for dataset in kept}
        self.revision += 1

    def get_parent(self, trackable_cls: type[TrackableData]) -> type[models.Model]:
        """The (first) model that ``trackable_cls`` counts. Raises NotRegistered."""
        for model, datasets in self._datasets.items():
            if trackable_cls in datasets:
                return model
        raise NotRegistered(f"{trackable_cls.__name__} is not registered.")

    def datasets_of(self, model: type[models.Model]) -> tuple[type[TrackableData], ...]:
        """The datasets that count ``model``, default first; empty where there is none. A proxy shares its base's."""
        return tuple(self._datasets.get(model._meta.concrete_model or model, ()))

    def by_label(self, label: str) -> type[TrackableData] | None:
        """The registered dataset with the label ``app_label.model`` (lower case), or None."""
        return self._by_label.get(label)


def _models(
    model_or_iterable: type[models.Model] | Iterable[type[models.Model]],
) -> Iterable[type[models.Model]]:
    return [model_or_iterable] if isinstance(model_or_iterable, type) else model_or_iterable


def _refuse_unusable(trackable_cls: type[TrackableData]) -> None:
    name = trackable_cls.__name__
    keys = {tuple(c.fields) for c in trackable_cls._meta.constraints if isinstance(c, models.UniqueConstraint)}
    keys |= {tuple(fields) for fields in trackable_cls._meta.unique_together}
    if trackable_cls.key_fields not in keys:
        wanted = ", ".join(trackable_cls.key_fields)
        raise ImproperlyConfigured(
            f"{name} has no unique constraint on ({wanted}): let its Meta inherit its base's Meta."
        )
    if not trackable_cls.get_trackable_fields():
        raise ImproperlyConfigured(f"{name} has no counter: an integer field with default=0 that is not null.")


site = TrackableRegistry()
