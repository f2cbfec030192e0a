"""Writes a batch of events, and finds the ones that the database, or a site's own code, refuses.

All of a kind is tried under one savepoint; where that fails, each half under its own, down to the one bad event. The
actions of one unit of work stay together, for they may be joined: each is tried alone, and those that can be written
are then written together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from django.db import connections, transaction

from footfall.producers.messages import Action, Increment, View
from footfall.producers.reasons import Reason
from footfall.workers.failures import Blame, Fault, blame
from footfall.workers.folding import actions, increments, views
from footfall.workers.folding.joining import HandlerFailed
from footfall.workers.outcomes import APPLIED, Parcel, dead

#: From this many events on, one and the same internal error in more than half of them is a fault of the code.
LARGE_BATCH = 100

Atom = list[Parcel]
Work = Callable[[Sequence[Parcel], str], None]


def write(parcels: Sequence[Parcel], using: str, *, guarded: bool = True) -> None:
    """Write ``parcels`` in the caller's transaction and give each its outcome.

    Raises what is transient, and Fault when the code, not the data, is at fault: where the settings are wrong, and (if
    ``guarded``) where most of a large batch fails. Then the caller's transaction is to be rolled back.
    """
    acts = _atoms([p for p in parcels if isinstance(p.event, Action)])
    if acts:
        actions.check_settings()
    writer = _Writer(using, len(parcels) if guarded else 0)
    # Always in the same order of tables, so that concurrent batches can't deadlock. Actions are the last: whoever
    # writes them keeps all others from it until the commit.
    writer.write([[p] for p in parcels if isinstance(p.event, Increment)], _write_increments)
    writer.write([[p] for p in parcels if isinstance(p.event, View)], _write_views)
    writer.write(acts, _write_actions)


def _atoms(parcels: Sequence[Parcel]) -> list[Atom]:
    atoms: dict[Hashable, Atom] = {}
    for parcel in parcels:
        atoms.setdefault(_unit(parcel), []).append(parcel)
    return list(atoms.values())


def _unit(parcel: Parcel) -> Hashable:
    """What the actions of one unit of work have in common; units of different messages are never the same."""
    unit = parcel.event.unit if isinstance(parcel.event, Action) else None
    return parcel if unit is None else (parcel.message_id, unit)


class _Writer:
    """One batch being written; it remembers how many events died of which error. ``size`` 0: it matters not."""

    def __init__(self, using: str, size: int) -> None:
        self.using = using
        self.size = size
        self.internal: Counter[str] = Counter()
        self._sound: set[Parcel] = set()

    def write(self, atoms: list[Atom], work: Work) -> None:
        waiting = [atoms]
        while waiting:
            some = waiting.pop()
            if some:
                waiting += reversed(self._write_some(some, work))

    def _write_some(self, atoms: list[Atom], work: Work) -> list[list[Atom]]:
        """Write them all, or decide about one of them; returns what is to be written instead."""
        parcels = [parcel for atom in atoms for parcel in atom]
        failure = self._try(parcels, work)
        if failure is None:
            for parcel in parcels:
                parcel.outcome = APPLIED
            return []
        if isinstance(failure, _Culprit) or len(parcels) == 1:
            self._bury(parcels[0], failure)
            # In halves: where there is one culprit there may be many, and each costs a try of all the others.
            return _halves([left for atom in atoms if (left := [p for p in atom if p.outcome is None])])
        if len(atoms) > 1:
            return _halves(atoms)
        left = self._without_bad(parcels, work)
        # Where each is well on its own, what they became together is not.
        return [[left]] if len(left) < len(parcels) else _halves([[parcel] for parcel in parcels])

    def _without_bad(self, parcels: Sequence[Parcel], work: Work) -> Atom:
        """Those of one unit that can be written, each alone; the others are buried. Each is tried once, then known."""
        for parcel in parcels:
            if parcel not in self._sound:
                failure = self._try([parcel], work, keep=False)
                if failure is None:
                    self._sound.add(parcel)
                else:
                    self._bury(parcel, failure)
        return [parcel for parcel in parcels if parcel in self._sound]

    def _try(self, parcels: Sequence[Parcel], work: Work, *, keep: bool = True) -> Exception | None:
        """Write them all under one savepoint; returns what they failed with, raises what is transient."""
        try:
            with transaction.atomic(using=self.using):
                work(parcels, self.using)
                _check_constraints(self.using)
                if not keep:
                    transaction.set_rollback(True, using=self.using)
        except Exception as error:
            if blame(error) is Blame.TRANSIENT:
                raise
            return error
        return None

    def _bury(self, parcel: Parcel, error: Exception) -> None:
        """``parcel`` died of ``error``, if that doesn't say itself which one did."""
        if isinstance(error, _Culprit):
            error.parcel.outcome = dead(Reason.HANDLER_ERROR, str(error), "fold")
            return
        if blame(error) is Blame.DATA:
            parcel.outcome = dead(Reason.REFUSED, str(error), "write")
            return
        name = type(error).__name__
        self.internal[name] += 1
        if self.size >= LARGE_BATCH and self.internal[name] > self.size / 2:
            raise Fault(f"More than half of {self.size} events fail with {name}: {error}") from error
        parcel.outcome = dead(Reason.INTERNAL_ERROR, f"{name}: {error}", "write")


def _halves(atoms: list[Atom]) -> list[list[Atom]]:
    middle = len(atoms) // 2
    return [atoms[:middle], atoms[middle:]]


class _Culprit(Exception):
    """A site's code raised for this parcel."""

    def __init__(self, parcel: Parcel, text: str) -> None:
        super().__init__(text)
        self.parcel = parcel


def _write_increments(parcels: Sequence[Parcel], using: str) -> None:
    try:
        increments.write(increments.fold(p.event for p in parcels if isinstance(p.event, Increment)), using)
    except increments.OperationFailed as error:
        raise _Culprit(parcels[error.index], str(error)) from error


def _write_views(parcels: Sequence[Parcel], using: str) -> None:
    views.write(views.fold(p.event for p in parcels if isinstance(p.event, View)), using)


def _write_actions(parcels: Sequence[Parcel], using: str) -> None:
    try:
        actions.apply([(_unit(p), p.event) for p in parcels if isinstance(p.event, Action)], using)
    except HandlerFailed as error:
        raise _Culprit(parcels[error.index], str(error)) from error


def _check_constraints(using: str) -> None:
    # A deferred constraint would fail at the commit, when it is too late to tell whose fault it was. SQLite checks a
    # whole table at a time and Footfall's own tables have no foreign keys there.
    if connections[using].vendor == "postgresql":
        connections[using].check_constraints()
