"""Counts a visitor once: of all events with one token the earliest counts, in whatever order and batch they come.

What stands for a token is the time of the event that counts. Where an earlier one comes later, the time is lowered,
and the count moves to the earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from footfall.producers.messages import Increment
from footfall.producers.settings import conf
from footfall.storage.clock import stored
from footfall.storage.models import CountedOnce
from footfall.workers.folding.entries import enter

CHUNK = 500  # tokens asked for at once: SQLite limits the parameters of a statement


def settle(events: Iterable[Increment], using: str) -> dict[UUID, datetime | None]:
    """Enter the tokens of ``events``, of which no two have the same; returns those that change a count.

    With each stands None where it counts, or the time of the later event that was counted until now in its place.
    Those that are missing are repeats. Runs in the caller's transaction; blocks while another one settles the same.
    """
    claims = {event.once.token: (event.at, event.once.until) for event in events if event.once is not None}
    rows = [(token, stored(at), stored(until)) for token, (at, until) in claims.items()]
    fresh = {row[0] for row in enter(CountedOnce, ("token",), ("at", "until"), rows, using)}
    settled: dict[UUID, datetime | None] = dict.fromkeys(fresh)
    return settled | _lower({token: at for token, (at, _) in claims.items() if token not in fresh}, using)


def _lower(times: Mapping[UUID, datetime], using: str) -> dict[UUID, datetime | None]:
    """Lower what stands above ``times``; returns what stood there."""
    rows = CountedOnce.objects.using(using)
    # A time only ever falls: what is low enough without a lock stays so, and most repeats come in their order.
    above = _above(rows, times)
    late = _above(rows.select_for_update().order_by("pk"), {token: times[token] for token in above})
    lowered = [CountedOnce(token=token, at=stored(times[token])) for token in late]
    rows.bulk_update(lowered, ["at"], batch_size=CHUNK)
    return dict(late)


def _above(rows: QuerySet[CountedOnce], times: Mapping[UUID, datetime]) -> dict[UUID, datetime]:
    """The times that stand in ``rows`` above ``times``."""
    tokens, above = sorted(times), {}
    for start in range(0, len(tokens), CHUNK):
        for token, at in rows.filter(pk__in=tokens[start : start + CHUNK]).values_list("pk", "at"):
            aware = at if settings.USE_TZ else timezone.make_aware(at, timezone.get_default_timezone())
            if times[token] < aware:
                above[token] = aware
    return above


def prune(now: datetime, using: str, *, limit: int = 10_000) -> int:
    """Forget at most ``limit`` tokens whose window ended LEDGER_DAYS ago; returns how many. In a transaction.

    A message as old is refused by its age, so that no late one can count its visitor again.
    """
    oldest = stored(now) - timedelta(days=conf.LEDGER_DAYS + 1)
    rows = CountedOnce.objects.using(using)
    old = list(rows.filter(until__lt=oldest).order_by("until").values_list("pk", flat=True)[:limit])
    for start in range(0, len(old), CHUNK):
        rows.filter(pk__in=old[start : start + CHUNK]).delete()
    return len(old)
