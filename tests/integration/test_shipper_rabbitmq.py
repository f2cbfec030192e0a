"""Publishing with confirms against a real RabbitMQ: what is confirmed is there, and faults show within seconds."""

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pika
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from footfall.producers.confirms import (
    BodyRefusedError,
    BrokerAwayError,
    ConfirmingPublisher,
    QueueFullError,
    UnroutableError,
    amqp_parameters,
)
from footfall.producers.messages import encode_unit, new_id
from footfall.producers.queues import ACTIONS, INCREMENTS, VIEWS, queue_arguments
from footfall.producers.shipper import Shipper
from footfall.producers.spool import Spool
from footfall.producers.tail import SpoolLock

#: A quorum queue needs some seconds after its declaration before it survives the death of its node.
SETTLE_SECONDS = 7


class Host:
    """A virtual host of the test's own, with one user that may do everything and one that may only publish."""

    def __init__(self, rabbitmq: Any) -> None:
        self.rabbitmq = rabbitmq
        self.name = f"shipper-{uuid.uuid4().hex}"
        self.user = f"user-{self.name}"
        rabbitmq.ctl("add_vhost", self.name)
        rabbitmq.ctl("add_user", self.user, "secret")
        self.permit(".*")

    def permit(self, configure: str) -> None:
        self.rabbitmq.ctl("set_permissions", "-p", self.name, self.user, configure, ".*", ".*")

    def remove(self) -> None:
        self.rabbitmq.ctl("delete_vhost", self.name)
        self.rabbitmq.ctl("delete_user", self.user)

    def url(self, port: int | None = None) -> str:
        parts = urlsplit(self.rabbitmq.url)
        return f"amqp://{self.user}:secret@{parts.hostname}:{port or parts.port}/{self.name}"

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self.url()))
        yield connection.channel()
        connection.close()

    def declare(self, queue: str, **arguments: Any) -> None:
        with self.channel() as channel:
            channel.queue_declare(queue, durable=True, arguments=queue_arguments(queue) | arguments)

    def take(self, queue: str) -> list[bytes]:
        """Everything in ``queue``, which is empty afterwards."""
        bodies = []
        with self.channel() as channel:
            for method, _, body in channel.consume(queue, inactivity_timeout=1, auto_ack=True):
                if method is None:
                    break
                bodies.append(body)
        return bodies


@pytest.fixture(scope="module")
def module_host(rabbitmq: Any) -> Iterator[Host]:
    host = Host(rabbitmq)
    yield host
    host.remove()


@pytest.fixture
def host(module_host: Host) -> Iterator[Host]:
    """The virtual host without queues."""
    yield module_host
    with module_host.channel() as channel:
        for queue in (VIEWS, INCREMENTS, ACTIONS):
            channel.queue_delete(queue)


def publisher_for(url: str) -> ConfirmingPublisher:
    with override_settings(FOOTFALL={"BROKER_URL": url}):
        return ConfirmingPublisher(amqp_parameters())


@pytest.fixture
def publisher(host: Host) -> Iterator[ConfirmingPublisher]:
    made = publisher_for(host.url())
    yield made
    made.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(directory: Path) -> Iterator[Spool]:
    made = Spool(directory, site="newsroom")
    yield made
    made.close()


def view(number: int) -> bytes:
    return encode_unit(new_id(), [("view", json.dumps(number).encode())])


def events_in(bodies: list[bytes]) -> list[Any]:
    return [event for body in bodies for event in json.loads(body)["args"][0]]


