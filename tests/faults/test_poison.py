"""A message that takes its worker down: it ends as a dead letter, and what was fetched along with it does not."""

import time
from pathlib import Path

import wire
from faults.newsroomsite import Newsroom
from faults.servers import Servers
from newsroom.models import Article
from processes import eventually

from footfall.producers.queues import INCREMENTS, VIEWS

NEIGHBOURS = 60


def test_a_message_that_kills_its_worker_becomes_one_dead_letter_and_its_neighbours_are_applied(
    servers: Servers, tmp_path: Path
) -> None:
    servers.recover()
    killer = message(wire.increment(Article(pk=1), "peak", op="kill_worker"))
    neighbours = [message(wire.increment(Article(pk=2))) for _ in range(NEIGHBOURS)]
    others = [message(wire.view("1", Article(pk=3)), queue=VIEWS)]
    with Newsroom(tmp_path, servers, "newsroom_poison") as site:
        site.prepare()
        site.start()
        site.stop("worker-increments")

        half = NEIGHBOURS // 2
        servers.put([(INCREMENTS, body) for body in [*neighbours[:half], killer, *neighbours[half:]]])
        servers.put([(VIEWS, body) for body in others])
        started = time.monotonic()
        site.go_on("worker-increments")

        site.await_settled(NEIGHBOURS + len(others) + 1)
        print(f"drained after {time.monotonic() - started:.1f} s")
        assert site.dead_letters() == [("killed_worker", killer)]
        assert totals_of(site, 2) == NEIGHBOURS
        assert totals_of(site, 1) == 0
        assert len(site.tables()["marks"]) == 1
        assert site.log("worker-increments").count("exited unexpectedly") > 1, "it was not prefetched with the others"

        servers.put([(INCREMENTS, message(wire.increment(Article(pk=2))))])
        eventually(lambda: totals_of(site, 2) == NEIGHBOURS + 1, 60)


def message(event: wire.Event, queue: str = INCREMENTS) -> bytes:
    return wire.body([event], queue, message_timestamp=int(time.time() * 1000))


def totals_of(site: Newsroom, key: int) -> int:
    return sum(row[2] for row in site.tables()["totals"] if row[1] == str(key))
