"""`ViewTracker`: what a user has seen, asked and marked at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from newsroom.models import Article, Column, Page, Topic
from pytest_django import DjangoAssertNumQueries

from footfall.storage.changetime import change_time_or_earliest, earliest
from footfall.storage.marks import raise_marks
from footfall.storage.models import ViewMark
from footfall.storage.viewtracker import NoChangeTime, ViewTracker, change_time

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@pytest.fixture
def tracker() -> ViewTracker:
    return ViewTracker(User.objects.create(username="reader"))


@pytest.fixture
def article() -> Article:
    return Article.objects.create(title="On seeing")


@pytest.mark.parametrize("scope", ["object", "proxy", "model", "an instance's model", "label", "everything"])
def test_vt_04_vt_06_vt_07_vt_09_vt_10_a_mark_as_old_as_the_change_or_newer_means_seen(
    tracker: ViewTracker, article: Article, scope: str
) -> None:
    """Whichever scope it is on; one microsecond later it is unseen."""
    marks: dict[str, Any] = {
        "object": lambda: tracker.mark_instance_viewed(article),
        "proxy": lambda: tracker.mark_instance_viewed(Column.objects.get()),
        "model": lambda: tracker.mark_model_viewed(Article),
        "an instance's model": lambda: tracker.mark_model_viewed(article),
        "label": lambda: tracker.mark_model_viewed("newsroom.article"),
        "everything": tracker.mark_all_viewed,
    }
    assert not tracker.has_viewed(article, NOW)

    with time_machine.travel(NOW, tick=False):
        marks[scope]()

    assert tracker.has_viewed(article, NOW)
    assert not tracker.has_viewed(article, NOW + TICK)
    assert tracker.last_activity() == NOW


def test_a_mark_says_nothing_of_other_objects_models_and_users(tracker: ViewTracker, article: Article) -> None:
    """Nor does another key type's row with the same text."""
    topic = Topic.objects.create(slug=str(article.pk))
    tracker.mark_instance_viewed(article)

    assert not tracker.has_viewed(Article.objects.create(title="another"), NOW)
    assert not tracker.has_viewed(topic, NOW)
    assert not ViewTracker(User.objects.create(username="other")).has_viewed(article, NOW)


