"""A scope is one unit of work: one write at its end, nothing of what was rolled back, and nothing lost."""

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from django.test import RequestFactory

from footfall.producers import publish_action, publish_labels, scope
from footfall.producers.messages import Action, Event, Increment, decode_unit
from footfall.producers.scoping import MAX_BYTES, MAX_EVENTS, current_scope
from footfall.producers.tail import journals, read_slice

Units = Callable[[], list[list[str]]]
in_database = pytest.mark.django_db(transaction=True)


def spool_events(directory: Path) -> list[list[Event]]:
    """The events of each unit in the spool: one inner list is one line, and one write."""
    slices = [read_slice(path, 0, max_lines=10**6, max_bytes=10**8) for path in journals(directory)]
    units = [decode_unit(line) for piece in slices if piece for _, line in piece.lines]
    return [
        [msgspec.json.decode(raw, type=Event) for _, raws in unit.by_kind() for raw in raws] for unit in units if unit
    ]


@pytest.fixture
def units(spool_directory: Path) -> Units:
    """The labels in each unit of the spool, in the order in which the units were written."""

    def read() -> list[list[str]]:
        return [
            [e.label.label for e in events if isinstance(e, Increment) and e.label]
            for events in spool_events(spool_directory)
        ]

    return read


def hit(*labels: str) -> None:
    publish_labels("|".join(labels))


def test_a_scope_is_one_write(units: Units) -> None:
    """Nothing before its end, all of it then."""
    with scope():
        hit("a")
        hit("b", "c")
        assert units() == []

    assert units() == [["a", "b", "c"]]


def test_an_empty_scope_writes_nothing(units: Units, spool_directory: Path) -> None:
    """Not even a directory."""
    with scope():
        pass

    assert units() == [] and not spool_directory.exists()


def test_outside_of_any_scope_each_publish_is_a_unit(units: Units) -> None:
    """Also each label of one query."""
    hit("a")
    hit("b")

    assert units() == [["a"], ["b"]]


def test_a_scope_knows_the_request_that_it_answers(units: Units) -> None:
    """Also as a decorator; a nested scope joins one that knows another, or none."""
    request = RequestFactory().get("/")

    @scope(request=request)
    def answer() -> Any:
        with scope(request=RequestFactory().get("/")):
            return current_scope()

    @scope(request=request)
    async def answer_later() -> Any:
        return current_scope()

    assert answer().request is request
    assert asyncio.run(answer_later()).request is request
    with scope() as outer, scope(request=request):
        assert outer.request is None


def test_a_nested_scope_joins_the_outer_one(units: Units) -> None:
    """However deep, also after an exception in the inner one."""
    with scope() as outer:
        hit("a")
        with scope("another user agent") as inner:
            hit("b")
            assert inner is outer is current_scope()
        with pytest.raises(RuntimeError), scope():
            hit("c")
            raise RuntimeError
        assert units() == []
        hit("d")

    assert units() == [["a", "b", "c", "d"]]
    assert current_scope() is None


def test_scopes_after_each_other_are_units_of_their_own(units: Units) -> None:
    """A scope object may be used again, once it has ended."""
    again = scope()
    for label in ("a", "b"):
        with again:
            hit(label)

    assert units() == [["a"], ["b"]]


def test_an_exception_still_flushes(units: Units) -> None:
    """What was said before it did happen."""
    with pytest.raises(RuntimeError), scope():
        hit("a")
        raise RuntimeError

    assert units() == [["a"]]
    assert current_scope() is None


def test_a_scope_flushes_itself_at_1000_events(units: Units) -> None:
    """A long command neither holds everything in memory nor writes endless lines."""
    with scope():
        for number in range(MAX_EVENTS * 2 + 500):
            hit(str(number))
        assert [len(unit) for unit in units()] == [MAX_EVENTS, MAX_EVENTS]

    assert [label for unit in units() for label in unit] == [str(number) for number in range(MAX_EVENTS * 2 + 500)]


