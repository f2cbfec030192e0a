"""How the actions of a verb behave: how they are joined, in the worker, and how they read, on a page.

A site subclasses `ActionHandler` in a module ``action_handlers`` of any installed app; the class is registered under
its ``verb``. In the worker handlers get plain `Draft` objects: they need no query, they may run more than once for the
same action, and an exception in one makes that action a dead letter.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from footfall.producers.settings import conf
from footfall.storage.drafts import Draft

if TYPE_CHECKING:
    from footfall.storage.models import Action


class _Levels:
    """The levels of FOOTFALL["LEVELS"] as attributes: ``level.INFO``."""

    def __getattr__(self, name: str) -> int:
        try:
            return int(conf.LEVELS[name])
        except KeyError:
            raise AttributeError(f'FOOTFALL["LEVELS"] has no level {name!r}') from None


level = _Levels()


class ActionHandler:
    """How the actions of one verb behave. The class without a verb stands for every verb that has no handler.

    ``combine_with_<other verb>(own, other)``, a static or class method, returns True when the two drafts of one unit
    of work are one action; ``own`` is the draft of this class's verb. Spaces in the verb are written as underscores.
    """

    verb: ClassVar[str] = ""
    level: ClassVar[int | None] = None

    def __init__(self, action: Action) -> None:
        self.action = action

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.verb:
            _handlers[cls.verb] = cls

    @classmethod
    def group(cls, newer: Draft, older: Draft) -> bool:
        """Whether two drafts of the same actor and verb are one: their targets or their related objects are equal.

        Two empty sides are equal only where the other sides are equal, too.
        """
        same_targets = set(newer.targets) == set(older.targets)
        same_related = set(newer.related) == set(older.related)
        if same_targets and same_related:
            return True
        return (same_targets and bool(newer.targets)) or (same_related and bool(newer.related))

    @classmethod
    def combinator(cls, verb: str) -> Callable[[Draft, Draft], bool] | None:
        """The hook that this class itself (not a base of it) defines for ``verb``."""
        name = "combine_with_" + re.sub(r"\W", "_", verb)
        return getattr(cls, name) if name in vars(cls) else None


_handlers: dict[str, type[ActionHandler]] = {}


def handler_of(verb: str) -> type[ActionHandler]:
    """The handler class of ``verb``, or the default one. The last definition of a verb wins."""
    return _handlers.get(verb, ActionHandler)


def level_of(verb: str) -> int:
    """The level of an action that states none: its handler's, else DEFAULT_LEVEL."""
    stated = handler_of(verb).level
    return int(conf.LEVELS[conf.DEFAULT_LEVEL]) if stated is None else stated
