"""Seen and unseen in lists: one query, whatever their length, and the same answers as one by one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, connections, models
from django.db.models import Count, DateTimeField, Max, QuerySet, Value
from django.db.models.functions import Cast, TruncDay
from django.test.utils import CaptureQueriesContext, isolate_apps
from newsroom.models import Article, Column, Page, Topic
from pytest_django import DjangoAssertNumQueries

from footfall.storage.models import ViewMark
from footfall.storage.viewtracker import NoChangeTime, ViewTracker

pytestmark = pytest.mark.django_db

NOW = datetime(2024, 6, 15, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)


@pytest.fixture
def tracker() -> ViewTracker:
    return ViewTracker(User.objects.create(username="reader"))


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """It stands at NOW until it is moved."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def articles(n: int, updated: datetime = NOW) -> list[Article]:
    made = Article.objects.bulk_create(Article(title=f"a{i:03}") for i in range(n))
    Article.objects.update(updated=updated)
    return made


def titles(rows: QuerySet[Any]) -> set[str]:
    return set(rows.values_list("title", flat=True))


def test_a_list_of_100_costs_one_query_beside_its_own(
    tracker: ViewTracker, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """As an annotation it is part of the list's own."""
    listed = articles(100)
    tracker.mark_viewed(listed[:50])
    with django_assert_num_queries(2):
        flagged = tracker.flag(Article.objects.order_by("title"))
    with django_assert_num_queries(1):
        annotated = list(tracker.annotate(Article.objects.order_by("title")))
    with django_assert_num_queries(1):
        by_hand = list(Article.objects.order_by("title").annotate(seen=tracker.expression(Article)))

    expected = [True] * 50 + [False] * 50
    for rows in (flagged, annotated, by_hand):
        assert [one.seen for one in rows] == expected


def test_a_badge_costs_one_query(tracker: ViewTracker, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    tracker.mark_viewed(articles(100)[:30])
    with django_assert_num_queries(1):
        assert tracker.unseen_count(Article.objects.all()) == 70
    with django_assert_num_queries(1):
        assert tracker.has_unseen(Article.objects.all())
    with django_assert_num_queries(1):
        assert len(tracker.unseen(Article.objects.order_by("title"))) == 70


def test_flags_of_a_long_list_are_asked_in_pieces(
    tracker: ViewTracker, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """A statement has a limited number of parameters."""
    listed = articles(1200)
    tracker.mark_viewed(listed[::2])
    with django_assert_num_queries(3):
        flagged = tracker.flag(listed, updated_field="updated")
    assert [one.seen for one in flagged] == [True, False] * 600


def test_vt_02_to_10_the_latest_mark_of_three_scopes_decides(
    tracker: ViewTracker, clock: time_machine.Traveller
) -> None:
    """In a list as for one: equality is seen, one microsecond later is not."""
    for title, moved in (("older", -TICK), ("equal", TICK * 0), ("newer", TICK)):
        Article.objects.create(title=title)
        Article.objects.filter(title=title).update(updated=NOW + moved)
    assert titles(tracker.unseen(Article.objects.all())) == {"older", "equal", "newer"}
    marks: list[Callable[[], None]] = [
        lambda: tracker.mark_viewed(Article),
        lambda: tracker.mark_model_viewed(Article),
        tracker.mark_all_viewed,
    ]
    for mark in marks:
        ViewMark.objects.all().delete()
        mark()
        assert titles(tracker.unseen(Article.objects.all())) == {"newer"}


def test_what_was_taken_back_is_unseen_in_lists(tracker: ViewTracker, clock: time_machine.Traveller) -> None:
    """Until the next mark, on whichever scope; others stay seen."""
    first, second, _ = articles(3)
    tracker.mark_all_viewed()
    clock.shift(1)
    tracker.mark_unseen(first)
    tracker.mark_unseen(Article.objects.filter(pk=second.pk))
    assert set(tracker.unseen(Article.objects.all())) == {first, second}
    assert [one.seen for one in tracker.annotate(Article.objects.order_by("title"))] == [False, False, True]
    assert [one.seen for one in tracker.flag(Article.objects.order_by("title"))] == [False, False, True]

    clock.shift(1)
    tracker.mark_viewed([first])
    assert set(tracker.unseen(Article.objects.all())) == {second}
    clock.shift(1)
    tracker.mark_model_viewed(Article)
    assert not tracker.has_unseen(Article.objects.all())


def test_vt_19_lists_of_any_primary_key(tracker: ViewTracker) -> None:
    """A mark on one of them is found again, and on no other."""
    long_ago = Value(NOW - 999 * DAY, DateTimeField())
    for slug in ("a", "A", "café", "1"):
        Topic.objects.create(slug=slug)
    for i in range(3):
        Page.objects.create(title=f"p{i}", id=uuid.UUID(int=i + 1))
    articles(3)
    for model in (Topic, Page, Article):
        rows: QuerySet[Any] = model._default_manager.annotate(told=long_ago)
        marked = rows.order_by("pk").first()
        tracker.mark_instance_viewed(marked)
        assert list(tracker.unseen(rows, "told").order_by("pk")) == list(rows.order_by("pk"))[1:]
        assert [one.seen for one in tracker.annotate(rows, "told").order_by("pk")].index(True) == 0
        assert [one.seen for one in tracker.flag(rows.order_by("pk"), "told")].count(True) == 1


def test_a_proxy_is_its_base(tracker: ViewTracker) -> None:
    one, other = articles(2)
    tracker.mark_instance_viewed(Column.objects.get(pk=one.pk))
    assert [row.pk for row in tracker.unseen(Column.objects.all())] == [other.pk]
    assert [row.seen for row in tracker.flag(Column.objects.order_by("pk"))] == [True, False]
    tracker.mark_model_viewed(Column)
    assert not tracker.has_unseen(Article)


def test_vt_14_an_anonymous_user_has_seen_every_row(
    clock: time_machine.Traveller, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """With no query of ours, nothing stored, and no time of change needed."""
    listed = articles(3)
    Topic.objects.create(slug="t")
    for nobody in (None, AnonymousUser()):
        tracker = ViewTracker(nobody)
        with django_assert_num_queries(0):
            tracker.mark_viewed(Article.objects.all())
            tracker.mark_unseen(listed)
            tracker.set_watermark(NOW)
            assert tracker.unseen_count(Article.objects.all()) == 0
            assert tracker.has_unseen(Article.objects.all()) is False
            assert list(tracker.unseen(Article.objects.all())) == []
            assert [one.seen for one in tracker.flag(listed)] == [True] * 3
        assert [one.seen for one in tracker.annotate(Topic.objects.all())] == [True]
    assert not ViewMark.objects.exists()


def test_a_row_that_never_changed_is_unseen_until_any_mark(tracker: ViewTracker) -> None:
    """Its time of change is NULL: so in SQL, and in flags."""
    User.objects.create(username="new", last_login=None)
    User.objects.create(username="old", last_login=NOW)
    people = User.objects.exclude(pk=tracker.user.pk).order_by("username")

    def seen() -> list[list[bool]]:
        return [
            [one.seen for one in tracker.annotate(people, "last_login")],
            [one.seen for one in tracker.flag(people, "last_login")],
        ]

    assert seen() == [[False, False]] * 2
    tracker.set_watermark(NOW - DAY, User)
    assert seen() == [[True, False]] * 2
    tracker.mark_unseen(people.get(username="new"))
    assert seen() == [[False, False]] * 2
    with pytest.raises(NoChangeTime, match="last_login"):
        tracker.has_viewed(people[0], updated_field="last_login")


@isolate_apps("newsroom")
def test_vt_13_the_first_name_that_is_not_null_tells(tracker: ViewTracker) -> None:
    """In the guess order, whatever the order of the columns; a date is passed over."""

    class Memo(models.Model):
        created = models.DateTimeField(null=True)
        modified = models.DateTimeField(null=True)
        last_modified = models.DateField(null=True)

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return ""

    with connection.cursor() as cursor:
        stamp = "timestamptz" if connection.vendor == "postgresql" else "datetime"
        cursor.execute(
            f"CREATE TABLE newsroom_memo (id bigint PRIMARY KEY, created {stamp}, modified {stamp}, last_modified date)"
        )
    late, early = NOW + DAY, NOW - DAY
    times = [(late, early), (early, late), (None, late), (late, None), (early, None), (None, None)]
    for i, (created, modified) in enumerate(times):
        Memo._default_manager.create(id=i, created=created, modified=modified, last_modified=late.date())
    tracker.set_watermark(NOW)
    rows = Memo._default_manager.order_by("id")

    # modified tells; where it is NULL created does; where both are, any mark is enough.
    expected = [True, False, False, False, True, True]
    assert [one.seen for one in tracker.annotate(rows)] == expected
    assert [one.seen for one in tracker.flag(rows)] == expected
    assert [tracker.has_viewed(one) for one in rows[:5]] == expected[:5]


def test_the_time_of_change_may_lie_over_a_relation(tracker: ViewTracker) -> None:
    """``user__last_login``; NULL or no row there is as one that never changed."""
    type_ = ContentType.objects.get_for_model(Article)
    for name, login in (("late", NOW + DAY), ("early", NOW - DAY), ("never", None)):
        author = User.objects.create(username=name, last_login=login)
        LogEntry.objects.create(user=author, content_type=type_, object_repr=name, action_flag=1)
    tracker.set_watermark(NOW)

    unseen = tracker.unseen(LogEntry.objects.all(), "user__last_login")
    assert [entry.object_repr for entry in unseen] == ["late"]
    flagged = tracker.flag(LogEntry.objects.select_related("user"), "user__last_login")
    assert {entry.object_repr: entry.seen for entry in flagged} == {
        "late": False,
        "early": True,
        "never": True,
    }
    assert not tracker.has_viewed(LogEntry.objects.get(object_repr="late"), updated_field="user__last_login")


def test_the_time_of_change_may_be_an_annotation(tracker: ViewTracker) -> None:
    """An aggregate, too."""
    for name, joined in (("late", NOW + DAY), ("early", NOW - DAY)):
        group = Group.objects.create(name=name)
        for n in range(2):
            group.user_set.add(User.objects.create(username=f"{name}{n}", date_joined=joined - n * 9 * DAY))
    Group.objects.create(name="empty")
    tracker.set_watermark(NOW)
    groups = Group.objects.annotate(latest=Max("user__date_joined"), members=Count("user"))

    assert [group.name for group in tracker.unseen(groups, "latest")] == ["late"]
    assert {group.name: group.seen for group in tracker.annotate(groups, "latest")} == {
        "late": False,
        "early": True,
        "empty": True,
    }
    assert tracker.unseen_count(groups, "latest") == 1


def test_an_annotation_under_a_name_that_is_guessed_tells(tracker: ViewTracker) -> None:
    """It is on the objects, too: one object and a list must not disagree. What is no time is passed over."""
    for name, joined in (("late", NOW + DAY), ("early", NOW - DAY)):
        Group.objects.create(name=name).user_set.add(User.objects.create(username=name, date_joined=joined))
    tracker.set_watermark(NOW)
    groups = Group.objects.annotate(modified=Count("user"), updated=Max("user__date_joined")).order_by("name")

    assert [group.seen for group in tracker.annotate(groups)] == [True, False]
    assert [tracker.has_viewed(group) for group in groups] == [True, False]
    with pytest.raises(NoChangeTime):
        tracker.unseen(Group.objects.alias(updated=Max("user__date_joined")))


def test_a_slice_a_filter_and_an_order_stay_as_they_are(tracker: ViewTracker) -> None:
    """What is counted in a slice are its rows."""
    tracker.mark_viewed(articles(10)[:5])
    listed = Article.objects.order_by("title")
    assert tracker.unseen_count(listed[3:8]) == 3
    assert tracker.unseen_count(listed[:5]) == 0 and not tracker.has_unseen(listed[:5])
    assert tracker.has_unseen(listed[4:6])
    assert tracker.unseen_count(listed.filter(title__gte="a007")) == 3
    assert [one.title for one in tracker.unseen(listed.reverse())] == ["a009", "a008", "a007", "a006", "a005"]
    assert [one.seen for one in tracker.annotate(listed)[4:6]] == [True, False]
    assert tracker.unseen_count(tracker.unseen(listed)) == 5
    assert tracker.unseen_count(Article) == tracker.unseen_count(Article.objects) == 5
    assert tracker.unseen_count("newsroom.article") == 5


def test_marks_go_on_whole_querysets_in_few_statements(tracker: ViewTracker) -> None:
    articles(1000)
    with CaptureQueriesContext(connection) as queries:
        tracker.mark_viewed(Article.objects.all())
    assert sum("INSERT" in query["sql"] for query in queries) == 1
    assert len(queries) <= 4  # with that for the keys, and a savepoint
    assert not tracker.has_unseen(Article.objects.all())


def test_a_mixed_iterable_is_marked_and_flagged(
    tracker: ViewTracker, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Objects of several models, each twice; a key of one model says nothing of another's."""
    article, other = articles(2)
    person = User.objects.create(username=str(article.pk), date_joined=NOW)
    same_text = User.objects.create(pk=other.pk + 10_000, username="x", date_joined=NOW)
    tracker.mark_viewed(one for one in (article, same_text, article))
    with django_assert_num_queries(1):
        flagged = [
            *tracker.flag([article, other], "updated"),
        ]
    assert [one.seen for one in flagged] == [True, False]
    mixed: list[models.Model] = [same_text, person]
    assert [one.seen for one in tracker.flag(mixed, "date_joined")] == [True, False]
    assert ViewMark.objects.count() == 2
    assert tracker.flag([]) == []


@pytest.mark.parametrize(
    ("rows", "field", "told"),
    [
        (Article, "udpated", "no field 'udpated'.*Did you mean updated"),
        (Article, "title", "newsroom.Article.title is no DateTimeField but a CharField"),
        (Article, "pk", "has no field 'pk'"),
        (Article, "title__updated", "title in 'title__updated' is no relation"),
        (LogEntry, "user__last_logni", "auth.User has no field 'last_logni'"),
        (Group, "user__last_login", "leads to many objects"),
        (Topic, None, r"newsroom.Topic has no DateTimeField among last_modified.*updated_field"),
    ],
)
def test_a_field_that_tells_no_time_is_named(
    tracker: ViewTracker, rows: type[models.Model], field: str | None, told: str
) -> None:
    for ask in (tracker.unseen, tracker.annotate, tracker.expression, tracker.unseen_count, tracker.has_unseen):
        with pytest.raises(NoChangeTime, match=told):
            ask(rows, field)


def test_an_annotation_that_is_no_time_is_named(tracker: ViewTracker) -> None:
    rows = Article.objects.annotate(n=Count("pk"), day=Cast(TruncDay("updated"), models.DateField()))
    for name, kind in (("n", "IntegerField"), ("day", "DateField")):
        with pytest.raises(NoChangeTime, match=f"'{name}' is no time but a .*{kind}"):
            tracker.unseen(rows, name)


@isolate_apps("newsroom")
def test_a_property_that_would_tell_is_not_passed_over_in_sql(tracker: ViewTracker) -> None:
    """One object and a list must not disagree."""

    class Aged(models.Model):
        created = models.DateTimeField()

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return ""

        @property
        def modified(self) -> datetime:
            return NOW

    with pytest.raises(NoChangeTime, match=r"Aged.modified is a property.*flag\(\)"):
        tracker.unseen(Aged)
    tracker.unseen(Aged, "created")


@pytest.mark.parametrize("wrong", ["newsroom.artcle", "artcle", "", "a.b.c"])
def test_a_label_that_is_unknown_is_named(tracker: ViewTracker, wrong: str) -> None:
    with pytest.raises(LookupError, match=f"no installed model '{wrong}'"):
        tracker.unseen(wrong)
    with pytest.raises(LookupError, match=f"no installed model '{wrong}'"):
        tracker.mark_model_viewed(wrong)


def test_what_is_no_set_of_rows_is_refused(tracker: ViewTracker) -> None:
    for wrong in (None, 7, [1], int):
        with pytest.raises(TypeError, match="its label"):
            tracker.unseen(wrong)
    for wrong in ([7], ["newsroom.article"], [None]):
        with pytest.raises(TypeError, match="not a model instance"):
            tracker.flag(wrong)
        with pytest.raises(TypeError, match="not a model instance"):
            tracker.mark_viewed(wrong)


def test_an_object_without_identity_is_refused_and_nothing_marked(tracker: ViewTracker) -> None:
    """A key that is blank would stand for the whole model."""
    saved = articles(1)[0]
    blank = Topic.objects.create(slug="")
    for wrong in (Page(title="p"), Article(title="a"), blank):
        for act in (tracker.mark_viewed, tracker.mark_unseen, tracker.flag):
            with pytest.raises(ValueError, match=r"not saved|is empty"):
                act([saved, wrong])
        with pytest.raises(ValueError, match=r"not saved|is empty"):
            tracker.mark_instance_viewed(wrong)
    with pytest.raises(ValueError, match="is empty"):
        tracker.mark_viewed(Topic.objects.all())
    assert not ViewMark.objects.exists()


def test_a_user_without_identity_is_refused() -> None:
    article = articles(1)[0]
    with pytest.raises(ValueError, match="user is not saved"):
        ViewTracker(User(username="x")).mark_all_viewed()
    with pytest.raises(TypeError, match="is needed"):
        ViewTracker("reader").has_viewed(article)


@pytest.fixture
def elsewhere(settings: Any) -> Iterator[str]:
    """An alias that is another database, which is never opened."""
    connections.settings["elsewhere"] = {**connections.settings["default"], "NAME": "nowhere"}
    yield "elsewhere"
    if hasattr(connections._connections, "elsewhere"):
        del connections["elsewhere"]
    del connections.settings["elsewhere"]


def test_rows_of_another_database_are_refused_in_sql_and_flagged_when_loaded(
    tracker: ViewTracker, elsewhere: str
) -> None:
    with pytest.raises(ValueError, match=r"kept in the database 'default'.*'elsewhere'.*flag\(\)"):
        tracker.unseen(Article.objects.using(elsewhere))
    article = articles(1)[0]
    tracker.mark_instance_viewed(article)
    loaded = Article(pk=article.pk, title="from there", updated=NOW - DAY)
    loaded._state.adding, loaded._state.db = False, elsewhere
    assert tracker.flag([loaded])[0].seen is True


class Replicated:
    """Everything is read from a replica."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "elsewhere"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"


def test_rows_on_a_replica_are_asked_there(tracker: ViewTracker, elsewhere: str, settings: Any) -> None:
    """Where the marks are read, too."""
    settings.DATABASE_ROUTERS = [Replicated()]
    assert tracker.unseen(Article.objects.all()).db == elsewhere
    tracker.unseen(Article.objects.using("default"))


@pytest.fixture
def many_marks(tracker: ViewTracker) -> None:
    """Of 200 users on 100 objects of three models, and the planner knows of them."""
    made = User.objects.bulk_create(User(username=f"u{n}") for n in range(200))
    keys = [("newsroom.article", str(n)) for n in range(34)]
    keys += [("newsroom.page", str(uuid.uuid4())) for n in range(33)]
    keys += [("newsroom.topic", f"slug-{n}") for n in range(33)]
    ViewMark.objects.bulk_create(
        ViewMark(user_id=user.pk, object_type=label, object_id=key, at=NOW)
        for user in [*made, tracker.user]
        for label, key in keys
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def test_marks_are_found_through_the_unique_index(tracker: ViewTracker, many_marks: None) -> None:
    """For one object and for each row of a list, whatever the type of its key."""
    user, label = tracker.user.pk, "newsroom.article"
    one = ViewMark.objects.filter(user_id=user, object_type__in=("", label), object_id__in=("", "1"))
    told = Value(NOW, DateTimeField())
    lists = [
        tracker.unseen(Article.objects.all()),
        tracker.unseen(Page.objects.annotate(told=told), "told"),
        tracker.unseen(Topic.objects.annotate(told=told), "told"),
    ]
    for rows in (one, *lists):
        plan = str(rows.explain())
        if connection.vendor == "postgresql":
            assert not re.search("Seq Scan on footfall_storage_viewmark|footfall_viewmark_object", plan), plan
            keyed = r"Index Cond: \(\(user_id = \d+\) AND \(\(object_type\)::text .*\) AND \(\(object_id\)::text = "
            assert re.search(keyed + (r"ANY" if rows is one else r"\(*newsroom_"), plan), plan
        else:
            searches = re.findall(r"SEARCH .* \(user_id=\? AND object_type=\? AND object_id=\?\)", plan)
            assert len(searches) == (1 if rows is one else 4), plan
