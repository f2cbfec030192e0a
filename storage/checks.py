"""System checks of what reads and shows actions. None touches the network or a database."""

from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from footfall.producers.checks import is_dict
from footfall.storage.handlers import default_handler


def check_default_handler(**_: Any) -> list[CheckMessage]:
    """DEFAULT_HANDLER names a class of handlers."""
    if not is_dict():
        return []
    try:
        default_handler()
    except ImproperlyConfigured as error:
        hint = "It is an ActionHandler class, or its import string."
        return [Error(str(error), hint=hint, id="footfall.storage.E001")]
    return []