def seconds_of(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


# -- What is confirmed is there


def test_when_publish_returns_everything_is_in_the_queue(host: Host, publisher: ConfirmingPublisher) -> None:
    host.declare(VIEWS)
    publisher.publish([(VIEWS, str(number).encode()) for number in range(1000)])

    with host.channel() as channel:
        assert channel.queue_declare(VIEWS, passive=True).method.message_count == 1000
        _, properties, _ = channel.basic_get(VIEWS)
        assert properties.delivery_mode == 2
    assert host.take(VIEWS)[-1] == b"999"


def test_a_window_of_confirms_is_faster_than_one_after_the_other(host: Host, publisher: ConfirmingPublisher) -> None:
    host.declare(VIEWS)
    messages = [(VIEWS, b"x")] * 400

    def publish(window: int) -> float:
        with override_settings(FOOTFALL={"CONFIRM_WINDOW": window}):
            return seconds_of(lambda: publisher.publish(messages))

    publish(64)
    assert publish(64) * 2 < publish(1)


def test_a_queue_that_doesnt_exist_is_declared_as_workers_declare_it(
    host: Host, publisher: ConfirmingPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish([(VIEWS, b"1"), (ACTIONS, b"2"), (VIEWS, b"3")])

    host.declare(VIEWS)
    host.declare(ACTIONS)
    assert host.take(VIEWS) == [b"1", b"3"]
    assert host.take(ACTIONS) == [b"2"]
    assert "footfall.actions did not exist" in caplog.text


# -- Faults


def test_what_is_unroutable_and_may_not_be_declared_stays_in_the_spool(
    host: Host, spool: Spool, directory: Path, publisher: ConfirmingPublisher
) -> None:
    host.declare(INCREMENTS)
    spool.append(encode_unit(new_id(), [("view", b"1"), ("increment", b"2")]))
    shipper = Shipper(directory, publisher)
    host.permit("^$")
    try:
        for _ in range(2):
            with pytest.raises(UnroutableError, match=r"no queue footfall\.views"):
                shipper.ship_once()
    finally:
        host.permit(".*")

    assert not shipper.is_empty()
    assert shipper.ship_once() == 1
    assert events_in(host.take(VIEWS)) == [1]
    assert events_in(host.take(INCREMENTS)) == [2], "what was confirmed isn't sent again"


def test_a_full_queue_refuses_and_says_what_arrived(host: Host, publisher: ConfirmingPublisher) -> None:
    host.declare(VIEWS, **{"x-max-length": 1})
    host.declare(ACTIONS)
    publisher.publish([(VIEWS, b"x")] * 2)
    time.sleep(0.5)  # a quorum queue notices its length a moment later

    with pytest.raises(QueueFullError, match=r"footfall\.views") as failure:
        publisher.publish([(VIEWS, b"x"), (ACTIONS, b"y")])

    assert failure.value.confirmed == {1}
    assert host.take(ACTIONS) == [b"y"]


def test_a_body_that_the_broker_never_takes_is_put_aside(
    host: Host, spool: Spool, directory: Path, rabbitmq: Any, publisher: ConfirmingPublisher
) -> None:
    host.declare(VIEWS)
    spool.append(b"x" * 300_000)
    spool.append(view(1))
    shipper = Shipper(directory, publisher)
    rabbitmq.ctl("eval", "application:set_env(rabbit, max_message_size, 200000).")
    try:
        with pytest.raises(BodyRefusedError):
            shipper.ship_once()
        assert shipper.ship_once() == 2
    finally:
        rabbitmq.ctl("eval", "application:set_env(rabbit, max_message_size, 134217728).")

    assert set(events_in(host.take(VIEWS))) == {1}
    [aside] = directory.glob("*.aside")
    assert aside.stat().st_size == 300_001


def test_a_memory_alarm_shows_within_seconds_and_passes(
    host: Host, spool: Spool, directory: Path, rabbitmq: Any, publisher: ConfirmingPublisher
) -> None:
    host.declare(VIEWS)
    shipper = Shipper(directory, publisher)
    spool.append(view(1))
    shipper.ship_once()
    spool.append(view(2))
    rabbitmq.ctl("set_vm_memory_high_watermark", "0")
    try:
        for _ in range(2):  # on the connection that was there, and on a new one
            start = time.monotonic()
            with pytest.raises(BrokerAwayError):
                shipper.ship_once()
            assert time.monotonic() - start < 12
    finally:
        rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")

    assert shipper.ship_once() == 1
    assert sorted(set(events_in(host.take(VIEWS)))) == [1, 2]


def test_a_line_that_has_gone_silent_shows_within_seconds(host: Host) -> None:
    host.declare(VIEWS)
    with SilentProxy(urlsplit(host.rabbitmq.url).port or 5672) as proxy:
        publisher = publisher_for(host.url(proxy.port))
        publisher.publish([(VIEWS, b"1")])
        proxy.silent = True

        def fail() -> None:
            with pytest.raises(BrokerAwayError, match="no confirm within"):
                publisher.publish([(VIEWS, b"2")])

        assert seconds_of(fail) < 12
        with pytest.raises(BrokerAwayError):
            publisher.publish([(VIEWS, b"3")])
        proxy.silent = False
        publisher.publish([(VIEWS, b"4")])
        publisher.close()


def test_a_broker_killed_in_the_middle_of_a_window_loses_nothing(
    host: Host, spool: Spool, directory: Path, rabbitmq: Any, publisher: ConfirmingPublisher
) -> None:
    host.declare(VIEWS)
    time.sleep(SETTLE_SECONDS)
    with override_settings(FOOTFALL={"EVENTS_PER_MESSAGE": 1}):
        shipper = Shipper(directory, publisher)
        stop = threading.Event()
        thread = threading.Thread(target=shipper.run, args=(stop,))
        thread.start()
        killer = threading.Timer(0.7, rabbitmq.kill)
        killer.start()
        published = 0
        while killer.is_alive():
            assert spool.append(view(published))
            published += 1
            time.sleep(0.0002)
        before = shipper.shipped_units
        rabbitmq.start()
        end = time.monotonic() + 60
        while not shipper.is_empty() and time.monotonic() < end:
            time.sleep(0.1)
        stop.set()
        thread.join()

    assert before < published, "the broker was killed too late"
    bodies = host.take(VIEWS)
    assert set(events_in(bodies)) == set(range(published))
    by_id = {json.loads(body)["message_id"]: body for body in bodies}
    assert len(events_in(list(by_id.values()))) == published, "twice only under the same id"


def test_connections_that_the_broker_closes_are_made_anew(
    host: Host, rabbitmq: Any, publisher: ConfirmingPublisher
) -> None:
    publisher.publish([(VIEWS, b"1")])
    rabbitmq.ctl("close_all_connections", "test")
    publisher.idle(0.1)
    publisher.publish([(VIEWS, b"2")])

    assert host.take(VIEWS) == [b"1", b"2"]


def test_nobody_at_the_port_and_a_wrong_password_are_a_broker_away_without_noise(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for url in ("amqp://127.0.0.1:1/", host.url().replace("secret", "topsecret")):
        with pytest.raises(BrokerAwayError) as failure:
            publisher_for(url).publish([(VIEWS, b"1")])
        assert "secret" not in str(failure.value)

    assert [record for record in caplog.records if record.name.startswith("pika")] == []


def test_of_several_nodes_the_next_is_tried(host: Host) -> None:
    publisher = publisher_for(f"{host.url()};amqp://127.0.0.1:1/")
    with contextlib.suppress(BrokerAwayError):
        publisher.publish([(VIEWS, b"1")])
    publisher.publish([(VIEWS, b"2")])
    publisher.close()


# -- Threads and processes


def test_a_publisher_belongs_to_one_thread(publisher: ConfirmingPublisher) -> None:
    publisher.publish([(VIEWS, b"1")])
    errors: list[Exception] = []

    def use() -> None:
        try:
            publisher.publish([(VIEWS, b"2")])
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_makes_a_connection_of_its_own(host: Host, publisher: ConfirmingPublisher) -> None:
    publisher.publish([(VIEWS, b"parent")])
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        publisher.publish([(VIEWS, b"child")])
        publisher.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    publisher.publish([(VIEWS, b"parent again")])

    assert host.take(VIEWS) == [b"parent", b"child", b"parent again"]


WEB_PROCESS = """
import sys, time
import django
django.setup()
from footfall.producers import background, spool
from footfall.producers.messages import encode_unit, new_id
for number in range(400):
    line = encode_unit(new_id(), [("view", b'"%s-%d"' % (sys.argv[1].encode(), number))])
    assert spool.current_spool().append(line)
    background.notify()
    print(number, flush=True)
    time.sleep(0.003)
time.sleep(60)
"""


def test_when_the_process_that_ships_is_killed_another_takes_over_and_nothing_is_lost(
    host: Host, tmp_path: Path, directory: Path
) -> None:
    host.declare(VIEWS)
    environment = ShipSpool(tmp_path, directory, host.url(), shipper="thread").environment
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", WEB_PROCESS, name], env=environment, stdout=subprocess.PIPE, text=True
        )
        for name in ("a", "b", "c")
    }
    lock = SpoolLock(directory / ".shipper.lock")
    wait_until(lambda: any(str(process.pid) == lock.holder() for process in processes.values()))
    time.sleep(0.5)
    [killed] = [name for name, process in processes.items() if str(process.pid) == lock.holder()]
    processes[killed].kill()
    accepted = {
        f"{name}-{line.strip()}" for name, process in processes.items() for line in lines_of(process, name == killed)
    }
    wait_until(Shipper(directory, publisher_for(host.url())).is_empty)
    for process in processes.values():
        process.kill()
        process.communicate()

    by_id = {json.loads(body)["message_id"]: body for body in host.take(VIEWS)}
    events = events_in(list(by_id.values()))
    assert len(events) == len(set(events))
    # The killed process may have been between an accepted line and saying so.
    assert accepted <= set(events)
    assert len(set(events) - accepted) <= 1


def lines_of(process: "subprocess.Popen[str]", to_its_end: bool) -> list[str]:
    assert process.stdout is not None
    return list(process.stdout) if to_its_end else [process.stdout.readline() for _ in range(400)]


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not done() and time.monotonic() < end:
        time.sleep(0.1)
    assert done()


# -- Parameters


def test_time_outs_are_tight_where_the_url_says_nothing() -> None:
    with override_settings(FOOTFALL={"BROKER_URL": "amqp://u:p@one/v?heartbeat=77;amqp://two"}):
        one, two = amqp_parameters()

    assert (one.host, one.virtual_host, one.heartbeat, one.blocked_connection_timeout) == ("one", "v", 77, 4)
    assert (two.host, two.heartbeat, two.socket_timeout, two.stack_timeout) == ("two", 10, 5, 8)


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({"url": "amqp://one/"}, "one"),
        ({"url": ["amqp://one/"]}, "one"),
        ({"host": "one", "confirm_delivery": True}, "one"),
        ({"parameters": [{"host": "one"}, {"host": "two"}]}, "one"),
    ],
    ids=["url", "urls", "keywords", "parameters"],
)
def test_without_a_url_of_its_own_it_takes_dramatiqs(options: dict[str, Any], host: str) -> None:
    broker = {"BROKER": "footfall.workers.broker.FootfallBroker", "OPTIONS": options}
    with override_settings(FOOTFALL={}, DRAMATIQ_BROKER=broker):
        assert amqp_parameters()[0].host == host


