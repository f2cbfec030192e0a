"""The embedded broker under ``rundramatiq``: real processes, one at the spool, ended in every way."""

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from processes import Process, eventually

from footfall.producers.messages import Increment, LabelKey, encode_event, encode_unit, new_id
from footfall.producers.spool import current_spool
from footfall.producers.tail import journals
from footfall.storage.models import AppliedMessage, Statistic

pytestmark = pytest.mark.usefixtures("embedded_settings")

Start = Callable[..., Process]


def publish(count: int) -> None:
    for _ in range(count):
        hit = encode_event(Increment(id=new_id(), at=datetime.now(UTC), label=LabelKey("front")))
        assert current_spool().append(encode_unit(new_id(), [("increment", hit)]))


def counted() -> int:
    return sum(Statistic.objects.values_list("counter", flat=True))


@pytest.fixture
def worker(processes: Start) -> Start:
    """Start a worker process and wait until it is ready."""

    def start(*arguments: str) -> Process:
        process = processes("rundramatiq", "--threads", "2", *(arguments or ("--processes", "1")))
        eventually(lambda: "ready for action" in process.output())
        return process

    return start


def test_what_is_published_is_applied_and_its_journal_goes(worker: Start) -> None:
    worker("--processes", "2")

    publish(1000)
    current_spool().close()

    eventually(lambda: counted() == 1000 and not journals(current_spool().directory))


def test_a_killed_worker_loses_nothing_and_counts_nothing_twice(worker: Start) -> None:
    publish(5000)
    process = worker()
    eventually(lambda: counted() > 0)

    process.kill_all()

    worker()
    eventually(lambda: counted() >= 5000)
    assert (counted(), AppliedMessage.objects.count()) == (5000, 5000)


def test_when_the_worker_at_the_spool_is_killed_the_one_standing_by_takes_over(worker: Start) -> None:
    first, second = worker(), worker()
    publish(10)
    eventually(lambda: counted() == 10)

    for process in (first, second):
        holder = int((current_spool().directory / ".consumer.lock").read_text())
        if holder in process.children():
            os.kill(holder, signal.SIGKILL)
            break
    publish(10)

    eventually(lambda: counted() == 20)


def test_a_terminated_worker_ends_cleanly(worker: Start) -> None:
    publish(5000)
    process = worker()
    eventually(lambda: counted() > 0)

    process.terminate()

    assert process.wait(30) == 0, process.output()
    assert counted() == AppliedMessage.objects.count()
    worker()
    eventually(lambda: counted() == 5000)
