"""Settling a batch: what is tried again, what goes back, and that nothing is ever acknowledged by accident."""

import itertools
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event, Timer
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, ProgrammingError, connection

from footfall.producers.messages import Increment, LabelKey, encode_event, encode_unit, new_id
from footfall.producers.queues import QUARANTINE, VIEWS
from footfall.producers.spool import current_spool
from footfall.storage.models import Attempt, DeadLetter
from footfall.workers import attempts, settling
from footfall.workers.consumer import QueueBatch
from footfall.workers.embedded import SpoolBatch
from footfall.workers.failures import Fault, Transient, not_migrated, timed_out
from footfall.workers.settling import backoff, persevere, settle, settle_pieces, suspect_key
from footfall.workers.spoolreader import SpoolReader


class Connection:
    """The consumer that a batch came from."""

    def __init__(self, *, alive: bool = True) -> None:
        self.alive = alive


def a_batch(queue: str = VIEWS, *bodies: bytes, alive: bool = True) -> QueueBatch:
    return QueueBatch(queue, Connection(alive=alive), [*enumerate(bodies, 1)])  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "PATIENCE", 0.3)
    monkeypatch.setattr(settling, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(settling, "FAULT_PAUSE", 0.05)
    monkeypatch.setattr(settling, "SURPRISE_PAUSE", 0.05)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Let the pipeline end as told, one outcome per call and then the real thing; returns its calls."""
    real = settling.pipeline.apply

    def script(*outcomes: BaseException) -> list[Any]:
        calls: list[Any] = []
        left = iter(outcomes)

        def apply(deliveries: Any, **kwargs: Any) -> Any:
            calls.append(deliveries)
            for outcome in left:
                raise outcome
            return real(deliveries, **kwargs)

        monkeypatch.setattr(settling.pipeline, "apply", apply)
        return calls

    return script


@pytest.mark.django_db
def test_a_batch_of_a_dead_connection_is_not_started(pipeline: Callable[..., list[Any]]) -> None:
    calls = pipeline()

    assert not settle(a_batch(VIEWS, b"{}", alive=False), Event())
    assert calls == []


@pytest.mark.parametrize(
    "error", [Transient("starting up"), OperationalError("gone away")], ids=["transient", "from the database"]
)
def test_what_may_go_through_later_is_tried_again(error: Exception) -> None:
    failures = iter([error] * 3)
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        for failure in failures:
            raise failure

    assert persevere(work, a_batch(), Event())
    assert len(tries) == 4


def test_an_outage_that_lasts_ends_in_handing_back() -> None:
    def work() -> None:
        raise Transient("away")

    started = time.monotonic()

    assert not persevere(work, a_batch(), Event())
    assert time.monotonic() - started < 1


def test_a_batch_that_is_on_its_way_to_somebody_else_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "PATIENCE", 30.0)
    batch, tries = a_batch(), []

    def work() -> None:
        tries.append(1)
        batch.origin.alive = False  # type: ignore[misc]
        raise Transient("away")

    assert not persevere(work, batch, Event())
    assert len(tries) == 1


@pytest.mark.parametrize("error", [Transient("away"), Fault("all the same"), RuntimeError("a bug")], ids=repr)
def test_a_shutdown_ends_every_wait(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATIENCE", "FIRST_PAUSE", "FAULT_PAUSE", "SURPRISE_PAUSE"):
        monkeypatch.setattr(settling, name, 30.0)

    def work() -> None:
        raise error

    stop = Event()
    Timer(0.1, stop.set).start()
    started = time.monotonic()

    assert not persevere(work, a_batch(), stop)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("error", "level"),
    [
        pytest.param(Fault("half of the batch"), logging.CRITICAL, id="fault"),
        pytest.param(RuntimeError("a bug"), logging.ERROR, id="unexpected"),
        pytest.param(ProgrammingError("syntax"), logging.ERROR, id="wrong SQL"),
        pytest.param(IntegrityError("unique"), logging.ERROR, id="refused data that was not caught"),
    ],
)
def test_what_will_not_get_better_goes_back_at_once_and_is_shouted(
    error: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        raise error

    assert not persevere(work, a_batch(), Event())
    assert len(tries) == 1
    assert caplog.records[-1].levelno == level


def test_pauses_grow_spread_out_and_stay_below_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "FIRST_PAUSE", 0.1)

    pauses = list(itertools.islice(backoff(), 20))

    assert 0.05 <= pauses[0] <= 0.1
    assert all(2.5 <= pause <= 5.0 for pause in pauses[10:])
    assert len(set(pauses[10:])) > 1


# -- Suspects


@pytest.fixture
def suspect() -> QueueBatch:
    return a_batch(QUARANTINE, b"not json")


def started_by_others(count: int) -> None:
    now = "2026-01-01T00:00:00Z"
    Attempt.objects.create(key=suspect_key(b"not json"), owner="gone", count=count, started_at=now)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kills", "reason"), [(0, "not_json"), (1, "not_json"), (2, "killed_worker"), (7, "killed_worker")]
)
def test_a_suspect_runs_until_it_has_taken_two_workers_down(suspect: QueueBatch, kills: int, reason: str) -> None:
    if kills:
        started_by_others(kills)

    assert settle(suspect, Event())

    assert DeadLetter.objects.get().reason == reason
    assert not Attempt.objects.exists()


@pytest.mark.django_db
def test_a_suspects_start_is_written_down_before_it_runs(suspect: QueueBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        settling.pipeline, "apply", lambda *_, **__: seen.extend(Attempt.objects.values_list("owner", "count"))
    )
    started_by_others(1)

    settle(suspect, Event())

    assert seen == [(attempts.me(), 2)]


@pytest.mark.django_db
def test_an_outage_is_no_kill(suspect: QueueBatch, pipeline: Callable[..., list[Any]]) -> None:
    calls = pipeline(*[Transient("away")] * 5)

    assert settle(suspect, Event())

    assert len(calls) == 6
    assert DeadLetter.objects.get().reason == "not_json"


@pytest.mark.django_db
def test_handing_a_suspect_back_takes_its_start_back(suspect: QueueBatch, pipeline: Callable[..., list[Any]]) -> None:
    pipeline(*[Transient("away")] * 500)
    started_by_others(1)
    stop = Event()
    stop.set()

    assert not settle(suspect, stop)

    assert [(row.owner, row.count) for row in Attempt.objects.all()] == [(attempts.NOBODY, 1)]


@pytest.mark.django_db
def test_a_suspect_that_never_finishes_does_not_stop_the_quarantine(
    suspect: QueueBatch, pipeline: Callable[..., list[Any]]
) -> None:
    pipeline(RuntimeError("a bug"), RuntimeError("a bug"))

    assert [settle(suspect, Event()) for _ in range(3)] == [False, False, True]

    assert DeadLetter.objects.get().reason == "killed_worker"


# -- Suspects that never come to an end in time


class ServerError(Exception):
    """What the database's driver raises."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def transient(sqlstate: str) -> Transient:
    """As the pipeline raises it: caused by Django's error, which was caused by the driver's."""
    django, error = OperationalError(sqlstate), Transient(sqlstate)
    django.__cause__, error.__cause__ = ServerError(sqlstate), django
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(transient("57014"), True, id="statement timeout"),
        pytest.param(transient("25P03"), True, id="idle in transaction"),
        pytest.param(transient("57014").__cause__, True, id="not wrapped"),
        pytest.param(transient("55P03"), False, id="lock timeout"),
        pytest.param(transient("57P01"), False, id="server shuts down"),
        pytest.param(transient("25006"), False, id="read only"),
        pytest.param(Transient("away"), False, id="no cause"),
        pytest.param(RuntimeError("a bug"), False, id="no error of the database"),
    ],
)
def test_what_took_too_long_is_told_from_an_outage(error: BaseException, expected: bool) -> None:
    assert timed_out(error) is expected


