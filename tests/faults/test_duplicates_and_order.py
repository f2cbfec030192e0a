"""Every message three times, in any order, to four workers at once: the tables are as after once."""

import random
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import wire
from django.contrib.auth.models import User
from faults.newsroomsite import ARTICLES, USERS, Newsroom
from faults.servers import Servers
from newsroom.models import Article, ArticleTotals

from footfall.producers.queues import ACTIONS, INCREMENTS, VIEWS

MESSAGES = 150
EVENTS = 20
COPIES = 3
WORKERS = 4

Bodies = list[tuple[str, bytes]]


def test_three_deliveries_in_shuffled_order_over_four_workers_are_as_one(servers: Servers, tmp_path: Path) -> None:
    chance = random.Random(7)
    messages = some_messages(chance)
    repeated = messages * COPIES
    chance.shuffle(repeated)

    once = applied(servers, tmp_path / "once", messages, processes=1)
    thrice = applied(servers, tmp_path / "thrice", repeated, processes=WORKERS)

    assert all(once.values()), "there is something in every table"
    assert thrice == once


def applied(servers: Servers, directory: Path, messages: Bodies, processes: int) -> dict[str, list[tuple[object, ...]]]:
    """What the tables hold when ``messages`` are applied, all of them waiting when the workers start."""
    directory.mkdir()
    servers.recover()
    said = len(servers.database_log())
    with Newsroom(directory, servers, f"newsroom_{directory.name}", "faults.small_batches") as site:
        site.prepare()
        servers.put(messages)
        started = time.monotonic()
        worker = site.run_worker(processes)
        site.await_settled(len(messages) * EVENTS)
        print(f"{directory.name}: {len(messages)} messages in {time.monotonic() - started:.1f} s")
        assert_settled_once(site, copies=len(messages) // (3 * MESSAGES))
        assert not deadlocks(servers.database_log()[said:]), deadlocks(servers.database_log()[said:])
        assert "deadlock" not in worker.output()
        return site.tables()


def deadlocks(log: str) -> str:
    """What PostgreSQL says about deadlocks: who waited for whom, with which statements."""
    return "\n".join(re.findall(r".*deadlock detected(?:\n\t?.*){8}", log))


def assert_settled_once(site: Newsroom, copies: int) -> None:
    assert site.dead_letters() == []
    tallies = site.tallies()
    for kind in ("view", "increment", "action"):
        assert tallies[kind, "received"] == copies * MESSAGES * EVENTS
        assert tallies[kind, "applied"] == MESSAGES * EVENTS
        assert tallies.get((kind, "duplicate"), 0) == (copies - 1) * MESSAGES * EVENTS


def some_messages(chance: random.Random) -> Bodies:
    """Messages of every kind about few users and articles, so that each row is changed by many of them."""
    makers = {VIEWS: a_view, INCREMENTS: an_increment, ACTIONS: an_action}
    return [
        (queue, wire.body([make(chance) for _ in range(EVENTS)], queue, message_timestamp=int(time.time() * 1000)))
        for queue, make in makers.items()
        for _ in range(MESSAGES)
    ]


def a_view(chance: random.Random) -> wire.Event:
    seen = chance.choice([article(chance), article(chance), article(chance), Article, None])
    return wire.view(user(chance), seen, at=moment(chance))


def an_increment(chance: random.Random) -> wire.Event:
    match chance.randrange(4):
        case 0:
            return wire.hit(f"label-{chance.randrange(5)}", "test", at=moment(chance))
        case 1:
            counted = {"dataset": ArticleTotals._meta.label_lower, "value": chance.randint(-3, 5)}
            return wire.increment(article(chance), "score", at=moment(chance), **counted)
        case 2:
            return wire.increment(article(chance), "peak", op="record_peak", value=chance.randrange(10**6))
        case _:
            return wire.increment(article(chance), dataset="newsroom.articledaily", at=moment(chance))


def an_action(chance: random.Random) -> wire.Event:
    about = {"at": moment(chance), "data": {"ticket": str(uuid4())}}
    return wire.action(user(chance), chance.choice(["read", "liked"]), article(chance), **about)


def user(chance: random.Random) -> User:
    return User(pk=chance.randint(1, USERS))


def article(chance: random.Random) -> Article:
    return Article(pk=chance.randint(1, ARTICLES))


def moment(chance: random.Random) -> datetime:
    """Some time of the last two days: marks don't depend on who comes last."""
    return datetime.now(UTC) - timedelta(seconds=chance.randrange(172_800))
