"""The newsroom's models with a history, as a site's admin would register them; and what tests of histories share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import reversion
from newsroom.models import Desk, Issue, Magazine, Masthead, Photo, Publisher, SpecialIssue, Story, Supplement

from footfall.storage.versions import ReversionVersion, register

TRACKED = (Publisher, Magazine, Issue, SpecialIssue, Supplement, Desk, Photo, Masthead, Story)


def register_all() -> None:
    """May be said again."""
    for model in TRACKED:
        register(model)


@contextmanager
def revision(comment: str = "", user: Any = None) -> Iterator[None]:
    """What is saved in the block is one revision."""
    with reversion.create_revision():
        reversion.set_comment(comment)
        if user is not None:
            reversion.set_user(user)
        yield


def saved(instance: Any, **values: Any) -> ReversionVersion:
    """Save ``instance`` with ``values`` in a revision of its own; its newest version."""
    with revision():
        for name, value in values.items():
            setattr(instance, name, value)
        instance.save()
    return newest(instance)


def newest(instance: Any) -> ReversionVersion:
    """The newest version of ``instance``."""
    return ReversionVersion.of(instance)[0]
