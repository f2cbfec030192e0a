#!/usr/bin/env python3
"""A private, throw-away RabbitMQ and PostgreSQL on free ports of 127.0.0.1, for development and tests.

Standard library only, one file: run it, or load it from its path. For Linux, with Debian's packages of both
servers. Their passwords are public and every local user may connect: nothing of worth belongs in them.

The rules of this file:

- What was started stands in ``DIR/state.json``, so another process can stop, kill or restart it.
- A process is known by its pid *and* its start time: a pid which was given to somebody else is left alone.
- A restart keeps data and ports. ``stop()`` keeps the data too; only ``remove()`` deletes it.
- Every wait is bounded, and what went wrong is raised as StackError with the end of the server's log.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pwd
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

HOST = "127.0.0.1"
START_SECONDS = 90
STOP_SECONDS = 30
COMMAND_SECONDS = 60
LOG_TAIL_LINES = 40

RABBITMQ_BIN = Path("/usr/lib/rabbitmq/bin")
POSTGRESQL_BINS = Path("/usr/lib/postgresql")
DEFINITIONS = Path(__file__).resolve().parent / "rabbitmq" / "definitions.json"
VHOST = "footfall"
DATABASE = "footfall"
DATABASE_USER = "footfall"


class StackError(Exception):
    """A server is missing, or did not start, stop or answer in time; the message says what to do."""


# -- The servers ---------------------------------------------------------------------------------------------


class Server:
    """What the two servers have in common: a directory, a section of the state file, and one process."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory).resolve()

    def start(self) -> Self:
        """Starts the server, or leaves it running; blocks until it answers. StackError after 90 seconds."""
        with self._locked():
            if not self.is_running():
                self._launch()
        return self

    def stop(self) -> None:
        """Stops in an orderly way and keeps the data; one that doesn't stop within 30 seconds is killed."""
        with self._locked():
            self._end(self.stop_signal)
            self._tidy()

    def kill(self) -> None:
        """SIGKILL, as a crash would do it; returns when the process and its children are gone."""
        with self._locked():
            self._end(signal.SIGKILL)

    def restart(self) -> None:
        """The same data and the same ports again."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stops the server, deletes its data and forgets its ports."""
        self.stop()
        with self._locked():
            if self._has_base():
                shutil.rmtree(self.base, ignore_errors=True)
            self._write_state(None)

    def is_running(self) -> bool:
        """Whether the process is alive. A stopped (SIGSTOP) process is; a zombie isn't."""
        process = self._process()
        return process is not None and process.is_alive()

    @property
    def pid(self) -> int:
        """The server's pid, for signals of one's own. Raises StackError where it was never started."""
        return int(self._known("pid"))

    @property
    def port(self) -> int:
        """The port which clients connect to; it stays the same over restarts."""
        return int(self._known("ports")["client"])

    @property
    def base(self) -> Path:
        """Where data and logs are: below the directory, or in the system's temporary directory."""
        return Path(self._known("base"))

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The end of each of the server's logs."""
        found = [path for path in self._logs() if path.is_file()]
        return "\n".join(f"--- {path}\n{_tail(path, lines)}" for path in found) or "(there is no log)"

    def _launch(self) -> None:
        raise NotImplementedError

    def _logs(self) -> list[Path]:
        raise NotImplementedError

    def _tidy(self) -> None:
        """Ends what outlives the server's own process."""

    def _end(self, how: signal.Signals) -> None:
        process = self._process()
        if process is None or not process.is_alive():
            return
        family = [process, *_children(process.pid)]
        process.signal(how)
        # A process which a test has stopped acts on a signal only when it goes on.
        process.signal(signal.SIGCONT)
        process.wait(STOP_SECONDS)
        for member in family:
            # PostgreSQL's backends notice their parent's death, but only between two pieces of work.
            member.finish(seconds=5)

    def _failed(self, why: str) -> StackError:
        return StackError(f"{self.name}: {why}\n{self.log_tail()}")

    # -- State

    def _has_base(self) -> bool:
        state = self._state()
        # A temporary directory may have been cleaned away meanwhile.
        return "base" in state and Path(state["base"]).is_dir()

    def _process(self) -> "Process | None":
        state = self._state()
        return Process(state["pid"], state["started"]) if "pid" in state else None

    def _remember(self, pid: int) -> None:
        self._update(pid=pid, started=_start_time(pid))

    def _known(self, key: str) -> Any:
        state = self._state()
        if key not in state:
            raise StackError(f"{self.name} was not started in {self.directory}")
        return state[key]

    def _state(self) -> dict[str, Any]:
        return _read_state(self.directory).get(self.name, {})

    def _update(self, **values: Any) -> None:
        self._write_state({**self._state(), **values})

    def _write_state(self, section: dict[str, Any] | None) -> None:
        state = _read_state(self.directory)
        state.pop(self.name, None)
        if section is not None:
            state[self.name] = section
        new = self.directory / "state.json.new"
        new.write_text(json.dumps(state, indent=2) + "\n")
        new.replace(self.directory / "state.json")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One start or stop at a time in a directory, whichever process asks for it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "state.lock").open("w") as lock:
            if not _within(START_SECONDS + STOP_SECONDS, lambda: _try_lock(lock.fileno())):
                raise StackError(f"another process holds {lock.name}")
            yield


