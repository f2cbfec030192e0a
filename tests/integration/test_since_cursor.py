"""Clients that poll a PostgreSQL where many write at once: with a cursor they miss nothing, with times they do."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import Max
from django.test.utils import CaptureQueriesContext
from mirrors import check_copy, writing
from newsroom.models import Magazine, Photo, Publisher

from footfall.storage.changesnapshots import present
from footfall.storage.cursors import cursor_of
from footfall.storage.references import Tombstone, current_cursor

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stack_settings")]


class Held:
    """A transaction in a thread of its own that has written, and is not committed before it is told to."""

    def __init__(self, write: Callable[[], object]) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._atomic = transaction.atomic()
        self._do(self._atomic.__enter__)
        self._do(write)

    def commit(self) -> None:
        self._do(lambda: self._atomic.__exit__(None, None, None))
        self._do(connections.close_all)
        self._thread.shutdown()

    def _do(self, act: Callable[[], object]) -> None:
        self._thread.submit(act).result(60)


def named(rows: list[Any]) -> list[str]:
    return [row.name for row in rows]


def publisher(name: str) -> Callable[[], Publisher]:
    return lambda: Publisher.objects.create(name=name)


class ByTime:
    """A client as clients were: it asks for what came after the latest time that it has seen."""

    def __init__(self) -> None:
        self.latest: Any = 0
        self.told: Counter[str] = Counter()

    def poll(self) -> None:
        rows = list(Publisher.handleref.since(timestamp=self.latest))
        self.told.update(named(rows))
        self.latest = max([row.updated for row in rows], default=self.latest)


class ByCursor:
    def __init__(self) -> None:
        self.cursor = ""
        self.told: Counter[str] = Counter()

    def poll(self) -> None:
        rows, self.cursor = Publisher.handleref.since(cursor=self.cursor)
        self.told.update(named(rows))


# -- Out of order


def test_hr_40_what_is_committed_late_is_told_once_by_a_cursor_and_never_by_times() -> None:
    """The transaction that began first, and has the earlier time and the earlier number, commits last."""
    by_cursor, by_time = ByCursor(), ByTime()
    early = Held(publisher("began early"))
    late = Held(publisher("began late"))
    late.commit()
    by_cursor.poll()
    by_time.poll()
    assert by_cursor.told == by_time.told == {"began late": 1}

    early.commit()
    for _ in range(3):
        by_cursor.poll()
        by_time.poll()
    times = dict(Publisher.objects.values_list("name", "updated"))
    stamps = dict(Publisher.objects.values_list("name", "change_stamp"))
    assert times["began early"] < times["began late"] and stamps["began early"] < stamps["began late"]
    assert by_cursor.told == {"began early": 1, "began late": 1}
    assert by_time.told == {"began late": 1}, "this is what a time misses, for ever"


def test_hr_40_transactions_that_commit_in_any_order_are_all_told_once_and_times_miss_some() -> None:
    by_cursor, by_time = ByCursor(), ByTime()
    chance = random.Random(5)
    for round_ in range(5):
        held = [Held(publisher(f"{round_}/{number}")) for number in range(6)]
        chance.shuffle(held)
        for one in held:
            one.commit()
            by_cursor.poll()
            by_time.poll()
    everyone = set(Publisher.objects.values_list("name", flat=True))
    assert len(everyone) == 30
    assert by_cursor.told == Counter(everyone)
    assert set(by_time.told) < everyone


def test_a_row_that_two_transactions_changed_is_told_after_each_though_its_stamp_goes_back() -> None:
    row = Publisher.objects.create(name="a")
    other = Publisher.objects.create(name="other")
    cursor = current_cursor()
    early = Held(lambda: Publisher.objects.filter(pk=other.pk).update(note="so that it has its number"))
    row.save()
    before = row.change_stamp
    told = Publisher.handleref.since(cursor=cursor)
    assert told.rows == [row]
    early._do(lambda: Publisher.objects.filter(pk=row.pk).update(note="by the earlier one"))
    early.commit()
    row.refresh_from_db()
    assert row.change_stamp < before
    assert {one.pk for one in Publisher.handleref.since(cursor=told.cursor).rows} == {row.pk, other.pk}


def test_what_is_deleted_for_good_late_is_told_late_and_once() -> None:
    row = Publisher.objects.create(name="a")
    key, cursor = row.pk, current_cursor()
    held = Held(lambda: Publisher.objects.filter(pk=key).delete(hard=True))
    Publisher.objects.create(name="b")
    first = Publisher.handleref.since(cursor=cursor)
    held.commit()
    second = Publisher.handleref.since(cursor=first.cursor)
    assert named(first.rows) == ["b"]
    assert [(type(one), one.pk) for one in second.rows] == [(Tombstone, key)]
    assert Publisher.handleref.since(cursor=second.cursor).rows == []


def test_what_commits_in_the_midst_of_a_window_comes_after_it() -> None:
    """It would stand before rows that were told already."""
    held = Held(publisher("late"))
    for name in "abc":
        Publisher.objects.create(name=name)
    first = Publisher.handleref.since(cursor="", limit=2)
    held.commit()
    second = Publisher.handleref.since(cursor=first.cursor, limit=2)
    third = Publisher.handleref.since(cursor=second.cursor, limit=2)
    assert [named(page.rows) for page in (first, second, third)] == [["a", "b"], ["c"], ["late"]]
    assert [page.more for page in (first, second, third)] == [True, False, False]


def test_a_poll_waits_for_nobody() -> None:
    held = Held(publisher("held"))
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 1")
        try:
            assert Publisher.handleref.since(cursor="").rows == []
        finally:
            cursor.execute("SET lock_timeout = 0")
    held.commit()


# -- In transactions of the reader's own


def test_a_transaction_that_writes_is_told_its_own_and_misses_nobody_else_s() -> None:
    cursor = current_cursor()
    held = Held(publisher("held"))
    with transaction.atomic():
        publisher("own")()
        Held(publisher("other")).commit()
        inside = Publisher.handleref.since(cursor=cursor)
        held.commit()
        publisher("own, later")()
    after = Publisher.handleref.since(cursor=inside.cursor)
    assert sorted(named(inside.rows)) == ["other", "own"]
    assert sorted(named(after.rows)) == ["held", "own", "own, later"]
    assert Publisher.handleref.since(cursor=after.cursor).rows == []


def test_a_transaction_that_stays_at_its_snapshot_is_told_what_that_sees() -> None:
    """A cursor that others got meanwhile is none the worse for it, and nothing that was told comes again."""
    with transaction.atomic():
        with connection.cursor() as sql:
            sql.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert Publisher.handleref.since(cursor="").rows == []
        Held(publisher("meanwhile")).commit()
        with ThreadPoolExecutor(max_workers=1) as others:
            newer = others.submit(lambda: Publisher.handleref.since(cursor="")).result(60)
            others.submit(connections.close_all).result(60)
        stale = Publisher.handleref.since(cursor=newer.cursor)
    assert named(newer.rows) == ["meanwhile"] and stale.rows == []
    assert Publisher.handleref.since(cursor=stale.cursor).rows == []


# -- Several tables


def test_hr_40_several_tables_polled_up_to_one_cursor_are_as_they_were_at_one_point_of_time() -> None:
    """Each transaction writes a publisher and a photo of the same name; no sight of them has one without the other."""

    def write(number: int) -> None:
        chance = random.Random(number)
        for turn in range(40):
            with transaction.atomic():
                first, second = chance.sample([Publisher, Photo], 2)
                for model in (first, second):
                    field = "name" if model is Publisher else "caption"
                    model.objects.create(**{field: f"{number}/{turn}"})
                    time.sleep(chance.random() / 200)

    names: set[str] = set()
    captions: set[str] = set()
    cursor = ""
    with writing([partial(write, number) for number in range(4)]) as still:
        last = False
        while not last:
            last = not still()
            rows, end = Publisher.handleref.since(cursor=cursor)
            names |= set(named(rows))
            captions |= {row.caption for row in Photo.handleref.since(cursor=cursor, until=end).rows}
            assert names == captions
            cursor = end
    assert len(names) == 160


# -- Everything at once


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hr_40_a_copy_that_is_kept_while_everything_changes_ends_as_what_it_is_a_copy_of(seed: int) -> None:
    """Writers create, change, delete softly and for good, restore and roll back; the client takes a few rows a time."""
    check_copy(seed, writers=4, transactions=60)


# -- Which database it is


def test_who_polls_needs_no_privilege() -> None:
    """What says which cluster it is may be asked by everybody."""
    with connection.cursor() as sql:
        sql.execute("SELECT rolsuper, pg_has_role('pg_monitor', 'member') FROM pg_roles WHERE rolname = current_user")
        assert sql.fetchone() == (False, False)
    assert Publisher.handleref.since(cursor="").rows == []


def test_the_stamp_of_a_row_is_its_transaction_s_number_and_the_present_is_ahead_of_it() -> None:
    row = Publisher.objects.create(name="a")
    now = present("default")
    assert row.change_stamp < now.next and now.seen.sees(row.change_stamp) and now.own is None
    assert cursor_of(current_cursor()).identity == now.identity
    held = Held(publisher("held"))
    (running,) = present("default").seen.running or [present("default").seen.xmax]
    held.commit()
    assert Publisher.objects.get(name="held").change_stamp == running
    assert Publisher.objects.aggregate(newest=Max("change_stamp"))["newest"] == running


# -- The plan


@pytest.fixture
def many() -> Iterator[None]:
    """Two hundred thousand magazines, and as many that are gone."""
    above = Publisher.objects.create(name="a")
    with connection.cursor() as sql:
        sql.execute(
            """INSERT INTO newsroom_magazine
                   (status, created, updated, version, change_stamp, former_status, title, publisher_id)
               SELECT CASE WHEN n %% 10 = 0 THEN 'deleted' ELSE 'ok' END, now(), now(), 1, n / 200 + 1, '', n::text, %s
               FROM generate_series(1, 200000) AS n""",
            [above.pk],
        )
        sql.execute(
            """INSERT INTO footfall_storage_deleteditem
                   (object_type, object_id, description, serialization, deleted_at, change_stamp)
               SELECT 'newsroom.magazine', 1000000 + n, '', '{}', now(), n / 200 + 1
               FROM generate_series(1, 200000) AS n"""
        )
        for _ in range(1200):  # numbers are given out as far as the rows have them
            sql.execute("SELECT pg_current_xact_id()")
        sql.execute("ANALYZE newsroom_magazine, footfall_storage_deleteditem")
    yield
    with connection.cursor() as sql:
        sql.execute("TRUNCATE newsroom_magazine, newsroom_publisher, footfall_storage_deleteditem CASCADE")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def test_a_poll_of_a_large_table_reads_from_the_index_on_the_stamps(many: None) -> None:
    """The window of a few rows, a page in the midst of a large one, and the first page of all."""
    magazine = Magazine.objects.order_by("pk")[70_000]
    cursor = current_cursor()
    magazine.save()
    middle = Magazine.handleref.since(cursor="", limit=10_000).cursor
    asked: dict[str, dict[str, Any]] = {
        "few": {"cursor": cursor},
        "page": {"cursor": cursor, "limit": 100},
        "start": {"cursor": "", "limit": 100},
        "middle": {"cursor": middle, "limit": 100},
    }
    for name, options in asked.items():
        with CaptureQueriesContext(connection) as captured:
            told = Magazine.handleref.since(**options)
        assert len(captured) <= 6 and len(told.rows) in (1, 100)
        for query in captured.captured_queries:
            if "newsroom_magazine" in query["sql"] or "deleteditem" in query["sql"]:
                with connection.cursor() as sql:
                    sql.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query["sql"])
                    ((plan,),) = sql.fetchall()
                those = list(nodes(plan[0]["Plan"]))
                indexes = [node["Index Name"] for node in those if "Index Name" in node]
                assert not [node for node in those if node["Node Type"] == "Seq Scan"], (name, query["sql"], plan)
                assert indexes and all("change" in index for index in indexes), (name, indexes, query["sql"])
                assert max(node["Actual Rows"] for node in those) < 2_000, (name, query["sql"], plan)
