"""Footfall's RabbitMQ broker for Dramatiq.

Our own queues are quorum queues, declared only where they don't exist, consumed in batches, and never retried, delayed
or expired. Every other queue is the site's: declared and consumed exactly as stock Dramatiq does. Models are not
imported here: django-dramatiq loads the broker before they exist.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dramatiq
import pika
from django.core.exceptions import ImproperlyConfigured
from dramatiq.broker import Consumer
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.encoder import JSONEncoder
from dramatiq.errors import ConnectionClosed

from footfall.producers.queues import QUEUES
from footfall.producers.settings import conf
from footfall.workers.batches import BatchBroker, refuse_delay
from footfall.workers.consumer import BROKEN, BatchConsumer, ensure_queue
from footfall.workers.sessions import probe

#: In seconds. pika's own defaults wait for minutes, or for ever. A half-open link shows after two to three heartbeats.
PARAMETERS: dict[str, float] = {
    "heartbeat": 10,
    "blocked_connection_timeout": 10,
    "socket_timeout": 5,
    "stack_timeout": 10,
}


class FootfallBroker(BatchBroker, RabbitmqBroker):
    """Carries Footfall's messages in batches, and the site's own as stock Dramatiq does.

    Takes the arguments of `RabbitmqBroker`. Without a url or connection parameters it takes the setting BROKER_URL.
    Publisher confirms are on unless ``confirm_delivery`` says otherwise, for Footfall's queues always.
    """

    def __init__(
        self,
        *,
        confirm_delivery: bool = True,
        url: str | list[str] | None = None,
        parameters: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        own = ("middleware", "max_priority")
        connection = {name: value for name, value in kwargs.items() if name not in own}
        if url is None and parameters is None and not connection:
            url = conf.BROKER_URL
        if url is None and parameters is None:
            kwargs = PARAMETERS | kwargs
        try:
            super().__init__(confirm_delivery=confirm_delivery, url=url, parameters=_tightened(parameters), **kwargs)
            if url is not None:
                _tighten_urls(url, self.parameters)
        except ValueError:
            # Without the cause: its text may hold a part of the URL, and that may be the password.
            raise ImproperlyConfigured("The broker's URL is not amqp://user:password@host:port/vhost.") from None

    # -- Consuming

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A consumer for ``queue_name``; for Footfall's queues one that yields batches.

        Blocks while it connects. Raises ConnectionClosed where RabbitMQ or, for our queues, the database does not
        answer: then nothing is taken from the queue that could not be applied.
        """
        if queue_name not in QUEUES:
            consumer: Consumer = super().consume(queue_name, prefetch, timeout)
            return consumer
        if self.stopping.is_set():
            raise ConnectionClosed("The worker is shutting down.")
        probe()
        return BatchConsumer(self.parameters, queue_name, timeout, self.stopping)

    # -- Queues

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Make a queue known, with ``ensure`` to RabbitMQ too. Ours have no queues for delayed and dead messages."""
        if queue_name not in QUEUES:
            super().declare_queue(queue_name, ensure=ensure)
            return
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)
        if ensure:
            self._ready_messages(queue_name)

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """How many messages are ready, delayed and dead in a queue. Connects."""
        if queue_name not in QUEUES:
            counts: tuple[int, int, int] = super().get_queue_message_counts(queue_name)
            return counts
        return self._ready_messages(queue_name), 0, 0

    def flush(self, queue_name: str) -> None:
        """Drop all messages of a queue. Connects."""
        if queue_name not in QUEUES:
            super().flush(queue_name)
            return
        with self._own_connection() as connection:
            ensure_queue(connection, queue_name)
            connection.channel().queue_purge(queue_name)

    def _ready_messages(self, queue_name: str) -> int:
        with self._own_connection() as connection:
            return ensure_queue(connection, queue_name)

    # -- Sending

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Send a message. To our queues: one attempt, confirmed, over a connection of its own.

        Raises ValueError for a delayed message of ours, ConnectionClosed where it was not confirmed: then it may or
        may not have arrived, and a second attempt under the same message id does no harm.
        """
        if message.queue_name not in QUEUES:
            return super().enqueue(message, delay=delay)
        refuse_delay(message, delay)
        self.emit_before("enqueue", message, delay)
        # The site's encoder may be another one; what our workers read is JSON.
        self._publish(message.queue_name, JSONEncoder().encode(message.asdict()))
        self.emit_after("enqueue", message, delay)
        return message

    def _publish(self, queue_name: str, body: bytes) -> None:
        with self._own_connection() as connection:
            ensure_queue(connection, queue_name)
            channel = connection.channel()
            channel.confirm_delivery()
            properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
            channel.basic_publish("", queue_name, body, properties, mandatory=True)

    @contextmanager
    def _own_connection(self) -> Iterator[pika.BlockingConnection]:
        try:
            with pika.BlockingConnection(self.parameters) as connection:
                yield connection
        except BROKEN as error:
            raise ConnectionClosed(error) from None


def _tightened(parameters: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    return None if parameters is None else [PARAMETERS | each for each in parameters]


def _tighten_urls(url: str | list[str], parameters: Any) -> None:
    urls = url.split(";") if isinstance(url, str) else url
    for each, parsed in zip(urls, parameters if isinstance(parameters, list) else [parameters], strict=True):
        given = parse_qs(urlsplit(each).query)
        for name in PARAMETERS.keys() - given.keys():
            setattr(parsed, name, PARAMETERS[name])
