"""From the spool to the broker: units of work joined into messages, published, and only then passed over.

The rule: what will be published is written down first (the *slice*: from where to where, cut into which messages
under which ids), then published, and when all of it is confirmed the offset moves. So after a crash at any point the
same messages go out again under the same ids, and the worker's ledger knows them.

One shipper works for a spool, whoever holds its lock: a thread of a web process (`background`) or ``ship_spool``.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

import msgspec

from footfall.producers.settings import conf
from footfall.producers.slices import (
    POSITION_SUFFIX,
    Limits,
    Message,
    Pending,
    Position,
    assemble,
    cut,
    events_by_cut,
    events_by_kind,
    load_position,
    take_apart,
)
from footfall.producers.spool import share, sync_directory
from footfall.producers.tail import (
    JournalDamagedError,
    Slice,
    SpoolLock,
    journals,
    pass_over_damage,
    read_slice,
    remove_finished,
    set_aside,
)

logger = logging.getLogger("footfall.shipper")

LOCK_NAME = ".shipper.lock"

#: What is read in one round. A journal cut short by it is finished before a younger one is begun.
ROUND_BYTES = 4_194_304
#: Less left than this, and the round is full: one event may be as long.
ROUND_REST_BYTES = 65_536
SHORTEST_PAUSE = 0.02
LONGEST_PAUSE = 0.25
STAND_BY_SECONDS = 1.0
FIRST_BACK_OFF = 0.2
LONGEST_BACK_OFF = 10.0


class PublishFailed(Exception):
    """Not every message was confirmed. ``confirmed`` holds the indexes of those that were. Trying again is right."""

    def __init__(self, text: str, confirmed: frozenset[int] = frozenset()) -> None:
        super().__init__(text)
        self.confirmed = confirmed


class BrokerAwayError(PublishFailed):
    """There is no connection, it was lost or blocked, or no confirm came in time."""


class QueueFullError(PublishFailed):
    """The broker refused messages for now: a queue is over its limit."""


class UnroutableError(PublishFailed):
    """A queue doesn't exist, and we may not declare it."""


class BodyRefusedError(PublishFailed):
    """The broker will never take one of the bodies: it is too large."""


class Publisher(Protocol):
    """What a shipper publishes with. Bound to the thread that uses it first."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish (queue, body) pairs, and return when each is confirmed. Blocks. Raises PublishFailed."""

    def idle(self, seconds: float) -> None:
        """Wait, and keep the connection alive. Never raises."""

    def close(self) -> None:
        """End the connection. Never raises."""

    def abandon(self) -> None:
        """In a forked child: forget the parent's connection without a word to the broker."""


@dataclass(slots=True)
class Shipment:
    """A slice on its way: ``messages`` are those still to be confirmed, by their number in the slice."""

    path: Path
    position: Position
    pending: Pending
    units: int
    messages: dict[int, Message]


