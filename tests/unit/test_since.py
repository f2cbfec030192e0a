"""`since`: by time and version as ever, and by a cursor, with which no change is missed and none given twice."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.models import Count, F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom.models import Issue, Magazine, Masthead, Photo, Publisher, SpecialIssue, Story, Supplement

from footfall.producers.messages import Ref
from footfall.storage import forgetting
from footfall.storage.changesnapshots import Snapshot, present
from footfall.storage.connecting import _connections, connect
from footfall.storage.cursors import Cursor, Position, cursor_of
from footfall.storage.models import ChangeCounter, DeletedItem
from footfall.storage.references import (
    Changes,
    CursorExpired,
    ForeignStamps,
    HandleRefModel,
    Tombstone,
    current_cursor,
)

#: Each transaction of a test is one of its own: what a test writes is committed.
committed = pytest.mark.django_db(transaction=True)

#: The models that are kept on the second database: see the fixture `archive`.
ARCHIVED = {"deleteditem"}


def publishers(*names: str) -> list[Publisher]:
    return [Publisher.objects.create(name=name) for name in names]


def poll(cursor: str, model: type[HandleRefModel] = Publisher, **options: Any) -> Changes:
    return model.handleref.since(cursor=cursor, **options)


def keys(changes: Changes) -> list[Any]:
    return [(type(row) is Tombstone, row.pk) for row in changes.rows]


def pages(cursor: str, limit: int, model: type[HandleRefModel] = Publisher, **options: Any) -> tuple[list[Any], str]:
    """All rows of a window, ``limit`` at a time, and the cursor after it."""
    rows: list[Any] = []
    while True:
        page = poll(cursor, model, limit=limit, **options)
        assert len(page.rows) <= limit and (len(page.rows) == limit or not page.more)
        rows, cursor = rows + page.rows, page.cursor
        if not page.more:
            return rows, cursor


# -- By time and version


@pytest.mark.django_db
def test_hr_40_an_exactly_equal_time_is_excluded_a_microsecond_earlier_is_included() -> None:
    (row,) = publishers("a")
    assert list(Publisher.handleref.since(timestamp=row.updated)) == []
    assert list(Publisher.handleref.since(timestamp=row.updated - timedelta(microseconds=1))) == [row]


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["created", "updated"])
def test_since_a_time_gives_what_was_created_or_updated_after_it(field: str) -> None:
    _old, new = publishers("old", "new")
    long_ago, later = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    models.QuerySet(Publisher).update(created=long_ago, updated=long_ago)
    models.QuerySet(Publisher).filter(pk=new.pk).update(**{field: later})
    assert list(Publisher.handleref.since(timestamp=datetime(2025, 1, 1, tzinfo=UTC))) == [new]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given_as", "expected"),
    [
        (date(2025, 6, 1), ["new"]),
        ("2025-06-01", ["new"]),
        ("2025-06-01T00:00Z", ["new"]),
        ("2025-06-01T00:00", ["new"]),
        (datetime(2025, 6, 1, tzinfo=UTC), ["new"]),
        (datetime(2025, 6, 1), ["new"]),
        (datetime(2025, 6, 1, tzinfo=UTC).timestamp(), ["new"]),
        (0, ["new", "old"]),
        (False, ["new", "old"]),
    ],
    ids=repr,
)
def test_a_time_is_a_datetime_a_date_a_text_of_either_or_a_number(given_as: Any, expected: list[str]) -> None:
    publishers("old", "new")
    for name, at in (("old", datetime(2025, 1, 1, tzinfo=UTC)), ("new", datetime(2026, 1, 1, tzinfo=UTC))):
        models.QuerySet(Publisher).filter(name=name).update(created=at, updated=at)
    assert sorted(row.name for row in Publisher.handleref.since(timestamp=given_as)) == expected


@pytest.mark.django_db
def test_since_a_version_gives_what_has_a_later_one_and_both_are_both() -> None:
    one, two = publishers("one", "two")
    two.save()
    assert list(Publisher.handleref.since(version=1)) == [two]
    assert list(Publisher.handleref.since(version=2)) == []
    assert list(Publisher.handleref.since(timestamp=two.updated, version=1)) == []
    assert list(Publisher.handleref.since(timestamp=one.updated, version=1)) == [two]
    assert list(Publisher.objects.filter(name="two").since(one.updated, 1)) == [two], "by position, on a queryset"


@pytest.mark.django_db
def test_without_arguments_all_that_are_not_deleted_and_with_deleted_all() -> None:
    live, gone = publishers("live", "gone")
    gone.delete()
    assert list(Publisher.handleref.since()) == [live]
    assert set(Publisher.handleref.since(deleted=True)) == {live, gone}
    assert set(Publisher.handleref.since(timestamp=0, deleted=True)) == {live, gone}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "options",
    [{"cursor": "", "timestamp": 0}, {"cursor": "", "version": 0}, {"limit": 5}, {"until": ""}, {"cursor": 7}],
    ids=str,
)
def test_a_cursor_stands_alone_and_limits_go_with_it(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Publisher.handleref.since(**options)


# -- By a cursor: what is given, once


@committed
def test_hr_40_a_poll_gives_what_was_committed_since_the_last_one_and_nothing_twice() -> None:
    first, second = publishers("first", "second")
    start = poll("")
    assert start.rows == [first, second] and not start.more
    nothing = poll(start.cursor)
    assert nothing.rows == []
    (third,) = publishers("third")
    first.save()
    changed = poll(nothing.cursor)
    assert changed.rows == [third, first] and changed.rows[1].version == 2
    assert poll(changed.cursor).rows == []


@committed
def test_a_row_that_changed_several_times_comes_once_as_it_is_now() -> None:
    (row,) = publishers("a")
    cursor = current_cursor()
    for name in ("b", "c"):
        row.name = name
        row.save()
    assert [one.name for one in poll(cursor).rows] == ["c"]


@committed
@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.save(),
        lambda row: row.save(update_fields=["note"]),
        lambda row: Publisher.objects.filter(pk=row.pk).update(note="x"),
        lambda row: Publisher.objects.bulk_update([row], ["note"]),
        lambda row: row.delete(),
        lambda row: row.delete(hard=True),
        lambda row: Publisher.objects.filter(pk=row.pk).delete(),
        lambda row: Publisher.objects.filter(pk=row.pk).delete(hard=True),
    ],
    ids=["save", "fields", "update", "bulk_update", "delete", "hard", "delete rows", "hard rows"],
)
def test_every_way_of_changing_a_row_is_told_once(change: Callable[[Publisher], object]) -> None:
    row, _other = publishers("a", "other")
    key, cursor = row.pk, current_cursor()
    change(row)
    told = poll(cursor)
    assert [one.pk for one in told.rows] == [key]
    assert poll(told.cursor).rows == []


@committed
def test_bulk_created_rows_and_restored_ones_are_told() -> None:
    cursor = current_cursor()
    made = Publisher.objects.bulk_create([Publisher(name="a"), Publisher(name="b")])
    told = poll(cursor)
    assert told.rows == made
    made[0].delete()
    gone = poll(told.cursor)
    made[0].undelete()
    back = poll(gone.cursor)
    assert keys(gone) == [(True, made[0].pk)] and keys(back) == [(False, made[0].pk)]


@committed
def test_rows_from_fixtures_are_told() -> None:
    from django.core import serializers

    text = serializers.serialize("json", publishers("a"))
    cursor = current_cursor()
    for loaded in serializers.deserialize("json", text):
        loaded.save()
    assert [row.name for row in poll(cursor).rows] == ["a"]


@committed
def test_the_order_is_that_of_changes_whatever_times_and_keys_say() -> None:
    late, early = publishers("late", "early")
    early.updated = datetime(2001, 1, 1, tzinfo=UTC)
    cursor = current_cursor()
    late.save()
    early.save(keep_times=True)
    assert poll(cursor).rows == [late, early]
    late.save()
    assert poll(cursor).rows == [early, late]


@committed
@pytest.mark.parametrize("model", [Publisher, Photo, Masthead])
def test_any_primary_key_will_do_page_by_page(model: type[HandleRefModel]) -> None:
    names = ["Zoë", "adam", "Adam", "ä", "_", "10", "9"]
    field = {Publisher: "name", Photo: "caption", Masthead: "slug"}[model]
    with transaction.atomic():  # so that all have one stamp, and their keys alone tell them apart
        rows = [model.objects.create(**{field: name}) for name in names]
    for one in rows[:3]:
        one.delete()
    told, cursor = pages("", 2, model)
    assert len(told) == len(rows) and {row.pk for row in told} == {row.pk for row in rows}
    assert {type(row.pk) for row in told} == {type(rows[0].pk)}
    assert poll(cursor, model).rows == []


# -- Deleted rows


@committed
def test_softly_deleted_rows_come_as_tombstones_and_their_content_is_not_read() -> None:
    (row,) = publishers("secret")
    cursor = current_cursor()
    row.delete()
    with CaptureQueriesContext(connection) as captured:
        (tombstone,) = poll(cursor).rows
    row.refresh_from_db()
    assert tombstone == Tombstone(row.pk, row.updated, Ref("newsroom.publisher", str(row.pk)), "org")
    assert (tombstone.status, tombstone.pk, tombstone.handle, tombstone.is_deleted) == (
        "deleted",
        row.pk,
        row.handle,
        True,
    )
    assert not hasattr(tombstone, "name")
    about_it = [
        query["sql"] for query in captured if "\"status\" = 'deleted'" in query["sql"] and "NOT" not in query["sql"]
    ]
    assert len(about_it) == 1 and '"name"' not in about_it[0]


@committed
@pytest.mark.parametrize("model", [Publisher, Photo, Masthead], ids=["int", "uuid", "text"])
def test_really_deleted_rows_come_as_tombstones_with_keys_of_their_type(model: type[HandleRefModel]) -> None:
    row = model.objects.create(pk={Publisher: 7, Photo: uuid.uuid4(), Masthead: "front page"}[model])
    key, handle = row.pk, row.handle
    cursor = poll("", model).cursor
    before = timezone.now()
    row.delete(hard=True)
    told = poll(cursor, model)
    (tombstone,) = told.rows
    assert isinstance(tombstone, Tombstone)
    assert (tombstone.id, tombstone.handle, tombstone.status) == (key, handle, "deleted")
    assert before <= tombstone.updated <= timezone.now()
    assert poll(told.cursor, model).rows == []


@committed
def test_a_softly_deleted_row_that_is_then_really_deleted_is_told_again() -> None:
    (row,) = publishers("a")
    key = row.pk
    row.delete()
    cursor = poll("").cursor
    row.delete(hard=True)
    assert keys(poll(cursor)) == [(True, key)]


@committed
def test_what_a_hard_deletion_takes_along_is_told_of_each_model() -> None:
    (above,) = publishers("a")
    magazine = Magazine.objects.create(title="m", publisher=above)
    issues = [Issue.objects.create(magazine=magazine) for _ in range(3)]
    cursor = current_cursor()
    numbers = {one.pk for one in issues}
    above.delete(hard=True)
    assert len(poll(cursor).rows) == len(poll(cursor, Magazine).rows) == 1
    assert {row.pk for row in poll(cursor, Issue).rows} == numbers


@committed
def test_tombstones_are_left_out_on_request() -> None:
    softly, really, live = publishers("softly", "really", "live")
    softly.delete()
    really.delete(hard=True)
    with CaptureQueriesContext(connection) as captured:
        assert poll(current_cursor(), deleted=False).rows == []
    assert len(captured) == 3, "one of them for the first cursor"
    assert poll("", deleted=False).rows == [live]


@committed
def test_a_row_made_again_under_the_same_key_comes_after_its_tombstone_and_ends_as_live() -> None:
    (row,) = publishers("a")
    key = row.pk
    cursor = poll("").cursor
    row.delete(hard=True)
    again = Publisher.objects.create(pk=key, name="again")
    assert keys(poll(cursor)) == keys(poll("")) == [(True, key), (False, key)]
    told, _ = pages(cursor, 1)
    assert told[1] == again and told[1].name == "again"


@committed
def test_a_value_that_is_free_again_is_told_as_free_before_it_is_taken() -> None:
    """A copy that has the same rule of unique values takes the changes in their order."""
    (row,) = publishers("the name")
    cursor = current_cursor()
    with transaction.atomic():
        row.delete()
        heir = Publisher.objects.create(name="the name")
    assert keys(poll(cursor)) == [(True, row.pk), (False, heir.pk)]


@contextmanager
def connected(model: type[Any], *, use_del_items: bool) -> Iterator[None]:
    before = dict(_connections)
    connect(model, use_del_items=use_del_items)
    try:
        yield
    finally:
        _connections.clear()
        _connections.update(before)
        for name in ("actions", "trackers"):
            delattr(model, name)


@committed
def test_models_connected_to_leave_nothing_leave_no_tombstone() -> None:
    with connected(Masthead, use_del_items=False):
        row = Masthead.objects.create(slug="a")
        cursor = current_cursor()
        row.delete(hard=True)
    assert poll(cursor, Masthead).rows == [] and not DeletedItem.objects.exists()


@committed
def test_models_connected_leave_their_description_and_a_tombstone() -> None:
    row = Story.objects.create(title="a")
    cursor = current_cursor()
    row.delete(hard=True)
    assert len(poll(cursor, Story).rows) == 1
    assert DeletedItem.objects.get(object_type="newsroom.story").description == "the story a"


@committed
def test_one_statement_stamps_all_that_a_deletion_takes() -> None:
    publishers(*map(str, range(30)))
    with CaptureQueriesContext(connection) as few:
        Publisher.objects.filter(name__in=["1", "2"]).delete(hard=True)
    with CaptureQueriesContext(connection) as many:
        Publisher.objects.all().delete(hard=True)
    assert len(few) == len(many)
    assert DeletedItem.objects.filter(change_stamp__gt=0).count() == 30


# -- A little at a time


@committed
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_page_by_page_everything_comes_once_in_the_same_order(limit: int) -> None:
    rows = publishers(*map(str, range(12)))
    rows[3].delete()
    rows[5].delete(hard=True)
    with transaction.atomic():
        rows[8].delete()
        rows[9].delete(hard=True)
        rows[1].save()
        rows[10].delete()
    whole = poll("")
    told, cursor = pages("", limit)
    assert told == whole.rows and len(told) == 12
    assert poll(cursor).rows == poll(whole.cursor).rows == []


@committed
def test_a_limit_that_is_just_met_leaves_nothing_for_later() -> None:
    publishers("a", "b")
    assert [poll("", limit=limit).more for limit in (1, 2, 3)] == [True, False, False]


@committed
def test_what_is_changed_between_two_pages_comes_after_the_window() -> None:
    rows = publishers("a", "b", "c", "d")
    first = poll("", limit=2)
    rows[0].save()
    rows[2].save()
    rows[3].delete(hard=True)
    (late,) = publishers("late")
    rest, cursor = pages(first.cursor, 2)
    assert first.rows == rows[:2] and rest == []
    assert keys(poll(cursor))[1:] == [(False, rows[0].pk), (False, rows[2].pk), (False, late.pk)]


@committed
@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_positive(limit: int) -> None:
    with pytest.raises(ValueError, match="limit is at least 1"):
        poll("", limit=limit)


@committed
@pytest.mark.parametrize("limit", ["5", 1.5, True])
def test_a_limit_is_a_whole_number(limit: Any) -> None:
    with pytest.raises(TypeError, match="limit is a whole number"):
        poll("", limit=limit)


# -- Several tables at one point of time


@committed
def test_until_ends_the_polls_of_several_tables_at_one_point_of_time() -> None:
    (above,) = publishers("a")
    first, end = poll("")
    Magazine.objects.create(title="late", publisher=above)
    assert first == [above] and poll("", Magazine, until=end).rows == []
    later = poll(poll("", Magazine, until=end).cursor, Magazine)
    assert [row.title for row in later.rows] == ["late"]


@committed
def test_until_may_be_a_cursor_in_the_midst_of_a_window() -> None:
    (above, _other) = publishers("a", "b")
    magazine = Magazine.objects.create(title="early", publisher=above)
    page = poll("", limit=1)
    Magazine.objects.create(title="late", publisher=above)
    assert page.more and poll("", Magazine, until=page.cursor).rows == [magazine]


@committed
def test_a_cursor_that_has_seen_more_than_until_stays_what_it_is() -> None:
    earlier = current_cursor()
    publishers("a")
    cursor = poll("").cursor
    behind = poll(cursor, until=earlier)
    assert behind.rows == [] and poll(behind.cursor).rows == []


@committed
def test_the_cursor_of_now_has_seen_everything() -> None:
    publishers("a")
    cursor = current_cursor()
    (later,) = publishers("b")
    assert poll(cursor).rows == [later]
    assert poll("", until=cursor).rows != poll("").rows
    assert cursor_of(current_cursor("default")) == cursor_of(poll("").cursor)


# -- Which querysets


def a_publisher_with_magazines() -> Publisher:
    (above, _other) = publishers("a", "other")
    for title in ("x", "y"):
        Magazine.objects.create(title=title, publisher=above)
    return above


QUERYSETS: dict[str, Callable[[Publisher], Any]] = {
    "filter": lambda above: Publisher.objects.filter(name="a"),
    "only": lambda above: Publisher.objects.filter(name="a").only("note"),
    "defer": lambda above: Publisher.objects.filter(name="a").defer("change_stamp", "name"),
    "annotate": lambda above: Publisher.objects.annotate(many=Count("magazines")).filter(many=2),
    "order_by": lambda above: Publisher.objects.filter(name="a").order_by("-name"),
    "reverse": lambda above: Publisher.objects.filter(name="a").reverse(),
    "distinct": lambda above: Publisher.objects.filter(magazines__title__in="xy").distinct(),
    "prefetch_related": lambda above: Publisher.objects.filter(name="a").prefetch_related("magazines"),
    "using": lambda above: Publisher.objects.using("default").filter(name="a"),
    "undeleted": lambda above: Publisher.handleref.undeleted().filter(name="a"),
}


@committed
@pytest.mark.parametrize("deleted", [False, True], ids=["live", "deleted"])
@pytest.mark.parametrize("name", QUERYSETS)
def test_what_comes_before_the_cursor_holds(name: str, deleted: bool) -> None:
    above = a_publisher_with_magazines()
    if deleted:
        models.QuerySet(Publisher).filter(pk=above.pk).update(status="deleted")
    told = QUERYSETS[name](above).since(cursor="")
    wanted = [] if name == "undeleted" and deleted else [(deleted, above.pk)]
    assert keys(told) == wanted
    assert all("_footfall_stamp" not in vars(row) for row in told.rows)
    assert keys(QUERYSETS[name](above).since(cursor="", limit=1)) == wanted


@committed
def test_related_objects_come_as_the_queryset_says() -> None:
    a_publisher_with_magazines()
    rows = Magazine.objects.select_related("publisher").since(cursor="").rows
    with CaptureQueriesContext(connection) as captured:
        assert [row.publisher.name for row in rows] == ["a", "a"]
    rows = Publisher.objects.prefetch_related("magazines").since(cursor="").rows
    with CaptureQueriesContext(connection) as again:
        assert [len(row.magazines.all()) for row in rows] == [2, 0]
    assert len(captured) == len(again) == 0


@committed
def test_fields_that_are_left_out_are_not_read() -> None:
    publishers("a", "b")
    with CaptureQueriesContext(connection) as captured:
        rows = Publisher.objects.only("name").since(cursor="").rows
        assert [row.name for row in rows] == ["a", "b"]
    assert not [query for query in captured if '"note"' in query["sql"]]
    assert {row.get_deferred_fields() >= {"note", "version"} for row in rows} == {True}


@committed
def test_a_manager_of_related_objects_polls_too() -> None:
    above = a_publisher_with_magazines()
    assert [row.title for row in above.magazines.since(cursor="").rows] == ["x", "y"]


@committed
def test_tombstones_of_what_is_really_gone_pass_every_filter() -> None:
    """They have no fields left that a filter could ask."""
    (row, softly) = publishers("a", "b")
    cursor, key = current_cursor(), row.pk
    row.delete(hard=True)
    softly.delete()
    assert keys(Publisher.objects.filter(name="elsewhere").since(cursor=cursor)) == [(True, key)]


@committed
def test_nothing_is_asked_of_no_rows_but_a_cursor_comes() -> None:
    publishers("a")
    told = Publisher.objects.none().since(cursor="")
    assert told.rows == [] and poll(told.cursor).rows == []


REFUSED: dict[str, Callable[[], Any]] = {
    "values": lambda: Publisher.objects.values("name"),
    "values_list": lambda: Publisher.objects.values_list("name", flat=True),
    "dates": lambda: Publisher.objects.dates("created", "day"),
    "slice": lambda: Publisher.objects.all()[:5],
    "union": lambda: Publisher.objects.all().union(Publisher.objects.all()),
    "intersection": lambda: Publisher.objects.all().intersection(Publisher.objects.all()),
    "distinct on": lambda: Publisher.objects.distinct("name"),
}


@committed
@pytest.mark.parametrize("name", REFUSED)
def test_what_can_t_come_before_the_cursor_is_refused_before_any_query(name: str) -> None:
    with CaptureQueriesContext(connection) as captured, pytest.raises(TypeError, match=r"since\(cursor=…\)"):
        REFUSED[name]().since(cursor="")
    assert len(captured) == 0


# -- Models that inherit


@committed
def test_a_model_with_a_table_of_its_own_and_the_one_it_inherits_from_are_both_told() -> None:
    magazine = Magazine.objects.create(title="m", publisher=publishers("a")[0])
    cursor = current_cursor()
    child = Supplement.objects.create(theme="t", magazine=magazine)
    plain = Issue.objects.create(magazine=magazine)
    assert keys(poll(cursor, Supplement)) == [(False, child.pk)]
    assert keys(poll(cursor, Issue)) == [(False, child.pk), (False, plain.pk)]
    told, _ = pages(cursor, 1, Supplement)
    assert told == [child] and told[0].theme == "t"
    cursor, key = current_cursor(), child.pk
    child.delete(hard=True)
    assert keys(poll(cursor, Supplement)) == keys(poll(cursor, Issue)) == [(True, key)]


@committed
def test_a_child_that_goes_and_leaves_its_parent_is_gone_for_its_own_followers_only() -> None:
    magazine = Magazine.objects.create(title="m", publisher=publishers("a")[0])
    child = Supplement.objects.create(theme="t", magazine=magazine)
    cursor, key = current_cursor(), child.pk
    child.delete(keep_parents=True, hard=True)
    assert keys(poll(cursor, Supplement)) == [(True, key)] and poll(cursor, Issue).rows == []


@committed
def test_a_proxy_is_told_what_its_model_is() -> None:
    magazine = Magazine.objects.create(title="m", publisher=publishers("a")[0])
    cursor = current_cursor()
    rows = [SpecialIssue.objects.create(magazine=magazine) for _ in range(3)]
    for one in (SpecialIssue, Issue):
        assert [row.pk for row in poll(cursor, one).rows] == [row.pk for row in rows]
    page = poll(cursor, SpecialIssue, limit=1)
    assert {type(row) for row in page.rows} == {SpecialIssue}
    assert len(pages(page.cursor, 1, Issue)[0]) == 2, "the window of one is that of the other"
    key = rows[0].pk
    rows[0].delete(hard=True)
    assert keys(poll(cursor, SpecialIssue))[0] == keys(poll(cursor, Issue))[0] == (True, key)


# -- Transactions


@committed
def test_what_a_transaction_wrote_itself_is_told_in_it_and_again_when_it_is_committed() -> None:
    cursor = current_cursor()
    with transaction.atomic():
        (row,) = publishers("own")
        inside = poll(cursor)
        (second,) = publishers("second")
        again = poll(inside.cursor)
    assert inside.rows == [row] and again.rows == [row, second]
    after = poll(again.cursor)
    assert after.rows == [row, second] and poll(after.cursor).rows == []


@committed
def test_page_by_page_a_transaction_s_own_rows_have_an_end_as_well() -> None:
    with transaction.atomic():
        rows = publishers("a", "b", "c")
        assert pages("", 2)[0] == rows


@committed
def test_what_is_rolled_back_is_never_told_and_its_numbers_stand_for_nothing() -> None:
    cursor = current_cursor()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        publishers("a", "b")
        inside = poll(cursor)
        raise ZeroDivisionError
    (row,) = publishers("c")
    assert len(inside.rows) == 2
    assert poll(cursor).rows == [row], "a cursor of before"
    assert poll(inside.cursor).rows == [row], "one that was made inside"


@committed
def test_a_savepoint_that_is_rolled_back_takes_its_rows_along() -> None:
    cursor = current_cursor()
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publishers("a", "b")
            raise ZeroDivisionError
        (row,) = publishers("c")
        with transaction.atomic():
            (late,) = publishers("d")
        inside = poll(cursor)
    assert inside.rows == [row, late] == poll(inside.cursor).rows


@committed
def test_a_transaction_that_wrote_nothing_polls_like_anybody() -> None:
    rows = publishers("a")
    with transaction.atomic():
        told = poll("")
        assert told.rows == rows and poll(told.cursor).rows == []
    assert poll(told.cursor).rows == []


# -- Cursors that hold no more


@committed
@pytest.mark.parametrize("reached", [present, lambda using: present(using)._replace(next=10**18)], ids=["now", "ahead"])
def test_a_cursor_of_another_database_is_expired(reached: Callable[[str], Any]) -> None:
    publishers("a")
    foreign = str(Cursor("0" * 16, Snapshot.of(reached("default").next)))
    for cursor, until in ((foreign, None), ("", foreign)):
        with pytest.raises(CursorExpired, match="start with ''"):
            poll(cursor, until=until)


@committed
def test_a_cursor_that_has_seen_more_than_there_is_is_expired() -> None:
    publishers("a")
    now = present("default")
    ahead = Cursor(now.identity, Snapshot.of(now.next + 1))
    windowed = Cursor(now.identity, now.seen, ahead.seen, Position("newsroom.publisher", 2, 0, "1"))
    for cursor in (ahead, windowed):
        with pytest.raises(CursorExpired, match="more than there is"):
            poll(str(cursor))


@committed
def test_a_cursor_amid_the_rows_of_another_model_is_refused() -> None:
    publishers("a", "b")
    with pytest.raises(ValueError, match=r"amid the rows of another model than newsroom\.Photo"):
        poll(poll("", limit=1).cursor, Photo)


forged_keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(
    [str(2**63), str(-(2**70)), "9" * 5000, "1e999999", "NaN", "", "1", str(uuid.uuid4()), "٣"]
)


@pytest.mark.django_db
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from([Publisher, Photo, Masthead]),
    st.integers(0, 3),
    st.integers(0, 2**63 - 1),
    forged_keys,
    st.lists(st.integers(0, 2**63 - 1), max_size=5),
)
def test_a_forged_cursor_is_refused_or_gives_what_there_is(
    model: type[HandleRefModel], stage: int, stamp: int, key: str, running: list[int]
) -> None:
    """It comes from a stranger: nothing but a ValueError may come of it."""
    now = present("default")
    position = Position(f"newsroom.{model._meta.model_name}", stage, stamp, key)
    text = str(Cursor(now.identity, Snapshot.of(1, running), Snapshot.of(now.next, running), position))
    try:
        told = poll(text, model, limit=3)
    except ValueError:
        return
    assert told.rows == [] and not told.more


# -- The statements


@committed
def test_a_poll_takes_four_statements_and_six_to_start() -> None:
    """For the snapshot, for both kinds of tombstones, and for the rows."""
    publishers("a", "b", "c")
    cursor = current_cursor()
    for options, expected in (
        ({"cursor": cursor}, 4),
        ({"cursor": cursor, "limit": 2, "until": cursor}, 4),
        ({"cursor": ""}, 6),
        ({"cursor": cursor, "deleted": False}, 2),
        ({"cursor": "", "deleted": False}, 4),
    ):
        with CaptureQueriesContext(connection) as captured:
            Publisher.handleref.since(**options)
        assert len(captured) == expected, options


# -- Where rows come from another database


def newest() -> int:
    return present("default").next


@committed
def test_stamps_of_the_future_are_told_to_who_starts_and_restamping_mends_them() -> None:
    rows = publishers("a", "b")
    models.QuerySet(Publisher).update(change_stamp=F("change_stamp") + 2**40)
    with pytest.raises(ForeignStamps, match=r"manage\.py restamp_changes"):
        poll("")
    call_command("restamp_changes", "newsroom.Publisher", "--no-progress", verbosity=0)
    told = poll("")
    assert set(told.rows) == set(rows) and {row.version for row in told.rows} == {1}
    assert poll(told.cursor).rows == []


@committed
def test_tombstones_with_stamps_of_the_future_are_found_and_mended_as_well() -> None:
    publishers("a")[0].delete(hard=True)
    DeletedItem.objects.update(change_stamp=F("change_stamp") + 2**40)
    with pytest.raises(ForeignStamps):
        poll("")
    call_command("restamp_changes", "--no-progress", verbosity=0)
    assert len(poll("").rows) == 1


@pytest.mark.django_db
def test_rows_of_the_transaction_itself_are_no_stamps_of_the_future() -> None:
    assert poll("").rows == []
    rows = publishers("a")
    assert poll("").rows == rows


@committed
def test_rows_that_were_never_counted_are_told_at_the_start() -> None:
    """Those that were there before the table had the column."""
    rows = publishers("a")
    models.QuerySet(Publisher).update(change_stamp=0)
    told = poll("")
    assert told.rows == rows and poll(told.cursor).rows == []


# -- On SQLite, the counter


@pytest.fixture
def counter() -> None:
    """A site on SQLite; on PostgreSQL there is none, and the transactions count themselves."""
    if connection.vendor == "postgresql":
        publishers("uncounted")
        assert not ChangeCounter.objects.exists()


@committed
def test_hr_40_a_counter_that_was_lost_expires_all_cursors(counter: None) -> None:
    publishers("a", "b")
    cursor = current_cursor()
    ChangeCounter.objects.all().delete()
    if connection.vendor == "sqlite":
        with pytest.raises(CursorExpired):
            poll(cursor)
        Publisher.objects.all().update(note="as many changes as before, and more")
        with pytest.raises(CursorExpired):
            poll(cursor)
    assert len(poll("").rows) == Publisher.objects.count()


@committed
def test_before_the_first_change_ever_a_cursor_is_good_for_all_that_come(counter: None) -> None:
    cursor = current_cursor()
    (row,) = publishers("a")
    assert poll(cursor).rows == [row]


@committed
def test_numbers_that_were_rolled_back_are_given_again_and_never_seen(counter: None) -> None:
    publishers("a")
    before = current_cursor()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        publishers("b")
        raise ZeroDivisionError
    assert poll(before).rows == []
    (row,) = publishers("c")
    assert poll(before).rows == [row]


# -- Tombstones in another database


@pytest.mark.django_db(transaction=True, databases=["default"])
def test_where_tombstones_are_kept_in_another_database_they_are_not_told(archive: str) -> None:
    """Its numbers are others: what they would say of here is nothing."""
    (row, other) = publishers("a", "b")
    cursor = current_cursor()
    row.delete(hard=True)
    other.save()
    assert DeletedItem.objects.using(archive).get().change_stamp == 0
    with CaptureQueriesContext(connection) as captured:
        assert keys(poll(cursor)) == keys(poll("")) == [(False, other.pk)]
    assert not [query for query in captured if "deleteditem" in query["sql"]]


# -- Who is listened to


def test_the_deletion_of_every_model_that_keeps_account_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever FOOTFALL["MARKED_MODELS"] names; of proxies, too."""
    listened: list[Any] = []
    monkeypatch.setattr(forgetting, "listen_to", listened.append)
    forgetting.connect([])
    assert set(listened) >= {Publisher, Magazine, Issue, Supplement, SpecialIssue, Photo, Masthead, Story}


@committed
def test_a_model_that_is_not_connected_is_not_expected_to_describe_its_objects(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (row,) = publishers("a")
    key = row.pk
    row.delete(hard=True)
    item = DeletedItem.objects.get()
    assert (item.footfall_ref, item.description) == (Ref("newsroom.publisher", str(key)), "a")
    assert not caplog.records
