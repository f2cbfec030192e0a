"""A site's processes under supervisord, as deploy/README.md runs them, and how one of them is found and killed.

Every process that is started here, and everything it starts, has FOOTFALL_RUN_DIR with a directory of its own in its
environment. By that the last of them is found at the end: a worker whose master was killed has no parent of ours.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from processes import Process, eventually

TOP = Path(__file__).resolve().parents[2]
CONFIGURATION = TOP / "deploy" / "supervisord" / "supervisord.conf"
BIN = Path(sys.executable).parent

WORKERS = ("worker-views", "worker-increments", "worker-actions", "worker-quarantine")
PROGRAMS = ("web", "shipper", *WORKERS)

START_SECONDS = 60
END_SECONDS = 90
COMMAND_SECONDS = 120


def clean_environment() -> dict[str, str]:
    """Our environment without what would reach into another site, stack or test run."""
    unwanted = ("FOOTFALL_", "PG", "DJANGO_", "PYTEST_", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


class Supervised:
    """The processes of the site at ``site`` (its manage.py's directory). Leaving the context ends all of them."""

    def __init__(self, directory: Path, site: Path, environment: Mapping[str, str], wsgi: str, port: int) -> None:
        self.directory = directory
        self.site = site
        self.url = f"http://127.0.0.1:{port}"
        self.logs = directory / "logs"
        self.logs.mkdir()
        self.environment = {
            **clean_environment(),
            **environment,
            "FOOTFALL_BIN": str(BIN),
            "FOOTFALL_SITE_DIR": str(site),
            "FOOTFALL_WSGI": wsgi,
            "FOOTFALL_BIND": f"127.0.0.1:{port}",
            "FOOTFALL_LOG_DIR": str(self.logs),
            "FOOTFALL_RUN_DIR": str(directory),
            "PYTHONUNBUFFERED": "1",
        }
        self._supervisord: Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> None:
        """Start supervisord and wait until every program runs."""
        command = [str(BIN / "supervisord"), "--nodaemon", "-c", str(CONFIGURATION)]
        log = self.logs / "supervisord.out"
        self._supervisord = Process(command, log, self.environment, self.directory)
        eventually((self.directory / "supervisor.sock").exists, START_SECONDS)
        eventually(lambda: set(self.pids()) == set(PROGRAMS), START_SECONDS)

    def end(self) -> None:
        """End everything in an orderly way, then whatever is left by its process id. Waits a minute or two at most."""
        if self._supervisord is not None and self._supervisord.is_running():
            self._supervisord.terminate()
            _await_end(self._supervisord)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._left():
                _signal(pid, number)
            deadline = time.monotonic() + 10
            while self._left() and time.monotonic() < deadline:
                time.sleep(0.1)
        if self._supervisord is not None:
            self._supervisord.kill_all()

    def manage(self, *arguments: str, **more: str) -> str:
        """What ``manage.py ARGUMENTS`` of this site prints. Fails with that where it fails."""
        return self.run(sys.executable, "manage.py", *arguments, **more)

    def run(self, *command: str, **more: str) -> str:
        """What a command in the site's directory prints. Fails with that where it fails."""
        done = subprocess.run(
            command,
            env=self.environment | more,
            cwd=self.site,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def ctl(self, *arguments: str) -> str:
        """What ``supervisorctl ARGUMENTS`` prints, whatever it thinks of it."""
        done = subprocess.run(
            [str(BIN / "supervisorctl"), "-c", str(CONFIGURATION), *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return done.stdout

    def pids(self) -> dict[str, int]:
        """The process ids of the programs that run now."""
        found = {}
        for line in self.ctl("status").splitlines():
            words = line.replace(",", " ").split()
            if words[1:3] == ["RUNNING", "pid"]:
                found[words[0].removeprefix("footfall:")] = int(words[3])
        return found

    def stop(self, *programs: str) -> None:
        """Stop programs, as a deploy does."""
        self.ctl("stop", *(f"footfall:{program}" for program in programs))

    def go_on(self, *programs: str) -> None:
        """Start stopped programs again."""
        self.ctl("start", *(f"footfall:{program}" for program in programs))

    def kill(self, program: str) -> int:
        """SIGKILL a program's own process, once it runs; returns its id."""
        eventually(lambda: self.pids().get(program), START_SECONDS)
        return self._kill(self.pids()[program])

    def kill_child(self, program: str) -> int:
        """SIGKILL a process that a program has started, once it has one; returns its id."""
        eventually(lambda: self._children(program), START_SECONDS)
        return self._kill(self._children(program)[0])

    def kill_worker(self, program: str) -> int:
        """SIGKILL the process that does the work of a worker program, once there is one; returns its id.

        Where an earlier master was killed there are several: the eldest, which may be the queue's single active one.
        """
        eventually(lambda: self._workers(program), START_SECONDS)
        return self._kill(self._workers(program)[0])

    def log(self, program: str) -> str:
        """All that a program has written, its earlier lives included."""
        return (self.logs / f"{program}.log").read_text(errors="replace")

    def log_tails(self, lines: int = 25) -> str:
        """The end of every log, for the report of a failure."""
        return "\n".join(f"--- {path.name}\n{_tail(path, lines)}" for path in sorted(self.logs.iterdir()))

    def _children(self, program: str) -> list[int]:
        parent = self.pids().get(program)
        return [pid for pid in _children(parent) if self._is_ours(pid)] if parent else []

    def _workers(self, program: str) -> list[int]:
        """The processes that Dramatiq's masters have forked, those of dead masters included, eldest first."""
        assert self._supervisord is not None
        queue = program.replace("worker-", "footfall.").encode()
        named = [pid for pid in self._left() if queue in _read(pid, "cmdline").split(b"\0")]
        return sorted((pid for pid in named if _stat(pid)[1] != self._supervisord.pid), key=lambda pid: _stat(pid)[19])

    def _kill(self, pid: int) -> int:
        assert self._is_ours(pid), f"{pid} is not a living process of this site"
        _signal(pid, signal.SIGKILL)
        return pid

    def _left(self) -> list[int]:
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        # A process that has ended and waits for its parent has no environment any more.
        return f"FOOTFALL_RUN_DIR={self.directory}".encode() in _read(pid, "environ").split(b"\0")


def _await_end(process: Process) -> None:
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"supervisord {process.pid} did not end within {END_SECONDS} seconds and is killed.")


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in _read(parent, f"task/{parent}/children").split()]


def _stat(pid: int) -> list[int]:
    """The numbers in /proc/PID/stat after the name: [1] is the parent, [19] when it started. Zeros: it has ended."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return [int(field) if field.isdigit() else 0 for field in fields] or [0] * 20


def _read(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""  # it has ended, or is another user's


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _tail(path: Path, lines: int) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
