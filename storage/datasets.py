"""Datasets: counters of a site's objects, declared as models and registered for the models that they count.

A site declares a model of its own from `TrackableData` (one row an object), `TrackableTimeSeriesData` (one row an
object and day, week or month) or `TrackableHourlyData` and registers it in a module ``trackabledata`` of any
installed app::

    class ArticleDaily(TrackableTimeSeriesData):
        views = models.PositiveIntegerField(default=0)

        class Meta(TrackableTimeSeriesData.Meta):
            pass

    site.register(Article, ArticleDaily)

What was counted is read from the class, each answer in one query::

    ArticleDaily.total(article, "views", since=date(2026, 6, 1))
    ArticleDaily.annotate(Article.objects.all(), "views")
    ArticleDaily.series(article, "views", last=30)
    ArticleDaily.top("views", 10, since=date(2026, 6, 1))
    ArticleDaily.trending("views", 10, half_life=timedelta(days=2))

What a message may touch comes from this registry, never from the message.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, ClassVar, TypeVar, cast

from django.apps import apps
from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured, ValidationError
from django.db import models, router, transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest

from footfall.producers.amounts import whole
from footfall.storage import reading, slots
from footfall.storage.clock import stored
from footfall.storage.models import KEY_LENGTH, TYPE_LENGTH
from footfall.storage.naming import rows_of

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
        try:
            model = apps.get_model(self.object_type)
            parent: models.Model | None = model._base_manager.filter(pk=self.object_id).first()
        except (LookupError, ValueError, ValidationError):  # the model was removed, or has another key now
            return None
        return parent

    def incr(self, field: str, value: int = 1) -> None:
        """Add ``value`` to ``field`` now, touching no other field. Two queries; the row then holds the new number.

        Raises ValueError for an unknown field, for what is no whole number or does not fit, and for a row that is not
        saved; DoesNotExist for one that is gone.
        """
        check_counter(type(self), field)
        self._add(field, whole(value, self.greatest_of(field)))

    def decr(self, field: str, value: int = 1) -> None:
        """Take ``value`` from ``field`` now; a positive field stops at zero. Otherwise like `incr`."""
        check_counter(type(self), field)
        self._add(field, -whole(value, self.greatest_of(field)))

    def _add(self, field: str, value: int) -> None:
        if self.pk is None or self._state.adding:
            raise ValueError(f"This row of {type(self).__name__} is not saved: there is nothing to add to.")
        greatest = self.greatest_of(field)
        change: Any = F(field) + value
        # SQLite would turn a sum that doesn't fit into a float, for ever.
        fits = {f"{field}__lte": greatest - value} if value > 0 else {f"{field}__gte": -greatest - value}
        if value < 0 and clamps_at_zero(cast("models.Field[Any, Any]", self._meta.get_field(field))):
            change, fits = Greatest(change, Value(0)), {}
        using = router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            added = type(self)._base_manager.using(using).filter(pk=self.pk, **fits).update(**{field: change})
            self.refresh_from_db(using=using, fields=[field])
        if not added:
            raise ValueError(f"{getattr(self, field)} and {value} more do not fit into {field}: it holds {greatest}.")

    # -- Reading

    @classmethod
    def total(cls, obj: models.Model, field: str, since: date | None = None, until: date | None = None) -> int:
        """The sum of ``field`` over the rows of ``obj``, 0 where there is none. One query.

        ``since`` and ``until`` are days or moments; the slots that hold them are the first and the last to count.
        Raises TypeError for a dataset without slots that is asked for them, and for what is no model instance;
        ValueError for an unknown field or an unsaved object, LookupError for an object that is not counted here.
        """
        return reading.total(cls, _rows_of(cls, obj, field), field, since, until)

    @classmethod
    def series(
        cls,
        obj: models.Model,
        field: str,
        last: int = 30,
        since: date | None = None,
        until: date | None = None,
    ) -> list[tuple[Any, int]]:
        """Slots of ``obj`` with the sum of ``field`` in each, oldest first, 0 where nothing was counted. One query.

        They end with the slot of now, or the one that holds ``until``, and are ``last`` in number, or begin with the
        one that holds ``since``. A slot is what its column holds: a date, for an hour a datetime. Raises like `total`,
        and TypeError for any dataset without slots.
        """
        return reading.series(cls, _rows_of(cls, obj, field), field, last, since, until)

    @classmethod
    def annotate(
        cls, objects: Any, field: str, since: date | None = None, until: date | None = None, name: str = "total"
    ) -> models.QuerySet[Any]:
        """``objects``, a queryset or manager, each with the sum of ``field`` as ``.total`` (or another ``name``).

        For lists: a total for each row in the list's own query, 0 where nothing was counted. Raises like `total`, and
        ValueError where counts and objects stand in different databases.
        """
        check_counter(cls, field)
        return reading.annotate(cls, _objects(cls, objects, None), field, since, until, name)

    @classmethod
    def top(
        cls,
        field: str,
        n: int = 10,
        since: date | None = None,
        until: date | None = None,
        among: Any = None,
        model: type[models.Model] | None = None,
    ) -> models.QuerySet[Any]:
        """The ``n`` objects with the greatest sum of ``field`` above zero, each with it as ``.total``, best first.

        A queryset of the counted model, evaluated lazily in one query; equal ones are in the order of their keys.
        ``since`` and ``until`` as in `total`. ``among`` is a queryset (or manager) of the objects that may take part,
        default all of the model's default manager. ``model`` says which, where the dataset counts several; default
        the first. Raises like `total`, and ValueError where counts and objects stand in different databases.
        """
        check_counter(cls, field)
        return reading.top(cls, _objects(cls, among, model), field, n, since, until)

    @classmethod
    def trending(
        cls,
        field: str,
        n: int = 10,
        half_life: timedelta = timedelta(days=7),
        among: Any = None,
        model: type[models.Model] | None = None,
        now: datetime | None = None,
    ) -> models.QuerySet[Any]:
        """Like `top`, but what was counted weighs less the longer ago it was; with the weighted sum as ``.score``.

        A slot that began one ``half_life`` before ``now`` weighs half, after two a quarter, and so on; after ten
        (a thousandth) it is left out.
        """
        check_counter(cls, field)
        return reading.trending(cls, _objects(cls, among, model), field, n, half_life, now or datetime.now(UTC))


class TrackableTimeSeriesData(TrackableData):
    """Counters of an object and a slot of time: the day, week or month of the event, in the site's time zone.

    ``slot`` is "day", "week" (known by its Monday) or "month" (by its first day); for "hour" see
    `TrackableHourlyData`. Where rows have more to their key, override ``slot_of`` together with ``key_fields``, with
    the base's slot first. A rule of its own for time has to return the start of the slot; reading follows it, if
    ``slot_of`` can be called without options.
    """

    # Its own index is for "everyone's since that day": the unique key begins with the object.
    collected_during: models.DateField[Any, Any] = models.DateField(editable=False, db_index=True)

    slot: ClassVar[str] = "day"
    key_fields: ClassVar[tuple[str, ...]] = ("object_type", "object_id", "collected_during")

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
        """The slot of ``at`` in the site's time zone."""
        return (slots.RULES[cls.slot](at),)