def test_the_options_of_another_broker_are_not_taken_for_rabbitmqs() -> None:
    """A host and a port may be those of Redis."""
    broker = {"BROKER": "dramatiq.brokers.redis.RedisBroker", "OPTIONS": {"host": "redis", "port": 6379}}
    with override_settings(FOOTFALL={}, DRAMATIQ_BROKER=broker), pytest.raises(ImproperlyConfigured):
        amqp_parameters()


@pytest.mark.parametrize("url", ["redis://u:hush@host/0", "amqp://u:hush/y@host:x/"])
def test_a_url_that_is_wrong_is_refused_without_its_password(url: str) -> None:
    with override_settings(FOOTFALL={"BROKER_URL": url}), pytest.raises(ImproperlyConfigured) as failure:
        amqp_parameters()
    assert "hush" not in str(failure.value)
    assert failure.value.__suppress_context__


def test_no_broker_at_all_is_refused() -> None:
    with override_settings(FOOTFALL={}, DRAMATIQ_BROKER={"OPTIONS": {}}), pytest.raises(ImproperlyConfigured):
        amqp_parameters()


# -- The command


SITE = """
SECRET_KEY = "x"
INSTALLED_APPS = ["footfall.producers"]
ROOT_URLCONF = "site_settings"
urlpatterns = []
LOGGING = {{
    "version": 1,
    "handlers": {{"console": {{"class": "logging.StreamHandler"}}}},
    "root": {{"handlers": ["console"], "level": "INFO"}},
}}
FOOTFALL = {{
    "TRANSPORT": "rabbitmq",
    "SHIPPER": {shipper!r},
    "SITE": "newsroom",
    "SPOOL_DIR": {directory!r},
    "BROKER_URL": {url!r},
}}
"""


