"""What a model says of itself in its inner class ``HandleRef``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from django.db import models

INNER = "HandleRef"


class HandleRefOptions:
    """``tag``, ``delete_cascade``, ``skip_unchanged``, ``publish_actions``, and whatever else the inner class holds."""

    #: By default the name of the class in lower case.
    tag: str
    #: Names of relations that point back to the model: what is deleted, and restored, with an object of it.
    delete_cascade: list[str]
    #: Whether a save that changes nothing leaves ``updated`` and ``version`` alone.
    skip_unchanged: bool
    #: Whether what is created, changed, deleted and restored is published as an action.
    publish_actions: bool

    def __init__(self, **keys: Any) -> None:
        self.__dict__.update(keys)

    def __getattr__(self, name: str) -> Any:
        # Asked only for what is not there.
        raise AttributeError(f"The inner class {INNER} of the model tagged {self.__dict__.get('tag')!r} has no {name}.")

    def __repr__(self) -> str:
        return f"HandleRefOptions({self.__dict__!r})"


class CompiledOptions:
    """The attribute ``_handleref`` of a model class, and of its objects.

    The keys of the nearest inner class, and of those that it inherits from. A model without one of its own shares that
    of the model it inherits from, the tag included; the tag of an abstract one is passed on only where it is declared.
    Raises ImproperlyConfigured where the tag is no text, or ``delete_cascade`` no list of texts.
    """

    def __get__(self, instance: models.Model | None, owner: type[models.Model]) -> HandleRefOptions:
        options: HandleRefOptions | None = owner.__dict__.get("_footfall_options")
        if options is None:
            options = _compiled(owner)
            type.__setattr__(owner, "_footfall_options", options)
        return options


def keeps_account(model: type[models.Model]) -> bool:
    """Whether ``model`` is a `HandleRefModel`, whatever its inner class says."""
    return any(isinstance(vars(base).get("_handleref"), CompiledOptions) for base in model.__mro__)


def _compiled(owner: type[models.Model]) -> HandleRefOptions:
    keys: dict[str, Any] = {"tag": None, "delete_cascade": [], "skip_unchanged": False, "publish_actions": False}
    inner = getattr(owner, INNER, object)
    keys.update({name: getattr(inner, name) for name in dir(inner) if not name.startswith("__")})
    tag, names = keys["tag"], keys["delete_cascade"]
    if tag is None:
        tag = _name_of(owner)
    if not isinstance(tag, str):
        raise ImproperlyConfigured(f"{owner.__name__}.{INNER}.tag is a text, not {tag!r}.")
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ImproperlyConfigured(f"{owner.__name__}.{INNER}.delete_cascade is a list of names, not {names!r}.")
    return HandleRefOptions(**{**keys, "tag": tag.lower(), "delete_cascade": list(names)})


def _name_of(owner: type[models.Model]) -> str:
    """The class by which ``owner`` is tagged where no tag is declared: the concrete one whose inner class it shares."""
    inner = getattr(owner, INNER, None)
    sharing = [
        base
        for base in owner.__mro__
        if getattr(base, INNER, None) is inner and hasattr(base, "_meta") and not base._meta.abstract
    ]
    return sharing[-1].__name__ if sharing else owner.__name__