class TrackableHourlyData(TrackableTimeSeriesData):
    """Counters of an object and an hour, known by its start; an hour that the clock shows twice is two.

    Where USE_TZ is off a column can't tell the two from each other, and they are one.
    """

    collected_during = models.DateTimeField(editable=False, db_index=True)

    slot = "hour"

    class Meta(TrackableTimeSeriesData.Meta):
        abstract = True

    @classmethod
    def slot_of(cls, at: datetime, **options: Any) -> tuple[Any, ...]:
        """The start of the hour of ``at`` on the clock of the site's time zone, as the column holds it."""
        return (stored(slots.hour_of(at)),)


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


def check_counter(dataset: type[TrackableData], field: str) -> None:
    """Raises ValueError where ``field`` is no counter of ``dataset``."""
    known = dataset.get_trackable_fields()
    if field not in known:
        near = difflib.get_close_matches(str(field), known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(map(repr, known))}."
        raise ValueError(f"{dataset.__name__} has no counter field {field!r}. {hint}")


def _rows_of(dataset: type[TrackableData], obj: models.Model, field: str) -> models.QuerySet[Any]:
    check_counter(dataset, field)
    if not isinstance(obj, models.Model):
        raise TypeError(f"{obj!r} is not a model instance.")
    if obj.pk is None or obj._state.adding:
        raise ValueError(f"{obj._meta.label} instance is not saved: nothing is counted for it.")
    model = _counted(dataset, obj.__class__)
    return dataset._base_manager.filter(
        object_type=model._meta.label_lower, object_id=str(model._meta.pk.to_python(obj.pk))
    )


