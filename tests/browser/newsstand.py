"""The demo site as real processes: gunicorn and a worker, embedded on SQLite, in a directory of its own."""

import contextlib
import http.client
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from processes import Process, eventually

from footfall.producers.tail import journals

DEMO = Path(__file__).resolve().parent.parent.parent / "deploy" / "demo"
HOST = "127.0.0.1"
PASSWORD = "let-me-in"
READER = "visitor-01"
EDITOR = "editor"
#: The labels that the pages' elements carry.
CLICKED = ("headline", "nav")
START_SECONDS = 60


class Newsstand:
    """The demo site. Users and articles are there once it is prepared; leaving the context ends its processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.port = _free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._processes: list[Process] = []
        inherited = {name: value for name, value in os.environ.items() if name != "FOOTFALL_DEMO_STACK"}
        self._environment = inherited | {
            "DJANGO_SETTINGS_MODULE": "newsstand.settings",
            "FOOTFALL_DEMO_DIR": str(self.state),
            "FOOTFALL_DEMO_PASSWORD": PASSWORD,
            "FOOTFALL_DEMO_STAFF_PASSWORD": PASSWORD,
            "PYTHONPATH": str(DEMO),
        }

    def __enter__(self) -> "Newsstand":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.end()

    def prepare(self, articles: int = 12, users: int = 12) -> None:
        """Make the database with all that the pages show."""
        self.manage("migrate", "--verbosity=0")
        self.manage("loaddata", "--verbosity=0", "spiders")
        self.manage("make_content", f"--users={users}", f"--articles={articles}")

    def start(self) -> None:
        """Start the site and a worker; returns when the site answers."""
        self._start("worker", "manage.py", "rundramatiq", "--processes=1", "--threads=1", "--path", str(DEMO))
        self._start("site", "-m", "gunicorn", "--config", "gunicorn.conf.py", f"--bind={HOST}:{self.port}")
        eventually(self._answers, START_SECONDS)

    def manage(self, *arguments: str) -> str:
        """What ``manage.py ARGUMENTS`` of the site prints. Fails with that where it fails."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, env=self._environment, cwd=DEMO, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def clicks(self) -> dict[str, int]:
        """The counted clicks by ``label:category:dom_id``, without what the site's views count themselves."""
        rows = self.rows("SELECT label, category, dom_id, counter FROM footfall_storage_statistic")
        return {":".join(key): count for *key, count in rows if key[0] in CLICKED}

    def await_clicks(self, expected: dict[str, int]) -> None:
        """Wait until the statistics say exactly what is expected, and nothing on its way can change it."""
        try:
            eventually(lambda: self.is_settled() and self.clicks() == expected)
        except AssertionError:
            raise AssertionError(f"{expected} were expected, {self.clicks()} arrived\n{self.logs()}") from None

    def forget_clicks(self) -> None:
        """Empty the statistics, once nothing is on its way to them."""
        eventually(self.is_settled)
        with self._database() as database:
            database.execute("DELETE FROM footfall_storage_statistic")
            database.execute("DELETE FROM footfall_storage_knownlabel")

    def add_clicks(self, label: str, category: str, dom_id: str, day: date, count: int) -> None:
        """Write a statistic, and that its label is known, as they stand there, past every check."""
        with self._database() as database:
            database.execute(
                "INSERT OR IGNORE INTO footfall_storage_knownlabel (label, category, dom_id, first_day)"
                " VALUES (?, ?, ?, ?)",
                (label, category, dom_id, day.isoformat()),
            )
            database.execute(
                "INSERT INTO footfall_storage_statistic (label, category, dom_id, day, counter) VALUES (?, ?, ?, ?, ?)",
                (label, category, dom_id, day.isoformat(), count),
            )

    def is_settled(self) -> bool:
        """Whether the worker has applied every line that the site has written so far."""
        applied = dict(self.rows("SELECT journal, offset FROM footfall_storage_spoolposition"))
        return all(path.stat().st_size <= applied.get(path.name, 0) for path in journals(self.state / "spool"))

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the site's database answers."""
        with self._database() as database:
            return database.execute(query, values).fetchall()

    def logs(self) -> str:
        """What the processes said."""
        return "\n".join(f"--- {process.log.name}\n{process.output()[-4000:]}" for process in self._processes)

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.state / "newsstand.sqlite3", timeout=20)) as database, database:
            yield database

    def _start(self, name: str, *arguments: str) -> None:
        log = self.directory / f"{name}.log"
        self._processes.append(Process([sys.executable, *arguments], log, self._environment, DEMO))

    def _answers(self) -> bool:
        dead = [process for process in self._processes if not process.is_running()]
        assert not dead, f"the site did not start\n{self.logs()}"
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
