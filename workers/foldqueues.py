"""Folds what waits in RabbitMQ's queues, for ``fold_messages``: as many messages as were ready at the start.

A connection of its own, on the calling thread. No delivery is taken that will not be settled: each return to the queue
counts towards the delivery limit. A delivery is acknowledged after its batch has committed, and in no other case.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pika
from dramatiq.errors import ConnectionClosed
from pika.exceptions import ChannelClosedByBroker

from footfall.producers.confirms import ConfirmingPublisher, amqp_parameters
from footfall.producers.queues import QUARANTINE
from footfall.producers.settings import conf
from footfall.producers.shipper import BodyRefusedError, Shipper
from footfall.producers.slices import load_position
from footfall.producers.spool import spool_from_settings
from footfall.producers.tail import JournalDamagedError
from footfall.workers.consumer import BROKEN, MAX_PREFETCH, ensure_queue
from footfall.workers.foldrun import FoldRun
from footfall.workers.foldspool import sizes
from footfall.workers.pipeline import Delivery

#: While a batch is applied nobody answers RabbitMQ: it has to bear that for as long as a batch may take. Seconds.
HEARTBEAT = 60

#: How long nothing has to come in until what was counted is taken to be with another consumer. Seconds.
IDLE_SECONDS = 3.0
#: How long after the last delivery a batch that is not full is waited for. Seconds.
LINGER_SECONDS = 0.3
LOOK_SECONDS = 0.1

#: How long another process that ships the spool may make no headway. Seconds.
SHIPPER_SECONDS = 10.0

Watch = Callable[[int], Callable[[int], None] | None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery, and the tag that acknowledges it; ``again``: it was delivered before and not acknowledged."""

    tag: int
    body: bytes
    again: bool


def fold_queues(run: FoldRun, queues: Sequence[str], watch: Watch) -> dict[str, int]:
    """Fold what is ready in ``queues`` now. Returns how many messages of each went to another consumer meanwhile.

    ``watch(messages)`` returns what is told of the messages done. Raises ConnectionClosed when the broker is away, and
    what the pipeline raises; what is not acknowledged then is delivered again.
    """
    with connected() as connection:
        ready = {queue: ensure_queue(connection, queue) for queue in queues}
        progress = watch(sum(ready.values()))
        done, missed = 0, {}
        for queue, count in ready.items():
            taken = 0
            for some in _fold_queue(run, connection, queue, count):
                taken += some
                if progress is not None:
                    progress(done + taken)
            done += taken
            if taken < count and not run.over:
                missed[queue] = count - taken
        return missed


def waiting_in(queues: Sequence[str]) -> dict[str, int]:
    """How many messages are ready in each of ``queues``; declares none of them. Raises ConnectionClosed."""
    with connected() as connection:
        return {queue: _ready(connection, queue) for queue in queues}


def _ready(connection: pika.BlockingConnection, queue: str) -> int:
    try:
        count: int = connection.channel().queue_declare(queue, passive=True).method.message_count
    except ChannelClosedByBroker as error:
        if error.reply_code != 404:
            raise
        return 0  # where no queue is, nothing waits
    return count


@contextmanager
def connected() -> Iterator[pika.BlockingConnection]:
    """A connection to the broker of the settings. Raises ConnectionClosed, and ImproperlyConfigured without one."""
    parameters = amqp_parameters()
    for each in parameters:
        each.client_properties = {"connection_name": f"footfall fold_messages {socket.gethostname()}:{os.getpid()}"}
        if isinstance(each.heartbeat, int) and each.heartbeat:
            each.heartbeat = max(HEARTBEAT, each.heartbeat)
    try:
        with pika.BlockingConnection(parameters) as connection:
            yield connection
    except BROKEN as error:
        raise ConnectionClosed(repr(error)) from error


def _fold_queue(run: FoldRun, connection: pika.BlockingConnection, queue: str, count: int) -> Iterator[int]:
    """Fold at most ``count`` messages; yields after each batch how many it was."""
    intake = _Intake(connection, queue)
    try:
        while count > 0 and not run.over:
            # Neighbours of what may end this process must not be counted along.
            size = 1 if queue == QUARANTINE else run.at_once(conf.EVENTS_PER_MESSAGE)
            taken = intake.take(min(size, count, MAX_PREFETCH), run.stopped)
            if not taken:
                return
            for group in _groups(taken, alone=queue == QUARANTINE):
                if run.over:
                    return
                _fold(run, group, queue)
                intake.acknowledge(group[-1].tag)
                count -= len(group)
                yield len(group)
    finally:
        intake.close()


