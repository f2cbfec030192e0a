#!/usr/bin/env python3
"""What ``make demo`` runs: the site and a worker on the embedded transport, visitors, and the account of it all.

The demo keeps everything in one directory, which it empties when it starts. Whatever it starts has a session of its
own, and is ended, by its id, when the demo ends: by Ctrl-C, by a signal, or by a failure.
"""

import argparse
import fcntl
import http.client
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

from check import Row, Table, wait_until_equal
from malformed import malformed_messages
from mirror import Desk, compare, following, mirrors_of
from newsstand.state import MARKER, make_state_dir
from visitors import User, Visitors, VisitorsError

HERE = Path(__file__).resolve().parent
MANAGE = HERE / "manage.py"
GUNICORN = HERE / "gunicorn.conf.py"
DEFAULT_DIR = HERE.parent.parent / ".demo"

HOST = "127.0.0.1"
PORTS = range(8000, 9000)
USERS = 60
ARTICLES = 60
START_SECONDS = 60
STOP_SECONDS = 20
LOG_TAIL_LINES = 30


class DemoError(Exception):
    """The demo can't start, or can't go on; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; exit code 0 only if every number agrees."""
    options = _options(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return _run(options)
    except (DemoError, VisitorsError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Footfall's demo, on SQLite and without a broker.")
    parser.add_argument("--once", action="store_true", help="end after the table; exit code 0 only if it agrees")
    parser.add_argument("--requests", type=int, default=4000, help="how many the visitors send (default 4000)")
    parser.add_argument("--threads", type=int, default=6, help="how many visitors at a time (default 6)")
    parser.add_argument("--seed", type=int, default=1, help="other visitors for another number")
    parser.add_argument("--dir", type=Path, default=Path(os.environ.get("FOOTFALL_DEMO_DIR") or DEFAULT_DIR))
    return parser.parse_args(arguments)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        state = stack.enter_context(_claimed(options.dir.resolve()))
        demo = stack.enter_context(Demo(state))
        demo.prepare()
        demo.start()
        table = demo.be_visited(options.requests, options.threads, options.seed)
        print(f"\n{table}\n")
        if not table.agrees:
            print("The numbers differ. What the processes said:\n" + demo.log_tails(), file=sys.stderr)
        else:
            print("Every number agrees.")
        if not options.once:
            # Ctrl-C is how it is meant to end.
            with suppress(KeyboardInterrupt):
                demo.serve()
            print("\nStopped.")
        return 0 if table.agrees else 1


@contextmanager
def _claimed(directory: Path) -> Iterator[Path]:
    """The state directory, empty and ours alone; raises DemoError for a directory that isn't a demo's."""
    make_state_dir(directory)
    marker = directory / MARKER
    if not marker.is_file():
        raise DemoError(f"{directory} holds something else: remove it, or choose another directory with --dir")
    with marker.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another demo runs in {directory}, its processes are {lock.read().strip()}") from None
        _empty(directory)
        lock.truncate(0)
        # Its processes inherit the lock: while one of them is left, no other demo may take the ground from under it.
        os.set_inheritable(lock.fileno(), True)  # noqa: FBT003 - it takes no keyword
        yield directory


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != MARKER:
            entry.unlink()


class Demo:
    """The demo's processes and what happens to them. Leaving the context ends whatever was started."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = _free_port()
        self._password = secrets.token_urlsafe(9)
        self._staff_password = secrets.token_urlsafe(9)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = _environment(state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # A second Ctrl-C must not leave anything behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        # Only the leaders: they tell their children, and a worker process that is told twice drops what it does.
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            _end(process)

    @property
    def url(self) -> str:
        """Where the site is."""
        return f"http://{HOST}:{self.port}/"

    def prepare(self) -> None:
        """Make the database, with the spiders and the site's content."""
        (self.state / "logs").mkdir()
        print("Making the database (SQLite)", flush=True)
        self._manage("migrate", "--verbosity=0")
        print("Loading the spiders", flush=True)
        self._manage("loaddata", "--verbosity=0", "spiders")
        print(f"Making {ARTICLES} articles and {USERS} users", flush=True)
        passwords = {
            "FOOTFALL_DEMO_PASSWORD": self._password,
            "FOOTFALL_DEMO_STAFF_PASSWORD": self._staff_password,
        }
        self._manage("make_content", f"--users={USERS}", f"--articles={ARTICLES}", **passwords)
        _set_up_django(self.state)

    def start(self) -> None:
        """Start the site and a worker; returns when the site answers."""
        self._start("worker", str(MANAGE), "rundramatiq", "--processes=1", "--threads=1", "--path", str(HERE))
        self._start("site", "-m", "gunicorn", "--config", str(GUNICORN), f"--bind={HOST}:{self.port}")
        self._await_site()
        print(f"The site answers at {self.url}", flush=True)

    def be_visited(self, requests: int, threads: int, seed: int) -> Table:
        """Send visitors and malformed messages, wait until the worker is done, and hold the two against each other."""
        users = [User(f"visitor-{number:02}", self._password) for number in range(1, USERS + 1)]
        visitors = Visitors(self.url, users, _article_keys(), seed)
        mirrors = mirrors_of(HOST, self.port)
        with Progress("requests answered", requests) as progress, following(mirrors.values(), Desk(seed)):
            visitors.run(requests=requests // 2, threads=threads, progress=progress.show)
            malformed = _send_malformed()
            log = visitors.run(requests=requests - requests // 2, threads=threads, progress=progress.show)
        log.write(self.state / "visits.jsonl")
        print(f"{len(log):,} requests: {log.answered:,} answered, {log.refused} refused, {log.unknown} unknown")
        print(f"{malformed.total()} malformed messages, put straight into the queue")
        self._check_alive()
        with Progress("events settled") as settled:
            table = wait_until_equal(log, malformed, progress=settled.show)
        # Nothing is killed here: where a request failed, the numbers would agree about less than was done.
        requests_row = Row("requests", "answered", f"{len(log):,}", f"{log.answered:,}", log.answered == len(log) > 0)
        return Table((requests_row, *table.rows, *compare(mirrors)))

    def serve(self) -> None:
        """Keep serving until Ctrl-C. Raises DemoError when a process ends by itself."""
        manage = f"FOOTFALL_DEMO_DIR={shlex.quote(str(self.state))} {shlex.join([sys.executable, str(MANAGE)])}"
        print(
            f"""
The site goes on:
  pages         {self.url}  (sign in as visitor-01, password {self._password})
  most read     {self.url}popular/
  heat map      on each page, for editor (password {self._staff_password}): "Heat map" at its foot
  admin         {self.url}admin/  (sign in as editor)
  history       {self.url}admin/articles/article/1/history/
  changes       {self.url}articles/changes/  and then with ?cursor=
  dead letters  {manage} dead_letters
  logs          {self.state / "logs"}
Ctrl-C ends it.""",
            flush=True,
        )
        ended = threading.Event()
        for process in self._processes.values():
            threading.Thread(target=_await, args=(process, ended), daemon=True).start()
        ended.wait()
        self._check_alive()

    def log_tails(self) -> str:
        """The end of each process's log."""
        return "\n".join(f"--- {name}\n{_tail(self._log(name))}" for name in self._processes)

    def _manage(self, *arguments: str, **environment: str) -> None:
        command = [sys.executable, str(MANAGE), *arguments]
        done = subprocess.run(command, env=self._environment | environment, capture_output=True, text=True)  # noqa: S603 - our own command
        if done.returncode:
            raise DemoError(f"manage.py {arguments[0]} failed:\n{done.stdout}{done.stderr}")

    def _start(self, name: str, *arguments: str) -> None:
        with self._log(name).open("wb") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, *arguments],
                env=self._environment,
                cwd=self.state,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                close_fds=False,
            )
        (self.state / MARKER).write_text(" ".join(str(process.pid) for process in self._processes.values()))

    def _await_site(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.port):
            self._check_alive()
            if time.monotonic() > deadline:
                raise DemoError(f"the site has not answered within {START_SECONDS} seconds:\n{self.log_tails()}")
            time.sleep(0.1)

    def _check_alive(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise DemoError(f"the {name} ended with {process.returncode}:\n{_tail(self._log(name))}")

    def _log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"


class Progress:
    """A bar of plain text: redrawn on a terminal, a line for every tenth elsewhere."""

    WIDTH = 30

    def __init__(self, what: str, total: int = 0, stream: IO[str] = sys.stdout) -> None:
        self._what = what
        self._total = total
        self._stream = stream
        self._redraws = stream.isatty()
        self._tenth = -1
        self._line = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._redraws and self._line:
            self._stream.write("\n")

    def show(self, done: int, total: int | None = None) -> None:
        """Say that ``done`` of ``total`` is done."""
        self._total = total or self._total
        share = min(1.0, done / self._total) if self._total else 0.0
        filled = int(share * self.WIDTH)
        self._line = f"[{'#' * filled:.<{self.WIDTH}}] {done:,} of {self._total:,} {self._what}"
        if self._redraws:
            self._stream.write(f"\r{self._line}")
        elif int(share * 10) > self._tenth:
            self._tenth = int(share * 10)
            self._stream.write(f"{self._line}\n")
        self._stream.flush()


def _environment(state: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "FOOTFALL_DEMO_STACK"}
    return inherited | {
        "DJANGO_SETTINGS_MODULE": "newsstand.settings",
        "FOOTFALL_DEMO_DIR": str(state),
        "PYTHONPATH": str(HERE),
        "PYTHONUNBUFFERED": "1",
    }


def _set_up_django(state: Path) -> None:
    import django

    os.environ.update({"DJANGO_SETTINGS_MODULE": "newsstand.settings", "FOOTFALL_DEMO_DIR": str(state)})
    os.environ.pop("FOOTFALL_DEMO_STACK", None)
    django.setup()


def _article_keys() -> list[int]:
    from articles.models import Article

    return list(Article.objects.values_list("pk", flat=True))


def _send_malformed() -> Counter[str]:
    """Put malformed messages into the queue, which without a broker is the spool; returns their number by reason."""
    from footfall.producers.spool import current_spool

    messages = malformed_messages()
    for message in messages:
        if not current_spool().append(message.body):
            raise DemoError(f"the spool did not take the malformed message {message.name!r}")
    current_spool().close()
    return Counter(message.reason for message in messages)


def _free_port() -> int:
    for port in PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise DemoError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/", headers={"User-Agent": "make demo"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _await(process: subprocess.Popen[Any], ended: threading.Event) -> None:
    process.wait()
    ended.set()


def _end(process: subprocess.Popen[Any]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"Process {process.pid} did not end within {STOP_SECONDS} seconds and is killed.", file=sys.stderr)
    # What is left of its group: the group's id can't be another's while it has a member.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


if __name__ == "__main__":
    sys.exit(main())
