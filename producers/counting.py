"""Counting by the names that users who move over know: the amount is an option, and the request comes first."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db import models
from django.http import HttpRequest

from footfall.producers.publish import publish_decrement, publish_increment


def send_increment_message(
    request: HttpRequest | None,
    obj: models.Model,
    field_name: str,
    data_cls: type[models.Model] | None = None,
    options: Mapping[str, Any] | None = None,
) -> uuid.UUID:
    """Add ``options["value"]`` (default 1) to a counter of ``obj``, in ``data_cls`` or the first one of its model.

    The other options are for the dataset's own slot rule. No query. Returns and raises like `publish_increment`.
    """
    value, others = _split(options)
    return publish_increment(obj, field_name, value, data_cls, request, options=others)


def send_decrement_message(
    request: HttpRequest | None,
    obj: models.Model,
    field_name: str,
    data_cls: type[models.Model] | None = None,
    options: Mapping[str, Any] | None = None,
) -> uuid.UUID:
    """Take ``options["value"]`` (default 1) from a counter. Otherwise like `send_increment_message`."""
    value, others = _split(options)
    return publish_decrement(obj, field_name, value, data_cls, request, options=others)


def _split(options: Mapping[str, Any] | None) -> tuple[Any, dict[str, Any] | None]:
    others = dict(options or {})
    return others.pop("value", 1), others or None
