"""The batch consumer against a real RabbitMQ: what is acknowledged, what comes again, and what can't stop it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dramatiq
import pika
import pytest
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Retries
from processes import Process, eventually

from footfall.producers.messages import Increment, LabelKey, encode_event, encode_message, new_id
from footfall.producers.queues import ACTIONS, INCREMENTS, QUARANTINE, QUEUES, VIEWS
from footfall.storage.models import AppliedMessage, Attempt, DeadLetter, Statistic
from footfall.workers import settling
from footfall.workers.broker import FootfallBroker
from footfall.workers.consumer import BatchConsumer, ensure_queue
from footfall.workers.tasks import declare_actors

SITE_QUEUE = "newsroom.mail"
STRANGE_BODIES = [
    b'{"queue_name":"footfall.views","actor_name":"footfall.views","args":[[]],"kwargs":{},"options":null,"message_id":"x","message_timestamp":1}',
    b'{"queue_name":"somewhere.else","actor_name":"footfall.views","args":[[]],"kwargs":{},"options":{},"message_id":"00000000-0000-0000-0000-000000000001","message_timestamp":1}',
    b'{"queue_name":"footfall.views","actor_name":"nobody","args":[[]],"kwargs":{},"options":{"eta":"soon"},"message_id":"00000000-0000-0000-0000-000000000002","message_timestamp":1}',
    b"\xff\xfe\x00 not text",
    b"[" * 100_000,
    b"",
]


class Server:
    """A hand on RabbitMQ as its administrator; each call uses a connection of its own."""

    def __init__(self, rabbitmq: Any) -> None:
        self.rabbitmq = rabbitmq

    def call(self, action: Callable[[Any], Any]) -> Any:
        with pika.BlockingConnection(pika.URLParameters(self.rabbitmq.admin_url)) as link:
            return action(link)

    def publish(self, queue: str, bodies: list[bytes]) -> None:
        def run(link: Any) -> None:
            channel = link.channel()
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2), mandatory=True)

        self.call(run)

    def ready(self, queue: str) -> int:
        return int(self.call(lambda link: ensure_queue(link, queue)))

    def delete(self, queue: str) -> None:
        self.call(lambda link: link.channel().queue_delete(queue))

    def purge(self) -> None:
        def run(link: Any) -> None:
            for queue in QUEUES:
                ensure_queue(link, queue)
                link.channel().queue_purge(queue)
            for queue in (SITE_QUEUE, f"{SITE_QUEUE}.DQ", f"{SITE_QUEUE}.XQ"):
                link.channel().queue_delete(queue)

        self.call(run)


@pytest.fixture
def server(rabbitmq: Any) -> Iterator[Server]:
    server = Server(rabbitmq)
    server.purge()
    yield server
    server.purge()


@pytest.fixture
def broker(rabbitmq: Any, server: Server, settings: Any) -> Iterator[FootfallBroker]:
    settings.FOOTFALL = {**settings.FOOTFALL, "BATCH_MESSAGES": 10, "BATCH_LINGER_MS": 100}
    broker = FootfallBroker(middleware=[], url=rabbitmq.url)
    yield broker
    broker.close()


@pytest.fixture
def consume(broker: FootfallBroker) -> Iterator[Callable[[str], BatchConsumer]]:
    """Open consumers without asking the database first; they are closed with the test."""
    opened = []

    def open_one(queue: str) -> BatchConsumer:
        opened.append(BatchConsumer(broker.parameters, queue, 500, broker.stopping))
        return opened[-1]

    yield open_one
    for consumer in opened:
        consumer.close()


@pytest.fixture
def workers(broker: FootfallBroker, transactional_db: None) -> Iterator[Callable[..., dramatiq.Worker]]:
    started = []

    def start(threads: int = 1) -> dramatiq.Worker:
        declare_actors(broker)
        started.append(dramatiq.Worker(broker, worker_threads=threads, worker_timeout=100))
        started[-1].start()
        return started[-1]

    yield start
    for worker in started:
        worker.stop(10_000)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def hits(count: int, label: str = "front") -> list[bytes]:
    """Messages of one label hit each."""
    return [hit(label) for _ in range(count)]


def hit(label: str) -> bytes:
    event = encode_event(Increment(id=new_id(), at=datetime.now(UTC), label=LabelKey(label)))
    return encode_message(INCREMENTS, new_id(), int(time.time() * 1000), [event])


def counted() -> int:
    return sum(Statistic.objects.values_list("counter", flat=True))


def take(consumer: BatchConsumer, bodies: int) -> list[Any]:
    """Batches until they hold ``bodies`` deliveries, as messages, or until the consumer is idle."""
    found: list[Any] = []
    while sum(len(proxy.batch) for proxy in found) < bodies:
        proxy = next(consumer)
        if proxy is None:
            break
        found.append(proxy)
    return found


def bodies_of(proxies: list[Any]) -> list[bytes]:
    return [body for proxy in proxies for body in proxy.batch.bodies]


def settle(consumer: BatchConsumer, proxy: Any) -> None:
    proxy.batch.settled = True
    consumer.ack(proxy)


# -- Batches


def test_many_deliveries_come_as_one_message(server: Server, consume: Callable[[str], BatchConsumer]) -> None:
    server.publish(VIEWS, numbered(25))
    consumer = consume(VIEWS)

    first, second = next(consumer), next(consumer)

    assert first is not None and second is not None
    assert (first.actor_name, first.args) == (VIEWS, (first.batch,))
    assert bodies_of([first, second]) == numbered(20)
    assert next(consumer) is None, "two batches in flight are enough"


def test_the_rest_follows_when_a_batch_is_settled(server: Server, consume: Callable[[str], BatchConsumer]) -> None:
    server.publish(VIEWS, numbered(25))
    consumer = consume(VIEWS)
    first, _ = take(consumer, 20)

    settle(consumer, first)
    third = next(consumer)

    assert third is not None
    assert third.batch.bodies == numbered(25)[20:]


def test_an_actors_actions_are_not_worked_on_by_two_threads(
    server: Server, consume: Callable[[str], BatchConsumer]
) -> None:
    server.publish(ACTIONS, numbered(15))
    consumer = consume(ACTIONS)

    assert len(bodies_of(take(consumer, 15))) == 10


def test_the_quarantine_comes_one_by_one_with_no_neighbours(
    server: Server, consume: Callable[[str], BatchConsumer]
) -> None:
    server.publish(QUARANTINE, numbered(3))
    consumer = consume(QUARANTINE)

    proxies = take(consumer, 3)

    assert bodies_of(proxies) == [b"0"]
    assert server.ready(QUARANTINE) == 2


def test_a_lone_delivery_waits_for_the_linger_only(server: Server, consume: Callable[[str], BatchConsumer]) -> None:
    consumer = consume(VIEWS)
    server.publish(VIEWS, [b"lone"])
    started = time.monotonic()

    proxy = next(consumer)

    assert proxy is not None
    assert proxy.batch.bodies == [b"lone"]
    assert time.monotonic() - started < 0.4


def test_whatever_a_body_holds_it_comes_as_the_bytes_that_it_is(
    server: Server, consume: Callable[[str], BatchConsumer]
) -> None:
    server.publish(VIEWS, STRANGE_BODIES)
    consumer = consume(VIEWS)

    assert bodies_of(take(consumer, len(STRANGE_BODIES))) == STRANGE_BODIES


# -- Acknowledging


def test_a_settled_batch_is_acknowledged_and_nothing_else(
    server: Server, consume: Callable[[str], BatchConsumer]
) -> None:
    server.publish(VIEWS, numbered(20))
    consumer = consume(VIEWS)
    _, second = take(consumer, 20)

    settle(consumer, second)
    consumer.close()

    assert bodies_of(take(consume(VIEWS), 20)) == numbered(10)


def test_batches_settled_in_any_order_leave_nothing_behind(
    server: Server, consume: Callable[[str], BatchConsumer]
) -> None:
    server.publish(VIEWS, numbered(40))
    consumer = consume(VIEWS)
    first, second = take(consumer, 20)

    settle(consumer, second)
    third = next(consumer)
    settle(consumer, first)
    fourth = next(consumer)
    settle(consumer, fourth)
    consumer.close()

    assert third is not None
    assert bodies_of(take(consume(VIEWS), 10)) == third.batch.bodies


def test_an_unsettled_batch_ends_its_consumer_and_comes_again(
    server: Server, consume: Callable[[str], BatchConsumer]
) -> None:
    server.publish(VIEWS, numbered(10))
    consumer = consume(VIEWS)
    (proxy,) = take(consumer, 10)

    consumer.ack(proxy)

    with pytest.raises(ConnectionClosed, match="goes back to the queue"):
        next(consumer)
    assert not proxy.batch.alive
    assert bodies_of(take(consume(VIEWS), 10)) == numbered(10)


def test_when_one_batch_goes_back_the_next_of_its_connection_is_not_started(
    server: Server, consume: Callable[[str], BatchConsumer]
) -> None:
    server.publish(VIEWS, numbered(20))
    consumer = consume(VIEWS)
    first, second = take(consumer, 20)

    consumer.ack(first)

    assert not second.batch.alive


def test_rejecting_a_batch_hands_it_back_too(server: Server, consume: Callable[[str], BatchConsumer]) -> None:
    server.publish(VIEWS, numbered(1))
    consumer = consume(VIEWS)
    (proxy,) = take(consumer, 1)

    consumer.nack(proxy)

    with pytest.raises(ConnectionClosed):
        next(consumer)
    assert bodies_of(take(consume(VIEWS), 1)) == numbered(1)
    assert server.ready(QUARANTINE) == 0


def test_answers_may_come_from_any_thread(server: Server, consume: Callable[[str], BatchConsumer]) -> None:
    server.publish(VIEWS, numbered(100))
    consumer = consume(VIEWS)
    seen: list[bytes] = []

    while len(seen) < 100:
        proxy = next(consumer)
        if proxy is not None:
            seen += proxy.batch.bodies
            threading.Timer(0.01, settle, (consumer, proxy)).start()
    time.sleep(0.2)
    consumer.close()

    assert seen == numbered(100)
    assert server.ready(VIEWS) == 0


# -- Connections that end


def test_a_late_answer_goes_nowhere_after_the_broker_was_killed(
    rabbitmq: Any, server: Server, consume: Callable[[str], BatchConsumer]
) -> None:
    """The new connection hands out the same delivery tags again: an ack by bare tag would hit them."""
    time.sleep(6)  # a quorum queue that is killed right after its declaration may come back empty
    server.publish(VIEWS, numbered(10))
    consumer = consume(VIEWS)
    (late,) = take(consumer, 10)

    rabbitmq.kill()
    with pytest.raises(ConnectionClosed):
        next(consumer)
    rabbitmq.start()
    again = consume(VIEWS)
    repeated = take(again, 10)
    settle(again, late)
    assert next(again) is None
    again.close()

    assert not late.batch.alive
    assert [tag for proxy in repeated for tag in proxy.batch.tags] == late.batch.tags
    assert sorted(bodies_of(repeated)) == sorted(numbered(10))
    assert sorted(bodies_of(take(consume(VIEWS), 10))) == sorted(numbered(10)), "nothing was acknowledged"


def test_a_connection_that_an_operator_closes_is_noticed(
    rabbitmq: Any, server: Server, consume: Callable[[str], BatchConsumer]
) -> None:
    server.publish(VIEWS, numbered(1))
    consumer = consume(VIEWS)
    (proxy,) = take(consumer, 1)

    rabbitmq.ctl("close_all_connections", "--vhost", "footfall", "test")

    with pytest.raises(ConnectionClosed):
        next(consumer)
    assert not proxy.batch.alive


def test_a_channel_that_the_broker_closes_is_noticed(server: Server, consume: Callable[[str], BatchConsumer]) -> None:
    """As after its consumer timeout. pika's connection stays open and says nothing."""
    server.publish(VIEWS, numbered(1))
    consumer = consume(VIEWS)
    (proxy,) = take(consumer, 1)
    proxy.batch.tags.append(999)

    settle(consumer, proxy)

    with pytest.raises(ConnectionClosed, match="closed the channel"):
        next(consumer)