def test_a_scope_flushes_itself_at_a_megabyte(spool_directory: Path) -> None:
    """However few events that is."""
    with scope():
        for _ in range(20):
            publish_action(None, "wrote", text="x" * 60_000)

    sizes = [len(events) for events in spool_events(spool_directory)]
    assert sizes == [MAX_BYTES // 60_000 + 1, 20 - MAX_BYTES // 60_000 - 1]


def test_the_actions_of_a_scope_carry_its_unit(spool_directory: Path) -> None:
    """So that they can be joined; after a flush it is another, and outside of a scope there is none."""
    with scope() as outer:
        first = outer.id
        for _ in range(MAX_EVENTS + 1):
            publish_action(None, "read")
    publish_action(None, "read")

    found = [{e.unit for e in events if isinstance(e, Action)} for events in spool_events(spool_directory)]
    assert [len(units) for units in found] == [1, 1, 1]
    assert found[0] == {first}
    assert found[1] not in ({first}, {None})
    assert found[2] == {None}


# -- Transactions


@in_database
def test_in_a_transaction_events_wait_for_the_commit(units: Units) -> None:
    """Then they go, each a unit of its own outside of a scope."""
    with transaction.atomic():
        hit("a", "b")
        assert units() == []

    assert units() == [["a"], ["b"]]


@in_database
def test_what_is_rolled_back_did_not_happen(units: Units) -> None:
    """What happened outside of the transaction did."""
    with scope():
        hit("before")
        with pytest.raises(RuntimeError), transaction.atomic():
            hit("ghost")
            raise RuntimeError
        hit("after")

    assert units() == [["before", "after"]]


@in_database
def test_a_savepoint_rolls_back_only_what_was_said_in_it(units: Units) -> None:
    """The rest commits."""
    with scope(), transaction.atomic():
        hit("a")
        with pytest.raises(RuntimeError), transaction.atomic():
            hit("ghost")
            raise RuntimeError
        with transaction.atomic():
            hit("b")

    assert units() == [["a", "b"]]


@in_database
def test_a_transaction_inside_a_scope_joins_its_one_write(units: Units) -> None:
    """Committed or not transactional: one unit."""
    with scope():
        hit("a")
        with transaction.atomic():
            hit("b")
        with transaction.atomic():
            hit("c")
        assert units() == []

    assert units() == [["a", "b", "c"]]


@in_database
def test_a_scope_inside_a_transaction_is_one_write_at_its_commit(units: Units) -> None:
    """Nothing at the scope's end."""
    with transaction.atomic():
        with scope():
            hit("a")
            hit("b")
        assert units() == []

    assert units() == [["a", "b"]]


@in_database
def test_two_scopes_inside_a_transaction_are_two_units(units: Units) -> None:
    """The commit doesn't join them."""
    with transaction.atomic():
        for label in ("a", "b"):
            with scope():
                hit(label, label)

    assert units() == [["a", "a"], ["b", "b"]]


@in_database
def test_a_scope_inside_a_transaction_that_rolls_back_leaves_nothing(units: Units) -> None:
    """Neither at once nor with a later commit."""
    with pytest.raises(RuntimeError), transaction.atomic(), scope():
        hit("ghost")
        raise RuntimeError
    with transaction.atomic(), scope():
        hit("a")

    assert units() == [["a"]]


@in_database
def test_an_exception_flushes_what_was_committed_before(units: Units) -> None:
    """And only that."""
    with pytest.raises(RuntimeError), scope():
        with transaction.atomic():
            hit("a")
        with transaction.atomic():
            hit("ghost")
            raise RuntimeError

    assert units() == [["a"]]


@in_database
def test_a_thousand_events_of_a_transaction_wait_for_it_too(units: Units) -> None:
    """A scope's own flush takes nothing that isn't committed."""
    with scope():
        with transaction.atomic():
            for number in range(MAX_EVENTS + 10):
                hit(str(number))
            assert units() == []
        assert [len(unit) for unit in units()] == [MAX_EVENTS]

    assert [len(unit) for unit in units()] == [MAX_EVENTS, 10]


@in_database
def test_the_transaction_is_that_of_the_named_database(units: Units, spool_directory: Path) -> None:
    """`using` says which commit an action waits for."""
    with transaction.atomic():
        publish_action(None, "read", using="default")
        assert spool_events(spool_directory) == []

    assert len(spool_events(spool_directory)) == 1


def test_outside_of_a_transaction_no_connection_is_opened(units: Units) -> None:
    """Django's own `on_commit` would open one, only to call back at once."""
    connections.close_all()

    hit("a")
    with scope():
        hit("b")

    assert connection.connection is None
    assert units() == [["a"], ["b"]]


@pytest.mark.django_db
def test_in_a_testcase_nothing_is_ever_committed(units: Units, django_capture_on_commit_callbacks: Any) -> None:
    """`captureOnCommitCallbacks(execute=True)` commits it."""
    with scope():
        hit("a")
    assert units() == []

    with django_capture_on_commit_callbacks(execute=True), scope():
        hit("b", "c")
    assert units() == [["b", "c"]]


# -- Functions, tasks and threads


def test_a_function_can_be_a_scope(units: Units) -> None:
    """A new one at each call; its name and what it returns stay."""

    @scope()
    def work(label: str) -> str:
        """Do it."""
        hit(label)
        hit(label)
        return label

    assert work("a") == "a" and work("b") == "b"
    assert (work.__name__, work.__doc__) == ("work", "Do it.")
    assert units() == [["a", "a"], ["b", "b"]]


def test_a_coroutine_function_can_be_a_scope(units: Units) -> None:
    """It ends with the coroutine, not with the call."""

    @scope("Firefox")
    async def work(label: str) -> str | None:
        hit(label)
        await asyncio.sleep(0)
        hit(label)
        unit = current_scope()
        return unit.user_agent if unit else None

    assert asyncio.iscoroutinefunction(work)
    assert asyncio.run(work("a")) == "Firefox"
    assert units() == [["a", "a"]]


def test_a_recursive_function_is_one_scope(units: Units) -> None:
    """The inner calls join the outermost."""

    @scope()
    def count_down(number: int) -> None:
        hit(str(number))
        if number:
            count_down(number - 1)

    count_down(3)

    assert units() == [["3", "2", "1", "0"]]


def test_tasks_side_by_side_are_units_of_their_own(units: Units) -> None:
    """What one request publishes never gets into another's unit."""

    @scope()
    async def request(name: str) -> None:
        for number in range(5):
            hit(f"{name}{number}")
            await asyncio.sleep(0)

    async def serve() -> None:
        await asyncio.gather(*(request(name) for name in "abc"))

    asyncio.run(serve())

    assert sorted(units()) == [[f"{name}{number}" for number in range(5)] for name in "abc"]


def test_tasks_and_threads_of_a_scope_share_it(units: Units) -> None:
    """Those that asyncio starts inherit it."""

    async def work() -> None:
        with scope():
            await asyncio.gather(*(asyncio.to_thread(hit, label) for label in "abc"))
            await sync_to_async(hit)("d")

    asyncio.run(work())

    assert [sorted(unit) for unit in units()] == [["a", "b", "c", "d"]]


def test_a_new_thread_is_outside_of_the_scope(units: Units) -> None:
    """What it publishes is a unit of its own, at once."""
    with scope():
        hit("a")
        thread = threading.Thread(target=hit, args=["b"])
        thread.start()
        thread.join()
        assert units() == [["b"]]

    assert units() == [["b"], ["a"]]


def test_what_outlives_its_scope_is_written_at_once(units: Units) -> None:
    """A task that a view left behind publishes after the response."""
    with scope():
        hit("a")
        left_behind = contextvars.copy_context()

    left_behind.run(hit, "b")

    assert units() == [["a"], ["b"]]


@in_database
def test_what_outlives_its_scope_is_written_at_its_commit(units: Units) -> None:
    """Also where it works in a transaction."""
    with scope():
        hit("a")
        left_behind = contextvars.copy_context()

    @transaction.atomic
    def work() -> None:
        hit("b")
        hit("c")
        assert units() == [["a"]]

    left_behind.run(work)

    assert sorted(label for unit in units() for label in unit) == ["a", "b", "c"]


@in_database
def test_a_transaction_of_another_thread_that_outlives_the_scope_is_written_at_its_commit(units: Units) -> None:
    """The scope's thread can't see that transaction, and nothing of it may be lost."""
    published, closed = threading.Event(), threading.Event()

    def work() -> None:
        try:
            with transaction.atomic():
                hit("b")
                published.set()
                assert closed.wait(10)
        finally:
            connections.close_all()

    with scope():
        hit("a")
        thread = threading.Thread(target=contextvars.copy_context().run, args=[work])
        thread.start()
        assert published.wait(10)
    closed.set()
    thread.join()

    assert sorted(label for unit in units() for label in unit) == ["a", "b"]


@pytest.fixture
def _switching_threads() -> Iterator[None]:
    """Let threads interrupt each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching_threads")
def test_threads_that_share_a_scope_lose_nothing(units: Units) -> None:
    """While one of them makes it flush, others go on publishing."""

    def work(name: int) -> None:
        for number in range(600):
            hit(f"{name}-{number}")

    with scope():
        contexts = [contextvars.copy_context() for _ in range(6)]
        threads = [threading.Thread(target=context.run, args=[work, name]) for name, context in enumerate(contexts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    written = [label for unit in units() for label in unit]
    assert len(written) == len(set(written)) == 3600


# -- Handing over


def test_what_can_t_be_handed_over_is_logged_and_never_raised(
    spool_directory: Path, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    """A view never fails by its statistics."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRANSPORT": "immediate", "APPLY": "no.such.module"}

    with scope():
        hit("a")

    assert "is lost" in caplog.text


def test_the_immediate_transport_is_given_each_unit(settings: Any) -> None:
    """By an import string, as one spool line."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRANSPORT": "immediate", "APPLY": f"{__name__}.take"}
    taken.clear()

    with scope():
        hit("a", "b")

    (unit,) = [decode_unit(line) for line in taken]
    assert unit is not None and len(unit.increments) == 2


taken: list[bytes] = []


def take(line: bytes) -> None:
    """Stand where the pipeline stands."""
    taken.append(line)
