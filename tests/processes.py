"""Real processes for the tests: started in a session of their own, ended by pid."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from django.conf import settings
from django.db import connection


class Process:
    """A running command with its output in a file."""

    def __init__(self, arguments: Sequence[str], log: Path, environment: dict[str, str], directory: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                arguments, stdout=output, stderr=output, env=environment, cwd=directory, start_new_session=True
            )
        self.pid = self._popen.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def is_running(self) -> bool:
        return self._popen.poll() is None

    def wait(self, seconds: float = 30) -> int:
        return self._popen.wait(seconds)

    def terminate(self) -> None:
        self._popen.terminate()

    def kill_all(self) -> None:
        """SIGKILL the command and everything it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(10)

    def children(self) -> list[int]:
        """The pids of its direct children."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def end(self) -> None:
        """TERM, then KILL whatever is left of the session."""
        if self.is_running():
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(15)
        self.kill_all()


def manage(arguments: Sequence[str], directory: Path, spool: Path, extra: dict[str, str]) -> Process:
    """`manage.py ARGUMENTS` on the database and the spool of the running test."""
    database = {"PGDATABASE": str(connection.settings_dict["NAME"])}
    if connection.vendor == "sqlite":
        database = {"FOOTFALL_SQLITE": str(connection.settings_dict["NAME"])}
    environment = {
        **os.environ,
        **database,
        "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", settings.SETTINGS_MODULE),
        "PYTHONPATH": str(Path(__file__).resolve().parent),
        "FOOTFALL_SPOOL_DIR": str(spool),
        "FOOTFALL_SCRATCH": str(directory),
        **extra,
    }
    log = directory / f"{arguments[0]}-{time.monotonic_ns()}.log"
    return Process([sys.executable, "-m", "django", *arguments], log, environment, directory)


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until ``condition`` holds; fail with its last value otherwise."""
    deadline = time.monotonic() + seconds
    value = condition()
    while not value and time.monotonic() < deadline:
        time.sleep(0.05)
        value = condition()
    assert value, f"did not come true within {seconds:g} s: {value!r}"
