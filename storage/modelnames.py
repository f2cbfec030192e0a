"""Models and datasets as they are named on the command line: ``app.Model``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from django.apps import apps
from django.core.management.base import CommandError
from django.db import models

from footfall.storage.datasets import TrackableData, site


def model_named(label: str) -> type[models.Model]:
    """The model ``app.Model``; upper and lower case of the model don't matter. Raises CommandError."""
    _check_form(label)
    try:
        return apps.get_model(label)
    except LookupError:
        known = [model._meta.label for model in apps.get_models()]
        raise CommandError(f"There is no model {label}.{near(label, known)}") from None


def dataset_named(label: str) -> type[TrackableData]:
    """The registered dataset ``app.Model``. Raises CommandError."""
    _check_form(label)
    dataset = site.by_label(label.lower())
    if dataset is None:
        raise CommandError(f"{label} is not a registered dataset.{near(label, _registered())}")
    return dataset


def near(name: str, known: Iterable[str]) -> str:
    """``" Did you mean …?"`` with the one of ``known`` that comes nearest, or nothing; to be added to a message."""
    found = {each.lower(): each for each in known}
    match = difflib.get_close_matches(name.lower(), found, n=1)
    return f" Did you mean {found[match[0]]}?" if match else ""


def _check_form(label: str) -> None:
    app, dot, name = label.partition(".")
    if not (app and dot and name) or "." in name:
        raise CommandError(f"{label!r} is not of the form app.Model.")


def _registered() -> list[str]:
    candidates = [model for model in apps.get_models() if issubclass(model, TrackableData)]
    return [model._meta.label for model in candidates if site.by_label(model._meta.label_lower) is model]
