"""The rules of Footfall's brokers that need no server."""

import math
import os
import socket
import subprocess
import sys
from typing import Any

import dramatiq
import pika
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django_dramatiq.middleware import DbConnectionsMiddleware
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Middleware, Retries

from footfall.producers.queues import ACTIONS, INCREMENTS, QUARANTINE, QUEUES, SPOOL, VIEWS
from footfall.workers.batches import Batch, BatchProxy
from footfall.workers.broker import PARAMETERS, FootfallBroker
from footfall.workers.consumer import Buffer, Limits, QueueBatch, limits_of
from footfall.workers.embedded import EmbeddedBroker
from footfall.workers.tasks import declare_actors


class Somewhere:
    """A consumer that a batch may come from."""

    alive = True

    def finish(self, batch: Batch) -> None:
        pass


def a_batch(queue: str = VIEWS) -> QueueBatch:
    return QueueBatch(queue, Somewhere(), [(1, b"\xff"), (2, b"{}")])  # type: ignore[arg-type]


class Recorder(Middleware):
    """A middleware of the site's that sees, and says, everything."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        self.seen.append("before")

    def after_process_message(
        self, broker: dramatiq.Broker, message: MessageProxy, *, result: Any = None, exception: Any = None
    ) -> None:
        self.seen.append("after")

    def after_ack(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        self.seen.append("ack")


class RecordingDbConnections(Recorder, DbConnectionsMiddleware):  # type: ignore[misc]
    """One from the allow-list, extended by the site."""


# -- Connection parameters


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({}, id="nothing given"),
        pytest.param({"url": "amqp://a:b@127.0.0.1:1/"}, id="url"),
        pytest.param({"url": "amqp://a:b@127.0.0.1:1/;amqp://a:b@127.0.0.1:2/"}, id="urls in one string"),
        pytest.param({"url": ["amqp://a:b@127.0.0.1:1/", "amqp://a:b@127.0.0.1:2/"]}, id="list of urls"),
        pytest.param({"host": "127.0.0.1", "port": 1}, id="keywords"),
        pytest.param({"parameters": [{"port": 1}, {"port": 2}]}, id="list of parameters"),
    ],
)
def test_a_half_open_link_shows_within_seconds(arguments: dict[str, Any]) -> None:
    broker = FootfallBroker(middleware=[], **arguments)

    parameters = broker.parameters if isinstance(broker.parameters, list) else [broker.parameters]

    assert all(getattr(each, name) == value for each in parameters for name, value in PARAMETERS.items())


def test_what_the_site_says_about_timeouts_stands() -> None:
    by_url = FootfallBroker(middleware=[], url="amqp://127.0.0.1/?heartbeat=99&socket_timeout=7")
    by_keyword = FootfallBroker(middleware=[], host="127.0.0.1", blocked_connection_timeout=33)

    assert (by_url.parameters.heartbeat, by_url.parameters.socket_timeout) == (99, 7)
    assert by_url.parameters.stack_timeout == PARAMETERS["stack_timeout"]
    assert by_keyword.parameters.blocked_connection_timeout == 33


def test_the_setting_broker_url_is_taken_where_nothing_else_is_given(settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "BROKER_URL": "amqp://them:word@127.0.0.9:77/theirs"}

    broker = FootfallBroker(middleware=[])

    assert (broker.parameters.host, broker.parameters.port, broker.parameters.virtual_host) == (
        "127.0.0.9",
        77,
        "theirs",
    )
    assert FootfallBroker(middleware=[], host="127.0.0.8").parameters.host == "127.0.0.8"


def test_publisher_confirms_are_on_by_default() -> None:
    assert FootfallBroker(middleware=[]).confirm_delivery
    assert not FootfallBroker(middleware=[], confirm_delivery=False).confirm_delivery


# -- Queues and actors


def test_our_queues_have_no_delay_queue_and_the_sites_have() -> None:
    broker = FootfallBroker(middleware=[])

    for queue in (*QUEUES, "mail"):
        broker.declare_queue(queue)

    assert broker.get_declared_queues() == {*QUEUES, "mail"}
    assert broker.get_declared_delay_queues() == {"mail.DQ"}
    assert not broker.queues_pending & set(QUEUES)


def test_there_is_one_actor_for_each_queue_of_the_queues_name() -> None:
    broker = FootfallBroker(middleware=[])

    declare_actors(broker)
    declare_actors(broker)

    assert {name: actor.queue_name for name, actor in broker.actors.items()} == {queue: queue for queue in QUEUES}


def test_the_embedded_broker_has_one_actor_for_the_spool() -> None:
    broker = EmbeddedBroker(middleware=[])

    declare_actors(broker)

    assert set(broker.actors) == {SPOOL} == broker.get_declared_queues()


def test_on_another_broker_nothing_is_declared_and_the_log_says_what_to_run(caplog: pytest.LogCaptureFixture) -> None:
    broker = StubBroker(middleware=[])

    with caplog.at_level("INFO", "footfall.tasks"):
        declare_actors(broker)

    assert not broker.actors
    assert "dramatiq footfall.workers.app" in caplog.text


def test_brokers_can_be_loaded_before_models_exist() -> None:
    code = "import footfall.workers.broker, footfall.workers.embedded; footfall.workers.broker.FootfallBroker()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True, timeout=30)


# -- Middleware


def test_of_the_sites_middleware_only_the_allow_list_sees_a_batch() -> None:
    stranger, allowed = Recorder(), RecordingDbConnections()
    broker = FootfallBroker(middleware=[stranger, Retries(), allowed])
    proxy = BatchProxy(a_batch())

    broker.emit_before("process_message", proxy)
    broker.emit_after("process_message", proxy, exception=RuntimeError("would be retried"))
    broker.emit_after("ack", proxy)

    assert stranger.seen == []
    assert allowed.seen == ["before", "after", "ack"]


def test_the_sites_own_messages_are_seen_by_all_of_its_middleware() -> None:
    stranger = Recorder()
    broker = FootfallBroker(middleware=[stranger])
    proxy = MessageProxy(dramatiq.Message("default", "mail", (), {}, {}))

    broker.emit_before("process_message", proxy)
    broker.emit_after("process_message", proxy)

    assert stranger.seen == ["before", "after"]


def test_a_failing_hook_does_not_stop_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(RecordingDbConnections):
        def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
            raise RuntimeError("the site's own")

    FootfallBroker(middleware=[Failing()]).emit_before("process_message", BatchProxy(a_batch()))

    assert "Unexpected failure" in caplog.text


def test_shutdown_is_told_to_everything_that_waits() -> None:
    broker = FootfallBroker(middleware=[])

    broker.emit_before("worker_shutdown", None)
    assert broker.stopping.is_set()
    with pytest.raises(ConnectionClosed, match="shutting down"):
        broker.consume(VIEWS)

    broker.emit_before("worker_boot", None)
    assert not broker.stopping.is_set()


def test_a_batch_says_how_many_and_not_what() -> None:
    proxy = BatchProxy(a_batch())

    assert str(proxy) == "footfall.views(<2 of footfall.views>)"
    assert (proxy.actor_name, proxy.queue_name, proxy.options) == (VIEWS, VIEWS, {})
    assert proxy.message_id != BatchProxy(a_batch()).message_id


# -- Sending


@pytest.fixture
def refusing_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_message_of_ours_is_attempted_once(refusing_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []
    connect = pika.BlockingConnection
    monkeypatch.setattr(pika, "BlockingConnection", lambda *args: attempts.append(args) or connect(*args))
    broker = FootfallBroker(middleware=[], host="127.0.0.1", port=refusing_port)

    with pytest.raises(ConnectionClosed):
        broker.enqueue(dramatiq.Message(VIEWS, VIEWS, ([],), {}, {}))

    assert len(attempts) == 1


@pytest.mark.parametrize("make", [FootfallBroker, EmbeddedBroker])
def test_a_message_of_ours_can_not_be_delayed(make: Any) -> None:
    with pytest.raises(ValueError, match=r"footfall\.views takes no delayed messages"):
        make(middleware=[]).enqueue(dramatiq.Message(VIEWS, VIEWS, ([],), {}, {}), delay=1000)


# -- Consuming


def test_nothing_is_consumed_while_the_database_is_away(
    refusing_port: int, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any
) -> None:
    """Neither is RabbitMQ asked: the port would refuse, and the text speaks of the database."""

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("the server is starting up")

    monkeypatch.setattr("footfall.workers.ledger.enter", away)
    broker = FootfallBroker(middleware=[], host="127.0.0.1", port=refusing_port)

    with django_db_blocker.unblock(), pytest.raises(ConnectionClosed, match="'default' does not answer"):
        broker.consume(VIEWS)


@pytest.mark.parametrize(
    ("queue", "prefetch", "in_flight"),
    [(VIEWS, 14, 2), (INCREMENTS, 14, 2), (ACTIONS, 14, 1), (QUARANTINE, 1, 1)],
)
def test_prefetch_is_two_batches_and_one_in_the_quarantine(
    queue: str, prefetch: int, in_flight: int, settings: Any
) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "BATCH_MESSAGES": 7}

    limits = limits_of(queue)

    assert (limits.prefetch, limits.in_flight) == (prefetch, in_flight)


LIMITS = Limits(messages=3, size=100, linger=0.5, in_flight=2)


@pytest.mark.parametrize(
    ("sizes", "due"),
    [
        pytest.param([], math.inf, id="empty: never"),
        pytest.param([10], 1000.5, id="one: after the linger"),
        pytest.param([10, 10], 1000.5, id="two: counted from the first"),
        pytest.param([10, 10, 10], -math.inf, id="full by number"),
        pytest.param([100], -math.inf, id="full by bytes"),
    ],
)
def test_a_batch_is_due_when_it_is_full_or_its_first_has_waited(sizes: list[int], due: float) -> None:
    buffer = Buffer(LIMITS)

    for tag, size in enumerate(sizes):
        buffer.add(tag, b"x" * size, now=1000.0 + tag)

    assert buffer.ready_at() == due


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        pytest.param([1] * 7, [[0, 1, 2], [3, 4, 5], [6]], id="by number"),
        pytest.param([60, 60, 30], [[0], [1, 2]], id="by bytes"),
        pytest.param([500, 1], [[0], [1]], id="one larger than a batch goes alone"),
        pytest.param([0, 0], [[0, 1]], id="empty bodies"),
    ],
)
def test_batches_are_taken_in_order_within_their_limits(sizes: list[int], batches: list[list[int]]) -> None:
    buffer = Buffer(LIMITS)
    for tag, size in enumerate(sizes):
        buffer.add(tag, b"x" * size, now=1000.0 + tag)

    taken = [[tag for tag, _ in buffer.take()] for _ in batches]

    assert taken == batches
    assert buffer.ready_at() == math.inf


def test_what_is_left_over_lingers_from_its_own_arrival() -> None:
    buffer = Buffer(LIMITS)
    for tag in range(4):
        buffer.add(tag, b"x", now=1000.0 + tag)

    buffer.take()

    assert buffer.ready_at() == 1003.5


@pytest.mark.parametrize("url", ["amqp://user:se#cret@host:5672/", "amqp://user:secret@host:se#cret/"])
def test_no_part_of_a_password_gets_into_an_error(url: str) -> None:
    """A URL that can't be read is said to be so, and not shown."""
    with pytest.raises(ImproperlyConfigured) as caught:
        FootfallBroker(url=url)

    assert "cret" not in str(caught.value)
    assert caught.value.__suppress_context__