def test_vt_01_a_question_is_one_query(
    tracker: ViewTracker, article: Article, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tracker.mark_viewed([article])
    tracker.mark_all_viewed()
    for options in ({}, {"last_update": NOW}, {"updated_field": "updated"}):
        with django_assert_num_queries(1):
            tracker.has_viewed(article, **options)


def test_vt_01_without_any_mark_everything_is_unseen(tracker: ViewTracker, article: Article) -> None:
    assert not tracker.has_viewed(article, NOW - timedelta(days=9999))
    assert tracker.last_activity() is None


def test_vt_03_any_of_the_three_marks_is_enough(tracker: ViewTracker, article: Article) -> None:
    """Changed between an old mark on everything and a newer one on the object: seen."""
    with time_machine.travel(NOW, tick=False) as clock:
        tracker.mark_all_viewed()
        clock.shift(10)
        tracker.mark_instance_viewed(article)
    assert tracker.has_viewed(article, NOW + timedelta(seconds=10))
    assert not tracker.has_viewed(Article.objects.create(title="b"), NOW + TICK)


def test_vt_05_marking_a_model_deletes_the_user_s_marks_on_its_objects(tracker: ViewTracker, article: Article) -> None:
    """Of that model, of that user; an older mark on everything stays."""
    other = ViewTracker(User.objects.create(username="other"))
    topic = Topic.objects.create(slug="t")
    tracker.mark_all_viewed()
    for one in (tracker, other):
        one.mark_viewed([article, topic])
    tracker.mark_model_viewed(Article)

    assert scopes(tracker) == {("", ""), ("newsroom.article", ""), ("newsroom.topic", "t")}
    assert scopes(other) == {("newsroom.article", str(article.pk)), ("newsroom.topic", "t")}


def test_vt_08_marking_everything_deletes_the_user_s_other_marks(tracker: ViewTracker, article: Article) -> None:
    """Also those that say unseen; no other user's."""
    other = ViewTracker(User.objects.create(username="other"))
    other.mark_instance_viewed(article)
    tracker.mark_model_viewed(Topic)
    tracker.mark_unseen(article)
    tracker.mark_all_viewed()

    assert scopes(tracker) == {("", "")}
    assert len(scopes(other)) == 1


def test_a_wider_mark_leaves_what_is_newer(tracker: ViewTracker, article: Article) -> None:
    """One that came meanwhile, from a clock ahead of this one or out of order."""
    with time_machine.travel(NOW + timedelta(seconds=1), tick=False):
        tracker.mark_instance_viewed(article)
    with time_machine.travel(NOW, tick=False):
        tracker.mark_all_viewed()
    assert tracker.has_viewed(article, NOW + timedelta(seconds=1))
    assert len(scopes(tracker)) == 2


@pytest.mark.parametrize("label", ["", "newsroom.article"])
def test_the_wide_marks_of_many_are_few_statements(
    label: str, article: Article, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """As when hundreds say "all read" at moments of their own. Each deletes what is not newer, of that user only."""
    users = User.objects.bulk_create(User(username=str(n)) for n in range(150))
    topic = Topic.objects.create(slug="t")
    for user in users:
        with time_machine.travel(NOW + user.pk * TICK, tick=False):
            ViewTracker(user).mark_viewed([article, topic])
    keep = users[0]
    marks = {(user.pk, label, ""): NOW + user.pk * TICK for user in users} | {(keep.pk, label, ""): NOW}

    with django_assert_max_num_queries(4):
        raise_marks(marks, "default")

    left = {("newsroom.topic", "t")} if label else set()
    for user in users[1:]:
        assert scopes(ViewTracker(user)) == {(label, "")} | left
    assert scopes(ViewTracker(keep)) == {(label, ""), ("newsroom.article", str(article.pk)), ("newsroom.topic", "t")}


def test_marking_unseen_holds_until_the_next_mark(tracker: ViewTracker, article: Article) -> None:
    """On any of the three scopes. Marked at one time as seen and as unseen, it is seen."""
    again: list[Callable[[], None]] = [
        lambda: tracker.mark_instance_viewed(article),
        lambda: tracker.mark_model_viewed(Article),
        tracker.mark_all_viewed,
    ]
    with time_machine.travel(NOW, tick=False) as clock:
        for mark in again:
            mark()
            tracker.mark_unseen(article)
            assert tracker.has_viewed(article, NOW)
            clock.shift(1)
            tracker.mark_unseen(article)
            assert not tracker.has_viewed(article, NOW - timedelta(days=9999))
            assert tracker.has_viewed(Article.objects.create(title="b"), NOW) == (mark is not again[0])
            clock.shift(1)


def test_vt_15_the_last_activity_is_the_latest_mark(
    tracker: ViewTracker, article: Article, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Of whatever scope; the user's own; one query."""
    with time_machine.travel(NOW, tick=False) as clock:
        tracker.mark_all_viewed()
        clock.shift(1)
        tracker.mark_unseen(article)
        clock.shift(1)
        ViewTracker(User.objects.create(username="other")).mark_all_viewed()
    with django_assert_num_queries(1):
        assert tracker.last_activity() == NOW + timedelta(seconds=1)


def test_vt_11_a_time_that_is_given_wins(tracker: ViewTracker, article: Article) -> None:
    """The field is then not even looked at."""
    with time_machine.travel(NOW, tick=False):
        tracker.mark_instance_viewed(article)
    assert tracker.has_viewed(article, NOW, updated_field="no_such_field")
    assert not tracker.has_viewed(article, NOW + TICK, updated_field="no_such_field")


def test_a_time_that_is_none_is_refused(tracker: ViewTracker, article: Article) -> None:
    with pytest.raises(TypeError, match="A time is a datetime"):
        tracker.has_viewed(article, date(2026, 1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no time zone"):
        tracker.has_viewed(article, datetime(2026, 1, 1))


def test_what_a_question_for_an_unsaved_object_would_mean_is_not_guessed(tracker: ViewTracker) -> None:
    with pytest.raises(ValueError, match="not saved"):
        tracker.has_viewed(Article(title="a"), NOW)


def scopes(tracker: ViewTracker) -> set[tuple[str, str]]:
    return set(ViewMark.objects.filter(user=tracker.user).values_list("object_type", "object_id"))


def test_vt_14_an_anonymous_user_has_seen_everything_and_leaves_no_mark(article: Article) -> None:
    for nobody in (None, AnonymousUser()):
        tracker = ViewTracker(nobody)
        tracker.mark_instance_viewed(article)
        tracker.mark_model_viewed(Article)
        tracker.mark_all_viewed()
        assert tracker.has_viewed(article)
        assert tracker.last_activity() is None
    assert not ViewMark.objects.exists()


def test_vt_20_marks_go_with_their_user(tracker: ViewTracker, article: Article) -> None:
    tracker.mark_instance_viewed(article)
    tracker.user.delete()
    assert not ViewMark.objects.exists()


def test_vt_19_any_primary_key_is_marked_and_asked(tracker: ViewTracker) -> None:
    for thing in (Page.objects.create(title="p"), Topic.objects.create(slug="café")):
        tracker.mark_instance_viewed(thing)
        assert tracker.has_viewed(thing, NOW - timedelta(days=9999))


def test_vt_19_a_key_that_was_given_as_text_is_the_key(tracker: ViewTracker) -> None:
    """Django leaves it on the object as it was given, and knows it otherwise when it is read back."""
    number, uuid = "0007", "6f9619ff8b86d011b42d00c04fc964ff"
    for thing in (Article.objects.create(pk=number, title="a"), Page.objects.create(pk=uuid, title="p")):
        tracker.mark_instance_viewed(thing)
        assert tracker.has_viewed(type(thing)._default_manager.get(), NOW)
        thing.delete()
    assert not ViewMark.objects.exists()


def test_a_tracker_of_what_is_no_user_is_refused(article: Article) -> None:
    """Or the marks would be those of the user with the same key. An object of a migration's user model is one."""
    with pytest.raises(TypeError, match="is needed"):
        ViewTracker(article).mark_all_viewed()
    with pytest.raises(ValueError, match="not saved"):
        ViewTracker(User(pk=1, username="x")).mark_all_viewed()
    user = User.objects.create(username="old")
    state = MigrationLoader(connection).project_state().apps
    ViewTracker(state.get_model("auth", "User").objects.get()).mark_all_viewed()
    assert ViewTracker(user).has_viewed(article)


def test_a_time_at_the_end_of_the_calendar_is_a_time_or_a_value_error(
    tracker: ViewTracker, article: Article, settings: Any
) -> None:
    tracker.mark_all_viewed()
    last = datetime.max.replace(tzinfo=UTC)
    assert not tracker.has_viewed(article, last)
    with pytest.raises(ValueError, match="future"):
        tracker.set_watermark(last)
    settings.USE_TZ = False
    with pytest.raises(ValueError, match="outside the calendar"):
        tracker.has_viewed(article, last)


def test_an_unsaved_object_can_t_be_marked(tracker: ViewTracker) -> None:
    with pytest.raises(ValueError, match="not saved"):
        tracker.mark_instance_viewed(Page(title="p"))


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        ({"updated": NOW, "created": NOW - TICK}, None, NOW),
        ({"last_modified": NOW, "updated": NOW - TICK}, None, NOW),
        ({"updated": None, "changed": NOW}, None, NOW),
        ({"updated": date(2026, 1, 1), "created": NOW}, None, NOW),
        ({"updated": NOW - TICK, "edited": NOW}, "edited", NOW),
        ({"edited": lambda: NOW}, "edited", NOW),
        ({"thread": SimpleNamespace(edited=NOW), "updated": NOW - TICK}, "thread__edited", NOW),
        ({"created": dict, "updated": lambda: 1 / 0, "changed": NOW}, None, NOW),
    ],
    ids=[
        "in order",
        "first name",
        "None is passed over",
        "a date is passed over",
        "named",
        "called",
        "over a relation",
        "a guess calls nothing",
    ],
)
def test_vt_12_the_time_of_change_is_found(fields: dict[str, Any], field: str | None, expected: datetime) -> None:
    thing: Any = SimpleNamespace(**fields, _meta=SimpleNamespace(label="a.Thing"))
    assert change_time(thing, field) == expected


def test_a_relation_that_leads_nowhere_is_as_one_that_never_changed() -> None:
    """As in SQL."""

    class Thing:
        _meta = SimpleNamespace(label="a.Thing")

        @property
        def profile(self) -> None:
            raise User.DoesNotExist

    thing: Any = Thing()
    assert change_time_or_earliest(thing, "profile__edited") == earliest()
    with pytest.raises(NoChangeTime):
        change_time(thing, "profile__edited")


@pytest.mark.parametrize("field", [None, "edited", "missing", "edited__there"])
def test_vt_13_where_no_time_is_found_the_names_are_said(field: str | None) -> None:
    thing: Any = SimpleNamespace(edited=None, _meta=SimpleNamespace(label="a.Thing"))
    with pytest.raises(NoChangeTime, match=field or "last_modified"):
        change_time(thing, field)


def test_vt_14_marking_answers_an_anonymous_user_with_true(article: Article) -> None:
    """Everything is seen already; and a class of users is no user."""
    for marked in (
        ViewTracker(None).mark_instance_viewed(article),
        ViewTracker(None).mark_model_viewed(Article),
        ViewTracker(AnonymousUser()).mark_all_viewed(),
    ):
        assert marked is True
    with pytest.raises(TypeError, match="is needed"):
        ViewTracker(User).last_activity()
    with pytest.raises(TypeError, match="not a model instance"):
        ViewTracker(User.objects.create(username="other")).has_viewed(Article)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="slice"):
        ViewTracker(None).unseen(Article.objects.all()[:2])
