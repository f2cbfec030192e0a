"""Sessions of workers on PostgreSQL: bounded in time around a batch, and only there."""

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections, transaction
from dramatiq.errors import ConnectionClosed
from processes import Process, eventually

from footfall.producers.messages import new_id
from footfall.producers.queues import INCREMENTS
from footfall.storage.models import Statistic
from footfall.workers import sessions
from footfall.workers.broker import FootfallBroker
from footfall.workers.embedded import EmbeddedBroker

on_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="runs under settings.stack")


def timeouts() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in sessions.TIMEOUTS))
        return [*cursor.fetchone()]


@pytest.fixture(autouse=True)
def _clean(transactional_db: None) -> Iterator[None]:
    yield
    connection.close()


@on_postgresql
def test_a_session_is_bounded_around_a_batch_and_what_the_site_set_is_restored() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '7min'")

    with sessions.bounded():
        inside = timeouts()

    assert inside == ["10s", "30s", "1min"]
    assert timeouts() == ["0", "7min", "0"]


@on_postgresql
def test_a_failure_inside_restores_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sessions.TIMEOUTS, "statement_timeout", 10)
    with pytest.raises(OperationalError), sessions.bounded(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(5)")

    assert timeouts() == ["0", "0", "0"]


@on_postgresql
def test_a_lock_that_another_session_holds_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sessions.TIMEOUTS, "lock_timeout", 100)
    Statistic.objects.create(label="held", day=datetime.now(UTC))
    other = connections.create_connection(DEFAULT_DB_ALIAS)
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT * FROM footfall_storage_statistic FOR UPDATE")
        with pytest.raises(OperationalError, match="lock timeout"), sessions.bounded():
            Statistic.objects.update(counter=1)
    finally:
        other.close()


@on_postgresql
def test_a_connection_that_the_server_ended_is_replaced() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    other = connections.create_connection(DEFAULT_DB_ALIAS)
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()

    with pytest.raises(OperationalError), sessions.bounded():
        Statistic.objects.exists()
    sessions.drop_broken()

    assert not Statistic.objects.exists()


@on_postgresql
def test_workers_connections_have_keepalives_and_the_sites_own_options_stand() -> None:
    options = connections.settings[DEFAULT_DB_ALIAS]["OPTIONS"]
    try:
        connections.settings[DEFAULT_DB_ALIAS]["OPTIONS"] = {"keepalives_idle": 77}
        sessions.keep_connections_alive()
        connection.close()
        connection.ensure_connection()
        parameters = connection.connection.info.get_parameters()
    finally:
        connections.settings[DEFAULT_DB_ALIAS]["OPTIONS"] = options

    assert (parameters["keepalives"], parameters["keepalives_idle"], parameters["keepalives_count"]) == ("1", "77", "2")


def test_the_probe_passes_when_the_tables_are_there_and_leaves_no_connection() -> None:
    sessions.probe()

    assert connection.vendor == "sqlite" or connection.connection is None


def test_the_probe_says_when_the_tables_are_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a deploy whose workers start before its migrations."""
    monkeypatch.setattr("footfall.storage.models.AppliedMessage._meta.db_table", "not_yet")

    with pytest.raises(ConnectionClosed, match="does not answer"):
        sessions.probe()


def test_the_databases_asked_are_those_that_hold_our_tables(settings: Any) -> None:
    class Router:
        def db_for_write(self, model: Any, **hints: Any) -> str | None:
            return {"newsroom": "counters", "footfall_storage": "books"}.get(model._meta.app_label)

    settings.DATABASE_ROUTERS = [Router()]

    assert sessions.aliases() == ["books", "counters"]


def test_probing_inside_a_transaction_does_not_end_it() -> None:
    with transaction.atomic():
        sessions.probe()
        assert connection.in_atomic_block
        Statistic.objects.create(label="kept", day=datetime.now(UTC))

    assert Statistic.objects.exists()


# -- Beside another broker


@pytest.fixture
def beside(spool_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Process]]:
    """`dramatiq footfall.workers.app` for a site whose own Dramatiq broker is another one."""
    base = os.environ["DJANGO_SETTINGS_MODULE"]
    (tmp_path / "othersite.py").write_text(
        f"from {base} import *\nDRAMATIQ_BROKER = {{'BROKER': 'dramatiq.brokers.stub.StubBroker', 'MIDDLEWARE': []}}\n"
    )
    name = str(connection.settings_dict["NAME"])
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "othersite",
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).resolve().parents[1]}",
        "FOOTFALL_SPOOL_DIR": str(spool_directory),
        "FOOTFALL_SCRATCH": str(tmp_path),
        "FOOTFALL_SQLITE": name,
        "PGDATABASE": name,
    }
    started: list[Process] = []

    def start(*options: str) -> Process:
        command = [sys.executable, "-m", "dramatiq", "footfall.workers.app", "--path", str(tmp_path), *options]
        started.append(Process(command, tmp_path / "beside.log", environment, tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.end()


def broker_of_settings() -> dramatiq.Broker:
    if django_settings.FOOTFALL["TRANSPORT"] == "rabbitmq":
        return FootfallBroker(middleware=[])
    return EmbeddedBroker(middleware=[])


def test_our_workers_run_beside_a_site_with_another_broker(beside: Callable[..., Process]) -> None:
    process = beside("--processes", "1", "--threads", "1")
    eventually(lambda: "ready for action" in process.output() or not process.is_running())
    event = {"kind": "increment", "id": str(new_id()), "at": datetime.now(UTC).isoformat(), "label": {"label": "x"}}

    broker_of_settings().enqueue(dramatiq.Message(INCREMENTS, INCREMENTS, ([event],), {}, {}))

    eventually(Statistic.objects.exists)
    process.terminate()
    assert process.wait(30) == 0, process.output()