def test_a_broker_that_hangs_is_noticed_by_consumers_old_and_new(rabbitmq: Any, server: Server) -> None:
    """Its kernel still answers: no error comes, only silence."""
    broker = FootfallBroker(middleware=[], url=f"{rabbitmq.url}?heartbeat=2&stack_timeout=2&socket_timeout=1")
    consumer = BatchConsumer(broker.parameters, VIEWS, 30_000, broker.stopping)
    pid = int(rabbitmq.ctl("eval", "os:getpid().").strip().strip('"'))
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ConnectionClosed):
            next(consumer)
        with pytest.raises(ConnectionClosed):
            BatchConsumer(broker.parameters, VIEWS, 500, broker.stopping)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_deleted_queue_ends_the_consumer_and_is_declared_again(
    rabbitmq: Any, server: Server, consume: Callable[[str], BatchConsumer], broker: FootfallBroker
) -> None:
    consumer = consume(VIEWS)

    server.delete(VIEWS)

    with pytest.raises(ConnectionClosed, match="cancelled the consumer"):
        next(consumer)
    allowed = FootfallBroker(middleware=[], url=rabbitmq.admin_url)
    again = BatchConsumer(allowed.parameters, VIEWS, 500, allowed.stopping)
    server.publish(VIEWS, numbered(3))
    assert bodies_of(take(again, 3)) == numbered(3)
    again.close()


