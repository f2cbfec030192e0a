"""Repeated actions of few actors, to several worker processes at once: the rows are those of one worker."""

from __future__ import annotations

import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import wire
from django.contrib.auth.models import User
from django.db.models import Sum
from processes import Process, eventually

from footfall.producers.queues import ACTIONS
from footfall.storage.models import Action, ActionObject, ActionStamp, DeadLetter, Tally

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stack_settings")]

EVENTS = 10_000
PER_MESSAGE = 25
WORKERS = 4

#: What a worker does with a share of the messages, without a broker between: nobody else gets a turn meanwhile.
APPLY = """
import os
from pathlib import Path
from footfall.producers.queues import ACTIONS
from footfall.workers.pipeline import Delivery, apply
bodies = Path(os.environ["SHARE"]).read_bytes().splitlines()
Path(os.environ["SHARE"] + ".ready").touch()
while not Path(os.environ["START"]).exists():
    pass
for start in range(0, len(bodies), 4):
    apply([Delivery(body, ACTIONS) for body in bodies[start : start + 4]])
"""


class Row(NamedTuple):
    """What is to be in the tables of the actions with one actor, verb and related object."""

    timestamp: datetime
    data: dict[str, int]
    targets: frozenset[str]


Rows = dict[tuple[str, str, str], Row]


@pytest.fixture
def _quiet_log(postgresql: Any) -> Iterator[None]:
    """PostgreSQL had no deadlock to end while the test ran."""
    log = postgresql.base / "log"
    said = len(log.read_text(errors="replace"))
    yield
    assert "deadlock detected" not in log.read_text(errors="replace")[said:]


def history() -> tuple[list[wire.Event], Rows]:
    """A day's actions in the order of their times, and what they come to; two of them may be of one millisecond."""
    chance = random.Random(11)
    at = datetime.now(UTC) - timedelta(hours=1)
    events, targets, firsts = [], defaultdict[tuple[str, str, str], set[str]](set), dict[Any, tuple[datetime, int]]()
    for number in range(EVENTS):
        at += timedelta(microseconds=chance.choice([300, 100_000]))
        key = (str(chance.randint(1, 5)), chance.choice(["tagged", "liked"]), chance.choice(["a", "b", "c", "d"]))
        target = f"{ord(key[2])}{chance.randint(100, 220)}"  # never the same for two related objects
        fields = {"id": seven(at, chance), "at": at, "grouping_delay": 86_400, "data": {"number": number}}
        about = {
            "targets": [{"type": "newsroom.article", "id": target}],
            "related": [{"type": "newsroom.topic", "id": key[2]}],
        }
        events.append(wire.action(User(pk=int(key[0])), key[1], **fields) | about)
        targets[key].add(target)
        firsts.setdefault(key, (at, number))
    rows = {key: Row(at, {"number": n}, frozenset(targets[key])) for key, (at, n) in firsts.items()}
    return events, rows


def seven(at: datetime, chance: random.Random) -> uuid.UUID:
    """An id of version 7 as it would be made at ``at``."""
    number = int(at.timestamp() * 1000) << 80 | chance.getrandbits(80)
    return uuid.UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | (0x7 << 76) | (0x2 << 62))


def messages(events: list[wire.Event]) -> list[bytes]:
    now = int(time.time() * 1000)
    pieces = (events[start : start + PER_MESSAGE] for start in range(0, len(events), PER_MESSAGE))
    return [wire.body(piece, ACTIONS, message_timestamp=now) for piece in pieces]


def rows() -> Rows:
    """What is in the tables; that nothing is there twice, and copies are true, is looked at on the way."""
    found: Rows = {}
    entries = defaultdict[Any, list[ActionObject]](list)
    for entry in ActionObject.objects.order_by("id"):
        entries[entry.action_id].append(entry)
    for action in Action.objects.all():
        of = defaultdict[str, list[str]](list)
        for entry in entries.pop(action.pk):
            of[entry.role].append(entry.object_id)
            copies = (entry.verb, entry.level, entry.timestamp, entry.renewed, entry.changed)
            assert copies == (action.verb, action.level, action.timestamp, action.renewed, action.changed)
        assert of["a"] == [action.actor_id]
        key = (action.actor_id, action.verb, of["r"][0])
        assert key not in found, "two rows where there is to be one"
        assert len(of["t"]) == len(set(of["t"]))
        found[key] = Row(action.timestamp, action.data, frozenset(of["t"]))
    assert not entries, "objects of actions that are not there"
    return found


def assert_settled(copies: int = 1) -> None:
    """Each event was applied once, each further copy was one."""
    tallies = dict(Tally.objects.filter(kind="action").values_list("name").annotate(Sum("count")))
    assert (tallies["applied"], tallies.get("duplicate", 0)) == (EVENTS, (copies - 1) * EVENTS)
    assert not DeadLetter.objects.exists()
    stamps = list(Action.objects.values_list("changed", flat=True))
    assert max(stamps) <= ActionStamp.objects.get().at


@pytest.mark.usefixtures("_quiet_log")
@pytest.mark.parametrize("workers", [WORKERS])
def test_shuffled_repeated_actions_are_grouped_by_four_processes_as_by_one(
    workers: int, processes: Callable[..., Process], tmp_path: Path
) -> None:
    """Each message twice, in any order, all processes at the same time: no target is lost or doubled."""
    events, expected = history()
    chance = random.Random(workers)
    chance.shuffle(events)
    copies = messages(events) * 2
    chance.shuffle(copies)
    start, started = tmp_path / "start", []
    for number in range(workers):
        share = tmp_path / f"share-{number}"
        share.write_bytes(b"\n".join(copies[number::workers]))
        started.append(processes("shell", "--no-imports", "-c", APPLY, SHARE=str(share), START=str(start)))
    eventually(lambda: len(list(tmp_path.glob("*.ready"))) == workers, 60)

    began = time.monotonic()
    start.touch()
    for process in started:
        assert process.wait(300) == 0, process.output()
    print(f"{workers} processes: {EVENTS / (time.monotonic() - began):,.0f} actions/s, each twice")

    assert_settled(copies=2)
    assert rows() == expected


@pytest.mark.usefixtures("_quiet_log")
def test_repeated_actions_that_come_through_a_queue_are_grouped_by_four_workers_as_by_one(transport: Any) -> None:
    """Through RabbitMQ, in any order and in batches of a few messages."""
    events, expected = history()
    random.Random(3).shuffle(events)
    worker = transport._start(
        "rundramatiq", "--processes", str(WORKERS), "--threads", "1", DJANGO_SETTINGS_MODULE="faults.small_batches"
    )
    for body in messages(events):
        transport.put(body, ACTIONS)

    def applied() -> int:
        return Tally.objects.filter(kind="action", name="applied").aggregate(sum=Sum("count"))["sum"] or 0

    eventually(lambda: applied() == EVENTS, 120)
    assert_settled()
    assert rows() == expected
    assert "deadlock" not in worker.output()
