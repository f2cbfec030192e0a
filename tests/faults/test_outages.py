"""What the site is built upon goes away for a while: nothing is lost, nobody waits, and it goes on by itself."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

import pytest
from faults.demosite import DemoSite, Log, clicking, median, publishing, slowest

#: How long PostgreSQL is away, in seconds.
OUTAGE_SECONDS = float(os.environ.get("FOOTFALL_OUTAGE_SECONDS") or 20)

#: How long visitors click in each phase of a test.
PHASE_SECONDS = 4.0

#: No request may take longer, in seconds, whatever is away that it doesn't need.
PATIENCE = 2.0

#: How often a process looks how much room there is, and a little more, in seconds.
LOOK_SECONDS = 1.5

#: No two groups of visitors do the same: the site takes a form only once.
seeds = count(1)

COUNTED = re.compile(r"accepts again, after (\d+) units were dropped")


@pytest.fixture(scope="module")
def history() -> Log:
    """What visitors of earlier tests did: the tables hold it all."""
    return Log()


@pytest.fixture(autouse=True)
def afterwards(demo: DemoSite) -> Iterator[None]:
    """A failed test leaves the servers as the next one needs them."""
    yield
    demo.servers.postgresql.start()
    demo.servers.rabbitmq.start()


def visit(demo: DemoSite, history: Log, seconds: float = PHASE_SECONDS) -> Log:
    """Have visitors click for a while; returns the log of just that."""
    with clicking(demo.visitors(next(seeds))) as log:
        time.sleep(seconds)
    for each in log:
        history.add(each)
    return log


def assert_as_before(log: Log, before: Log) -> None:
    """Every request was answered with success, and none of them waited for what is away."""
    assert log.answered == len(log) > 20
    print(f"median {median(before):.4f} s before, {median(log):.4f} s now; slowest {slowest(log):.3f} s")
    assert slowest(log) < PATIENCE
    assert median(log) < 3 * median(before) + 0.05


def test_views_answer_as_before_while_rabbitmq_is_stopped_and_it_drains_by_itself(demo: DemoSite, history: Log) -> None:
    before = visit(demo, history)

    demo.servers.rabbitmq.stop()
    during = visit(demo, history)
    assert not demo.is_shipped(), "it waits in the spool"
    demo.servers.rabbitmq.start()

    assert_as_before(during, before)
    demo.assert_exact(history)


def test_an_outage_of_postgresql_makes_no_dead_letter(demo: DemoSite, history: Log) -> None:
    """With batches in the workers' hands when it begins, and more in the queues."""
    with a_locked_ledger(demo):
        visit(demo, history)
        await_shipped(demo)
        demo.servers.postgresql.stop()
    time.sleep(OUTAGE_SECONDS)
    assert demo.servers.messages() > 0, "nothing was under way"
    demo.servers.postgresql.start()

    demo.assert_exact(history)


def test_a_memory_alarm_stops_no_view(demo: DemoSite, history: Log) -> None:
    before = visit(demo, history)
    demo.servers.raise_alarm()
    try:
        during = visit(demo, history, 2 * PHASE_SECONDS)
        assert not demo.is_shipped(), "there was no alarm"
    finally:
        demo.servers.lift_alarm()

    assert_as_before(during, before)
    demo.assert_exact(history)


def test_connections_that_an_operator_closes_cost_nothing(demo: DemoSite, history: Log) -> None:
    with clicking(demo.visitors(next(seeds))) as log:
        for _ in range(3):
            time.sleep(2)
            demo.servers.close_connections()
        time.sleep(1)
    for each in log:
        history.add(each)

    assert log.answered == len(log)
    demo.assert_exact(history)


@contextmanager
def a_full_spool(spool: Path) -> Iterator[None]:
    ballast = spool / "ballast"
    with ballast.open("wb") as file:
        file.truncate(2**31)
    yield
    ballast.unlink()


@contextmanager
def a_lost_spool(spool: Path) -> Iterator[None]:
    """What stands in its place can't be written to, as on a disk that was mounted read-only; not by root either."""
    elsewhere = spool.rename(spool.with_name("elsewhere"))
    spool.touch()
    yield
    spool.unlink()
    elsewhere.rename(spool)


@pytest.mark.parametrize("trouble", [a_full_spool, a_lost_spool])
def test_a_spool_that_takes_nothing_is_logged_and_counted_and_no_view_fails(
    demo: DemoSite, history: Log, trouble: Callable[[Path], AbstractContextManager[None]]
) -> None:
    before = visit(demo, history)
    await_shipped(demo)
    said = len(demo.log("web"))
    with trouble(demo.spool):
        time.sleep(LOOK_SECONDS)
        dropped = visit(demo, Log())
    for each in dropped:
        if not each.publishes:  # whom they follow is stored all the same
            history.add(each)
    time.sleep(LOOK_SECONDS)

    def counted() -> int:
        return sum(map(int, COUNTED.findall(demo.log("web")[said:])))

    for _ in range(20):  # each process says so with its next publish, and which one answers is chance
        visit(demo, history)
        if counted() == len(publishing(dropped)):
            break

    assert_as_before(dropped, before)
    assert "ERROR footfall.spool: A unit of work was dropped" in demo.log("web")[said:]
    assert counted() == len(publishing(dropped)), demo.log("web")[said:]
    demo.assert_exact(history)


def await_shipped(demo: DemoSite) -> None:
    deadline = time.monotonic() + 30
    while not demo.is_shipped():
        assert time.monotonic() < deadline, demo.log("shipper")
        time.sleep(0.05)


@contextmanager
def a_locked_ledger(demo: DemoSite) -> Iterator[None]:
    """No batch goes through: the workers hold what they have. Ends with the server's session."""
    connection = demo.servers.connect(demo.database)
    try:
        connection.execute("LOCK TABLE footfall_storage_appliedmessage IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        connection.close()