def test_a_worker_without_the_configure_right_says_what_is_missing(
    server: Server, consume: Callable[[str], BatchConsumer]
) -> None:
    consume(VIEWS)
    server.delete(VIEWS)

    with pytest.raises(ConnectionClosed, match=r"footfall\.views does not exist .* definitions"):
        consume(VIEWS)


def test_an_alarm_stops_publishers_and_not_workers(
    rabbitmq: Any, server: Server, consume: Callable[[str], BatchConsumer]
) -> None:
    server.publish(VIEWS, numbered(10))
    consumer = consume(VIEWS)
    rabbitmq.ctl("set_vm_memory_high_watermark", "0")
    try:
        (proxy,) = take(consumer, 10)
        settle(consumer, proxy)
        assert next(consumer) is None
        consumer.close()
    finally:
        rabbitmq.ctl("set_vm_memory_high_watermark", "0.6")

    assert server.ready(VIEWS) == 0


def test_sending_during_an_alarm_fails_within_seconds(rabbitmq: Any, server: Server) -> None:
    broker = FootfallBroker(middleware=[], url=f"{rabbitmq.url}?blocked_connection_timeout=2")
    message = dramatiq.Message(VIEWS, VIEWS, ([],), {}, {})
    rabbitmq.ctl("set_vm_memory_high_watermark", "0")
    try:
        started = time.monotonic()
        with pytest.raises(ConnectionClosed):
            broker.enqueue(message)
        assert time.monotonic() - started < 10
    finally:
        rabbitmq.ctl("set_vm_memory_high_watermark", "0.6")


