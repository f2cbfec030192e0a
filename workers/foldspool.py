"""Folds what lies in the spool, for ``fold_messages`` on the embedded transport: up to where it ended at the start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from django.db import router

from footfall.producers.messages import Increment, decode_unit
from footfall.producers.rules import Malformed
from footfall.producers.settings import conf
from footfall.producers.tail import JournalDamagedError, Slice, SpoolLock, journals, read_slice
from footfall.storage.models import SpoolPosition
from footfall.workers.decoding import decode_event
from footfall.workers.embedded import LOCK_NAME
from footfall.workers.foldrun import FoldRun, started
from footfall.workers.outcomes import UNKNOWN_KIND
from footfall.workers.settling import SUSPECT_LIMIT
from footfall.workers.spoolreader import ALONE, Piece, SpoolReader, begin, conclude


class SpoolBusy(Exception):
    """Another process reads the spool: a worker, or another run."""


class BoundedReader(SpoolReader):
    """Reads no further than ``ends``, sizes of journals in bytes, and at most ``lines`` lines of one journal."""

    def __init__(self, directory: Path, ends: dict[str, int]) -> None:
        super().__init__(directory)
        self._ends = ends
        self.lines: int = conf.BATCH_MESSAGES

    @property
    def left_bytes(self) -> int:
        """How much of what there was at the start is still ahead of it."""
        return sum(max(0, self._left(journal)) for journal in self._ends)

    def _left(self, journal: str) -> int:
        return self._ends.get(journal, 0) - self._offset(journal)

    def _read(self, path: Path, lines: int, size: int) -> Slice | None:
        if self._left(path.name) > 0:
            return super()._read(path, min(lines, self.lines), min(size, self._left(path.name)))
        # To have a finished journal removed. What came in since the start waits for the next run.
        super()._read(path, 1, 1)
        return None


def sizes(directory: Path) -> dict[str, int]:
    """How long each journal is by now, in bytes. Reads the disk."""
    found = {}
    for path in journals(directory):
        try:
            found[path.name] = path.stat().st_size
        except FileNotFoundError:  # finished by its reader
            continue
    return found


def fold_spool(run: FoldRun, directory: Path, watch: Callable[[int], Callable[[int], None] | None]) -> None:
    """Fold what the spool in ``directory`` holds now, after what was set aside earlier.

    ``watch(bytes)`` returns what is told of the bytes done. Raises SpoolBusy, and what the pipeline and the disk raise.
    """
    lock = SpoolLock(directory / LOCK_NAME)
    if not lock.acquire():
        raise SpoolBusy(
            f"Process {lock.holder()} reads the spool {directory}: a worker, which applies all that is queued by "
            "itself, or another run of this command."
        )
    try:
        run.replay_held()
        reader = BoundedReader(directory, sizes(directory))
        reader.load()
        _fold_all(run, reader, watch)
    finally:
        lock.release()


def _fold_all(run: FoldRun, reader: BoundedReader, watch: Callable[[int], Callable[[int], None] | None]) -> None:
    total = reader.left_bytes
    progress = watch(total)
    while not run.over:
        reader.lines = run.at_once(1)
        pieces = reader.next_pieces()
        if run.left is not None:
            pieces = [_cut(piece, run.left) for piece in pieces[:1]]
        if not pieces:
            return
        _fold(run, pieces)
        reader.passed(pieces)
        if progress is not None:
            progress(total - reader.left_bytes)


def _cut(piece: Piece, events: int) -> Piece:
    """As many lines of ``piece`` as hold ``events`` events at most, but always one.

    They are counted without being read, for to read them may be what ends a process: each event names its kind.
    """
    held = 0
    for n, (offset, line) in enumerate(piece.slice.lines):
        held += line.count(b'"kind":')
        if n and held > events:
            cut = replace(piece.slice, end=offset, lines=piece.slice.lines[:n])
            return Piece(cut, piece.region if piece.region.kills else replace(piece.region, end=offset))
    return piece


def _fold(run: FoldRun, pieces: list[Piece]) -> None:
    begin(pieces)
    with started([piece.region.key for piece in pieces]):
        for piece in pieces:
            if piece.region.kills >= ALONE + SUSPECT_LIMIT:
                _bury(run, piece)
                return
        run.apply(
            [delivery for piece in pieces for delivery in piece.deliveries()], also=lambda alias: conclude(pieces)
        )


def _bury(run: FoldRun, piece: Piece) -> None:
    for delivery in piece.unread():
        run.bury(delivery, piece.region.kills)
    conclude([piece])


# -- Only looking


@dataclass(slots=True)
class Waiting:
    """What waits in a spool: ``events`` by kind, or for increments by dataset."""

    lines: int = 0
    size: int = 0
    events: Counter[str] = field(default_factory=Counter)


def waiting_in(directory: Path) -> Waiting:
    """What is not applied yet. Reads the whole of it, a few megabytes at a time, and one row per journal."""
    using = router.db_for_write(SpoolPosition)
    offsets = dict(SpoolPosition.objects.using(using).values_list("journal", "offset"))
    found = Waiting()
    for path in journals(directory):
        for piece in _slices(path, offsets.get(path.name, 0)):
            found.lines += len(piece.lines)
            found.size += piece.end - piece.start
            found.events.update(name for _, line in piece.lines for name in _events_in(line))
    return found


def _slices(path: Path, offset: int) -> Iterator[Slice]:
    # A journal that was changed afterwards is the run's to find.
    with suppress(JournalDamagedError):
        while piece := read_slice(path, offset, max_lines=conf.BATCH_MESSAGES, max_bytes=conf.BATCH_BYTES):
            offset = piece.end
            yield piece


def _events_in(line: bytes) -> Iterator[str]:
    unit = decode_unit(line)
    if unit is None:
        yield UNKNOWN_KIND
        return
    for kind, raws in unit.by_kind():
        for raw in raws:
            yield _name_of(kind, bytes(raw))


def _name_of(kind: str, raw: bytes) -> str:
    try:
        event = decode_event(raw)
    except Malformed:
        return f"{kind} (malformed)"
    if isinstance(event, Increment):
        return f"{kind} {event.dataset or 'of a label'}"
    return kind
