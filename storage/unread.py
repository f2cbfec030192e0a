"""What a user has not read of what they follow: computed from trackers and marks; nothing is stored by reading.

An action is unread for a user who follows it, if it gained an object since they do, and no mark of theirs is as late
as its ``changed``. The marks are those of `ViewMark`, by their rule: of the user's mark on the action, on the model
`Action` and on everything the latest decides (so ``ViewTracker.mark_all_viewed()`` is for actions, too). That a user
has read an action is a mark at the ``changed`` which they saw; that they have read all, a mark at the last stamp that
they could see. So what is committed later is unread, whatever the clocks say. (A mark on everything, or one that
`ViewTracker` sets on the model, is at the time of the clock: it also covers what is just being committed.)

Below READABLE_LEVEL, with TRACK_UNREAD off and for an anonymous user (or None) everything is read, without a query.
`footfall.storage.feeds` is the same rule in SQL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import router, transaction

from footfall.producers import scope
from footfall.producers.messages import EARLIEST
from footfall.producers.publish import publish_mark
from footfall.producers.settings import conf
from footfall.storage.changetime import site_time
from footfall.storage.clock import stored
from footfall.storage.feeds import followed
from footfall.storage.handlers import readable_level
from footfall.storage.loadedmarks import LoadedMarks, cache_of, forget_cached, marks_on
from footfall.storage.loading import alias_of, id_of
from footfall.storage.marks import in_chunks, locked, raise_marks
from footfall.storage.models import Action, ActionStamp, ViewMark
from footfall.storage.readerflags import State, forget, known, remember
from footfall.storage.refkeys import key_in
from footfall.storage.userkeys import key_or_none

#: What marks call actions.
ACTION = "footfall_storage.action"

#: Marks written by one statement, and ids in one condition.
ROWS = 5_000

#: The least time that databases tell apart.
TICK = timedelta(microseconds=1)


# -- Asked


def bulk_is_unread(user: Any, actions: Iterable[Action]) -> list[bool]:
    """Whether each of ``actions`` is unread for ``user``. Two queries at most; none for those that know it already."""
    listed = list(actions)
    reader = key_or_none(user)
    if reader is None:
        return [False] * len(listed)
    told = [known(action, reader, cache_of(user)) for action in listed]
    asked = iter(_states(user, reader, [action for action, state in zip(listed, told, strict=True) if state is None]))
    return [(state or next(asked)).unread for state in told]


def load_flags(user: Any, actions: Iterable[Action]) -> None:
    """Let ``actions`` know whether they are unread for ``user``. Two queries at most.

    They know it until a mark is set through the same instance of the user; of what a worker or another process marks
    they hear nothing.
    """
    reader = key_or_none(user)
    if reader is None:
        return
    marks = cache_of(user)
    unknown = [action for action in actions if known(action, reader, marks) is None]
    for action, state in zip(unknown, _states(user, reader, unknown), strict=True):
        remember(action, reader, state, marks)


# -- Marked


def publish_read(user: Any, actions: Iterable[Action]) -> None:
    """Say that ``user`` has read ``actions``: those that are unread, or don't know. No query: a worker sets the marks.

    Whatever the reader's user agent: who is logged in has read it. These very instances know it at once. Written now is
    what no worker would mark: an action that lies in another database than they look for it in, or whose time no event
    may have.
    """
    reader = key_or_none(user)
    if reader is None or not conf.TRACK_UNREAD:
        return
    now: dict[str, datetime] = {}
    with scope():
        for action in filter(_is_readable, actions):
            state = known(action, reader, cache_of(user)) or State(unread=True, read=False, at=action.changed)
            if not state.unread:
                continue
            if _is_in_reach(action, state.at):
                publish_mark(user, action, state.at)
            else:
                now[_text_of(action)] = state.at
            remember(action, reader, State(unread=False, read=True, at=state.at), marks=None)
    _write(user, reader, now)


def bulk_mark_read(user: Any, actions: Iterable[Action], *, force: bool = False) -> list[bool]:
    """``user`` has read ``actions`` as they are loaded, if AUTO_READ is on or ``force`` is given.

    Returns whether each of them was unread; all False where nothing is marked. Two queries, and one statement for
    5,000 marks. What an action gained since it was loaded stays unread.
    """
    listed = list(actions)
    reader = key_or_none(user)
    if reader is None or not (conf.AUTO_READ or force):
        return [False] * len(listed)
    states = list(zip(listed, _states(user, reader, listed), strict=True))
    # What was just published as read is not in the marks yet.
    were = [state.unread and (known(action, reader, cache_of(user)) or state).unread for action, state in states]
    _write(user, reader, {_text_of(action): state.at for action, state in states if not state.read})
    return were


def mark_unread(user: Any, actions: Iterable[Action]) -> None:
    """``actions`` are unread for ``user``, whether or not they follow them, until they are marked as read again.

    One query, and one statement for 5,000 marks.
    """
    reader = key_or_none(user)
    if reader is None or not conf.TRACK_UNREAD:
        return
    listed = list(filter(_is_readable, actions))
    marks = marks_on(reader, ((ACTION, _text_of(action)) for action in listed))
    later: dict[str, datetime] = {}
    for action in listed:
        at, _ = marks.latest(ACTION, _text_of(action))
        # As little later as can be: the mark that says the contrary will have to be as late.
        later[_text_of(action)] = max(action.changed, at or action.changed) + TICK
        forget(action, reader)
    _write(user, reader, later, seen=False)


def mark_all_read(user: Any, up_to: datetime | None = None) -> None:
    """``user`` has read every action that is stored by now; with ``up_to`` those whose ``changed`` is not later.

    What is committed afterwards is unread. Where actions lie in several databases, the last stamp of the one that they
    are routed to counts. Raises TypeError for what is no datetime, ValueError for one without a time zone where USE_TZ
    is on. Two queries and two statements, and two more where actions are marked as unread.
    """
    limit = None if up_to is None else site_time(up_to)
    reader = key_or_none(user)
    if reader is None:
        return
    at = last_stamp()
    if at is None:  # nothing was ever stored
        return
    at = at if limit is None else min(at, limit)
    with transaction.atomic(using=_home(), savepoint=False):
        _write(user, reader, {"": at})
        _give_up_unread(reader, at)


def last_stamp() -> datetime | None:
    """The greatest ``changed`` of all actions that are committed; None where there are none. One query."""
    return ActionStamp.objects.values_list("at", flat=True).first()


def _give_up_unread(reader: Any, at: datetime) -> None:
    """Delete the marks that say "unread" of actions whose ``changed`` is not later than ``at``.

    These are later themselves, so they would outlast the mark on the model.
    """
    own = ViewMark.objects.using(_home()).filter(user_id=reader, object_type=ACTION, seen=False)
    # In the order in which workers write them, and so lock them.
    texts = own.order_by("object_id").values_list("object_id", flat=True)
    for some in in_chunks(list(texts), ROWS):
        ids = [key_in(Action, text) for text in some]
        read = Action.objects.filter(pk__in=ids, changed__lte=at).values_list("pk", flat=True)
        locked(own.filter(object_id__in=list(map(str, read))), "object_id").delete()


def _write(user: Any, reader: Any, marks: Mapping[str, datetime], *, seen: bool = True) -> None:
    """Raise the reader's marks on actions, by the ids of these as text; "" stands for all of them."""
    if not marks:
        return
    with transaction.atomic(using=_home(), savepoint=False):
        for some in in_chunks(sorted(marks), ROWS):
            raise_marks({(reader, ACTION, key): marks[key] for key in some}, _home(), seen=seen)
    forget_cached(user)


