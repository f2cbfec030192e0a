"""The embedded broker: Dramatiq workers whose queue is the spool itself, with no server in between.

Of all the workers on a host one holds the spool's lock and works, the others stand by. It has one batch in flight, and
where it is in each journal is written in the batch's own transaction. Models are not imported here: django-dramatiq
loads the broker before they exist.
"""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import dramatiq
from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.encoder import JSONEncoder
from dramatiq.errors import ConnectionClosed, QueueJoinTimeout
from dramatiq.middleware import Middleware

from footfall.producers.queues import QUEUES, SPOOL
from footfall.producers.settings import conf
from footfall.producers.spool import SpoolError, current_spool
from footfall.producers.tail import SpoolLock
from footfall.workers.batches import Batch, BatchBroker, BatchProxy, refuse_delay
from footfall.workers.sessions import probe

if TYPE_CHECKING:
    from footfall.workers.spoolreader import Piece, SpoolReader

LOCK_NAME = ".consumer.lock"

#: How often the holder of the lock looks for new lines, and the others for the lock, in seconds.
POLL_SECONDS = 0.05
STAND_BY_SECONDS = 1.0


class EmbeddedBroker(BatchBroker):
    """Takes no connection parameters: it reads the spool of this host, see the setting SPOOL_DIR."""

    def __init__(self, *, middleware: list[Middleware] | None = None) -> None:
        super().__init__(middleware=middleware)
        self.queues: set[str] = set()

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Make the spool known to a worker. Any other queue is left out: nobody could fill it."""
        if queue_name == SPOOL and queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def get_declared_queues(self) -> set[str]:
        """The spool, once its actor is declared."""
        return self.queues.copy()

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A consumer of the spool. Raises ConnectionClosed where the spool can't be used or the database is away."""
        if self.stopping.is_set():
            raise ConnectionClosed("The worker is shutting down.")
        try:
            current_spool().open()
        except SpoolError as error:
            raise ConnectionClosed(error) from None
        probe()
        return SpoolConsumer(conf.spool_dir, timeout, self.stopping)

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Write a message to one of Footfall's actors into the spool.

        Raises ImproperlyConfigured for an actor of the site's, ValueError for a delayed message, ConnectionClosed
        where the spool does not accept it. Touches the local disk only.
        """
        if message.queue_name not in QUEUES:
            raise ImproperlyConfigured(
                f"Footfall's embedded broker carries Footfall's own messages only, not {message.actor_name}'s. Give "
                "the site's actors a real broker in DRAMATIQ_BROKER, and run `dramatiq footfall.workers.app` beside it."
            )
        refuse_delay(message, delay)
        self.emit_before("enqueue", message, delay)
        if not current_spool().append(JSONEncoder().encode(message.asdict())):
            raise ConnectionClosed("The spool does not accept the message: see the log of footfall.spool.")
        self.emit_after("enqueue", message, delay)
        return message

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until everything in the spool is applied; raises QueueJoinTimeout after ``timeout`` milliseconds."""
        from footfall.workers.spoolreader import SpoolReader

        reader = SpoolReader(conf.spool_dir)
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        while not reader.is_finished():
            if deadline is not None and time.monotonic() >= deadline:
                raise QueueJoinTimeout(queue_name)
            time.sleep(POLL_SECONDS)


class SpoolBatch(Batch):
    """Pieces of journals, each with the place up to which its journal is applied when the batch is."""

    def __init__(self, origin: SpoolConsumer, pieces: list[Piece]) -> None:
        super().__init__(SPOOL, origin)
        self.pieces = pieces

    def __len__(self) -> int:
        return sum(len(piece.slice.lines) for piece in self.pieces)


class SpoolConsumer(Consumer):
    """Yields batches of lines while it holds the spool's lock. ``timeout`` (ms) is how long `next` idles."""

    def __init__(self, directory: Path, timeout: int, stopping: Event) -> None:
        from footfall.workers.spoolreader import SpoolReader  # needs the models

        self._reader: SpoolReader = SpoolReader(directory)
        self._lock = SpoolLock(directory / LOCK_NAME)
        self._idle = timeout / 1000
        self._stopping = stopping
        self._in_hand: SpoolBatch | None = None
        self._returned = Event()

    @property
    def alive(self) -> bool:
        """False once the lock is given up: another worker may be at the same lines."""
        return self._lock.held

    def __next__(self) -> BatchProxy | None:
        """The next batch, or None after the idle time. Blocks; raises ConnectionClosed when this consumer is over."""
        try:
            return self._next()
        except (Error, OSError) as error:
            self.close()
            raise ConnectionClosed(error) from None

    def _next(self) -> BatchProxy | None:
        if not self._has_lock():
            self._stopping.wait(min(self._idle, STAND_BY_SECONDS))
            return None
        if self._in_hand is not None and not self._is_returned(self._in_hand):
            return None
        pieces = self._wait_for_pieces()
        if not pieces:
            return None
        self._in_hand = SpoolBatch(self, pieces)
        self._returned.clear()
        return BatchProxy(self._in_hand)

    def _has_lock(self) -> bool:
        if not self._lock.held and not self._stopping.is_set() and self._lock.acquire():
            self._reader.load()
        return self._lock.held

    def _is_returned(self, batch: SpoolBatch) -> bool:
        if not self._returned.wait(self._idle):
            return False
        if not batch.settled and not self._stopping.is_set():
            self.close()
            raise ConnectionClosed(f"{batch!r} could not be applied and stays in the spool.")
        self._in_hand = None
        if batch.settled:
            self._reader.passed(batch.pieces)
        return True

    def _wait_for_pieces(self) -> list[Piece]:
        deadline = time.monotonic() + self._idle
        while not self._stopping.is_set():
            pieces = self._reader.next_pieces()
            if pieces or time.monotonic() >= deadline:
                return pieces
            self._stopping.wait(POLL_SECONDS)
        return []

    def ack(self, message: MessageProxy) -> None:
        """Answer for the batch in ``message``. On a worker's thread; never raises."""
        message.batch.origin.finish(message.batch)

    nack = ack

    def finish(self, batch: SpoolBatch) -> None:
        """Take a batch back; the consumer's thread sees whether it is settled. Never raises."""
        if batch is self._in_hand:
            self._returned.set()

    def close(self) -> None:
        """Let another worker have the spool. Never raises."""
        self._lock.release()
