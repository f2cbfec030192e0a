"""The two transports behind one face, for the contract that both keep; and servers for each pytest process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pika
import pytest
from conftest import load_stack
from django.conf import settings as django_settings
from processes import Process

from footfall.producers.queues import QUEUES, queue_arguments
from footfall.producers.spool import current_spool


@pytest.hookimpl(optionalhook=True)  # a run without xdist knows no such hook
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Give each process of ``-n`` servers of its own: tests empty queues, block publishers, and kill."""
    if django_settings.FOOTFALL["TRANSPORT"] == "rabbitmq":
        stacks = ExitStack()
        config.add_cleanup(stacks.close)
        for spec in specs:
            spec.env |= stacks.enter_context(load_stack().throw_away())


class RabbitTransport:
    """Messages go straight into RabbitMQ; what is published is shipped by the daemon."""

    name = "rabbitmq"

    def __init__(self, url: str, start: Callable[..., Process]) -> None:
        self._start = start
        self._connection = pika.BlockingConnection(pika.URLParameters(url + "?heartbeat=0"))
        self._channel = self._connection.channel()
        for queue in reversed(QUEUES):
            self._channel.queue_declare(queue, durable=True, arguments=queue_arguments(queue))
            self._channel.queue_purge(queue)

    def put(self, body: bytes, queue: str) -> None:
        self._channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2), mandatory=True)

    def start_worker(self, *queues: str) -> Process:
        options = ["--queues", *queues] if queues else []
        return self._start("rundramatiq", "--processes", "1", "--threads", "1", *options)

    def start(self) -> list[Process]:
        return [self.start_worker(), self._start("ship_spool")]

    def close(self) -> None:
        self._connection.close()


class EmbeddedTransport:
    """The spool is the queue: messages go into it as lines of their own."""

    name = "embedded"

    def __init__(self, start: Callable[..., Process]) -> None:
        self._start = start

    def put(self, body: bytes, queue: str) -> None:
        assert current_spool().append(body.replace(b"\n", b" "))

    def start_worker(self, *queues: str) -> Process:
        return self._start("rundramatiq", "--processes", "1", "--threads", "1")

    def start(self) -> list[Process]:
        return [self.start_worker()]

    def close(self) -> None:
        pass


@pytest.fixture
def transport(
    processes: Callable[..., Process], spool_directory: Path
) -> Iterator[RabbitTransport | EmbeddedTransport]:
    """The transport of the settings that this run uses, with empty queues and no worker yet."""
    chosen: RabbitTransport | EmbeddedTransport
    if django_settings.FOOTFALL["TRANSPORT"] == "rabbitmq":
        chosen = RabbitTransport(os.environ["FOOTFALL_AMQP_ADMIN_URL"], processes)
    else:
        chosen = EmbeddedTransport(processes)
    yield chosen
    chosen.close()


@pytest.fixture
def stack_settings() -> None:
    """Fails a test that was asked for without RabbitMQ and PostgreSQL: nothing is skipped."""
    assert django_settings.FOOTFALL["TRANSPORT"] == "rabbitmq", "Run this with --ds settings.stack, as make does."


@pytest.fixture
def embedded_settings() -> None:
    """Fails a test that was asked for with another transport: nothing is skipped."""
    assert django_settings.FOOTFALL["TRANSPORT"] == "embedded", "Run this with --ds settings.embedded, as make does."
