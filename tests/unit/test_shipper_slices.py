"""The shipper's joining, cutting and starting again: every unit arrives, and twice only as the same message."""

import contextlib
import json
import logging
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from footfall.producers import shipper as shipper_module
from footfall.producers.background import notify, stop_thread
from footfall.producers.messages import encode_unit, new_id
from footfall.producers.queues import ACTIONS, INCREMENTS, VIEWS
from footfall.producers.shipper import (
    BodyRefusedError,
    BrokerAwayError,
    PublishFailed,
    Shipper,
)
from footfall.producers.slices import Message, load_position
from footfall.producers.spool import Spool
from footfall.producers.tail import SpoolLock, journals


class Killed(BaseException):
    """The shipper's process dies here."""


class Broker:
    """In memory. ``plan`` says what each publish does: its first number of messages arrive, then it raises, or not."""

    def __init__(self) -> None:
        self.arrived: list[Message] = []
        self.plan: list[tuple[int, type[BaseException] | None]] = []
        self.largest = 10**9
        self.closed = False

    def publish(self, messages: Sequence[Message]) -> None:
        if any(len(body) > self.largest for _, body in messages):
            raise BodyRefusedError("message size is larger than allowed")
        arrive, error = self.plan.pop(0) if self.plan else (len(messages), None)
        self.arrived += messages[:arrive]
        if error is PublishFailed:
            raise PublishFailed("refused", frozenset(range(min(arrive, len(messages)))))
        if error is not None:
            raise error("planned")

    def idle(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def abandon(self) -> None:
        pass

    def bodies(self, queue: str) -> list[dict[str, Any]]:
        return [json.loads(body) for name, body in self.arrived if name == queue]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(directory: Path) -> Spool:
    return Spool(directory, site="newsroom")


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def shipper(directory: Path, broker: Broker) -> Shipper:
    return Shipper(directory, broker, now=lambda: 1_700_000_000.5)


def unit(*events: tuple[str, Any]) -> bytes:
    return encode_unit(new_id(), [(kind, json.dumps(event).encode()) for kind, event in events])


def test_units_are_joined_per_kind_into_messages_in_dramatiqs_format(
    spool: Spool, shipper: Shipper, broker: Broker
) -> None:
    spool.append(unit(("view", 1), ("increment", 2)))
    spool.append(unit(("action", 3), ("view", 4)))

    assert shipper.ship_once() == 2

    [views] = broker.bodies(VIEWS)
    assert uuid.UUID(views.pop("message_id")).version == 7
    assert views == {
        "queue_name": VIEWS,
        "actor_name": VIEWS,
        "args": [[1, 4]],
        "kwargs": {},
        "options": {},
        "message_timestamp": 1_700_000_000_500,
    }
    assert [body["args"] for body in broker.bodies(INCREMENTS)] == [[[2]]]
    assert [body["args"] for body in broker.bodies(ACTIONS)] == [[[3]]]
    assert shipper.ship_once() == 0


@override_settings(FOOTFALL={"EVENTS_PER_MESSAGE": 3})
def test_messages_are_cut_by_count_but_a_units_actions_never(spool: Spool, shipper: Shipper, broker: Broker) -> None:
    for start in range(0, 10, 2):
        spool.append(unit(("increment", start), ("increment", start + 1)))
    spool.append(unit(*[("action", number) for number in range(2)]))
    spool.append(unit(*[("action", number) for number in range(2, 7)]))
    spool.append(unit(("action", 7)))
    shipper.ship_once()

    assert [body["args"][0] for body in broker.bodies(INCREMENTS)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert [body["args"][0] for body in broker.bodies(ACTIONS)] == [[0, 1], [2, 3, 4, 5, 6], [7]]


@override_settings(FOOTFALL={"MAX_MESSAGE_BYTES": 400})
def test_messages_are_cut_by_bytes(spool: Spool, shipper: Shipper, broker: Broker) -> None:
    for _ in range(4):
        spool.append(unit(("view", "x" * 48)))
    spool.append(unit(("view", "y" * 500)))
    shipper.ship_once()

    assert [len(body["args"][0]) for body in broker.bodies(VIEWS)] == [2, 2, 1]


@pytest.mark.parametrize(
    "line",
    [b"not a unit", b'{"unit": 5}', b'{"unit":"01a1f980-5998-7913-9ed3-2d0f16c9371c","views":["\xff"]}', b"\x00"],
    ids=["text", "unit of another shape", "broken UTF-8 in an event", "NUL"],
)
def test_a_line_that_is_no_unit_goes_out_as_it_is(
    line: bytes, spool: Spool, shipper: Shipper, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    spool.append(unit(("view", 1)))
    spool.append(line)

    assert shipper.ship_once() == 2

    assert [body for queue, body in broker.arrived if queue == INCREMENTS] == [line]
    assert broker.bodies(VIEWS)[0]["args"] == [[1]]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "byte 60" in record.getMessage()
    assert line.decode("latin-1") not in record.getMessage()


def test_a_line_over_16_mib_is_not_taken_apart(spool: Spool, shipper: Shipper, broker: Broker) -> None:
    line = unit(("view", "x" * 16_777_216))
    spool.append(line)
    shipper.ship_once()

    assert broker.arrived == [(INCREMENTS, line)]


def test_what_the_broker_never_takes_is_put_aside_and_the_rest_goes_on(
    spool: Spool, directory: Path, shipper: Shipper, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.largest = 1000
    spool.append(unit(("view", 1), ("action", "x" * 2000)))

    with pytest.raises(BodyRefusedError):
        shipper.ship_once()
    again = Shipper(directory, broker)
    again.ship_once()

    assert [queue for queue, _ in broker.arrived] == [VIEWS]
    [aside] = directory.glob("*.aside")
    assert json.loads(aside.read_bytes())["args"] == [["x" * 2000]]
    assert shipper.refused_messages == 1
    assert "put aside" in caplog.text
    assert again.is_empty()


def test_what_the_shipper_writes_belongs_to_all_who_may_use_the_spool(directory: Path, broker: Broker) -> None:
    before = os.umask(0o077)
    spool = Spool(directory, site="newsroom", mode=0o770)
    try:
        spool.open()
        if os.geteuid() == 0:
            os.chown(directory, 54_321, 54_320)
        broker.largest = 1000
        spool.append(unit(("view", 1), ("action", "x" * 2000)))
        [journal] = journals(directory)
        journal.with_name(f"{journal.name}.offset.new").touch(0o400)  # left by a shipper that was killed
        Shipper(directory, broker).run(threading.Event(), until_empty=True)
    finally:
        os.umask(before)
        spool.close()

    found = {path.name.partition(".")[2]: path.stat() for path in directory.iterdir() if path.name != "SITE"}
    shared = directory.stat()
    assert sorted(found) == ["aside", "journal", "journal.offset", "shipper.lock"]
    for file in found.values():
        assert (file.st_uid, file.st_gid, file.st_mode & 0o777) == (shared.st_uid, shared.st_gid, 0o660)


def test_a_slice_is_written_down_before_it_is_published(spool: Spool, directory: Path, shipper: Shipper) -> None:
    spool.append(unit(("view", 1)))
    [journal] = journals(directory)
    seen = []

    class Looking(Broker):
        def publish(self, messages: Sequence[Message]) -> None:
            seen.append((load_position(journal), messages))

    Shipper(directory, Looking()).ship_once()

    [(position, [(queue, body)])] = seen
    assert position.pending is not None
    assert (position.offset, position.pending.end) == (0, journal.stat().st_size)
    [part] = position.pending.messages
    assert (part.queue, str(part.id), part.events) == (queue, json.loads(body)["message_id"], 1)
    assert load_position(journal).pending is None


def test_the_same_slice_goes_out_again_though_settings_and_clock_have_changed(
    spool: Spool, directory: Path, broker: Broker
) -> None:
    for number in range(5):
        spool.append(unit(("view", number), ("action", number)))
    broker.plan = [(2, Killed)]
    with override_settings(FOOTFALL={"EVENTS_PER_MESSAGE": 2}), pytest.raises(Killed):
        Shipper(directory, broker, now=lambda: 1.0).ship_once()
    before = broker.arrived.copy()
    spool.append(unit(("view", 5)))
    broker.arrived.clear()
    with override_settings(FOOTFALL={"EVENTS_PER_MESSAGE": 100}):
        again = Shipper(directory, broker, now=lambda: 2.0)
        again.ship_once()
        assert broker.arrived[:2] == before
        assert [body["args"][0] for body in broker.bodies(VIEWS)] == [[0, 1], [2, 3], [4]]
        again.ship_once()

    assert broker.bodies(VIEWS)[-1]["args"] == [[5]]


def test_after_a_failure_only_what_wasnt_confirmed_goes_out_again(
    spool: Spool, directory: Path, shipper: Shipper, broker: Broker
) -> None:
    spool.append(unit(("view", 1), ("increment", 2), ("action", 3)))
    broker.plan = [(1, PublishFailed), (0, BrokerAwayError)]
    for _ in range(2):
        with pytest.raises(PublishFailed):
            shipper.ship_once()

    assert shipper.ship_once() == 1
    assert [queue for queue, _ in broker.arrived] == [VIEWS, INCREMENTS, ACTIONS]
    assert load_position(journals(directory)[0]).pending is None


def test_a_shipped_journal_goes_with_its_position_when_its_writer_is_gone(
    spool: Spool, directory: Path, shipper: Shipper
) -> None:
    spool.append(unit(("view", 1)))
    shipper.ship_once()
    shipper.ship_once()
    assert {path.suffix for path in directory.iterdir()} == {"", ".journal", ".offset"}
    spool.close()
    shipper.ship_once()

    assert [path.name for path in directory.iterdir()] == ["SITE"]


def test_an_older_journal_is_finished_before_a_younger_one_is_begun(
    directory: Path, shipper: Shipper, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "ROUND_BYTES", 200)
    monkeypatch.setattr(shipper_module, "ROUND_REST_BYTES", 100)
    spool = Spool(directory, site="newsroom", journal_max_bytes=600)
    for number in range(20):
        spool.append(unit(("view", number)))
    while shipper.ship_once():
        pass

    assert [event for body in broker.bodies(VIEWS) for event in body["args"][0]] == list(range(20))


def test_a_damaged_journal_is_counted_kept_for_a_person_and_passed_over(
    spool: Spool, directory: Path, shipper: Shipper, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    spool.append(unit(("view", 1)))
    shipper.ship_once()
    [journal] = journals(directory)
    os.truncate(journal, 0)
    assert shipper.ship_once() == 0
    spool.append(unit(("view", 2)))

    assert shipper.ship_once() == 1
    assert shipper.damaged_journals == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert [body["args"] for body in broker.bodies(VIEWS)] == [[[1]], [[2]]]


@pytest.mark.parametrize("stored", [b"", b"{}", b'{"journal":"a","offset":"x"}', b"\xff"])
def test_an_unreadable_position_is_damage_and_counts_nothing_twice(
    stored: bytes, spool: Spool, directory: Path, shipper: Shipper, broker: Broker
) -> None:
    spool.append(unit(("view", 1)))
    [journal] = journals(directory)
    journal.with_name(f"{journal.name}.offset").write_bytes(stored)

    assert shipper.ship_once() == 0
    assert (broker.arrived, shipper.damaged_journals) == ([], 1)
    assert journal.with_suffix(".aside").read_bytes() == journal.read_bytes()
    assert shipper.is_empty()


def test_a_slice_under_way_that_has_changed_is_damage(
    spool: Spool, directory: Path, shipper: Shipper, broker: Broker
) -> None:
    spool.append(unit(("view", 1)))
    broker.plan = [(0, Killed)]
    with pytest.raises(Killed):
        shipper.ship_once()
    [journal] = journals(directory)
    journal.write_bytes(journal.read_bytes().replace(b"views", b"vieWs"))

    again = Shipper(directory, broker)
    again.ship_once()
    assert again.damaged_journals == 1
    assert broker.arrived == []


def test_one_journal_that_cant_be_read_doesnt_hold_up_the_others(
    spool: Spool, directory: Path, shipper: Shipper, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    spool.append(unit(("view", 1)))
    (directory / "0.journal").mkdir()
    os.utime(directory / "0.journal", (0, 0))

    assert shipper.ship_once() == 1
    assert shipper.ship_once() == 0
    assert caplog.text.count("can't be shipped") == 1


# What may happen to a spool and its shipper, in any order.
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"), st.integers(0, 2), st.lists(st.sampled_from(["view", "increment", "action"]), min_size=1)
        ),
        st.tuples(st.just("stray"), st.integers(0, 2)),
        st.tuples(st.just("writer dies"), st.integers(0, 2)),
        st.tuples(st.just("torn"), st.integers(0, 2)),
        st.tuples(st.just("ship")),
        st.tuples(st.just("fails"), st.integers(0, 4)),
        st.tuples(st.just("killed"), st.integers(0, 4)),
        st.tuples(st.just("settings"), st.integers(1, 4)),
    ),
    max_size=40,
)


@given(steps=STEPS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_happens_every_unit_arrives_and_twice_only_as_the_same_message(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    broker = Broker()
    world = World(directory, broker)
    for name, *arguments in steps:
        getattr(world, name.replace(" ", "_"))(*arguments)
    world.settle()

    assert world.arrived_events() == Counter(world.published)
    assert all(len(bodies) == 1 for bodies in world.bodies_by_id().values())
    assert world.units_of_actions_are_whole()
    assert [path.name for path in directory.iterdir() if path.suffix in {".journal", ".offset", ".aside"}] == []


class World:
    """Three writers, a shipper that may die, and what should have arrived."""

    def __init__(self, directory: Path, broker: Broker) -> None:
        self.directory = directory
        self.broker = broker
        self.spools = [Spool(directory, site="newsroom", journal_max_bytes=400) for _ in range(3)]
        self.shipper = Shipper(directory, broker)
        self.limit = 3
        self.published: list[str] = []
        self.actions_of_unit: dict[str, int] = {}

    def append(self, writer: int, kinds: list[str]) -> None:
        name = str(len(self.published))
        events = [f"{name}:{number}:{kind}" for number, kind in enumerate(kinds)]
        assert self.spools[writer].append(unit(*zip(kinds, events, strict=True)))
        self.published += events
        self.actions_of_unit[name] = kinds.count("action")

    def stray(self, writer: int) -> None:
        line = f"stray {len(self.published)}"
        self.spools[writer].append(line.encode())
        self.published.append(line)

    def writer_dies(self, writer: int) -> None:
        self.spools[writer].close()

    def torn(self, writer: int) -> None:
        """The process is killed in the middle of a write."""
        spool = self.spools[writer]
        if spool._fd is not None:
            os.write(spool._fd, b'{"unit":')
        spool.close()

    def ship(self) -> None:
        with override_settings(FOOTFALL={"EVENTS_PER_MESSAGE": self.limit}):
            self.shipper.ship_once()

    def fails(self, arrive: int) -> None:
        self._ship_with((arrive, PublishFailed))

    def killed(self, arrive: int) -> None:
        self._ship_with((arrive, Killed))
        self.shipper = Shipper(self.directory, self.broker)

    def settings(self, limit: int) -> None:
        self.limit = limit

    def settle(self) -> None:
        for spool in self.spools:
            spool.close()
        while not self.shipper.is_empty():
            self.ship()
        self.ship()

    def _ship_with(self, outcome: tuple[int, type[BaseException]]) -> None:
        self.broker.plan = [outcome]
        with contextlib.suppress(PublishFailed, Killed):
            self.ship()
        self.broker.plan = []

    def messages(self) -> dict[str, tuple[str, list[str]]]:
        """What a worker with a ledger would take: each message id once."""
        found = {}
        for queue, body in self.broker.arrived:
            if body.startswith(b"stray"):
                found[body.decode()] = (queue, [body.decode()])
            else:
                decoded = json.loads(body)
                found[decoded["message_id"]] = (queue, decoded["args"][0])
        return found

    def arrived_events(self) -> Counter[str]:
        return Counter(event for _, events in self.messages().values() for event in events)

    def bodies_by_id(self) -> dict[str, set[bytes]]:
        bodies: dict[str, set[bytes]] = {}
        for _, body in self.broker.arrived:
            name = body.decode() if body.startswith(b"stray") else json.loads(body)["message_id"]
            bodies.setdefault(name, set()).add(body)
        return bodies

    def units_of_actions_are_whole(self) -> bool:
        counts = [
            Counter(event.partition(":")[0] for event in events)
            for queue, events in self.messages().values()
            if queue == ACTIONS
        ]
        return all(self.actions_of_unit[name] == count for found in counts for name, count in found.items())


def wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    assert done()


def running(shipper: Shipper, stop: threading.Event, **options: bool) -> threading.Thread:
    thread = threading.Thread(target=shipper.run, args=(stop,), kwargs=options)
    thread.start()
    return thread


def test_run_ships_until_it_is_stopped(spool: Spool, shipper: Shipper, broker: Broker) -> None:
    spool.append(unit(("view", 1)))
    stop = threading.Event()
    thread = running(shipper, stop)
    wait_for(lambda: len(broker.arrived) == 1)
    spool.append(unit(("view", 2)))
    wait_for(lambda: len(broker.arrived) == 2)
    stop.set()
    thread.join(2)

    assert not thread.is_alive()
    assert broker.closed
    assert shipper.shipped_units == 2


def test_run_until_empty_ends_by_itself_and_tidies_up(
    spool: Spool, shipper: Shipper, broker: Broker, directory: Path
) -> None:
    spool.append(unit(("view", 1)))
    spool.close()
    shipper.run(threading.Event(), until_empty=True)

    assert len(broker.arrived) == 1
    assert journals(directory) == []


def test_run_stands_by_while_another_ships_and_then_takes_over(
    spool: Spool, shipper: Shipper, broker: Broker, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "STAND_BY_SECONDS", 0.02)
    spool.append(unit(("view", 1)))
    (directory / "gone.journal.offset").touch()
    other = SpoolLock(directory / ".shipper.lock")
    other.acquire()
    stop = threading.Event()
    thread = running(shipper, stop)
    time.sleep(0.1)
    assert broker.arrived == []
    other.release()
    wait_for(lambda: len(broker.arrived) == 1)
    stop.set()
    thread.join()

    assert not (directory / "gone.journal.offset").exists()


def test_run_says_once_that_the_broker_is_away_and_once_that_it_is_back(
    spool: Spool, shipper: Shipper, broker: Broker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "LONGEST_BACK_OFF", 0.01)
    broker.plan = [(0, BrokerAwayError)] * 5
    spool.append(unit(("view", 1)))
    shipper.run(threading.Event(), until_empty=True)

    assert len(broker.arrived) == 1
    assert [record.getMessage().partition(" ")[0] for record in caplog.records] == ["Nothing", "Shipping"]


def test_run_survives_what_nobody_foresaw(
    spool: Spool, shipper: Shipper, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.plan = [(0, ZeroDivisionError)]
    spool.append(unit(("view", 1)))
    shipper.run(threading.Event(), until_empty=True)

    assert len(broker.arrived) == 1
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("footfall", "runs"),
    [
        ({"TRANSPORT": "rabbitmq"}, True),
        ({"TRANSPORT": "rabbitmq", "SHIPPER": "daemon"}, False),
        ({"TRANSPORT": "embedded"}, False),
    ],
    ids=["thread", "daemon", "embedded"],
)
def test_the_first_notify_starts_the_thread_where_the_settings_ask_for_one(
    footfall: dict[str, str], runs: bool, directory: Path
) -> None:
    options = {"SPOOL_DIR": directory, "BROKER_URL": "amqp://127.0.0.1:1/", **footfall}
    with override_settings(FOOTFALL=options):
        notify()
        notify()
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("footfall-shipper") == (1 if runs else 0)

    assert "footfall-shipper" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_a_thread_of_its_own(directory: Path) -> None:
    options = {"SPOOL_DIR": directory, "BROKER_URL": "amqp://127.0.0.1:1/", "TRANSPORT": "rabbitmq"}
    with override_settings(FOOTFALL=options):
        notify()
        wait_for((directory / ".shipper.lock").exists)
        child = os.fork()
        if child == 0:
            before = [thread.name for thread in threading.enumerate()]
            notify()
            after = [thread.name for thread in threading.enumerate()]
            os._exit("footfall-shipper" in before or "footfall-shipper" not in after)
        assert os.waitpid(child, 0)[1] == 0
        stop_thread()
        assert SpoolLock(directory / ".shipper.lock").acquire()


def test_a_thread_that_cant_work_says_so_and_raises_nothing(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    Spool(directory, site="shop").open()
    with override_settings(FOOTFALL={"SPOOL_DIR": directory, "TRANSPORT": "rabbitmq", "SITE": "newsroom"}):
        notify()
        wait_for(lambda: "can't work" in caplog.text)


def test_a_lock_that_was_deleted_is_taken_anew_and_positions_are_read_again(
    spool: Spool, shipper: Shipper, broker: Broker, directory: Path
) -> None:
    """Another shipper may have worked meanwhile: what it shipped must not go out again under new ids."""
    spool.append(unit(("view", "a")))
    assert shipper._has_lock()
    shipper.ship_once()
    shipper.lock.path.unlink()
    spool.append(unit(("view", "b")))
    other = Shipper(directory, broker)
    assert other._has_lock()
    assert other.ship_once() == 1
    other.lock.release()
    shipper.lock.path.unlink()

    assert shipper._has_lock()
    assert shipper.ship_once() == 0
    assert len(broker.arrived) == 2
