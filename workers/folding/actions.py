"""Folds actions: what is one is joined, with what is stored too, and what is left is written, in bulk.

Within a unit of work an action may be combined with one of another verb (its handlers decide); then it may be grouped
with one of the same actor and verb, of its unit or of a window of time before it. The older one survives with its time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from datetime import timedelta
from functools import cache

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router

from footfall.producers.messages import Action as ActionEvent
from footfall.producers.messages import Ref
from footfall.producers.reasons import Reason
from footfall.producers.rules import Malformed
from footfall.producers.settings import conf
from footfall.storage.clock import stored
from footfall.storage.connecting import connection_of
from footfall.storage.drafts import Draft, copied, load_together
from footfall.storage.handlers import level_of
from footfall.storage.models import Action, AppliedMessage
from footfall.workers.failures import Fault
from footfall.workers.folding import actionrows, joining, storedactions
from footfall.workers.folding.joining import Candidate, Key
from footfall.workers.folding.references import canonical, model_of

#: The stored actions of so many actors and verbs are in memory at a time.
SLICE = 50

#: In seconds, a century: a longer window is as good as none, and a date can't be counted back for ever.
LONGEST_WINDOW = 3_155_760_000


def check(event: ActionEvent) -> tuple[Ref, ...]:
    """What must exist: objects that take their actions along when they are deleted; an action outlives all others.

    Raises Malformed for what isn't known here.
    """
    refs = [canonical(ref) for ref in (event.actor, *event.targets, *event.related) if ref is not None]
    if event.using is not None and not keeps_actions(event.using):
        raise Malformed(Reason.UNKNOWN_ALIAS, f"{event.using[:80]!r} is not a database alias.")
    return tuple(ref for ref in refs if ref.id is not None and _takes_actions_along(ref.type))


def _takes_actions_along(label: str) -> bool:
    connection = connection_of(model_of(label))
    return connection is not None and not connection.use_del_items


def keeps_actions(alias: str) -> bool:
    """Whether ``alias`` is a database with Footfall's tables. One query, until it is."""
    if alias not in connections or not router.allow_migrate_model(alias, Action):
        return False
    if alias not in _keeping and AppliedMessage._meta.db_table in connections[alias].introspection.table_names():
        _keeping.add(alias)
    return alias in _keeping


_keeping: set[str] = set()


def check_settings() -> None:
    """Raises Fault where DEFAULT_HANDLER or DEFAULT_LEVEL is wrong: no event is to blame for that."""
    try:
        level_of("")  # no verb: the default one's
    except (ImproperlyConfigured, ValueError) as error:
        raise Fault(f"The settings are wrong: {error}") from error


def apply(events: Sequence[tuple[Hashable, ActionEvent]], using: str) -> None:
    """Join ``events``, each given with its unit of work, and write what is left. In the caller's transaction.

    Blocks while another transaction stores actions. Calls the site's handlers: raises HandlerFailed for what one of
    them raises, and what the database raises.
    """
    if not events:
        return
    level = cache(level_of)
    given = [_of_event(event, unit, place, level) for place, (unit, event) in enumerate(events)]
    load_together([one.draft for one in given])
    combined = joining.combine(given)
    stamp = storedactions.hold(using)
    new: list[Candidate] = []
    changed: list[Candidate] = []
    for some in _slices(combined):
        there = storedactions.look_up(joining.windows(some), using)
        load_together([one.draft for one in (*some, *there)])
        new += joining.group(some, there)
        changed += filter(actionrows.is_changed, there)
    actionrows.write(new, changed, stamp, using)


def _slices(given: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """``given`` in pieces of at most SLICE actors and verbs each, in their order within each of them."""
    keys: dict[Key, int] = {}
    pieces: dict[int, list[Candidate]] = defaultdict(list)
    for one in given:
        pieces[keys.setdefault(one.key, len(keys)) // SLICE].append(one)
    return iter(pieces.values())


def _of_event(event: ActionEvent, unit: Hashable, place: int, level: Callable[[str], int]) -> Candidate:
    draft = Draft(
        id=event.id,
        actor=None if event.actor is None else canonical(event.actor),
        verb=event.verb,
        timestamp=stored(event.at),
        level=level(event.verb) if event.level is None else event.level,
        targets=list(dict.fromkeys(map(canonical, event.targets))),
        related=list(dict.fromkeys(map(canonical, event.related))),
        data=copied(event.data),  # a handler may change it in place, and the event may be folded again
        using=event.using,
    )
    delay = int(conf.GROUPING_DELAY) if event.grouping_delay is None else event.grouping_delay
    window = timedelta(seconds=min(max(delay, 0), LONGEST_WINDOW))
    return Candidate(draft, unit, place, window, grouped=delay >= 0)