class ShipSpool:
    """``manage.py ship_spool`` as a process of its own."""

    def __init__(self, tmp_path: Path, directory: Path, url: str, shipper: str = "daemon") -> None:
        text = SITE.format(directory=str(directory), url=url, shipper=shipper)
        (tmp_path / "site_settings.py").write_text(text)
        path = os.pathsep.join([str(tmp_path), *sys.path])
        self.environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": path}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "django", "ship_spool", *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True)
        return self.process

    def end(self) -> None:
        with self.process:
            self.process.kill()


@pytest.fixture
def ship_spool(tmp_path: Path, directory: Path, host: Host) -> Iterator[ShipSpool]:
    command = ShipSpool(tmp_path, directory, host.url())
    yield command
    command.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_ship_spool_ships_until_a_signal_and_exits_with_0(
    number: signal.Signals, host: Host, spool: Spool, ship_spool: ShipSpool
) -> None:
    host.declare(VIEWS)
    spool.append(view(1))
    process = ship_spool.start()
    assert events_in(taken(host)) == [1]
    process.send_signal(number)
    out, err = process.communicate(timeout=20)

    assert process.returncode == 0, err
    assert out == "1 units of work shipped.\n"


def taken(host: Host) -> list[bytes]:
    end = time.monotonic() + 20
    bodies: list[bytes] = []
    while not bodies and time.monotonic() < end:
        bodies = host.take(VIEWS)
    return bodies


