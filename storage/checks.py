"""System checks of what reads and shows actions, and of what they are about. None touches the network or a database."""

import inspect
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from footfall.producers.checks import is_dict
from footfall.producers.settings import conf
from footfall.storage.connecting import connected_models, overwritten
from footfall.storage.handlers import default_handler
from footfall.storage.resolving import visibility


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


def check_visible_objects(**_: Any) -> list[CheckMessage]:
    """VISIBLE_OBJECTS names a function."""
    if not is_dict() or conf.VISIBLE_OBJECTS is None:
        return []
    try:
        rule = visibility()
        if inspect.iscoroutinefunction(rule):
            raise TypeError("it is a coroutine function, which nobody awaits")
    except Exception as error:  # whatever the module that it names does
        text = f'FOOTFALL["VISIBLE_OBJECTS"] can\'t be used, and no object is shown: {error}'
        hint = "It is a function of a user and a queryset that returns a queryset, or its import string."
        return [Error(text, hint=hint, id="footfall.storage.E002")]
    return []


def check_connected_models(**_: Any) -> list[CheckMessage]:
    """Connected models still have their actions and trackers."""
    if not is_dict():
        return []
    hint = "Or give the relation another related_name."
    return [
        Error(text, hint=hint, obj=model, id="footfall.storage.E003")
        for model in connected_models()
        for text in overwritten(model)
    ]
