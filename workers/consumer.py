"""The batch consumer: takes deliveries from RabbitMQ and yields many of them as one message.

Rules of this file:

- A consumer is one connection. Buffer, timers and delivery tags belong to it and end with it; a batch remembers the
  consumer that it came from, so an acknowledgement never reaches a later connection.
- Only the consumer's own thread touches the connection. Workers' threads hand their answers over to it.
- Bodies stay bytes: nothing is decoded here, so nothing in a body can stop the thread.
- A delivery is acknowledged when its batch is settled, and in no other case. A batch that is not is handed back: the
  connection closes, and RabbitMQ delivers everything that was not acknowledged again.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import pika
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import ConnectionClosed
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelClosedByBroker

from footfall.producers.queues import ACTIONS, QUARANTINE, queue_arguments
from footfall.producers.settings import conf
from footfall.workers.batches import Batch, BatchProxy

logger = logging.getLogger("footfall.consumer")

#: What pika raises when a connection or channel ends or can't be made, in whatever state it was. A handshake that
#: takes too long raises the connector's own kind, which is no AMQPError.
BROKEN = (AMQPError, AMQPConnectorException, OSError, AssertionError)

MAX_PREFETCH = 65_535

#: How long a closing connection is waited for until its last acknowledgements are out.
FLUSH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How deliveries of a queue are made into batches: ``size`` in bytes, ``linger`` in seconds after the first."""

    messages: int
    size: int
    linger: float
    in_flight: int

    @property
    def prefetch(self) -> int:
        """So many that the next batch gathers while one is worked on; one, where neighbours must not count along."""
        return 1 if self.messages == 1 and self.in_flight == 1 else max(2, min(2 * self.messages, MAX_PREFETCH))


def limits_of(queue_name: str) -> Limits:
    """The limits of one of Footfall's queues, from the settings."""
    if queue_name == QUARANTINE:
        return Limits(1, conf.BATCH_BYTES, 0.0, 1)
    # One batch of actions at a time: two threads would apply an actor's actions in any order.
    in_flight = 1 if queue_name == ACTIONS else 2
    return Limits(conf.BATCH_MESSAGES, conf.BATCH_BYTES, conf.BATCH_LINGER_MS / 1000, in_flight)


class QueueBatch(Batch):
    """Bodies as they came from RabbitMQ, with the delivery tags that acknowledge them on their own connection."""

    def __init__(self, queue: str, origin: "BatchConsumer", deliveries: Sequence[tuple[int, bytes]]) -> None:
        super().__init__(queue, origin)
        self.tags = [tag for tag, _ in deliveries]
        self.bodies = [body for _, body in deliveries]

    def __len__(self) -> int:
        return len(self.tags)