def _objects(dataset: type[TrackableData], among: Any, model: type[models.Model] | None) -> models.QuerySet[Any]:
    if among is None:
        among = model or site.get_parent(dataset)
    objects = rows_of(among)
    if model is not None and _concrete(model) is not _concrete(objects.model):
        raise TypeError(f"among holds objects of {objects.model._meta.label}, not of {model._meta.label}.")
    _counted(dataset, objects.model)
    return objects


def _counted(dataset: type[TrackableData], model: type[models.Model]) -> type[models.Model]:
    if dataset not in site.datasets_of(model):
        raise LookupError(f"{model._meta.label} is not counted in {dataset.__name__}.")
    return _concrete(model)


def _concrete(model: type[models.Model]) -> type[models.Model]:
    return model._meta.concrete_model or model


class TrackableRegistry:
    """Which datasets count which models. ``site`` below is the one that messages are held against."""

    def __init__(self) -> None:
        self._in_admin: set[type[TrackableData]] = set()
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

        ``admin_cls`` also puts the dataset into the admin. Raises AlreadyRegistered for a pair that stands already, or
        another admin class for the same dataset; ImproperlyConfigured for what is no dataset, model or admin class,
        and for a dataset without a unique key (its Meta does not inherit), without counters or with a wrong slot.
        """
        _refuse_unusable(trackable_cls)
        models_ = _models(model_or_iterable)
        for place, model in enumerate(models_):
            if trackable_cls in self.datasets_of(model) or model in models_[:place]:
                raise AlreadyRegistered(f"{trackable_cls.__name__} is registered for {model.__name__} already.")
        if admin_cls is not None:
            self._put_into_admin(trackable_cls, admin_cls)
        for model in models_:
            self._datasets.setdefault(model, []).append(trackable_cls)
        self._by_label[trackable_cls._meta.label_lower] = trackable_cls
        self.revision += 1

    def _put_into_admin(self, trackable_cls: type[TrackableData], admin_cls: type[admin.ModelAdmin[Any]]) -> None:
        if not (isinstance(admin_cls, type) and issubclass(admin_cls, admin.ModelAdmin)):
            raise ImproperlyConfigured(f"admin_cls is a subclass of ModelAdmin, not {admin_cls!r}.")
        if not apps.is_installed("django.contrib.admin"):
            raise ImproperlyConfigured('admin_cls needs "django.contrib.admin" in INSTALLED_APPS.')
        if not admin.site.is_registered(trackable_cls):
            admin.site.register(trackable_cls, admin_cls)
            self._in_admin.add(trackable_cls)
        elif type(admin.site.get_model_admin(trackable_cls)) is not admin_cls:
            raise AlreadyRegistered(f"{trackable_cls.__name__} is in the admin already, with another class.")

    def unregister(self, model_or_iterable: type[models.Model] | Iterable[type[models.Model]]) -> None:
        """Forget every dataset of the model or models; one that counts nothing any more leaves the admin, too.

        Raises NotRegistered for a model that has none.
        """
        models_ = _models(model_or_iterable)
        for model in models_:
            if not self.datasets_of(model):
                raise NotRegistered(f"{model.__name__} has no dataset.")
        for model in models_:
            self._datasets.pop(model, None)
        kept = {dataset for datasets in self._datasets.values() for dataset in datasets}
        self._by_label = {dataset._meta.label_lower: dataset for dataset in kept}
        self.revision += 1
        for dataset in self._in_admin - kept:
            self._in_admin.discard(dataset)
            admin.site.unregister(dataset)

    def get_parent(self, trackable_cls: type[TrackableData]) -> type[models.Model]:
        """The (first) model that ``trackable_cls`` counts. Raises NotRegistered."""
        for model, datasets in self._datasets.items():
            if trackable_cls in datasets:
                return model
        raise NotRegistered(f"{trackable_cls.__name__} is not registered.")

    def datasets_of(self, model: type[models.Model]) -> tuple[type[TrackableData], ...]:
        """The datasets that count ``model``, default first; empty where there is none. A proxy shares its base's."""
        return tuple(self._datasets.get(_concrete(model), ()))

    def by_label(self, label: str) -> type[TrackableData] | None:
        """The registered dataset with the label ``app_label.model`` (lower case), or None."""
        return self._by_label.get(label)