@pytest.mark.django_db
@pytest.mark.parametrize("sqlstate", ["57014", "25P03"])
def test_a_suspect_that_always_times_out_is_buried(
    suspect: QueueBatch, pipeline: Callable[..., list[Any]], sqlstate: str
) -> None:
    calls = pipeline(*[transient(sqlstate)] * 500)

    assert settle(suspect, Event())

    assert len(calls) == settling.SUSPECT_LIMIT
    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.error) == ("killed_worker", "2 workers ended, or gave up, while they applied it.")
    assert not Attempt.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 FROM newsroom_nosuch", True),
        ("SELECT nosuch FROM newsroom_article", True),
        ("INSERT INTO newsroom_article (nosuch) VALUES (1)", True),
        ("SELECT 1 FROM", False),
    ],
    ids=["table", "column", "column to write", "another error"],
)
def test_a_table_or_column_that_is_missing_is_known(sql: str, expected: bool) -> None:
    """On either database: whoever reads the log is told to migrate."""
    with pytest.raises(DatabaseError) as raised, connection.cursor() as cursor:
        cursor.execute(sql)
    error = Transient(str(raised.value))
    error.__cause__ = raised.value

    assert not_migrated(error) is expected


@pytest.mark.django_db
def test_a_start_that_timed_out_counts_on_when_the_suspect_goes_back(
    suspect: QueueBatch, pipeline: Callable[..., list[Any]]
) -> None:
    calls = pipeline(*[transient("57014")] * 500)
    stop = Event()
    stop.set()

    assert [settle(suspect, stop) for _ in range(3)] == [False, False, True]

    assert len(calls) == settling.SUSPECT_LIMIT


@pytest.mark.django_db
@pytest.mark.parametrize("sqlstate", ["55P03", "57P01", "40P01", "25006"])
def test_any_other_transient_error_of_a_suspect_is_never_counted(
    suspect: QueueBatch, pipeline: Callable[..., list[Any]], sqlstate: str
) -> None:
    pipeline(*[transient(sqlstate)] * 5)

    assert settle(suspect, Event())

    assert DeadLetter.objects.get().reason == "not_json"


class Reader:
    """The consumer of a spool that pieces came from."""

    alive = True


@pytest.mark.django_db
@pytest.mark.parametrize(("sqlstate", "sizes"), [("57014", [32, 2, 1, 1]), ("57P01", [32, 32, 32, 32])])
def test_a_piece_that_times_out_is_taken_apart_like_one_that_kills(
    pipeline: Callable[..., list[Any]], settings: Any, sqlstate: str, sizes: list[int]
) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "BATCH_MESSAGES": 32}
    for number in range(40):
        hit = encode_event(Increment(id=new_id(), at=datetime.now(UTC), label=LabelKey(f"label-{number}")))
        assert current_spool().append(encode_unit(new_id(), [("increment", hit)]))
    calls = pipeline(*[transient(sqlstate)] * 4)
    stop = Event()
    stop.set()

    for _ in range(5):
        reader = SpoolReader(current_spool().directory)
        reader.load()
        last = settle_pieces(SpoolBatch(Reader(), reader.next_pieces()), stop)  # type: ignore[arg-type]

    assert last
    assert [len(deliveries) for deliveries in calls[:4]] == sizes
    errors = [*DeadLetter.objects.values_list("error", flat=True)]
    assert errors == ["4 workers ended, or gave up, while they applied it or its neighbours."] * (sqlstate == "57014")