class Buffer:
    """Deliveries that are not in a batch yet, in order. Knows nothing of connections or acknowledgements."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[tuple[float, int, bytes]] = deque()
        self._size = 0

    def add(self, tag: int, body: bytes, now: float) -> None:
        self._waiting.append((now, tag, body))
        self._size += len(body)

    def ready_at(self) -> float:
        """The monotonic time at which a batch is due: long ago if it is full, never if there is nothing."""
        if not self._waiting:
            return math.inf
        if len(self._waiting) >= self._limits.messages or self._size >= self._limits.size:
            return -math.inf
        return self._waiting[0][0] + self._limits.linger

    def take(self) -> list[tuple[int, bytes]]:
        """Remove and return the next batch: up to the limits, at least one delivery."""
        taken: list[tuple[int, bytes]] = []
        room = self._limits.size
        while self._waiting and len(taken) < self._limits.messages:
            body = self._waiting[0][2]
            if taken and len(body) > room:
                break
            _, tag, body = self._waiting.popleft()
            room -= len(body)
            taken.append((tag, body))
        self._size -= self._limits.size - room
        return taken

    def clear(self) -> None:
        self._waiting.clear()
        self._size = 0


class BatchConsumer(Consumer):
    """Consumes one of Footfall's queues over a connection of its own. ``timeout`` (ms) is how long `next` idles.

    Connects when it is made, and raises ConnectionClosed where that fails. Once ``stopping`` is set it yields nothing
    more, but keeps the connection served until it is closed.
    """

    def __init__(self, parameters: Any, queue_name: str, timeout: int, stopping: Event) -> None:
        self.queue_name = queue_name
        self._limits = limits_of(queue_name)
        self._buffer = Buffer(self._limits)
        self._idle = timeout / 1000
        self._stopping = stopping
        self._in_flight: list[QueueBatch] = []  # oldest first
        self._ending: str | None = None
        self._alive = True
        try:
            self._connection = pika.BlockingConnection(parameters)
        except BROKEN as error:
            raise ConnectionClosed(error) from None
        self._open_channel()

    def _open_channel(self) -> None:
        try:
            ensure_queue(self._connection, self.queue_name)
            self._channel = self._connection.channel()
            self._channel.basic_qos(prefetch_count=self._limits.prefetch)
            self._channel.add_on_cancel_callback(self._on_cancel)
            self._channel.basic_consume(self.queue_name, self._on_delivery)
        except BROKEN as error:
            self.close()
            raise ConnectionClosed(error) from None
        except ConnectionClosed:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """False once the connection is gone or given up, and with it everything that was delivered over it."""
        return self._alive and self._ending is None

    # -- On the consumer's thread

    def __next__(self) -> BatchProxy | None:
        """The next batch, or None after the idle time. Blocks; raises ConnectionClosed when the connection is over."""
        deadline = time.monotonic() + self._idle
        while True:
            self._raise_if_ending()
            due, now = self._due_at(), time.monotonic()
            if due <= now:
                return self._next_batch()
            if now >= deadline:
                return None
            self._serve(min(due, deadline) - now)

    def _raise_if_ending(self) -> None:
        if self._ending is None and not self._channel.is_open:
            # pika tells of a closed channel only when it is used, and a silent one is not.
            self._ending = f"RabbitMQ closed the channel that consumes {self.queue_name}."
        if self._ending is not None:
            self.close()
            raise ConnectionClosed(self._ending)

    def _due_at(self) -> float:
        if len(self._in_flight) >= self._limits.in_flight or self._stopping.is_set():
            return math.inf
        return self._buffer.ready_at()

    def _next_batch(self) -> BatchProxy:
        self._in_flight.append(QueueBatch(self.queue_name, self, self._buffer.take()))
        return BatchProxy(self._in_flight[-1])

    def _serve(self, seconds: float) -> None:
        try:
            self._connection.process_data_events(time_limit=seconds)
        except BROKEN as error:
            self._end()
            raise ConnectionClosed(error) from None

    def _on_delivery(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._buffer.add(method.delivery_tag, body, time.monotonic())

    def _on_cancel(self, frame: Any) -> None:
        self._ending = f"RabbitMQ cancelled the consumer of {self.queue_name}: was the queue deleted?"

    def _answer(self, batch: QueueBatch) -> None:
        if not batch.settled:
            return
        if batch is self._in_flight[0]:
            # Every lower tag is acknowledged already, so this means its own tags exactly, in one frame for hundreds.
            self._channel.basic_ack(batch.tags[-1], multiple=True)
        else:
            for tag in batch.tags:
                self._channel.basic_ack(tag)
        self._in_flight.remove(batch)

    # -- On a worker's thread

    def ack(self, message: MessageProxy) -> None:
        """Answer for the batch in ``message``, which may have come from an earlier consumer. Never raises."""
        message.batch.origin.finish(message.batch)

    #: Dramatiq rejects what failed in its own hands; an unsettled batch goes back to the queue all the same.
    nack = ack

    def finish(self, batch: QueueBatch) -> None:
        """Have a settled batch acknowledged, and end the connection for any other. Never raises."""
        # At shutdown the connection is about to close anyway; ending it here would start a new one.
        if not batch.settled and not self._stopping.is_set():
            self._ending = f"{batch!r} could not be applied and goes back to the queue."
        try:
            self._connection.add_callback_threadsafe(partial(self._answer, batch))
        except BROKEN:
            logger.debug("The connection of %r is gone: its answer is dropped, it will be delivered again.", batch)

    # -- On the consumer's thread, or on the main one when the consumer's has ended

    def close(self) -> None:
        """Send the last acknowledgements and close the connection. Waits some seconds at most; never raises."""
        # Apart, because a channel that is closed already fails the first and must not keep the second from happening.
        for step in (self._flush, self._close_connection):
            try:
                step()
            except BROKEN as error:
                logger.debug("The connection of %s did not close in order: %r", self.queue_name, error)
        self._end()

    def _flush(self) -> None:
        if not self._connection.is_open:
            return
        flushed = Event()
        deadline = time.monotonic() + FLUSH_SECONDS
        self._connection.add_callback_threadsafe(flushed.set)
        while not flushed.is_set() and time.monotonic() < deadline:
            self._connection.process_data_events(time_limit=0.1)

    def _close_connection(self) -> None:
        if self._connection.is_open:
            self._connection.close()

    def _end(self) -> None:
        self._alive = False
        self._buffer.clear()


def ensure_queue(connection: pika.BlockingConnection, queue_name: str) -> int:
    """See that one of Footfall's queues is there, and return how many messages are ready in it.

    Declares only a queue that does not exist, so a user without the configure right can work where the definitions
    were loaded. Raises ConnectionClosed where that right is needed, pika's errors where the connection fails.
    """
    try:
        return _declare(connection, queue_name, passive=True)
    except ChannelClosedByBroker as error:
        if error.reply_code != 404:
            raise
    try:
        return _declare(connection, queue_name, arguments=queue_arguments(queue_name))
    except ChannelClosedByBroker as error:
        if error.reply_code != 403:
            raise
        raise ConnectionClosed(
            f"The queue {queue_name} does not exist and RabbitMQ does not let this user declare it: load Footfall's "
            "broker definitions, or give the user the configure right."
        ) from None


def _declare(connection: pika.BlockingConnection, queue_name: str, **kwargs: Any) -> int:
    # A refused declaration closes its channel, so it gets one of its own.
    channel = connection.channel()
    count: int = channel.queue_declare(queue_name, durable=True, **kwargs).method.message_count
    channel.close()
    return count