# -- The rule


def _states(user: Any, reader: Any, actions: Sequence[Action]) -> list[State]:
    readable = list(filter(_is_readable, actions)) if conf.TRACK_UNREAD else []
    marks = marks_on(reader, ((ACTION, _text_of(action)) for action in readable))
    marked = {id_of(action): _marked(action, marks) for action in readable}
    by_tracker = _followed(user, (one for one in readable if not any(marked[id_of(one)][:2])))
    states = {key: state._replace(unread=state.unread or key in by_tracker) for key, state in marked.items()}
    return [states.get(id_of(one)) or State(unread=False, read=True, at=one.changed) for one in actions]


def _marked(action: Action, marks: LoadedMarks) -> State:
    """What the marks say: "unread", "read" or, both False, neither."""
    text = _text_of(action)
    at, seen = marks.latest(ACTION, text)
    taken_back = at is not None and not seen
    read = marks.say_seen(ACTION, text, action.changed)
    return State(taken_back, read, max(action.changed, at) if at and taken_back else action.changed)


def _followed(user: Any, actions: Iterable[Action]) -> set[UUID]:
    """Those that the user follows, and that were renewed since. One query for each database that they came from."""
    by_alias: dict[str, list[UUID]] = defaultdict(list)
    for action in actions:
        by_alias[alias_of(action)].append(id_of(action))
    return {key for using, ids in by_alias.items() for key in followed(user, ids, using)}


def _is_readable(action: Action) -> bool:
    return action.level >= readable_level()


# -- Names and places


def _text_of(action: Action) -> str:
    return str(id_of(action))


def _home() -> str:
    return router.db_for_write(ViewMark)


def _is_in_reach(action: Action, at: datetime) -> bool:
    """Whether a worker would find ``action``, and take ``at`` for a time."""
    model = type(action)
    if router.db_for_write(model, instance=action) != router.db_for_write(model):
        return False
    return stored(EARLIEST) <= at <= stored(datetime.now(UTC)) + timedelta(seconds=conf.MAX_CLOCK_SKEW_SECONDS)
