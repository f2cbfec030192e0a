"""The demo site on a stack, under supervisord, with visitors; and whether everything they did arrived."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults.accepted import Accepted
from faults.servers import Servers
from faults.supervised import TOP, Supervised

from footfall.producers.slices import load_position
from footfall.producers.tail import journals, read_slice

DEMO = TOP / "deploy" / "demo"
sys.path.append(str(DEMO))

from visitlog import Log, Visit  # noqa: E402 - where they lie is known since now
from visitors import User, Visitors  # noqa: E402

__all__ = ["DemoSite", "Log", "clicking", "median", "publishing", "slowest"]

USERS = 24
ARTICLES = 20
PASSWORD = "let-me-in"

#: How long the system may take to drain by itself, and how long the account may take after that. Seconds.
DRAIN_SECONDS = 120
CHECK_SECONDS = 60

#: How many visitors there are at a time.
THREADS = 3


class DemoSite(Supervised):
    """The demo site in a database of its own. Users and articles are there once it is prepared."""

    def __init__(self, directory: Path, servers: Servers, database: str) -> None:
        environment = {
            **servers.environment(database),
            "DJANGO_SETTINGS_MODULE": "newsstand.settings",
            "FOOTFALL_DEMO_STACK": "1",
            "FOOTFALL_DEMO_DIR": str(directory / "state"),
            "FOOTFALL_SHIPPER": "daemon",
        }
        super().__init__(directory, DEMO, environment, "newsstand.wsgi:application", servers.free_port())
        self.servers = servers
        self.database = database
        self.spool = directory / "state" / "spool"
        self._accepted = Accepted(self.spool, directory / "accepted")

    def prepare(self) -> None:
        """Make the database with all that the pages show."""
        self.servers.make_database(self.database)
        self.manage("migrate", "--verbosity=0")
        self.manage("loaddata", "--verbosity=0", "spiders")
        passwords = {"FOOTFALL_DEMO_PASSWORD": PASSWORD, "FOOTFALL_DEMO_STAFF_PASSWORD": PASSWORD}
        self.manage("make_content", f"--users={USERS}", f"--articles={ARTICLES}", **passwords)

    def start(self) -> None:
        self._accepted.start()
        super().start()

    def end(self) -> None:
        super().end()
        self._accepted.stop()

    def visitors(self, seed: int) -> Visitors:
        """Visitors with an empty log. Only one group of them at a time, and each with a seed of its own."""
        users = [User(f"visitor-{number:02}", PASSWORD) for number in range(1, USERS + 1)]
        return Visitors(self.url, users, range(1, ARTICLES + 1), seed)

    def is_shipped(self) -> bool:
        """Whether RabbitMQ has everything that is in the spool."""
        return not any(_has_lines(path) for path in journals(self.spool))

    def await_drained(self) -> float:
        """Wait until all that was accepted is shipped and settled, with no hand but its own; returns the seconds."""
        started = time.monotonic()
        self._await(self.is_shipped, started)
        accepted = self._accepted.events()
        self._await(lambda: self.settled() >= accepted and not self.servers.ready(), started)
        return time.monotonic() - started

    def _await(self, condition: Callable[[], bool], started: float) -> None:
        while not condition():
            assert time.monotonic() - started < DRAIN_SECONDS, (
                f"not drained within {DRAIN_SECONDS} s: {self._accepted.events()} were accepted,"
                f" {self.settled()} are settled, {self.servers.ready()} messages wait\n{self.log_tails()}"
            )
            time.sleep(0.2)

    def assert_exact(self, log: Log) -> None:
        """Wait until all is drained, then hold the visitors' log against the tables: everything exactly once.

        Where a request's outcome is unknown the log knows bounds only; the journals know each event.
        """
        seconds = self.await_drained()
        print(f"drained after {seconds:.1f} s; {len(log)} requests, {log.unknown} of them with unknown outcome")
        assert log.refused == 0
        visits = self.directory / "visits.jsonl"
        log.write(visits)
        print(self._check(visits))
        assert self.settled() == self._accepted.events()
        assert self.dead_letters() == []

    def settled(self) -> Counter[str]:
        """How many events of each kind were applied, or filtered with a reason."""
        query = (
            "SELECT kind, sum(count)::bigint FROM footfall_storage_tally"
            " WHERE name IN ('applied', 'filtered') GROUP BY kind"
        )
        return Counter(dict(self.servers.rows(self.database, query)))

    def dead_letters(self) -> list[tuple[Any, ...]]:
        """Reason and error of every dead letter, whatever became of it."""
        return self.servers.rows(self.database, "SELECT reason, error FROM footfall_storage_deadletter")

    def _check(self, visits: Path) -> str:
        try:
            return self.run(sys.executable, "check.py", str(visits), "--seconds", str(CHECK_SECONDS))
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.log_tails()}") from None


@contextmanager
def clicking(visitors: Visitors) -> Iterator[Log]:
    """Visitors who keep clicking while the block runs. Raises what stopped them."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def click() -> None:
        try:
            visitors.run(threads=THREADS, stop=stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=click, name="visitors")
    thread.start()
    try:
        yield visitors.log
    finally:
        stop.set()
        thread.join(120)
    assert not thread.is_alive(), "the visitors don't go home"
    assert not failures, repr(failures)


def publishing(log: Log) -> list[Visit]:
    """The requests that were answered with success by a view that publishes."""
    return [visit for visit in log if visit.publishes and visit.is_certain]


def slowest(log: Log) -> float:
    """The longest that a request took, in seconds."""
    return max(visit.answered - visit.sent for visit in log)


def median(log: Log) -> float:
    """What a request typically took, in seconds."""
    taken = sorted(visit.answered - visit.sent for visit in log)
    return taken[len(taken) // 2]


def _has_lines(path: Path) -> bool:
    position = load_position(path)
    return position.pending is not None or read_slice(path, position.offset, max_lines=1, max_bytes=65_536) is not None