# -- Whole workers


@pytest.mark.parametrize("threads", [1, 4])
def test_everything_is_applied_once_with_any_number_of_threads(
    server: Server, workers: Callable[..., dramatiq.Worker], threads: int
) -> None:
    messages = hits(150)
    server.publish(INCREMENTS, messages + messages[:30])

    workers(threads)

    eventually(lambda: counted() == 150 and server.ready(INCREMENTS) == 0)
    assert AppliedMessage.objects.count() == 150


def test_bodies_that_stop_stock_workers_become_dead_letters(
    server: Server, workers: Callable[..., dramatiq.Worker]
) -> None:
    server.publish(VIEWS, STRANGE_BODIES)
    server.publish(INCREMENTS, hits(5))

    workers()

    eventually(lambda: DeadLetter.objects.count() == len(STRANGE_BODIES) and counted() == 5)
    assert {bytes(letter.body) for letter in DeadLetter.objects.all()} == set(STRANGE_BODIES)


def test_a_failing_batch_is_never_acknowledged(
    server: Server, workers: Callable[..., dramatiq.Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dramatiq's own rule is that an exception acknowledges, where Retries has not put the message back."""
    failures = iter([RuntimeError("a bug"), RuntimeError("again")])
    apply = settling.pipeline.apply

    def fail_twice(*args: Any, **kwargs: Any) -> Any:
        for failure in failures:
            raise failure
        return apply(*args, **kwargs)

    monkeypatch.setattr(settling.pipeline, "apply", fail_twice)
    monkeypatch.setattr(settling, "SURPRISE_PAUSE", 0)
    server.publish(INCREMENTS, hits(5))

    workers()

    eventually(lambda: counted() == 5 and server.ready(INCREMENTS) == 0)


def test_an_outage_is_waited_out_with_the_batch_in_hand(
    server: Server, workers: Callable[..., dramatiq.Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[float] = []
    apply = settling.pipeline.apply

    def away(*args: Any, **kwargs: Any) -> Any:
        calls.append(time.monotonic())
        if len(calls) < 4:
            raise settling.Transient("the database system is starting up")
        return apply(*args, **kwargs)

    monkeypatch.setattr(settling.pipeline, "apply", away)
    server.publish(INCREMENTS, hits(5))

    workers()

    eventually(lambda: counted() == 5)
    assert calls[-1] - calls[0] < 3, "the deliveries went back to the queue"


def test_a_suspect_that_took_its_workers_down_is_buried_and_not_run(
    server: Server, workers: Callable[..., dramatiq.Worker]
) -> None:
    killer, fine = hit("killer"), hit("fine")
    Attempt.objects.create(key=settling.suspect_key(killer), owner="gone", count=2, started_at=datetime.now(UTC))
    Attempt.objects.create(key=settling.suspect_key(fine), owner="gone", count=1, started_at=datetime.now(UTC))
    server.publish(QUARANTINE, [killer, fine])

    workers()

    eventually(lambda: DeadLetter.objects.exists() and server.ready(QUARANTINE) == 0 and not Attempt.objects.exists())
    assert [(bytes(letter.body), letter.reason) for letter in DeadLetter.objects.all()] == [(killer, "killed_worker")]
    assert list(Statistic.objects.values_list("label", flat=True)) == ["fine"]


def test_the_sites_own_actors_run_one_at_a_time_beside_ours_and_are_retried(
    rabbitmq: Any, server: Server, transactional_db: None
) -> None:
    ran: list[int] = []
    broker = FootfallBroker(middleware=[Retries(min_backoff=10, max_backoff=50)], url=rabbitmq.admin_url)
    declare_actors(broker)

    @dramatiq.actor(broker=broker, queue_name=SITE_QUEUE)
    def send_mail(number: int) -> None:
        ran.append(number)
        if ran.count(number) == 1:
            raise RuntimeError("once")

    worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    for number in range(5):
        send_mail.send(number)
    server.publish(INCREMENTS, hits(20))

    eventually(lambda: sorted(ran) == sorted([*range(5)] * 2) and counted() == 20)
    worker.stop(10_000)
    broker.close()


def test_our_actors_take_dramatiq_messages(
    server: Server, workers: Callable[..., dramatiq.Worker], broker: FootfallBroker
) -> None:
    workers()
    event = {"kind": "increment", "id": str(new_id()), "at": datetime.now(UTC).isoformat(), "label": {"label": "x"}}

    broker.actors[INCREMENTS].send([event])

    eventually(lambda: counted() == 1)


# -- Real processes

of_stack = pytest.mark.usefixtures("stack_settings")


def run_worker(processes: Callable[..., Process], rabbitmq: Any, **environment: str) -> Process:
    process = processes(
        "rundramatiq", "--processes", "1", "--threads", "2", FOOTFALL_AMQP_URL=rabbitmq.url, **environment
    )
    eventually(lambda: "ready for action" in process.output())
    return process


@of_stack
def test_a_terminated_worker_finishes_what_it_began_and_ends_cleanly(
    rabbitmq: Any, server: Server, processes: Callable[..., Process]
) -> None:
    server.publish(INCREMENTS, hits(3000))
    process = run_worker(processes, rabbitmq)
    eventually(lambda: counted() > 0)

    process.terminate()

    assert process.wait(30) == 0, process.output()
    applied = AppliedMessage.objects.count()
    assert counted() == applied
    assert server.ready(INCREMENTS) == 3000 - applied, "acknowledged what it settled, and nothing else"
    run_worker(processes, rabbitmq)
    eventually(lambda: counted() == 3000)


@of_stack
def test_a_killed_worker_loses_nothing_and_counts_nothing_twice(
    rabbitmq: Any, server: Server, processes: Callable[..., Process]
) -> None:
    server.publish(INCREMENTS, hits(3000))
    process = run_worker(processes, rabbitmq)
    eventually(lambda: counted() > 0)

    process.kill_all()

    run_worker(processes, rabbitmq)
    eventually(lambda: AppliedMessage.objects.count() == 3000 and server.ready(INCREMENTS) == 0)
    assert counted() == 3000
