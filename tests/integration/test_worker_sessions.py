"""Sessions of workers on PostgreSQL: bounded in time in a batch's transaction, and only there."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import dramatiq
import pytest
from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections, transaction
from dramatiq.errors import ConnectionClosed
from processes import Process, eventually

from footfall.producers.messages import new_id
from footfall.producers.queues import INCREMENTS, QUARANTINE
from footfall.storage.models import AppliedMessage, Attempt, DeadLetter, Statistic
from footfall.workers import ledger, pipeline, sessions
from footfall.workers.broker import FootfallBroker
from footfall.workers.consumer import QueueBatch
from footfall.workers.embedded import EmbeddedBroker
from footfall.workers.failures import Transient, timed_out
from footfall.workers.settling import SUSPECT_LIMIT, settle

on_postgresql = pytest.mark.usefixtures("stack_settings")

IDLE = "idle_in_transaction_session_timeout"


class Origin:
    """The consumer that a batch came from."""

    alive = True


def a_hit() -> pipeline.Delivery:
    event = {"kind": "increment", "id": str(new_id()), "at": datetime.now(UTC).isoformat(), "label": {"label": "x"}}
    message = dramatiq.Message(INCREMENTS, INCREMENTS, ([event],), {}, {})
    return pipeline.Delivery(message.encode(), INCREMENTS)


def timeouts() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in sessions.TIMEOUTS))
        return [*cursor.fetchone()]


@pytest.fixture(autouse=True)
def _clean(transactional_db: None) -> Iterator[None]:
    yield
    connection.close()


@on_postgresql
def test_a_transaction_is_bounded_and_what_the_site_set_stands_again_right_after_it() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '7min'")

    with transaction.atomic():
        sessions.bound(DEFAULT_DB_ALIAS)
        inside = timeouts()

    assert inside == ["10s", "30s", "1min"]
    assert timeouts() == ["0", "7min", "0"]


@on_postgresql
def test_after_a_failure_nothing_is_left_of_them_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sessions.TIMEOUTS, "statement_timeout", 10)
    with pytest.raises(OperationalError), transaction.atomic(), connection.cursor() as cursor:
        sessions.bound(DEFAULT_DB_ALIAS)
        cursor.execute("SELECT pg_sleep(5)")

    assert timeouts() == ["0", "0", "0"]


@on_postgresql
def test_the_pipeline_is_bounded_from_its_first_statement_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    enter = ledger.enter
    monkeypatch.setattr(ledger, "enter", lambda *given: seen.append(timeouts()) or enter(*given))

    pipeline.apply([a_hit()])

    assert seen == [["10s", "30s", "1min"]]
    assert timeouts() == ["0", "0", "0"]


@on_postgresql
def test_a_row_that_another_session_holds_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sessions.TIMEOUTS, "lock_timeout", 100)
    pipeline.apply([a_hit()])
    other = connections.create_connection(DEFAULT_DB_ALIAS)
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT * FROM footfall_storage_statistic FOR UPDATE")
        with pytest.raises(Transient, match="lock timeout") as caught:
            pipeline.apply([a_hit()])
    finally:
        other.close()

    assert not timed_out(caught.value)


@on_postgresql
@pytest.mark.parametrize(
    ("setting", "statement"),
    [("statement_timeout", "SELECT pg_sleep(5)"), (IDLE, "SELECT 1")],
    ids=["too long", "idle"],
)
def test_a_suspect_that_never_comes_to_an_end_in_time_is_buried(
    monkeypatch: pytest.MonkeyPatch, setting: str, statement: str
) -> None:
    monkeypatch.setitem(sessions.TIMEOUTS, setting, 100)
    suspect, starts = QueueBatch(QUARANTINE, Origin(), [(1, a_hit().body)]), []  # type: ignore[arg-type]

    def slow(*_: Any, **__: Any) -> None:
        starts.append(1)
        time.sleep(0.5 if setting == IDLE else 0)
        with connection.cursor() as cursor:
            cursor.execute(statement)

    monkeypatch.setattr(pipeline, "settle", slow)

    assert settle(suspect, Event())

    assert len(starts) == SUSPECT_LIMIT
    letter = DeadLetter.objects.get()
    assert letter.error == "2 workers ended, or gave up, while they applied it."
    assert not Attempt.objects.exists()


@on_postgresql
def test_a_connection_that_the_server_ended_is_replaced() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    other = connections.create_connection(DEFAULT_DB_ALIAS)
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()

    with pytest.raises(OperationalError):
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


def test_the_probe_passes_when_the_tables_are_there_and_leaves_no_row_and_no_connection() -> None:
    sessions.probe()

    assert connection.vendor == "sqlite" or connection.connection is None
    assert not AppliedMessage.objects.exists()


@pytest.fixture
def read_only() -> Iterator[None]:
    """Every new session may only read, as on a hot standby."""
    name = connection.ops.quote_name(str(connection.settings_dict["NAME"]))
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    connection.close()
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    connection.close()


@on_postgresql
@pytest.mark.usefixtures("read_only")
def test_the_probe_refuses_a_database_that_only_reads() -> None:
    """Else each batch would fail, go back, and drift into quarantine."""
    assert not Statistic.objects.exists()

    with pytest.raises(ConnectionClosed, match=r"takes no writes.* read-only transaction"):
        sessions.probe()


@on_postgresql
def test_the_probe_refuses_a_role_that_may_only_read() -> None:
    table = AppliedMessage._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"REVOKE INSERT ON {table} FROM CURRENT_USER")
    try:
        with pytest.raises(ConnectionClosed, match=r"takes no writes.* permission denied"):
            sessions.probe()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"GRANT INSERT ON {table} TO CURRENT_USER")


def test_a_database_that_has_no_ledger_is_only_asked(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Router:
        def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
            return app_label != "footfall_storage"

    settings.DATABASE_ROUTERS = [Router()]
    monkeypatch.setattr("footfall.storage.models.AppliedMessage._meta.db_table", "elsewhere")

    sessions.probe()


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