def test_ship_spool_until_empty_ships_all_and_ends(host: Host, spool: Spool, ship_spool: ShipSpool) -> None:
    for number in range(1000):
        spool.append(view(number))
    spool.close()
    process = ship_spool.start("--until-empty", "--timeout", "30")
    _, err = process.communicate(timeout=40)

    assert process.returncode == 0, err
    assert events_in(host.take(VIEWS)) == list(range(1000))


def test_ship_spool_until_empty_that_cant_says_so(tmp_path: Path, spool: Spool, directory: Path) -> None:
    spool.append(view(1))
    process = ShipSpool(tmp_path, directory, "amqp://127.0.0.1:1/").start("--until-empty", "--timeout", "2")
    _, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert err.count("Nothing is shipped") == 1
    assert "There are lines left in the spool." in err


def test_ship_spool_waits_for_another_shipper_and_says_for_whom(
    spool: Spool, directory: Path, ship_spool: ShipSpool, host: Host
) -> None:
    host.declare(VIEWS)
    spool.append(view(1))
    lock = SpoolLock(directory / ".shipper.lock")
    assert lock.acquire()
    process = ship_spool.start()
    assert process.stderr is not None
    assert any(f"Process {os.getpid()} ships this spool" in line for line in process.stderr)
    lock.release()
    assert events_in(taken(host)) == [1]
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 0


class SilentProxy:
    """A line to the broker on which, when it is silent, nothing arrives and nothing is refused."""

    def __init__(self, port: int) -> None:
        self.silent = False
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._done = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "SilentProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done = True
        self._thread.join()
        for line in [self._listener, *self._pairs]:
            line.close()

    def _run(self) -> None:
        while not self._done:
            lines = [] if self.silent else [self._listener, *self._pairs]
            ready, _, _ = select.select(lines, [], [], 0.05)
            for line in ready:
                self._accept() if line is self._listener else self._forward(line)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._target))
        self._pairs |= {near: far, far: near}

    def _forward(self, line: socket.socket) -> None:
        if line not in self._pairs:
            return
        other = self._pairs[line]
        with contextlib.suppress(OSError):
            if data := line.recv(65536):
                other.sendall(data)
                return
        for end in (line, other):
            self._pairs.pop(end, None)
            end.close()
