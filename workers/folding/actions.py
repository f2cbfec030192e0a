"""Folds actions: what is one is joined, with what is stored too, and what is left is written, in bulk.

Within a unit of work an action may be combined with one of another verb (its handlers decide); then it may be grouped
with one of the same actor and verb, of its unit or of a window of time before it. The older one survives with its time.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import timedelta

from django.db import connections, router

from footfall.producers.messages import Action as ActionEvent
from footfall.producers.messages import Ref
from footfall.producers.reasons import Reason
from footfall.producers.rules import Malformed
from footfall.producers.settings import conf
from footfall.storage.clock import stored
from footfall.storage.drafts import Draft, DraftObjects, copied
from footfall.storage.handlers import level_of
from footfall.storage.models import Action, AppliedMessage
from footfall.workers.folding import actionrows, joining, storedactions
from footfall.workers.folding.joining import Candidate
from footfall.workers.folding.references import canonical

#: In seconds, a century: a longer window is as good as none, and a date can't be counted back for ever.
LONGEST_WINDOW = 3_155_760_000


def check(event: ActionEvent) -> tuple[Ref, ...]:
    """What must exist: nothing, for an action outlives its objects. Raises Malformed for what isn't known here."""
    for ref in (*event.targets, *event.related, *([event.actor] if event.actor else [])):
        canonical(ref)
    if event.using is not None and not keeps_actions(event.using):
        raise Malformed(Reason.UNKNOWN_ALIAS, f"{event.using[:80]!r} is not a database alias.")
    return ()


def keeps_actions(alias: str) -> bool:
    """Whether ``alias`` is a database with Footfall's tables. One query, until it is."""
    if alias not in connections or not router.allow_migrate_model(alias, Action):
        return False
    if alias not in _keeping and AppliedMessage._meta.db_table in connections[alias].introspection.table_names():
        _keeping.add(alias)
    return alias in _keeping


_keeping: set[str] = set()


def apply(events: Sequence[tuple[Hashable, ActionEvent]], using: str) -> None:
    """Join ``events``, each given with its unit of work, and write what is left. In the caller's transaction.

    Blocks while another transaction stores actions. Calls the site's handlers: raises HandlerFailed for what one of
    them raises, and what the database raises.
    """
    if not events:
        return
    given = [_candidate(event, unit, place) for place, (unit, event) in enumerate(events)]
    objects = DraftObjects((one.draft for one in given), using)
    combined = joining.combine(given)
    stamp = storedactions.hold(using)
    there = storedactions.look_up(joining.windows(combined), using)
    objects.add(one.draft for one in there)
    actionrows.write(joining.group(combined, there), there, stamp, using)


def _candidate(event: ActionEvent, unit: Hashable, place: int) -> Candidate:
    draft = Draft(
        id=event.id,
        actor=None if event.actor is None else canonical(event.actor),
        verb=event.verb,
        timestamp=stored(event.at),
        level=level_of(event.verb) if event.level is None else event.level,
        targets=list(dict.fromkeys(map(canonical, event.targets))),
        related=list(dict.fromkeys(map(canonical, event.related))),
        data=copied(event.data),  # a handler may change it in place, and the event may be folded again
        using=event.using,
    )
    delay = int(conf.GROUPING_DELAY) if event.grouping_delay is None else event.grouping_delay
    window = timedelta(seconds=min(max(delay, 0), LONGEST_WINDOW))
    return Candidate(draft, unit, place, window, grouped=delay >= 0)
