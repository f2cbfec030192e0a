"""Who is a user of the site, and the key by which rows name one."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models

from footfall.storage.marks import label_of


def is_user(obj: Any) -> bool:
    """Whether ``obj`` is a user: by the label of its model, for a migration has classes of its own.

    An instance of a model that inherits from the user model with a table of its own is none, but has one.
    """
    return isinstance(obj, models.Model) and label_of(obj.__class__) == label_of(get_user_model())


def user_key(user: Any) -> Any:
    """The primary key of a user. Raises TypeError for what is none (nor is an anonymous one), ValueError unsaved."""
    if not is_user(user):
        raise TypeError(f"A user ({settings.AUTH_USER_MODEL}) who is logged in is needed, not {user!r}.")
    if user.pk is None or user._state.adding:
        raise ValueError("The user is not saved: it has no identity yet.")
    return user.pk


def key_or_none(user: Any) -> Any:
    """The primary key of a user; None for an anonymous one, or nobody. Otherwise raises like `user_key`."""
    anonymous = user is None or (not isinstance(user, type) and getattr(user, "is_anonymous", False))
    return None if anonymous else user_key(user)
