"""Events that ``fold_messages`` set aside because it was asked for others, and their replay.

They are dead letters that nothing is wrong with. Before a letter is started that is written down, so that one that
takes its process down with it is found: it is tried again alone, and becomes a letter of the other sort in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from django.db import Error, connections, models, router, transaction
from django.utils import timezone

from footfall.producers.reasons import Reason
from footfall.producers.rules import Malformed
from footfall.storage.clock import stored
from footfall.storage.models import Attempt, DeadLetter
from footfall.workers import attempts
from footfall.workers.decoding import decode_event
from footfall.workers.folding.actions import keeps_actions
from footfall.workers.pipeline import Wanted
from footfall.workers.replay import Summary, replay
from footfall.workers.sessions import aliases

PREFIX = "held:"

#: Letters looked at, and letters started, at once.
PAGE = 500
CHUNK = 100

#: How many processes a letter may take down before it is left alone.
KILLS = 2


def count_held() -> int:
    """How many events are set aside. One query per alias."""
    return sum(_held(alias).count() for alias in _aliases())


def replay_held(
    limit: int | None = None,
    *,
    wanted: Wanted | None = None,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Apply events that were set aside, the ``wanted`` ones if given, at most ``limit``, oldest first; exactly once.

    Ends early once ``stopped()``. ``progress`` is called with the number of letters done. Blocks on the database, and
    raises what it raises with the finished chunks of 100 letters committed. Must not be called in a transaction.
    """
    summary, done = Summary(), 0
    for alias in _aliases():
        for ids in _chunks(alias, wanted):
            ids = ids if limit is None else ids[: limit - summary.replayed]
            if not ids or stopped():
                return summary
            for group in _groups(ids, alias, summary):
                _replay_group(group, alias, summary)
            done += len(ids)
            if progress is not None:
                progress(done)
    return summary


def _aliases() -> list[str]:
    """Where such letters may lie: beside what they are about, and an action names any database that keeps actions."""
    ours = [alias for alias in aliases() if router.allow_migrate_model(alias, DeadLetter)]
    return sorted({*ours, *filter(_keeps_actions, connections)})


def _keeps_actions(alias: str) -> bool:
    try:
        return keeps_actions(alias)
    except Error:  # one that may have nothing to do with us does not answer
        return False


def _held(alias: str) -> models.QuerySet[DeadLetter]:
    return DeadLetter.objects.using(alias).filter(state=DeadLetter.State.OPEN, reason=Reason.HELD)


def _chunks(alias: str, wanted: Wanted | None) -> Iterator[list[int]]:
    # By pages, each read whole: a cursor that stays open while others write would make SQLite refuse our own writes.
    last = 0
    while page := list(_held(alias).filter(pk__gt=last).order_by("pk").only("body", "edited_body")[:PAGE]):
        last = page[-1].pk
        ids = [letter.pk for letter in page if wanted is None or _is_wanted(letter, wanted)]
        yield from (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))


def _is_wanted(letter: DeadLetter, wanted: Wanted) -> bool:
    try:
        return wanted(decode_event(letter.current_body))
    except Malformed:  # mended, and not well: whoever asks for everything gets to know
        return False


def _groups(ids: Sequence[int], alias: str, summary: Summary) -> list[list[int]]:
    """What may be started together: what was never started, then each suspect alone. Buries those that killed twice."""
    rows = Attempt.objects.using(router.db_for_write(Attempt)).filter(key__in=[_key(alias, pk) for pk in ids])
    kills = {row.key: attempts.kills_of(row) for row in rows}
    fresh = [pk for pk in ids if not kills.get(_key(alias, pk))]
    suspects = [pk for pk in ids if kills.get(_key(alias, pk))]
    for pk in suspects:
        if kills[_key(alias, pk)] >= KILLS:
            _bury(pk, alias, summary)
    return [fresh] * bool(fresh) + [[pk] for pk in suspects if kills[_key(alias, pk)] < KILLS]


def _key(alias: str, pk: int) -> str:
    return f"{PREFIX}{alias}:{pk}"


def _replay_group(ids: list[int], alias: str, summary: Summary) -> None:
    _begin(ids, alias)
    try:
        done = replay(DeadLetter.objects.using(alias).filter(pk__in=ids, reason=Reason.HELD))
    except Exception:
        with suppress(Error):
            for pk in ids:
                attempts.take_back(_key(alias, pk))
        raise
    _forget(ids, alias)
    summary.replayed += done.replayed
    summary.still_dead += done.still_dead
    summary.busy += done.busy
    summary.reasons += done.reasons


def _begin(ids: list[int], alias: str) -> None:
    using, now, owner = router.db_for_write(Attempt), timezone.now(), attempts.me()
    keys = sorted(_key(alias, pk) for pk in ids)
    with transaction.atomic(using=using):
        known = {row.key: attempts.kills_of(row) for row in Attempt.objects.using(using).filter(key__in=keys)}
        Attempt.objects.using(using).bulk_create(
            [Attempt(key=key, owner=owner, count=known.get(key, 0) + 1, started_at=now) for key in keys],
            update_conflicts=True,
            unique_fields=["key"],
            update_fields=["owner", "count", "started_at"],
        )


def _forget(ids: list[int], alias: str) -> None:
    keys = [_key(alias, pk) for pk in ids]
    Attempt.objects.using(router.db_for_write(Attempt)).filter(key__in=keys).delete()


def _bury(pk: int, alias: str, summary: Summary) -> None:
    """Let a letter that ends its process wait for a person, unless somebody is at it just now and lives."""
    rows = _held(alias).filter(pk=pk)
    if connections[alias].features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True)
    with transaction.atomic(using=alias):
        letter = rows.first()
        if letter is None:
            return
        letter.reason, letter.stage = Reason.KILLED_WORKER.value, DeadLetter.Stage.WORKER
        letter.error = f"{KILLS} processes ended while they applied it."
        letter.attempts += 1
        letter.last_seen = stored(datetime.now(UTC))
        letter.save(using=alias)
    _forget([pk], alias)
    summary.still_dead += 1
    summary.reasons[Reason.KILLED_WORKER.value] += 1
