"""What is tracked, however it is named: objects, models, what is left of deleted objects; and the verbs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import models
from django.utils.functional import Promise

from footfall.producers.messages import Ref
from footfall.producers.publish import verb_text
from footfall.storage.marks import label_of
from footfall.storage.naming import object_of


def refs_of(objects: Any) -> dict[Ref, Any]:
    """``objects`` by their Refs, each once: one of what `ref_of` takes, or any iterable of them. Raises likewise."""
    if isinstance(objects, (models.Model, type)):
        return {ref_of(objects): objects}
    if isinstance(objects, (str, bytes)) or not isinstance(objects, Iterable):
        raise TypeError(f"A model instance, a model class or an iterable of them is needed, not {objects!r}.")
    return {ref_of(one): one for one in objects}


def ref_of(obj: Any) -> Ref:
    """Whom ``obj`` is: a saved instance, a model class (all of it), or what is left of a deleted object.

    Raises ValueError for an unsaved instance, TypeError for anything else.
    """
    if isinstance(obj, type):
        if not issubclass(obj, models.Model) or obj._meta.abstract:
            raise TypeError(f"{obj!r} is no model with objects of its own.")
        return Ref(label_of(obj))
    left = getattr(obj, "footfall_ref", None)
    return left if isinstance(left, Ref) else Ref(*object_of(obj))


def verbs_of(verbs: Any) -> list[str]:
    """One verb or several as texts, untranslated and each once, in their order; none for None.

    Raises ValueError for what is no verb.
    """
    if verbs is None:
        return []
    # What is lazily translated says of itself that it is iterable.
    one = isinstance(verbs, (str, Promise)) or not isinstance(verbs, Iterable)
    several = [verbs] if one else verbs
    return list(dict.fromkeys(map(verb_text, several)))
