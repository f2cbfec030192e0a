"""The embedded broker: the spool as a queue, one worker at it, and lines that take their worker down."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from django.core.exceptions import ImproperlyConfigured
from dramatiq.errors import ConnectionClosed, QueueJoinTimeout

from footfall.producers.messages import Increment, LabelKey, encode_event, encode_unit, new_id
from footfall.producers.queues import INCREMENTS, SPOOL
from footfall.producers.spool import current_spool
from footfall.producers.tail import journals
from footfall.storage.models import AppliedMessage, Attempt, DeadLetter, SpoolPosition, Statistic
from footfall.workers import attempts, settling
from footfall.workers.embedded import EmbeddedBroker, SpoolConsumer
from footfall.workers.settling import SUSPECT_LIMIT, settle_pieces
from footfall.workers.spoolreader import ALONE, SpoolReader, begin
from footfall.workers.tasks import declare_actors

pytestmark = pytest.mark.django_db


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(middleware=[])
    declare_actors(broker)
    yield broker
    broker.close()


@pytest.fixture
def consume(broker: EmbeddedBroker) -> Iterator[Callable[[], SpoolConsumer]]:
    opened: list[Any] = []

    def open_one() -> SpoolConsumer:
        opened.append(broker.consume(SPOOL, timeout=150))
        return opened[-1]

    yield open_one
    for consumer in opened:
        consumer.close()


@pytest.fixture
def small_batches(settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "BATCH_MESSAGES": 32}


def publish(*labels: str) -> None:
    """One unit, and so one line, per label; as after the commit that publishing itself would wait for."""
    for label in labels:
        hit = encode_event(Increment(id=new_id(), at=datetime.now(UTC), label=LabelKey(label)))
        assert current_spool().append(encode_unit(new_id(), [("increment", hit)]))


def counts() -> dict[str, int]:
    return dict(Statistic.objects.values_list("label", "counter"))


def work(consumer: SpoolConsumer, broker: EmbeddedBroker) -> Any:
    """What Dramatiq does with the next message; returns its batch, or None."""
    proxy = next(consumer)
    if proxy is None:
        return None
    proxy.batch.settled = settle_pieces(proxy.batch, broker.stopping)
    consumer.ack(proxy)
    return proxy.batch


def the_journal() -> Path:
    (path,) = journals(current_spool().directory)
    return path


# -- The way of a line


def test_lines_are_applied_and_their_place_is_stored_with_them(
    broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer]
) -> None:
    publish("a", "a", "b")

    batch = work(consume(), broker)

    assert (len(batch), counts()) == (3, {"a": 2, "b": 1})
    assert SpoolPosition.objects.get().offset == the_journal().stat().st_size
    assert not Attempt.objects.exists()


def test_a_line_waits_for_the_batch_before_it(broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer]) -> None:
    publish("a")
    consumer = consume()
    proxy = next(consumer)
    publish("b")

    assert next(consumer) is None

    assert proxy is not None
    proxy.batch.settled = settle_pieces(proxy.batch, broker.stopping)
    consumer.ack(proxy)
    assert work(consumer, broker) is not None
    assert counts() == {"a": 1, "b": 1}


def test_journals_of_several_processes_travel_in_one_batch(
    broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer]
) -> None:
    for label in "abc":
        publish(label)
        current_spool().close()

    assert len(work(consume(), broker)) == 3


def test_a_finished_journal_of_a_gone_writer_is_removed_with_its_position(
    broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer]
) -> None:
    publish("a")
    consumer = consume()
    work(consumer, broker)
    assert SpoolPosition.objects.count() == 1

    current_spool().close()
    assert next(consumer) is None

    assert not journals(current_spool().directory)
    assert not SpoolPosition.objects.exists()


def test_one_worker_holds_the_spool_and_the_next_takes_over_where_it_was(
    broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer]
) -> None:
    publish("a")
    first, second = consume(), consume()
    work(first, broker)
    assert next(first) is None
    publish("b")
    assert next(second) is None

    first.close()

    assert len(work(second, broker)) == 1
    assert counts() == {"a": 1, "b": 1}


def test_a_spool_of_another_site_is_refused_with_a_clear_text(broker: EmbeddedBroker, settings: Any) -> None:
    publish("a")
    settings.FOOTFALL = {**settings.FOOTFALL, "SITE": "another"}

    with pytest.raises(ConnectionClosed, match="stamped"):
        broker.consume(SPOOL)


def test_a_damaged_journal_is_passed_over_and_stops_nothing(
    broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer], caplog: pytest.LogCaptureFixture
) -> None:
    publish("a")
    SpoolPosition.objects.create(journal=the_journal().name, offset=10**6)
    consumer = consume()
    with caplog.at_level(logging.ERROR, "footfall.spool"):
        assert next(consumer) is None

    publish("b")

    assert len(work(consumer, broker)) == 1
    assert counts() == {"b": 1}
    assert "damaged" in caplog.text


# -- Outages


def test_an_outage_is_waited_out_and_is_not_a_kill(
    broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, failures = settling.pipeline.apply, iter([settling.Transient("away")] * 3)
    kills: list[int] = []

    def away(*args: Any, **kwargs: Any) -> Any:
        kills.append(attempts.kills_of(Attempt.objects.get()))
        for failure in failures:
            raise failure
        return apply(*args, **kwargs)

    monkeypatch.setattr(settling.pipeline, "apply", away)
    publish("a")

    assert work(consume(), broker).settled
    assert kills == [0] * 4
    assert counts() == {"a": 1}


def test_after_a_minute_the_batch_goes_back_and_nothing_is_counted(
    broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **kwargs: Any) -> Any:
        raise settling.Transient("away")

    monkeypatch.setattr(settling, "PATIENCE", 0.2)
    publish("a")
    consumer = consume()
    with monkeypatch.context() as patch:
        patch.setattr(settling.pipeline, "apply", away)
        assert not work(consumer, broker).settled

    with pytest.raises(ConnectionClosed, match="stays in the spool"):
        next(consumer)

    assert not Attempt.objects.exists()
    assert work(consume(), broker).settled


def test_a_shutdown_ends_the_wait_and_takes_its_start_back(
    broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **kwargs: Any) -> Any:
        broker.stopping.set()
        raise settling.Transient("away")

    monkeypatch.setattr(settling.pipeline, "apply", away)
    publish("a")
    consumer = consume()

    started = time.monotonic()
    assert not work(consumer, broker).settled

    assert time.monotonic() - started < 1
    assert not Attempt.objects.exists()
    assert next(consumer) is None


def test_a_batch_of_a_consumer_that_gave_up_the_spool_is_not_started(
    broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer]
) -> None:
    publish("a")
    consumer = consume()
    proxy = next(consumer)
    assert proxy is not None
    consumer.close()

    assert not settle_pieces(proxy.batch, broker.stopping)
    assert counts() == {}


# -- Lines that take their worker down


class Killed(BaseException):
    """Stands for kill -9: nothing runs after it."""


@pytest.fixture
def lives(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on this process is another one."""
    number = itertools.count()

    def next_life() -> None:
        name = f"life {next(number)}"
        monkeypatch.setattr(attempts, "_name", lambda pid: name)

    next_life()
    return next_life


