"""Models and datasets as they are named on the command line: ``app.Model``."""

from __future__ import annotations

from django.apps import apps
from django.core.management.base import CommandError
from django.db import models

from footfall.storage.datasets import TrackableData, site
from footfall.storage.naming import model_of
from footfall.storage.suggestions import near


def model_named(label: str) -> type[models.Model]:
    """The model ``app.Model``; upper and lower case of the model don't matter. Raises CommandError."""
    _check_form(label)
    try:
        return model_of(label)
    except LookupError as error:
        raise CommandError(str(error)) from None


def dataset_named(label: str) -> type[TrackableData]:
    """The registered dataset ``app.Model``. Raises CommandError."""
    _check_form(label)
    dataset = site.by_label(label.lower())
    if dataset is None:
        raise CommandError(f"{label} is not a registered dataset.{near(label, _registered())}")
    return dataset


def _check_form(label: str) -> None:
    app, dot, name = label.partition(".")
    if not (app and dot and name) or "." in name:
        raise CommandError(f"{label!r} is not of the form app.Model.")


def _registered() -> list[str]:
    candidates = [model for model in apps.get_models() if issubclass(model, TrackableData)]
    return [model._meta.label for model in candidates if site.by_label(model._meta.label_lower) is model]
