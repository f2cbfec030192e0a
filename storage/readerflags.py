"""What loaded actions know of their readers: whether they are unread for them, as it was asked for all of a page.

It stays with the instances: what belongs to one user's page is not pickled or copied with an action.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from footfall.storage.models import Action

#: Where an action keeps it.
FLAGS = "_footfall_unread"


class State(NamedTuple):
    """Whether an action is ``unread``, whether a mark says that it is ``read``, and the time of a mark that would."""

    unread: bool
    read: bool
    at: datetime


class _Flag(NamedTuple):
    state: State
    #: With which loaded marks it is so; None: whatever is marked.
    marks: object


def known(action: Action, reader: Any, marks: object) -> State | None:
    """What ``action`` knows of the user with the key ``reader``; None if nothing, or not with these ``marks``."""
    flag = _flags(action).get(reader)
    if flag is None or flag.state.at < action.changed:  # it was read anew, and has grown
        return None
    return flag.state if flag.marks is None or flag.marks is marks else None


def remember(action: Action, reader: Any, state: State, marks: object) -> None:
    """Let ``action`` know it: as long as the reader has the same loaded ``marks``; with None in any case."""
    _flags(action)[reader] = _Flag(state, marks)


def forget(action: Action, reader: Any = None) -> None:
    """Let it be asked anew whether ``action`` is unread, for this reader or, None, for any."""
    if reader is None:
        action.__dict__.pop(FLAGS, None)
    else:
        _flags(action).pop(reader, None)


def _flags(action: Action) -> dict[Any, _Flag]:
    flags: dict[Any, _Flag] = action.__dict__.setdefault(FLAGS, {})
    return flags