def _models(model_or_iterable: type[models.Model] | Iterable[type[models.Model]]) -> list[type[models.Model]]:
    if isinstance(model_or_iterable, str) or not isinstance(model_or_iterable, (type, Iterable)):
        raise ImproperlyConfigured(f"Models are registered as classes, not as {model_or_iterable!r}.")
    given = [model_or_iterable] if isinstance(model_or_iterable, type) else list(model_or_iterable)
    for model in given:
        if not (isinstance(model, type) and issubclass(model, models.Model)) or model._meta.abstract:
            raise ImproperlyConfigured(f"Only models with a table have objects to count, not {model!r}.")
    return [_concrete(model) for model in given]


def _refuse_unusable(trackable_cls: type[TrackableData]) -> None:
    if not (isinstance(trackable_cls, type) and issubclass(trackable_cls, TrackableData)):
        raise ImproperlyConfigured(f"A dataset is a subclass of TrackableData, not {trackable_cls!r}.")
    name = trackable_cls.__name__
    if trackable_cls._meta.abstract:
        raise ImproperlyConfigured(f"{name} is abstract: it has no table to count in.")
    keys = {tuple(c.fields) for c in trackable_cls._meta.constraints if isinstance(c, models.UniqueConstraint)}
    keys |= {tuple(fields) for fields in trackable_cls._meta.unique_together}
    if trackable_cls.key_fields not in keys:
        wanted = ", ".join(trackable_cls.key_fields)
        raise ImproperlyConfigured(
            f"{name} has no unique constraint on ({wanted}): let its Meta inherit its base's Meta."
        )
    if not trackable_cls.get_trackable_fields():
        raise ImproperlyConfigured(f"{name} has no counter: an integer field with default=0 that is not null.")
    hiding = [field for field in trackable_cls.get_trackable_fields() if hasattr(TrackableTimeSeriesData, field)]
    if hiding:
        raise ImproperlyConfigured(f"{name}.{hiding[0]} hides what every dataset has under that name: rename it.")
    if issubclass(trackable_cls, TrackableTimeSeriesData):
        _refuse_wrong_slot(trackable_cls)


def _refuse_wrong_slot(series: type[TrackableTimeSeriesData]) -> None:
    name, slot = series.__name__, series.slot
    if slot not in slots.RULES:
        known = ", ".join(map(repr, slots.RULES))
        raise ImproperlyConfigured(f"{name}.slot is one of {known}, not {slot!r}.")
    try:
        column = series._meta.get_field("collected_during")
    except FieldDoesNotExist:
        raise ImproperlyConfigured(f"{name} has no collected_during to keep its slot in.") from None
    hourly = isinstance(column, models.DateTimeField)
    if not isinstance(column, models.DateField) or hourly is not (slot == "hour"):
        base = "TrackableHourlyData" if slot == "hour" else "TrackableTimeSeriesData"
        raise ImproperlyConfigured(
            f"{name}.slot is {slot!r}, but collected_during is a {type(column).__name__}: subclass {base}."
        )


site = TrackableRegistry()
