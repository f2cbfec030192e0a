"""A RabbitMQ and a PostgreSQL of one's own, to be killed, and what is in them."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pika
import psycopg

from footfall.producers.queues import QUEUES

#: A quorum queue that is killed within about a second of its declaration may come back without a leader.
SETTLE_SECONDS = 6.0


class Servers:
    """Both servers of a stack in a temporary directory. Entering the context starts them, leaving it removes them."""

    def __init__(self, stack: ModuleType) -> None:
        self._stack = stack
        self._directory = Path(tempfile.mkdtemp(prefix="footfall-faults-"))
        self.rabbitmq: Any = stack.RabbitMQ(self._directory)
        self.postgresql: Any = stack.PostgreSQL(self._directory)
        self._ready_at = 0.0

    def __enter__(self) -> Self:
        try:
            self.postgresql.start()
            self.rabbitmq.start()
        except BaseException:
            self.__exit__()
            raise
        self._ready_at = time.monotonic() + SETTLE_SECONDS
        return self

    def __exit__(self, *_: object) -> None:
        self.rabbitmq.remove()
        self.postgresql.remove()
        shutil.rmtree(self._directory, ignore_errors=True)

    def let_settle(self) -> None:
        """Wait until the broker's queues may be killed."""
        time.sleep(max(0.0, self._ready_at - time.monotonic()))

    def recover(self) -> None:
        """Start what a failed test left stopped, lift a memory alarm that it left, and empty all queues."""
        self.postgresql.start()
        self.rabbitmq.start()
        self.lift_alarm()
        self.empty_queues()

    def raise_alarm(self) -> None:
        """Have RabbitMQ block every publisher for want of memory."""
        self.rabbitmq.ctl("set_vm_memory_high_watermark", "0")

    def lift_alarm(self) -> None:
        """Let publishers go on."""
        self.rabbitmq.ctl("set_vm_memory_high_watermark", "0.6")

    def close_connections(self) -> None:
        """Cut every connection to RabbitMQ, as an operator may."""
        self.rabbitmq.ctl("close_all_connections", "--vhost", "footfall", "a test")

    def environment(self, database: str) -> dict[str, str]:
        """What a site with the rights of a site, and nothing more, is told."""
        told: dict[str, str] = self._stack.environment(self._directory)
        unfit = ("FOOTFALL_AMQP_ADMIN_URL", "FOOTFALL_DATABASE", "FOOTFALL_DATABASE_DSN")
        return {name: value for name, value in told.items() if name not in unfit} | {"PGDATABASE": database}

    def free_port(self) -> int:
        port: int = self._stack.free_ports(1)[0]
        return port

    # -- Databases

    def make_database(self, name: str) -> None:
        """A new and empty database of the site's own user."""
        self.postgresql.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.postgresql.sql(f"CREATE DATABASE {name} OWNER footfall")

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """A superuser's connection. It ends with a restart of the server."""
        return psycopg.connect(host="127.0.0.1", port=self.postgresql.port, user="postgres", dbname=database)

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """What ``query`` returns."""
        with self.connect(database) as connection:
            return connection.execute(query.encode()).fetchall()

    def database_log(self) -> str:
        text: str = (self.postgresql.base / "log").read_text(errors="replace")
        return text

    # -- Queues

    def put(self, bodies: Sequence[tuple[str, bytes]]) -> None:
        """Put (queue, body) pairs into RabbitMQ; confirmed on return."""
        with self._channel() as channel:
            channel.confirm_delivery()
            for queue, body in bodies:
                channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2), mandatory=True)

    def empty_queues(self) -> None:
        """Drop what waits in the queues; what a worker holds is not dropped."""
        with self._channel() as channel:
            for queue in QUEUES:
                channel.queue_purge(queue)

    def ready(self) -> int:
        """How many messages wait in the queues, by now; those that a worker holds are not among them."""
        with self._channel() as channel:
            return sum(channel.queue_declare(queue, passive=True).method.message_count for queue in QUEUES)

    def messages(self) -> int:
        """How many messages are in the queues, those that a worker holds included, as it was some five seconds ago."""
        listed = self.rabbitmq.ctl("-q", "list_queues", "-p", "footfall", "messages")
        return sum(int(line) for line in listed.splitlines() if line.isdigit())

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self.rabbitmq.admin_url + "?heartbeat=0"))
        try:
            yield connection.channel()
        finally:
            connection.close()
