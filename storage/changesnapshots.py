"""What was committed at a moment, told by the stamps of `footfall.storage.changestamps`; and what a database says.

A snapshot sees the stamps below ``xmax`` but those that were still running then: theirs come later, with numbers that
are earlier. On SQLite one writes at a time, nothing is ever running, and ``xmax`` is the number after the counter's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from django.db import connections
from django.db.models import Q

from footfall.storage.changestamps import COUNTER, PERIOD, first_own

#: More that are running than this make no list: the snapshot then ends before the first of them.
RUNNING = 200


class Snapshot(NamedTuple):
    """Stamps below ``xmin`` are seen, from ``xmax`` on none, between them those that are not ``running`` (in order)."""

    xmin: int
    xmax: int
    running: tuple[int, ...] = ()

    @classmethod
    def of(cls, xmax: int, running: Iterable[int] = ()) -> Self:
        """The one that sees all below ``xmax`` but ``running``."""
        below = tuple(sorted({stamp for stamp in running if stamp < xmax}))
        xmin = below[0] if below else xmax
        return cls(xmin, xmin) if len(below) > RUNNING else cls(xmin, xmax, below)

    def sees(self, stamp: int) -> bool:
        """Whether what carries ``stamp`` was committed."""
        return stamp < self.xmax and stamp not in self.running

    def united(self, other: Snapshot) -> Snapshot:
        """What either sees."""
        unseen = {stamp for stamp in (*self.running, *other.running) if not (self.sees(stamp) or other.sees(stamp))}
        return Snapshot.of(max(self.xmax, other.xmax), unseen)

    def common(self, other: Snapshot) -> Snapshot:
        """What both see."""
        return Snapshot.of(min(self.xmax, other.xmax), (*self.running, *other.running))

    def seen(self) -> Q:
        """The condition on rows that their stamp is seen; an index on the stamp serves it."""
        return Q(change_stamp__lt=self.xmax) & ~Q(change_stamp__in=self.running)

    def unseen(self) -> Q:
        """The condition on rows that their stamp is not seen; an index on the stamp serves it."""
        return Q(change_stamp__gte=self.xmin) & (Q(change_stamp__gte=self.xmax) | Q(change_stamp__in=self.running))


#: Sees nothing.
NOTHING = Snapshot(0, 0)


class Present(NamedTuple):
    """What a database says of now, to the transaction that asks."""

    #: Which database it is, and which of its lives: where numbers are given out again, it is another.
    identity: str
    #: What is committed.
    seen: Snapshot
    #: The first number that nothing which is committed carries.
    next: int
    #: The first and the last stamp that the asking transaction has written itself and not committed.
    own: tuple[int, int] | None
    #: Whether others may have seen more: on a standby, or by a snapshot that was taken before.
    may_lag: bool

    def within(self, since: Snapshot, until: Snapshot) -> Q:
        """The condition on rows that ``until`` sees them and ``since`` didn't, or that they are the asker's own."""
        seen = until.seen() if self.own is None else until.seen() | Q(change_stamp__range=self.own)
        return since.unseen() & seen


def present(using: str) -> Present:
    """What the database ``using`` says of now. One query."""
    return _of_postgresql(using) if connections[using].vendor == "postgresql" else _of_sqlite(using)


# The control file is that of the whole cluster, of which each standby has a copy. After a promotion, or a restoration
# from the archive, numbers that were given out and lost are given out again: the timeline tells. It is that of the last
# checkpoint, or of what was replayed since then.
_NOW = """
SELECT pg_current_snapshot()::text, pg_current_xact_id_if_assigned()::text::bigint, pg_is_in_recovery(),
       current_setting('transaction_isolation') <> 'read committed',
       concat_ws('/', cluster.system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()),
                 greatest(checkpoint.timeline_id, recovery.min_recovery_end_timeline))
FROM pg_control_system() AS cluster, pg_control_checkpoint() AS checkpoint, pg_control_recovery() AS recovery
"""


def _of_postgresql(using: str) -> Present:
    text, own, is_standby, is_earlier, cluster = _row(using, _NOW)
    xmin, xmax, running = text.split(":")
    seen = Snapshot.of(int(xmax), map(int, filter(None, running.split(","))))
    if is_standby:
        # What is running on the primary is not among what a standby's snapshot lists.
        seen = Snapshot(int(xmin), int(xmin))
    if own is not None:
        # A snapshot doesn't count its own transaction among those that are running.
        seen = Snapshot.of(seen.xmax, (*seen.running, own))
    return Present(
        _digest(cluster), seen, int(xmax), None if own is None else (own, own), may_lag=is_standby or is_earlier
    )


def _of_sqlite(using: str) -> Present:
    row = _row(using, f"SELECT number FROM {COUNTER} WHERE id = 1")
    number, first = row[0] if row else 0, first_own(using)
    committed = number if first is None else first - 1
    if committed % PERIOD == 0:  # the counter has begun in this very transaction
        committed = 0
    return Present(
        _digest(f"sqlite/{committed // PERIOD}"),
        Snapshot.of(committed + 1),
        number + 1,
        None if first is None else (first, number),
        may_lag=False,
    )


def _row(using: str, sql: str) -> Any:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def _digest(identity: str) -> str:
    """Short, and nothing that is told to strangers."""
    return hashlib.blake2s(identity.encode(), digest_size=8).hexdigest()
