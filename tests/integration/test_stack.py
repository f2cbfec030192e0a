"""The stack script against the real servers: start, stop, kill, restart, and who may do what."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pika
import pika.exceptions
import psycopg
import pytest
from pika.adapters.blocking_connection import BlockingChannel

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "stack.py"
DEFINITIONS = json.loads((SCRIPT.parent / "rabbitmq" / "definitions.json").read_text())


def load_stack() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stack_under_test", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


stack = load_stack()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a stack")


@pytest.fixture(scope="module")
def rabbitmq(directory: Path) -> Iterator[Any]:
    server = stack.RabbitMQ(directory)
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="module")
def postgresql(directory: Path) -> Iterator[Any]:
    server = stack.PostgreSQL(directory)
    try:
        yield server.start()
    finally:
        server.remove()


def refused(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def run_script(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- PostgreSQL


def test_what_was_committed_survives_a_kill(postgresql: Any) -> None:
    with psycopg.connect(postgresql.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (1)")
    port, pid = postgresql.port, postgresql.pid

    postgresql.kill()

    assert not postgresql.is_running()
    assert refused(port)
    postgresql.start()
    assert (postgresql.port, postgresql.is_running()) == (port, True)
    assert postgresql.pid != pid
    assert postgresql.sql("SELECT n FROM kept").split() == ["1"]


def test_a_kill_ends_a_backend_that_is_at_work(postgresql: Any) -> None:
    with psycopg.connect(postgresql.dsn, autocommit=True) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)

        postgresql.kill()

        assert not stack.Process.of(backend).is_alive()
    postgresql.start()


@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_a_restart_cuts_connections_and_comes_back_on_the_same_port(postgresql: Any, mode: str) -> None:
    port = postgresql.port
    with psycopg.connect(postgresql.dsn) as connection:
        connection.execute("SELECT 1")

        postgresql.restart(mode)

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert postgresql.port == port
    assert postgresql.sql("SELECT 2").strip() == "2"


def test_the_sites_role_is_no_superuser_and_may_make_test_databases(postgresql: Any) -> None:
    assert postgresql.sql("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = 'footfall'") == "f|t\n"
    assert postgresql.sql("SHOW fsync").strip() == "on"
    assert postgresql.settings["PORT"] == postgresql.port


def test_a_failing_statement_is_an_error_with_its_text(postgresql: Any) -> None:
    with pytest.raises(stack.StackError, match="no_such_table"):
        postgresql.sql("SELECT * FROM no_such_table")


def test_another_process_can_stop_what_this_one_started(postgresql: Any, directory: Path) -> None:
    pid = postgresql.pid

    said = run_script("stop", "--dir", str(directory))

    assert "postgresql: stopped" in said
    assert not stack.Process.of(pid).is_alive()
    stack.RabbitMQ(directory).is_running()
    postgresql.start()


def test_start_that_can_not_succeed_shows_the_end_of_the_log(postgresql: Any) -> None:
    postgresql.stop()
    with socket.create_server(("127.0.0.1", postgresql.port)), pytest.raises(stack.StackError) as caught:
        postgresql.start()
    postgresql.start()

    assert "could not bind" in str(caught.value)


def test_stop_leaves_a_pid_alone_that_is_no_longer_the_servers(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"postgresql": {"pid": os.getpid(), "started": 1}}))
    server = stack.PostgreSQL(tmp_path)

    assert not server.is_running()
    server.kill()
    server.stop()


# -- RabbitMQ


@pytest.fixture
def channel_of(rabbitmq: Any) -> Iterator[Callable[[str], BlockingChannel]]:
    """Opens a channel, with confirms, for one of the users."""
    rabbitmq.start()
    opened: list[pika.BlockingConnection] = []

    def open_channel(user: str) -> BlockingChannel:
        connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url_for(user)))
        opened.append(connection)
        channel = connection.channel()
        channel.confirm_delivery()
        return channel

    yield open_channel
    for connection in opened:
        if connection.is_open:
            connection.close()


def publish(channel: BlockingChannel, queue: str, body: bytes) -> None:
    channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2), mandatory=True)


def deliveries(channel: BlockingChannel, queue: str, seconds: float) -> Iterator[tuple[Any, Any, bytes]]:
    """Deliveries one by one, each to be settled before the next, until none comes for so long."""
    channel.basic_qos(prefetch_count=1)
    for method, properties, body in channel.consume(queue, inactivity_timeout=seconds):
        if method is None:
            break
        yield method, properties, body
    channel.cancel()


def test_the_first_start_makes_the_queues_with_their_arguments(channel_of: Any) -> None:
    channel = channel_of("footfall_admin")

    for queue in DEFINITIONS["queues"]:
        # Another set of arguments than the queue's own would be refused.
        channel.queue_declare(queue["name"], durable=True, arguments=queue["arguments"])


def test_a_delivery_over_the_limit_lands_in_quarantine(channel_of: Any) -> None:
    channel = channel_of("footfall_worker")
    publish(channel, "footfall.views", b"suspect")

    tries = 0
    for method, _, _ in deliveries(channel, "footfall.views", 1):
        tries += 1
        channel.basic_nack(method.delivery_tag, requeue=True)
    seen = []
    for method, properties, body in deliveries(channel, "footfall.quarantine", 1):
        seen.append((body, properties.headers))
        channel.basic_nack(method.delivery_tag, requeue=len(seen) < 8)

    assert tries == 6
    assert [body for body, _ in seen] == [b"suspect"] * 8, "no limit stands on the quarantine queue"
    assert seen[0][1]["x-first-death-queue"] == "footfall.views"
    assert seen[0][1]["x-first-death-reason"] == "delivery_limit"
    assert [headers.get("x-delivery-count") for _, headers in seen] == [None, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("user", ["footfall_web", "footfall_worker"])
def test_a_sites_users_may_publish_and_look(channel_of: Any, user: str) -> None:
    channel = channel_of(user)

    publish(channel, "footfall.increments", b"{}")
    declared = channel.queue_declare("footfall.increments", passive=True)

    assert declared.method.queue == "footfall.increments"
    with pytest.raises(pika.exceptions.UnroutableError):
        publish(channel, "footfall.nowhere", b"{}")


def test_a_worker_may_consume(channel_of: Any) -> None:
    channel = channel_of("footfall_worker")
    publish(channel, "footfall.actions", b"mine")

    for method, _, body in deliveries(channel, "footfall.actions", 1):
        assert body == b"mine"
        channel.basic_ack(method.delivery_tag)


def declare_new(channel: BlockingChannel) -> None:
    channel.queue_declare("footfall.new", durable=True)


def declare_exchange(channel: BlockingChannel) -> None:
    channel.exchange_declare("footfall")


def delete(channel: BlockingChannel) -> None:
    channel.queue_delete("footfall.views")


def consume(channel: BlockingChannel) -> None:
    channel.basic_consume("footfall.views", lambda *delivery: None)


def publish_elsewhere(channel: BlockingChannel) -> None:
    channel.basic_publish("amq.fanout", "", b"{}")


@pytest.mark.parametrize(
    ("user", "act"),
    [
        ("footfall_web", consume),
        *((user, act) for user in ("footfall_web", "footfall_worker") for act in (declare_new, declare_exchange)),
        *((user, act) for user in ("footfall_web", "footfall_worker") for act in (delete, publish_elsewhere)),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_sites_users_are_refused_everything_else(
    channel_of: Any, user: str, act: Callable[[BlockingChannel], None]
) -> None:
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        act(channel_of(user))

    assert caught.value.reply_code == 403


def test_what_was_confirmed_survives_a_kill_of_the_broker(rabbitmq: Any, channel_of: Any) -> None:
    channel = channel_of("footfall_admin")
    channel.queue_purge("footfall.increments")
    publish(channel, "footfall.increments", b"confirmed")
    channel.connection.close()
    port, pid = rabbitmq.port, rabbitmq.pid

    rabbitmq.kill()

    assert not rabbitmq.is_running()
    assert refused(port)
    rabbitmq.start()
    assert rabbitmq.port == port
    assert rabbitmq.pid != pid
    channel = channel_of("footfall_worker")
    [(method, _, body)] = list(first_delivery(channel, "footfall.increments"))
    channel.basic_ack(method.delivery_tag)
    assert body == b"confirmed"


def first_delivery(channel: BlockingChannel, queue: str) -> list[tuple[Any, Any, bytes]]:
    # A quorum queue elects its leader anew after a kill.
    for delivery in deliveries(channel, queue, 15):
        return [delivery]
    return []


def test_ctl_runs_rabbitmqctl_against_this_node(rabbitmq: Any) -> None:
    listed = json.loads(rabbitmq.ctl("list_queues", "-p", "footfall", "--formatter", "json", "name", "type"))

    assert {(row["name"], row["type"]) for row in listed} == {
        (queue["name"], "quorum") for queue in DEFINITIONS["queues"]
    }
    with pytest.raises(stack.StackError, match="no_such_command"):
        rabbitmq.ctl("no_such_command")


def test_stop_ends_the_private_epmd_too_and_keeps_the_data(rabbitmq: Any) -> None:
    state = json.loads((rabbitmq.directory / "state.json").read_text())["rabbitmq"]
    started = time.monotonic()

    rabbitmq.stop()

    assert time.monotonic() - started < 30
    assert not rabbitmq.is_running()
    assert all(refused(port) for port in state["ports"].values())
    assert rabbitmq.base.is_dir()


# -- The command line


def test_the_command_line_starts_shows_and_removes(tmp_path: Path) -> None:
    directory, ports = tmp_path / "with a space", tmp_path / "ports.json"
    try:
        said = run_script("start", "--dir", str(directory), "--no-rabbitmq", "--ports-file", str(ports))
        again = run_script("start", "--dir", str(directory), "--no-rabbitmq")
        shown = run_script("env", "--dir", str(directory))
        running = run_script("status", "--dir", str(directory))
    finally:
        run_script("stop", "--dir", str(directory), "--remove")

    values = json.loads(ports.read_text())
    assert said == again
    assert f"export PGPORT={values['PGPORT']}" in shown.splitlines()
    assert values["PGPORT"] in running
    assert json.loads(values["FOOTFALL_DATABASE"])["PORT"] == int(values["PGPORT"])
    assert not stack.PostgreSQL(directory).is_running()
