"""`ViewTracker`: what a user has seen, asked and marked at once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import AnonymousUser, User
from newsroom.models import Article, Column, Page, Topic
from pytest_django import DjangoAssertNumQueries

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
def test_a_mark_as_old_as_the_change_or_newer_means_seen(tracker: ViewTracker, article: Article, scope: str) -> None:
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


def test_a_question_is_one_query(
    tracker: ViewTracker, article: Article, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        tracker.has_viewed(article)


def test_an_anonymous_user_has_seen_everything_and_leaves_no_mark(article: Article) -> None:
    for nobody in (None, AnonymousUser()):
        tracker = ViewTracker(nobody)
        tracker.mark_instance_viewed(article)
        tracker.mark_model_viewed(Article)
        tracker.mark_all_viewed()
        assert tracker.has_viewed(article)
        assert tracker.last_activity() is None
    assert not ViewMark.objects.exists()


def test_marks_go_with_their_user(tracker: ViewTracker, article: Article) -> None:
    """VT-20, the user's half."""
    tracker.mark_instance_viewed(article)
    tracker.user.delete()
    assert not ViewMark.objects.exists()


def test_vt_19_any_primary_key_is_marked_and_asked(tracker: ViewTracker) -> None:
    for thing in (Page.objects.create(title="p"), Topic.objects.create(slug="café")):
        tracker.mark_instance_viewed(thing)
        assert tracker.has_viewed(thing, NOW - timedelta(days=9999))


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
    ],
    ids=["in order", "first name", "None is passed over", "a date is passed over", "named", "called"],
)
def test_the_time_of_change_is_found(fields: dict[str, Any], field: str | None, expected: datetime) -> None:
    thing: Any = SimpleNamespace(**fields, _meta=SimpleNamespace(label="a.Thing"))
    assert change_time(thing, field) == expected


@pytest.mark.parametrize("field", [None, "edited"])
def test_where_no_time_is_found_the_names_are_said(field: str | None) -> None:
    thing: Any = SimpleNamespace(edited=None, _meta=SimpleNamespace(label="a.Thing"))
    with pytest.raises(NoChangeTime, match=field or "last_modified"):
        change_time(thing, field)