class RabbitMQ(Server):
    """A RabbitMQ node with an epmd of its own and the vhost, users and queues of rabbitmq/definitions.json.

    The first start imports the definitions; a restart brings back what was there, a deleted queue not.
    """

    name = "rabbitmq"
    stop_signal = signal.SIGTERM

    @staticmethod
    def installed() -> bool:
        """Whether the RabbitMQ package is there."""
        return (RABBITMQ_BIN / "rabbitmq-server").exists()

    @property
    def url(self) -> str:
        """What a site's workers use; the same as ``url_for("footfall_worker")``."""
        return self.url_for("footfall_worker")

    @property
    def web_url(self) -> str:
        """What may publish only."""
        return self.url_for("footfall_web")

    @property
    def admin_url(self) -> str:
        """What may declare, purge and delete too."""
        return self.url_for("footfall_admin")

    def url_for(self, user: str) -> str:
        """The AMQP URL of one of the users in definitions.json."""
        return f"amqp://{user}:{password_of(user)}@{HOST}:{self.port}/{VHOST}"

    def ctl(self, *args: str, timeout: float = COMMAND_SECONDS) -> str:
        """What ``rabbitmqctl ARGS`` prints; raises StackError where it fails. Takes a second or two."""
        return _output([str(RABBITMQ_BIN / "rabbitmqctl"), *args], env=self._environment(), timeout=timeout)

    def _launch(self) -> None:
        if not self.installed():
            raise StackError(f"RabbitMQ is not installed: run `python {Path(__file__).name} install`")
        self._prepare()
        self._write_configuration()
        (self.base / "pid").unlink(missing_ok=True)
        launcher = self._detach()
        answered = _within(START_SECONDS, lambda: self._answers() or not launcher.is_alive())
        if not answered or not launcher.is_alive():
            self._abandon(launcher)
            raise self._failed("did not start")
        self._update(imported=True)

    def _prepare(self) -> None:
        if self._has_base():
            return
        base = _base(self.directory / self.name, _is_plain)
        client, distribution, epmd = free_ports(3)
        self._write_state({"base": str(base), "ports": {"client": client, "distribution": distribution, "epmd": epmd}})

    def _write_configuration(self) -> None:
        lines = [
            f"listeners.tcp.1 = {HOST}:{self.port}",
            "disk_free_limit.absolute = 200MB",
            "log.file = rabbit.log",
        ]
        if not self._state().get("imported"):
            # A copy, because the checkout's path may hold a space.
            shutil.copyfile(DEFINITIONS, self.base / "definitions.json")
            lines.append(f"load_definitions = {self.base}/definitions.json")
        (self.base / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.base / "enabled_plugins").write_text("[].\n")

    def _environment(self) -> dict[str, str]:
        base, ports = self.base, self._known("ports")
        return {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "HOME": str(base),
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(ports["epmd"]),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": "footfall@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(ports["client"]),
            "RABBITMQ_DIST_PORT": str(ports["distribution"]),
            "RABBITMQ_MNESIA_BASE": f"{base}/mnesia",
            "RABBITMQ_LOG_BASE": f"{base}/log",
            "RABBITMQ_PID_FILE": f"{base}/pid",
            "RABBITMQ_CONFIG_FILE": f"{base}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{base}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{base}/enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{base}/generated",
            "RABBITMQ_FEATURE_FLAGS_FILE": f"{base}/feature_flags",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def _detach(self) -> "Process":
        """Starts the server in a session of its own, as nobody's child: no zombie, no terminal's signal."""
        command = [
            *("setsid", "--fork", "/bin/sh", "-c", 'echo $$ >"$0"; exec "$@"'),
            *(f"{self.base}/launcher", str(RABBITMQ_BIN / "rabbitmq-server")),
        ]
        pid_file = self.base / "launcher"
        pid_file.unlink(missing_ok=True)
        with (self.base / "start.log").open("w") as log:
            _run(command, env=self._environment(), cwd=self.base, stdout=log, stderr=log)
        if not _within(10, lambda: _read_pid(pid_file) is not None):
            raise self._failed("its launcher did not start")
        return Process.of(_read_pid(pid_file) or 0)

    def _answers(self) -> bool:
        pid = _read_pid(self.base / "pid")
        if pid is None:
            return False
        # At once, so that even a start which is broken off leaves a server that `stop` knows of.
        if self._process() != Process.of(pid):
            self._remember(pid)
        return _accepts(self.port)

    def _abandon(self, launcher: "Process") -> None:
        self._end(signal.SIGKILL)
        for process in [*_children(launcher.pid), launcher]:
            process.finish(seconds=0)
        self._tidy()

    def _tidy(self) -> None:
        """Ends the private epmd, known by the port in its environment."""
        ports = self._state().get("ports")
        if ports is None:
            return
        mark = f"ERL_EPMD_PORT={ports['epmd']}".encode()
        for process in _processes():
            if process.command() == "epmd" and mark in process.environment():
                process.signal(signal.SIGTERM)
                process.finish(seconds=5)

    def _logs(self) -> list[Path]:
        return [self.base / "start.log", self.base / "log" / "rabbit.log"]


class PostgreSQL(Server):
    """A PostgreSQL cluster with the database ``footfall``, whose owner ``footfall`` may create others.

    Root can't run PostgreSQL, so as root it runs as the user ``postgres``.
    """

    name = "postgresql"
    stop_signal = signal.SIGINT  # "fast": the default of SIGTERM would wait for every client

    @staticmethod
    def installed() -> bool:
        """Whether PostgreSQL's server programs are there."""
        return _postgresql_bin() is not None

    @property
    def dsn(self) -> str:
        """For psycopg and libpq: the site's role and database."""
        return f"postgresql://{DATABASE_USER}@{HOST}:{self.port}/{DATABASE}"

    @property
    def admin_dsn(self) -> str:
        """The same database as superuser."""
        return f"postgresql://postgres@{HOST}:{self.port}/{DATABASE}"

    @property
    def settings(self) -> dict[str, Any]:
        """One entry of Django's DATABASES."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": DATABASE,
            "USER": DATABASE_USER,
            "HOST": HOST,
            "PORT": self.port,
        }

    def restart(self, mode: Literal["immediate", "fast"] = "immediate") -> None:
        """The same data and port again; "immediate" cuts connections like a crash, and recovers at start."""
        with self._locked():
            self._end(signal.SIGQUIT if mode == "immediate" else signal.SIGINT)
        self.start()

    def sql(self, statement: str, database: str = DATABASE) -> str:
        """What psql prints for a statement, run as superuser: rows one a line, columns parted by ``|``."""
        command = [*self._psql(), "-d", database, "-c", statement]
        return _output(command, env=_plain_environment(), timeout=COMMAND_SECONDS)

    def _launch(self) -> None:
        if not self.installed():
            raise StackError(f"PostgreSQL is not installed: run `python {Path(__file__).name} install`")
        self._prepare()
        self._clear_lock()
        try:
            self._server_command("pg_ctl", "-w", "-t", str(START_SECONDS), "-l", f"{self.base}/log", "start")
        except StackError as error:
            raise self._failed(f"did not start: {error}") from error
        self._remember(int((self._data / "postmaster.pid").read_text().split()[0]))
        self._make_database()

    def _prepare(self) -> None:
        if self._has_base():
            return
        base = _base(self.directory / self.name, self._reachable)
        try:
            self._initialise(base, port := free_ports(1)[0])
        except BaseException:
            shutil.rmtree(base, ignore_errors=True)
            raise
        self._write_state({"base": str(base), "ports": {"client": port}})

    def _initialise(self, base: Path, port: int) -> None:
        options = ["-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8"]
        _as_server_user([_program("initdb"), "-D", str(base / "data"), *options], cwd=base)
        with (base / "data" / "postgresql.conf").open("a") as conf:
            conf.write(f"listen_addresses = '{HOST}'\nport = {port}\nmax_connections = 100\n")
            # A socket's path must be short, and a test's directory isn't.
            conf.write("unix_socket_directories = ''\n")

    def _clear_lock(self) -> None:
        """Removes a dead server's lock file, once its last backend is gone.

        PostgreSQL takes a zombie for alive, and in a container the first process often buries nobody.
        """
        for process in _processes():
            if process.directory() == self._data:
                process.finish(seconds=5)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _make_database(self) -> None:
        if not self.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{DATABASE_USER}'", "postgres"):
            self.sql(f"CREATE ROLE {DATABASE_USER} LOGIN CREATEDB", "postgres")
        if not self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'", "postgres"):
            self.sql(f"CREATE DATABASE {DATABASE} OWNER {DATABASE_USER}", "postgres")

    def _psql(self) -> list[str]:
        connection = ["-h", HOST, "-p", str(self.port), "-U", "postgres"]
        return [_program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *connection]

    def _server_command(self, program: str, *args: str) -> None:
        _as_server_user([_program(program), "-D", str(self._data), *args], cwd=self.base)

    def _reachable(self, base: Path) -> bool:
        """Whether the server's user can write there; pytest's directories, say, are closed to it."""
        base.chmod(0o700)
        user = _server_user()
        if user is None:
            return True
        os.chown(base, user.pw_uid, user.pw_gid)
        probe = ["/bin/sh", "-c", 'test -w "$0"', str(base)]
        return _run(probe, env=_plain_environment(), cwd="/", user=user).returncode == 0

    @property
    def _data(self) -> Path:
        return self.base / "data"

    def _logs(self) -> list[Path]:
        return [self.base / "log"]


def password_of(user: str) -> str:
    """The throw-away password whose hash stands in definitions.json."""
    return f"{user}-throw-away"


def environment(directory: Path | str) -> dict[str, str]:
    """What a site or a test needs to know of the servers in a directory, as environment variables."""
    state = _read_state(Path(directory).resolve())
    values: dict[str, str] = {}
    if RabbitMQ.name in state:
        rabbitmq = RabbitMQ(directory)
        values["FOOTFALL_AMQP_URL"] = rabbitmq.url
        values["FOOTFALL_AMQP_WEB_URL"] = rabbitmq.web_url
        values["FOOTFALL_AMQP_ADMIN_URL"] = rabbitmq.admin_url
    if PostgreSQL.name in state:
        postgresql = PostgreSQL(directory)
        values |= {"PGHOST": HOST, "PGPORT": str(postgresql.port)}
        values |= {"PGUSER": DATABASE_USER, "PGDATABASE": DATABASE}
        values["FOOTFALL_DATABASE"] = json.dumps(postgresql.settings)
        values["FOOTFALL_DATABASE_DSN"] = postgresql.dsn
    return values


@contextlib.contextmanager
def throw_away() -> Iterator[dict[str, str]]:
    """Both servers in a temporary directory, gone with the context: what `environment` says, and where they are."""
    directory = Path(tempfile.mkdtemp(prefix="footfall-stack-"))
    servers: list[Server] = [PostgreSQL(directory), RabbitMQ(directory)]
    try:
        for server in servers:
            server.start()
        yield environment(directory) | {"FOOTFALL_STACK_DIR": str(directory)}
    finally:
        for server in servers:
            server.remove()
        shutil.rmtree(directory, ignore_errors=True)


# -- Where things are ----------------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    """Free ports below the range from which the kernel takes the ports of outgoing connections.

    From within that range a client's own connection may hold the port when a killed server wants it back, and
    a client which keeps on trying a closed port of its own host will one day connect to itself.
    """
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = range(10_000, max(lowest_outgoing, 12_000))
    ports: list[int] = []
    for port in random.SystemRandom().sample(candidates, k=1_000):
        # 25672 belongs to a default RabbitMQ node: an epmd there is taken for one.
        if port != 25_672 and _can_bind(port):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise StackError(f"found no {count} free ports on {HOST}")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _base(wanted: Path, suits: Callable[[Path], bool]) -> Path:
    """The wanted directory where it suits, else a temporary one; made, empty and ours."""
    if wanted.exists():
        raise StackError(f"{wanted} is not known to state.json: remove it, or choose another directory")
    wanted.mkdir(parents=True)
    if suits(wanted):
        return wanted
    wanted.rmdir()
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - mkdtemp makes the name
        made = Path(tempfile.mkdtemp(prefix="footfall-", dir=parent)).resolve()
        if suits(made):
            return made
        made.rmdir()
    raise StackError(f"neither {wanted} nor a temporary directory can hold the server's data")


def _is_plain(path: Path) -> bool:
    """Whether Erlang's and RabbitMQ's start scripts, which take paths apart at spaces, can cope with it."""
    return re.fullmatch(r"[\w/.+-]+", str(path), re.ASCII) is not None


def _postgresql_bin() -> Path | None:
    """Debian's directory of the newest server, else that of the pg_ctl on the path."""
    versions = sorted(POSTGRESQL_BINS.glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("pg_ctl")
    return Path(found).resolve().parent if found else None


def _program(name: str) -> str:
    return f"{_postgresql_bin()}/{name}"


def _server_user() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as: None for oneself, ``postgres`` where oneself is root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        raise StackError("PostgreSQL does not run as root, and there is no user `postgres`") from None


# -- Processes -----------------------------------------------------------------------------------------------


class Process(NamedTuple):
    """A process of one life: the pid given to another process later is not it."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Self:
        return cls(pid, _start_time(pid))

    def is_alive(self) -> bool:
        fields = _stat(self.pid)
        return fields is not None and fields[0] not in "ZX" and int(fields[19]) == self.started

    def signal(self, number: signal.Signals) -> None:
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        return _within(seconds, lambda: not self.is_alive())

    def finish(self, seconds: float) -> None:
        """Waits for the end, then makes an end."""
        if not self.wait(seconds):
            self.signal(signal.SIGKILL)
            self.wait(STOP_SECONDS)

    def command(self) -> str:
        return _proc_bytes(self.pid, "comm").decode(errors="replace").strip()

    def directory(self) -> Path | None:
        try:
            return Path(f"/proc/{self.pid}/cwd").readlink()
        except OSError:
            return None  # it is gone, a zombie, or another user's

    def environment(self) -> list[bytes]:
        return _proc_bytes(self.pid, "environ").split(b"\0")


def _processes() -> list[Process]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [Process.of(pid) for pid in pids]


def _children(parent: int) -> list[Process]:
    return [process for process in _processes() if (_stat(process.pid) or "??")[1] == str(parent)]


def _start_time(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[19]) if fields else -1


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command's name, which may hold anything: state, parent, …"""
    return _proc_bytes(pid, "stat").decode(errors="replace").rpartition(")")[2].split() or None


def _proc_bytes(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""  # it is gone, or another user's


def _run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout: float = START_SECONDS + 10,
    user: pwd.struct_passwd | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    if user is not None:
        options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    try:
        return subprocess.run(  # noqa: S603 - a list, no shell, and no word of it from outside
            command, env=env, timeout=timeout, stdin=subprocess.DEVNULL, text=True, check=False, **options
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"{shlex.join(command)} did not end within {timeout:g} seconds") from None


def _output(command: Sequence[str], *, env: Mapping[str, str], timeout: float) -> str:
    done = _run(command, env=env, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise StackError(f"{shlex.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _as_server_user(command: Sequence[str], cwd: Path) -> None:
    # Into a file, not a pipe: the server inherits it, and a pipe would stay open while the server lives.
    with tempfile.TemporaryFile("w+") as said:
        done = _run(command, env=_plain_environment(), cwd=cwd, user=_server_user(), stdout=said, stderr=said)
        said.seek(0)
        if done.returncode != 0:
            raise StackError(f"{shlex.join(command)} failed:\n{said.read()}")


def _plain_environment() -> dict[str, str]:
    """Without the caller's PG… variables."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


# -- Small reads ---------------------------------------------------------------------------------------------


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Asks until it is so or the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _read_pid(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None


def _read_state(directory: Path) -> dict[str, dict[str, Any]]:
    try:
        state: dict[str, dict[str, Any]] = json.loads((directory / "state.json").read_text())
    except FileNotFoundError:
        return {}
    return state


def _tail(path: Path, lines: int) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


# -- The command line ----------------------------------------------------------------------------------------


def install(browser: bool) -> None:
    """Installs what is missing with apt-get; raises StackError where that isn't there or not allowed."""
    packages = [] if RabbitMQ.installed() else ["rabbitmq-server"]
    packages += [] if PostgreSQL.installed() else ["postgresql"]
    packages += [] if shutil.which("node") else ["nodejs"]  # a test publishes from a program in another language
    if browser:
        programs = {"chromium": "chromium", "chromium-driver": "chromedriver"}
        packages += [package for package, program in programs.items() if not shutil.which(program)]
    if not packages:
        print("Nothing to install.")
        return
    print(f"Installing with apt-get: {' '.join(packages)}", flush=True)
    for args in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        _apt_get(args)


def _apt_get(args: list[str]) -> None:
    if shutil.which("apt-get") is None:
        raise StackError("there is no apt-get here: install RabbitMQ 3.10 and PostgreSQL 15 by hand")
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        raise StackError("installing needs root or sudo")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    command = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *args]
    if _run(command, env=os.environ, timeout=1800).returncode != 0:
        raise StackError(f"{shlex.join(command)} failed")


def _start(options: argparse.Namespace) -> int:
    for server in _chosen(options):
        server.start()
        print(f"{server.name}: pid {server.pid}, {HOST}:{server.port}, {server.base}")
    if options.ports_file:
        options.ports_file.write_text(json.dumps(environment(options.dir), indent=2) + "\n")
    return 0


def _chosen(options: argparse.Namespace) -> list[Server]:
    servers: list[Server] = []
    if not options.no_postgres:
        servers.append(PostgreSQL(options.dir))
    if not options.no_rabbitmq:
        servers.append(RabbitMQ(options.dir))
    return servers


def _stop(options: argparse.Namespace) -> int:
    for server in _started(options):
        if options.remove:
            server.remove()
        else:
            server.stop()
        print(f"{server.name}: stopped{' and removed' if options.remove else ''}")
    return 0


def _status(options: argparse.Namespace) -> int:
    servers = _started(options)
    for server in servers:
        what = f"pid {server.pid}, {HOST}:{server.port}" if server.is_running() else "stopped"
        print(f"{server.name}: {what}")
    return 0 if servers and all(server.is_running() for server in servers) else 1


def _started(options: argparse.Namespace) -> list[Server]:
    state = _read_state(options.dir.resolve())
    kinds: list[type[Server]] = [RabbitMQ, PostgreSQL]
    return [kind(options.dir) for kind in kinds if kind.name in state]


def _env(options: argparse.Namespace) -> int:
    values = environment(options.dir)
    if not values:
        raise StackError(f"nothing was started in {options.dir}")
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _run_with_stack(options: argparse.Namespace) -> int:
    with throw_away() as values:
        return subprocess.run(options.command, env={**os.environ, **values}, check=False).returncode  # noqa: S603 - a developer names it


def _install(options: argparse.Namespace) -> int:
    install(options.browser)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="A private, throw-away RabbitMQ and PostgreSQL on free ports of 127.0.0.1.",
        epilog='Example: stack.py start --dir D; eval "$(stack.py env --dir D)"; stack.py stop --dir D',
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if name != "install":
            added.add_argument("--dir", type=Path, required=True, help="where state and data are kept")
        return added

    start = command("start", _start, "Start the servers, or leave them running; returns when they answer.")
    start.add_argument("--no-rabbitmq", action="store_true", help="PostgreSQL only")
    start.add_argument("--no-postgres", action="store_true", help="RabbitMQ only")
    start.add_argument("--ports-file", type=Path, help="write what `env` prints to this file too, as JSON")
    stop = command("stop", _stop, "Stop what was started in the directory; the data stays.")
    stop.add_argument("--remove", action="store_true", help="delete the data too")
    command("status", _status, "Say what runs; exit code 0 if everything that was started does.")
    command("env", _env, "Print shell exports: AMQP URLs, PG… variables, a Django DATABASES entry as JSON.")
    runner = commands.add_parser("run", help="Run a command with both servers beside it, gone when it ends.")
    runner.set_defaults(run=_run_with_stack)
    runner.add_argument("command", nargs="+", metavar="-- COMMAND", help="what to run, with the variables of `env` set")
    installer = command("install", _install, "Install missing server packages with apt-get (root or sudo).")
    installer.add_argument("--browser", action="store_true", help="chromium and its driver too")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (StackError, OSError) as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