def worked_off(broker: EmbeddedBroker, killer: bytes, lives: Callable[[], None], monkeypatch: Any) -> int:
    """Work until the spool is done, in a new life after each kill; returns how many kills it took."""
    apply, kills = settling.pipeline.apply, 0

    def deadly(deliveries: Any, **kwargs: Any) -> Any:
        if any(killer in delivery.body for delivery in deliveries):
            raise Killed
        return apply(deliveries, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(settling.pipeline, "apply", deadly)
        while kills < 50:
            consumer: Any = broker.consume(SPOOL, timeout=0)
            try:
                while work(consumer, broker) is not None:
                    pass
                return kills
            except Killed:
                kills += 1
                lives()
            finally:
                consumer.close()
    raise AssertionError("it never ends")


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("place", [0, 7, 31, 63, 99], ids=lambda place: f"line {place}")
def test_the_one_line_that_kills_is_buried_and_its_neighbours_are_applied(
    broker: EmbeddedBroker, lives: Callable[[], None], monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    publish(*[f"label-{number}" if number != place else "killer" for number in range(100)])

    kills = worked_off(broker, b"killer", lives, monkeypatch)

    assert kills == ALONE + SUSPECT_LIMIT
    assert counts() == {f"label-{number}": 1 for number in range(100) if number != place}
    letter = DeadLetter.objects.get()
    assert (letter.reason, b"killer" in bytes(letter.body)) == ("killed_worker", True)
    assert not Attempt.objects.exists()


@pytest.mark.usefixtures("small_batches")
def test_two_lines_that_kill_are_both_buried(
    broker: EmbeddedBroker, lives: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("a", "killer", "b", "killer", "c")

    worked_off(broker, b"killer", lives, monkeypatch)

    assert counts() == {"a": 1, "b": 1, "c": 1}
    assert DeadLetter.objects.count() == 2


@pytest.mark.usefixtures("small_batches")
def test_journals_that_were_only_neighbours_go_on(
    broker: EmbeddedBroker, lives: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in ("a", "killer", "b"):
        publish(label)
        current_spool().close()

    kills = worked_off(broker, b"killer", lives, monkeypatch)

    assert kills == ALONE + SUSPECT_LIMIT
    assert counts() == {"a": 1, "b": 1}
    assert not journals(current_spool().directory)


@pytest.mark.usefixtures("small_batches")
def test_after_one_kill_fewer_lines_and_after_two_one(lives: Callable[[], None]) -> None:
    publish(*[f"label-{number}" for number in range(40)])
    sizes = []

    for _ in range(3):
        reader = SpoolReader(current_spool().directory)
        reader.load()
        pieces = reader.next_pieces()
        sizes.append(len(pieces[0].slice.lines))
        begin(pieces)
        lives()

    assert sizes == [32, 2, 1]


def test_an_exception_nobody_thought_of_is_as_good_as_a_kill(
    broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(settling, "SURPRISE_PAUSE", 0)
    publish("a")
    with monkeypatch.context() as patch:
        patch.setattr(settling.pipeline, "apply", surprise)
        for _ in range(ALONE + SUSPECT_LIMIT):
            consumer = consume()
            assert not work(consumer, broker).settled
            consumer.close()

    assert work(consume(), broker).settled
    assert DeadLetter.objects.get().reason == "killed_worker"


# -- Sending and waiting


def test_a_message_to_one_of_our_actors_becomes_a_line(
    broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer]
) -> None:
    event = {"kind": "increment", "id": "0190a1b2-0000-7000-8000-000000000001", "label": {"label": "sent"}}
    message = dramatiq.Message(INCREMENTS, INCREMENTS, ([event | {"at": datetime.now(UTC).isoformat()}],), {}, {})

    broker.enqueue(message)
    work(consume(), broker)

    assert counts() == {"sent": 1}
    assert str(AppliedMessage.objects.get().id) == message.message_id


def test_an_actor_of_the_sites_may_be_declared_but_not_sent(broker: EmbeddedBroker) -> None:
    @dramatiq.actor(broker=broker)
    def send_mail() -> None:
        pass

    with pytest.raises(ImproperlyConfigured, match=r"send_mail's.*real broker in DRAMATIQ_BROKER"):
        send_mail.send()

    assert broker.get_declared_queues() == {SPOOL}


def test_a_spool_that_does_not_accept_is_said_so(broker: EmbeddedBroker, settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "SPOOL_QUOTA_BYTES": 1}

    with pytest.raises(ConnectionClosed, match="does not accept"):
        broker.enqueue(dramatiq.Message(INCREMENTS, INCREMENTS, ([],), {}, {}))


def test_join_waits_until_everything_is_applied(broker: EmbeddedBroker, consume: Callable[[], SpoolConsumer]) -> None:
    publish("a")
    with pytest.raises(QueueJoinTimeout):
        broker.join(SPOOL, timeout=100)

    work(consume(), broker)

    broker.join(SPOOL, timeout=100)


@pytest.mark.django_db(transaction=True)
def test_dramatiqs_worker_runs_it(broker: EmbeddedBroker) -> None:
    worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    try:
        publish(*"abcabc")
        broker.join(SPOOL, timeout=10_000)
        publish("c")
        broker.join(SPOOL, timeout=10_000)
    finally:
        worker.stop(10_000)

    assert counts() == {"a": 2, "b": 2, "c": 3}