def _groups(taken: Sequence[Taken], *, alone: bool) -> Iterator[list[Taken]]:
    """Batches in the order of the deliveries, of BATCH_BYTES at most; what came back to the queue stands alone."""
    for again, several in groupby(taken, key=lambda each: each.again):
        group: list[Taken] = []
        size = 0
        for each in several:
            if group and (alone or again or size + len(each.body) > conf.BATCH_BYTES):
                yield group
                group, size = [], 0
            group.append(each)
            size += len(each.body)
        yield group


def _fold(run: FoldRun, group: list[Taken], queue: str) -> None:
    if queue == QUARANTINE or group[0].again:
        run.apply_alone(Delivery(group[0].body, queue))
    else:
        run.apply([Delivery(each.body, queue) for each in group])


class _Intake:
    """Takes deliveries of one queue, so many and no more. A new consumer each time, for only that bounds them."""

    def __init__(self, connection: pika.BlockingConnection, queue: str) -> None:
        self._connection = connection
        self._queue = queue
        self._channel = connection.channel()
        self._consumer: str | None = None

    def take(self, count: int, stopped: Callable[[], bool]) -> list[Taken]:
        """At most ``count`` deliveries, fewer where no more come; none where nothing comes at all. Blocks."""
        self._end_consumer()
        taken: list[Taken] = []

        def note(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            taken.append(Taken(method.delivery_tag, body, method.redelivered))

        self._channel.basic_qos(prefetch_count=count)
        self._consumer = self._channel.basic_consume(self._queue, note)
        known, deadline = 0, time.monotonic() + IDLE_SECONDS
        while len(taken) < count and time.monotonic() < deadline and not stopped():
            self._connection.process_data_events(time_limit=LOOK_SECONDS)
            if len(taken) > known:
                known, deadline = len(taken), time.monotonic() + LINGER_SECONDS
        return taken

    def acknowledge(self, tag: int) -> None:
        """Everything up to ``tag`` is committed."""
        # First, or the acknowledgement would bring in as many new deliveries. And not before: of actions the next
        # consumer must not begin while these are under way.
        self._end_consumer()
        self._channel.basic_ack(tag, multiple=True)

    def close(self) -> None:
        """Give back what was not acknowledged. Never raises."""
        with suppress(*BROKEN):  # with its connection all of it goes back
            self._channel.close()

    def _end_consumer(self) -> None:
        if self._consumer is not None:
            self._channel.basic_cancel(self._consumer)
            self._consumer = None


# -- Shipping


def ship(run: FoldRun) -> int:
    """Ship what this host's spool holds now, or wait while another process does; returns the bytes that are left.

    Raises PublishFailed, SpoolError, OSError. Without a spool there is nothing to do.
    """
    if not conf.spool_dir.exists():
        return 0
    spool_from_settings().open()
    ends = sizes(conf.spool_dir)
    shipper = Shipper(conf.spool_dir, ConfirmingPublisher(amqp_parameters()))
    try:
        if shipper.lock.acquire():
            _ship(shipper, ends, run.stopped)
        else:
            _wait(ends, run.stopped)
    finally:
        shipper.publisher.close()
        shipper.lock.release()
    return unshipped(ends)


def unshipped(ends: dict[str, int]) -> int:
    """How many bytes of journals that were so long are not shipped yet. Reads the disk."""
    return sum(_left(name, end) for name, end in ends.items())


def _left(name: str, end: int) -> int:
    path = conf.spool_dir / name
    try:
        return max(0, end - load_position(path).offset) if path.exists() else 0
    except JournalDamagedError:  # the shipper's to find
        return end


def _ship(shipper: Shipper, ends: dict[str, int], stopped: Callable[[], bool]) -> None:
    # At least one round, which removes the journals that the last run finished.
    while not stopped():
        try:
            if not shipper.ship_once() or not unshipped(ends):
                return
        except BodyRefusedError:
            continue  # it was put aside, the others go on


def _wait(ends: dict[str, int], stopped: Callable[[], bool]) -> None:
    left, deadline = unshipped(ends), time.monotonic() + SHIPPER_SECONDS
    while left and time.monotonic() < deadline and not stopped():
        time.sleep(LOOK_SECONDS)
        now = unshipped(ends)
        if now < left:
            left, deadline = now, time.monotonic() + SHIPPER_SECONDS
