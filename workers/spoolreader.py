"""Reads the spool for the embedded workers: what comes next, how far each journal is applied, and what is suspect.

Positions are rows (`SpoolPosition`), written in the transaction that applies the lines. Before each start the piece of
each journal is written down as an attempt. When a worker ended in the middle, its piece is taken apart: read again by
itself, in fewer lines, at last line by line, until the one that ends its worker stands alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.db import router, transaction
from django.utils import timezone

from footfall.producers.messages import decode_unit
from footfall.producers.queues import SPOOL
from footfall.producers.settings import conf
from footfall.producers.tail import (
    JournalDamagedError,
    Slice,
    journals,
    pass_over_damage,
    read_slice,
    remove_finished,
)
from footfall.storage.models import Attempt, SpoolPosition
from footfall.workers import attempts
from footfall.workers.pipeline import Delivery

logger = logging.getLogger("footfall.spool")

PREFIX = "spool:"

#: After one kill a piece has a sixteenth of the lines, after two a single one.
FEWER = 16
ALONE = 2


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of a journal that was started, and how many workers were lost in it."""

    journal: str
    start: int
    end: int
    kills: int = 0

    @property
    def key(self) -> str:
        return f"{PREFIX}{self.journal}:{self.start}:{self.end}"

    @classmethod
    def of(cls, attempt: Attempt) -> Region:
        """The region that an attempt's row names."""
        journal, start, end = attempt.key.removeprefix(PREFIX).rsplit(":", 2)
        return cls(journal, int(start), int(end), attempts.kills_of(attempt))

    def after(self, offset: int) -> Region | None:
        """What is left of it when everything up to ``offset`` is applied. What took lines apart stays in force."""
        return Region(self.journal, offset, self.end, min(self.kills, ALONE)) if offset < self.end else None


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines of one journal, and the region that they are started in."""

    slice: Slice
    region: Region

    def deliveries(self) -> list[Delivery]:
        """The lines as the pipeline takes them."""
        return [Delivery(line, SPOOL, decode_unit(line)) for _, line in self.slice.lines]

    def unread(self) -> list[Delivery]:
        """The lines as they are: to read them may be what ends a worker."""
        return [Delivery(line, SPOOL) for _, line in self.slice.lines]


class SpoolReader:
    """Reads the spool in ``directory``. Whoever uses it holds the consumer's lock, but for `is_finished`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._positions: dict[str, int] = {}
        self._suspects: dict[str, Region] = {}
        self._complained: set[str] = set()

    def load(self) -> None:
        """Learn from the database how far each journal is applied and what is suspect. Raises its errors."""
        using = router.db_for_write(SpoolPosition)
        self._positions = dict(SpoolPosition.objects.using(using).values_list("journal", "offset"))
        self._suspects = {}
        for attempt in Attempt.objects.using(router.db_for_write(Attempt)).filter(key__startswith=PREFIX):
            self._suspect(Region.of(attempt), attempt.key)

    def _suspect(self, region: Region, key: str) -> None:
        offset = self._offset(region.journal)
        rest = region if offset <= region.start else region.after(offset)
        if rest is None:
            attempts.forget(key)
        elif rest.kills > self._kills(region.journal):
            self._suspects[region.journal] = rest

    def _kills(self, journal: str) -> int:
        return self._suspects[journal].kills if journal in self._suspects else 0

    def _offset(self, journal: str) -> int:
        return self._positions.get(journal, 0)

    def next_pieces(self) -> list[Piece]:
        """What to apply next, empty where there is nothing: suspects first, each by itself.

        Removes journals that are finished. Raises OSError, and the database's errors.
        """
        for path in sorted(journals(self._directory), key=lambda path: self._kills(path.name)):
            if path.name in self._suspects and (piece := self._read_suspect(path)) is not None:
                return [piece]
        return list(self._read_together())

    def _read_suspect(self, path: Path) -> Piece | None:
        region = self._suspects[path.name]
        lines = 1 if region.kills >= ALONE else max(1, conf.BATCH_MESSAGES // FEWER)
        found = self._read(path, lines, conf.BATCH_BYTES)
        return Piece(found, region) if found is not None else None

    def _read_together(self) -> Iterator[Piece]:
        lines, size = conf.BATCH_MESSAGES, conf.BATCH_BYTES
        for path in journals(self._directory):
            if lines <= 0 or size <= 0:
                return
            found = self._read(path, lines, size)
            if found is not None:
                yield Piece(found, Region(found.journal, found.start, found.end))
                lines -= len(found.lines)
                size -= found.end - found.start

    def _read(self, path: Path, lines: int, size: int) -> Slice | None:
        """The next slice of one journal. A journal's damage is that journal's: the others go on."""
        offset = self._offset(path.name)
        try:
            found = read_slice(path, offset, max_lines=lines, max_bytes=size)
            if found is None and remove_finished(path, offset):
                self._forget(path.name)
        except JournalDamagedError as damage:
            self._pass(path.name, pass_over_damage(damage))
            return None
        except OSError as error:
            if path.name not in self._complained:
                logger.error("The journal %s can't be read, trying again: %s", path, error)
            self._complained.add(path.name)
            return None
        return found

    def _pass(self, journal: str, offset: int) -> None:
        advance({journal: offset})
        self._positions[journal] = offset
        self._suspects.pop(journal, None)

    def _forget(self, journal: str) -> None:
        if self._positions.pop(journal, None) is not None:
            using = router.db_for_write(SpoolPosition)
            SpoolPosition.objects.using(using).filter(journal=journal).delete()

    def passed(self, pieces: Iterable[Piece]) -> None:
        """Go on behind ``pieces``: they are applied, and the database knows it."""
        for piece in pieces:
            self._positions[piece.slice.journal] = piece.slice.end
            rest = piece.region.after(piece.slice.end)
            if rest is None:
                self._suspects.pop(piece.slice.journal, None)
            else:
                self._suspects[piece.slice.journal] = rest

    def is_finished(self) -> bool:
        """Whether every complete line is applied. Reads the disk and the database; needs no lock."""
        using = router.db_for_write(SpoolPosition)
        stored = dict(SpoolPosition.objects.using(using).values_list("journal", "offset"))
        found = (
            read_slice(path, stored.get(path.name, 0), max_lines=1, max_bytes=conf.BATCH_BYTES)
            for path in journals(self._directory)
        )
        return all(piece is None for piece in found)


def begin(pieces: Iterable[Piece]) -> None:
    """Write down that this process starts ``pieces`` now; committed. Raises the database's errors."""
    now, owner = timezone.now(), attempts.me()
    rows = [Attempt(key=p.region.key, owner=owner, count=p.region.kills + 1, started_at=now) for p in pieces]
    _store(rows)


def conclude(pieces: Iterable[Piece]) -> None:
    """Write down how far ``pieces`` go, now that they are applied. In the caller's transaction."""
    now = timezone.now()
    advance({piece.slice.journal: piece.slice.end for piece in pieces})
    for piece in pieces:
        attempts.forget(piece.region.key)
    rests = [piece.region.after(piece.slice.end) for piece in pieces]
    _store([Attempt(key=r.key, owner=attempts.NOBODY, count=r.kills, started_at=now) for r in rests if r is not None])


def _store(rows: list[Attempt]) -> None:
    rows.sort(key=lambda row: row.key)
    Attempt.objects.using(router.db_for_write(Attempt)).bulk_create(
        rows, update_conflicts=True, unique_fields=["key"], update_fields=["owner", "count", "started_at"]
    )


def advance(offsets: dict[str, int]) -> None:
    """Store the place up to which each journal is applied. In the caller's transaction, where there is one."""
    using = router.db_for_write(SpoolPosition)
    rows = [SpoolPosition(journal=journal, offset=offset) for journal, offset in sorted(offsets.items())]
    with transaction.atomic(using=using):
        SpoolPosition.objects.using(using).bulk_create(
            rows, update_conflicts=True, unique_fields=["journal"], update_fields=["offset"]
        )