class Shipper:
    """Ships the spool at ``spool_dir`` with ``publisher``. Belongs to one thread; `run` takes the spool's lock.

    Anything put in ``wake`` shortens the wait for new lines; ``now`` is the clock, in seconds since the epoch.
    """

    def __init__(
        self,
        spool_dir: Path,
        publisher: Publisher,
        *,
        wake: SimpleQueue[None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.spool_dir = Path(spool_dir)
        self.publisher = publisher
        self.lock = SpoolLock(self.spool_dir / LOCK_NAME)
        #: Over this object's life: units confirmed, journals found damaged, messages that no broker takes.
        self.shipped_units = 0
        self.damaged_journals = 0
        self.refused_messages = 0
        self._wake = SimpleQueue[None]() if wake is None else wake
        self._now = now
        self._positions: dict[str, Position] = {}
        self._unfinished: list[Shipment] = []
        self._complained: set[str] = set()
        self._backlog = False
        self._standing_by = False
        self._trouble: type[Exception] | None = None
        self._failures = 0
        self._pause = SHORTEST_PAUSE

    def run(self, stop: threading.Event, until_empty: bool = False) -> None:
        """Wait for the spool's lock, then ship until ``stop`` is set, or until nothing is left. Blocks. Never raises.

        What is under way when ``stop`` is set is finished first.
        """
        done = False
        try:
            while not (done or stop.is_set()):
                if self._has_lock():
                    shipped = self._ship(stop)
                    done = until_empty and shipped == 0 and self.is_empty()
                else:
                    done = until_empty and self.is_empty()
                    stop.wait(0 if done else STAND_BY_SECONDS)
        finally:
            self.publisher.close()
            self.lock.release()

    def ship_once(self) -> int:
        """One round: publish what there is, oldest first, and return how many units were shipped.

        The caller holds the lock. Blocks on disk and network. Raises PublishFailed and OSError; then the same
        messages go out with the next call, those that were confirmed excepted.
        """
        if not self._unfinished:
            self._begin_round()
        self._publish()
        return self._finish_round()

    def is_empty(self) -> bool:
        """Whether every complete line of the spool is shipped, by this shipper or another. Reads the disk."""
        return not any(map(self._has_lines, journals(self.spool_dir)))

    def abandon(self) -> None:
        """In a forked child: forget the parent's lock and connection."""
        self.lock.release()
        self.publisher.abandon()

    # -- One round

    def _begin_round(self) -> None:
        lines = conf.EVENTS_PER_MESSAGE * conf.CONFIRM_WINDOW
        size = ROUND_BYTES
        self._backlog = False
        for path in journals(self.spool_dir):
            self._backlog = lines <= 0 or size < ROUND_REST_BYTES
            if self._backlog:
                break
            shipment = self._next_shipment(path, lines, size)
            if shipment is not None:
                self._unfinished.append(shipment)
                lines -= shipment.units
                size -= shipment.pending.end - shipment.position.offset
        if self._unfinished:
            # What is written down has to outlive a power cut from before it is published.
            sync_directory(self.spool_dir)

    def _next_shipment(self, path: Path, max_lines: int, max_bytes: int) -> Shipment | None:
        """What is next in one journal. Trouble with a journal is its own: the others go on."""
        try:
            position = self._position(path)
            if position.pending is not None:
                return _repeat(path, position, position.pending)
            piece = read_slice(path, position.offset, max_lines=max_lines, max_bytes=max_bytes)
            if piece is not None:
                return self._note(path, piece)
            self._remove(path, position.offset)
        except JournalDamagedError as damage:
            self._pass_over(damage)
        except OSError as error:
            self._complain(path, error)
        return None

    def _pass_over(self, damage: JournalDamagedError) -> None:
        try:
            self._save(Position(damage.path.name, pass_over_damage(damage)))
            self.damaged_journals += 1
        except OSError as error:
            self._complain(damage.path, error)

    def _complain(self, path: Path, error: OSError) -> None:
        if path.name not in self._complained:
            logger.error("The journal %s can't be shipped, trying again: %s", path, error)
        self._complained.add(path.name)

    def _note(self, path: Path, piece: Slice) -> Shipment:
        """Write down how ``piece`` will be published. From here on it is published like this, and not otherwise."""
        contents = take_apart(piece)
        for offset, line in contents.strays:
            text = "The line at byte %d of %s, %d bytes, is no unit of work; it goes out as it is, to be a dead letter."
            logger.warning(text, offset, path, len(line))
        limits = Limits(conf.EVENTS_PER_MESSAGE, conf.MAX_MESSAGE_BYTES // 4)
        pending = Pending(piece.end, int(self._now() * 1000), list(cut(contents, limits)))
        position = Position(path.name, piece.start, pending)
        self._save(position)
        return Shipment(path, position, pending, contents.units, assemble(contents, pending))

    def _publish(self) -> None:
        """Publish what is unfinished. Each message that is confirmed is struck off its shipment."""
        numbers = [(shipment, number) for shipment in self._unfinished for number in shipment.messages]
        if not numbers:
            return
        try:
            self.publisher.publish([shipment.messages[number] for shipment, number in numbers])
        except PublishFailed as failure:
            for index in failure.confirmed:
                shipment, number = numbers[index]
                del shipment.messages[number]
            if isinstance(failure, BodyRefusedError):
                self._set_largest_aside()
            raise
        for shipment in self._unfinished:
            shipment.messages.clear()

    def _set_largest_aside(self) -> None:
        """One body is larger than the broker allows: the largest. It waits for a person, all others go on."""
        by_size = {
            len(body): (shipment, number)
            for shipment in self._unfinished
            for number, (_, body) in shipment.messages.items()
        }
        shipment, number = by_size[max(by_size)]
        messages = list(shipment.pending.messages)
        messages[number] = msgspec.structs.replace(messages[number], aside=True)
        aside = set_aside(shipment.path, shipment.messages[number][1] + b"\n")
        shipment.pending = msgspec.structs.replace(shipment.pending, messages=messages)
        shipment.position = msgspec.structs.replace(shipment.position, pending=shipment.pending)
        self._save(shipment.position)
        del shipment.messages[number]
        self.refused_messages += 1
        logger.error("The broker refuses a message of %d bytes; it was put aside in %s.", max(by_size), aside)

    def _finish_round(self) -> int:
        """All is confirmed: move the offsets. Were that undone by a power cut, the same messages would go out again."""
        units = 0
        while self._unfinished:
            shipment = self._unfinished[0]
            self._save(Position(shipment.path.name, shipment.pending.end))
            self._unfinished.pop(0)
            units += shipment.units
            self.shipped_units += shipment.units
        return units

    # -- Positions

    def _position(self, path: Path) -> Position:
        if path.name not in self._positions:
            self._positions[path.name] = load_position(path)
        return self._positions[path.name]

    def _save(self, position: Position) -> None:
        path = self.spool_dir / f"{position.journal}{POSITION_SUFFIX}"
        new = path.with_name(f"{path.name}.new")
        # Left by a shipper that was killed, it may be another user's.
        new.unlink(missing_ok=True)
        with new.open("xb") as file:
            share(file.fileno(), self.spool_dir)
            file.write(msgspec.json.encode(position))
            file.flush()
            # Else a power cut may leave the new name on an empty file.
            os.fdatasync(file.fileno())
        new.rename(path)
        self._positions[position.journal] = position

    def _remove(self, path: Path, offset: int) -> None:
        # The journal first: one without its position would be shipped again from the start.
        if remove_finished(path, offset):
            path.with_name(f"{path.name}{POSITION_SUFFIX}").unlink(missing_ok=True)
            self._positions.pop(path.name, None)

    def _remove_orphans(self) -> None:
        """Positions whose shipper was killed after it had deleted their journal."""
        for path in self.spool_dir.glob(f"*{POSITION_SUFFIX}*"):
            if not path.with_name(path.name.partition(POSITION_SUFFIX)[0]).exists():
                path.unlink(missing_ok=True)

    def _has_lines(self, path: Path) -> bool:
        try:
            position = load_position(path)
            piece = read_slice(path, position.offset, max_lines=1, max_bytes=ROUND_REST_BYTES)
        except (OSError, JournalDamagedError):
            return True
        return position.pending is not None or piece is not None

    # -- The loop

    def _has_lock(self) -> bool:
        taken = self.lock.times_taken
        try:
            if self.lock.acquire():
                if self.lock.times_taken != taken:
                    self._take_over()
                return True
        except OSError as error:
            self._note_trouble(error)
            return False
        if not self._standing_by:
            logger.info("Standing by: process %s ships %s.", self.lock.holder(), self.spool_dir)
        self._standing_by = True
        return False

    def _take_over(self) -> None:
        """The lock is ours since now: what we knew may be out of date."""
        self._standing_by = False
        self._positions.clear()
        self._unfinished.clear()
        self._remove_orphans()

    def _ship(self, stop: threading.Event) -> int | None:
        """One round and the wait after it. None: it failed."""
        try:
            shipped = self.ship_once()
        except Exception as error:
            self._note_trouble(error)
            stop.wait(self._back_off())
            return None
        self._note_success()
        if not self._backlog:
            self._wait_for_lines(stop, shipped)
        return shipped

    def _wait_for_lines(self, stop: threading.Event, shipped: int) -> None:
        self._pause = SHORTEST_PAUSE if shipped else min(self._pause * 2, LONGEST_PAUSE)
        if self._woken(self._pause):
            self._pause = SHORTEST_PAUSE
            # What is published within a moment travels together.
            stop.wait(SHORTEST_PAUSE)
        self.publisher.idle(0)

    def _woken(self, seconds: float) -> bool:
        try:
            self._wake.get(timeout=seconds)
        except Empty:
            return False
        return True

    def _back_off(self) -> float:
        longest = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads hosts out, hides nothing

    def _note_trouble(self, error: Exception) -> None:
        """Log what keeps us from shipping, once for each kind of trouble."""
        if type(error) is not self._trouble:
            expected = isinstance(error, PublishFailed | OSError)
            level = logging.WARNING if isinstance(error, BrokerAwayError) else logging.ERROR
            text = "Nothing is shipped from %s, its lines stay, trying again: %s"
            logger.log(level, text, self.spool_dir, error, exc_info=None if expected else error)
        self._trouble = type(error)

    def _note_success(self) -> None:
        if self._trouble is not None:
            logger.warning("Shipping from %s goes on.", self.spool_dir)
        self._trouble = None
        self._failures = 0


def _repeat(path: Path, position: Position, pending: Pending) -> Shipment:
    """The slice that was under way when a shipper died, as it was. Raises JournalDamagedError where it has changed."""
    size = pending.end - position.offset
    piece = read_slice(path, position.offset, max_lines=size, max_bytes=size)
    if piece is None or piece.end != pending.end:
        raise JournalDamagedError(path, position.offset, "a slice that was under way is not there any more.")
    contents = take_apart(piece)
    if events_by_kind(contents) != events_by_cut(pending):
        raise JournalDamagedError(path, position.offset, "a slice that was under way holds something else now.")
    return Shipment(path, position, pending, contents.units, assemble(contents, pending))
