"""The tests' newsroom as a site of its own on a stack: its database, its contents, and what the tables hold."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faults.servers import Servers
from faults.supervised import TOP, Supervised
from processes import Process, eventually

USERS = 10
ARTICLES = 10

MANAGE = """\
import sys

from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""

CONTENT = f"""\
from django.contrib.auth.models import User
from newsroom.models import Article

User.objects.bulk_create(User(pk=number, username=f"reader-{{number}}") for number in range(1, {USERS} + 1))
Article.objects.bulk_create(Article(pk=number, title=f"Article {{number}}") for number in range(1, {ARTICLES} + 1))
"""

#: What a batch leaves behind that anybody asks for; ids and times of writing are not among it.
TABLES = {
    "marks": "SELECT user_id, object_type, object_id, at FROM footfall_storage_viewmark",
    "totals": "SELECT object_type, object_id, views, score, peak FROM newsroom_articletotals",
    "days": "SELECT object_type, object_id, collected_during, views, clicks FROM newsroom_articledaily",
    "labels": "SELECT label, category, dom_id, day, counter FROM footfall_storage_statistic",
    "actions": (
        "SELECT actor_type, actor_id, a.verb, a.level, data::text, a.timestamp, role, object_type, object_id"
        " FROM footfall_storage_action a LEFT JOIN footfall_storage_actionobject r ON r.action_id = a.id"
    ),
}


class Newsroom(Supervised):
    """The newsroom, with articles and users whose keys are 1, 2, 3, … once it is prepared."""

    def __init__(self, directory: Path, servers: Servers, database: str, settings: str = "settings.stack") -> None:
        site = directory / "site"
        site.mkdir()
        (site / "manage.py").write_text(MANAGE)
        environment = {
            **servers.environment(database),
            "DJANGO_SETTINGS_MODULE": settings,
            "FOOTFALL_SCRATCH": str(directory),
            "PYTHONPATH": str(TOP / "tests"),
        }
        super().__init__(directory, site, environment, "django.core.wsgi:get_wsgi_application()", servers.free_port())
        self.servers = servers
        self.database = database
        self._unsupervised: list[Process] = []

    def prepare(self) -> None:
        """Make the database, with users and articles."""
        self.servers.make_database(self.database)
        self.manage("migrate", "--verbosity=0")
        self.manage("shell", "--verbosity=0", "-c", CONTENT)

    def end(self) -> None:
        for worker in self._unsupervised:
            worker.end()
        super().end()

    def run_worker(self, processes: int) -> Process:
        """One rundramatiq for all queues, not under supervisord, with as many worker processes as asked for."""
        command = [sys.executable, "manage.py", "rundramatiq", f"--processes={processes}", "--threads=1"]
        worker = Process(command, self.logs / "workers.log", self.environment, self.site)
        self._unsupervised.append(worker)
        eventually(lambda: worker.output().count("ready for action") == processes, 60)
        return worker

    def await_settled(self, events: int, seconds: float = 120) -> None:
        """Wait until the workers' books know of so many events, and nothing waits in the queues."""
        eventually(lambda: self.received() >= events and not self.servers.ready(), seconds)

    def received(self) -> int:
        """How many events have come to the workers, copies included, and were settled."""
        return sum(count for (_, name), count in self.tallies().items() if name == "received")

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """What the tables say, in an order that doesn't depend on how it got there."""
        tables = {name: sorted(self._rows(query), key=repr) for name, query in TABLES.items()}
        return tables | {"marks": answers(tables["marks"])}

    def tallies(self) -> dict[tuple[str, str], int]:
        """The events of each kind and fate, by the worker's own books."""
        query = "SELECT kind, name, sum(count)::bigint FROM footfall_storage_tally GROUP BY kind, name"
        return {(kind, name): count for kind, name, count in self._rows(query)}

    def dead_letters(self) -> list[tuple[str, bytes]]:
        """Reason and bytes of every dead letter."""
        return [
            (reason, bytes(body)) for reason, body in self._rows("SELECT reason, body FROM footfall_storage_deadletter")
        ]

    def _rows(self, query: str) -> Sequence[tuple[Any, ...]]:
        return self.servers.rows(self.database, query)


def answers(marks: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Until when each user has seen what each mark is about, by the latest mark that covers it.

    A mark under a later and wider one says nothing more. Whether it is still there depends on which of them came first.
    """
    latest = {(user, kind, key): at for user, kind, key, at in marks}
    found = []
    for user, kind, key in latest:
        covering = {(user, kind, key), (user, kind, ""), (user, "", "")}
        at = max(latest[mark] for mark in covering if mark in latest)
        if (user, kind, key) == (user, "", "") or at == latest[user, kind, key]:
            found.append((user, kind, key, at))
    return sorted(found, key=repr)
