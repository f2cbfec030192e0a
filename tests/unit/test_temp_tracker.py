"""`TempTracker`, and what stored trackers can be asked, too: by the same rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from newsroom.models import Article, Column, Page
from pytest_django import DjangoAssertNumQueries

from footfall.producers import publish_action
from footfall.storage.actions import level, track, untrack
from footfall.storage.models import Action, DeletedItem, TempTracker, Tracker
from footfall.storage.viewtracker import ViewTracker
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=400)

Log = Callable[..., Action]


@pytest.fixture
def news() -> SimpleNamespace:
    """A reader, an author, and something to write about."""
    return SimpleNamespace(
        ada=User.objects.create(username="ada"),
        bob=User.objects.create(username="bob"),
        article=Article.objects.create(title="On counting"),
        other=Article.objects.create(title="On reading"),
        page=Page.objects.create(title="Imprint"),
    )


@pytest.fixture
def log(django_capture_on_commit_callbacks: Any) -> Log:
    """Publish an action, let a worker store it, and give it back."""

    def publish(*args: Any, **kwargs: Any) -> Action:
        with django_capture_on_commit_callbacks(execute=True):
            key = publish_action(*args, **kwargs)
        drain()
        return Action.objects.get(pk=key)

    return publish


def verbs(actions: Any) -> set[str]:
    return {action.verb for action in actions}


# -- Which actions


def test_ac_28_a_temporary_tracker_asks_without_storing_anything(news: SimpleNamespace, log: Log) -> None:
    """The same as one that is stored."""
    wrote, read = log(news.bob, "wrote", news.article), log(news.ada, "read", news.article)
    before = TempTracker(news.ada, news.bob, last_updated=LONG_AGO)
    assert list(before.actions()) == [wrote]
    assert before.matches(wrote) and not before.matches(read)
    assert before.update_unread() == {wrote} == set(before.unread())
    assert before.tracked == news.bob
    assert not Tracker.objects.exists()


def test_ac_28_a_temporary_tracker_is_of_now_and_for_all_verbs_of_an_actor(news: SimpleNamespace) -> None:
    """Unless it is told otherwise."""
    with time_machine.travel(NOW, tick=False):
        plain = TempTracker(news.ada, news.bob)
    assert (plain.verbs, plain.excluded, plain.actor_only, plain.last_updated) == ([], [], True, NOW)
    told = TempTracker(news.ada, Article, verbs="read", actor_only=False, last_updated=LONG_AGO)
    assert (told.verbs, told.actor_only, told.last_updated, told.tracked) == (["read"], False, LONG_AGO, Article)
    assert TempTracker(news.ada, Column.objects.first(), {"read"}).tracked_type == "newsroom.article"


@pytest.mark.parametrize("verb", ["", "<b>"])
def test_a_temporary_tracker_refuses_what_track_refuses(news: SimpleNamespace, verb: str) -> None:
    """No verb, no object, a time without a zone."""
    with pytest.raises(ValueError, match="verb"):
        TempTracker(news.ada, news.bob, verbs=verb)
    with pytest.raises(ValueError, match="not saved"):
        TempTracker(news.ada, Article())
    with pytest.raises(TypeError):
        TempTracker(news.ada, "newsroom.article")
    with pytest.raises(TypeError, match="A user"):
        TempTracker(news.page, news.article)
    with pytest.raises(ValueError, match="time zone"):
        TempTracker(news.ada, news.bob, last_updated=datetime(2026, 1, 1))


def test_ac_56_with_actor_only_only_what_the_object_did_is_matched(news: SimpleNamespace, log: Log) -> None:
    """Without it also what was done to it, or in relation to it."""
    did = log(news.article, "grew")
    target, related = log(news.bob, "wrote", news.article), log(news.bob, "read", related=news.article)
    other = log(news.bob, "sold", news.other)
    for only, expected in ((True, [did]), (False, [did, target, related])):
        tracker = TempTracker(news.ada, news.article, actor_only=only)
        assert [one for one in (did, target, related, other) if tracker.matches(one)] == expected
        assert set(tracker.actions()) == set(expected)


def test_ac_45_a_tracker_of_a_model_matches_any_of_its_objects_and_the_model(news: SimpleNamespace, log: Log) -> None:
    """In every role; and a tracker of one object matches nothing about the model."""
    some = [log(news.bob, "wrote", news.article), log(news.bob, "sold", Article), log(news.other, "grew")]
    elsewhere = log(news.bob, "read", news.page)
    of_model = TempTracker(news.ada, Article, actor_only=False)
    assert [of_model.matches(one) for one in (*some, elsewhere)] == [True, True, True, False]
    assert set(of_model.actions()) == set(some)
    of_one = TempTracker(news.ada, news.article, actor_only=False)
    assert [of_one.matches(one) for one in some] == [True, False, False]
    assert list(TempTracker(news.ada, Article).actions()) == [some[2]]


def test_ac_45_what_a_tracker_of_a_model_follows_is_unread(news: SimpleNamespace, log: Log) -> None:
    """As by any other."""
    track(news.ada, [Article, news.article], actor_only=False)
    wrote = log(news.bob, "wrote", news.other)
    assert Tracker.objects.get(tracked_id="").update_unread() == {wrote}
    assert Tracker.objects.exclude(tracked_id="").get().update_unread() == set()


def test_ac_58_a_tracker_of_verbs_matches_these_only(news: SimpleNamespace, log: Log) -> None:
    """And its actions can be filtered further."""
    actions = [log(news.bob, verb, news.article) for verb in "abc"]
    tracker = TempTracker(news.ada, news.bob, verbs={"a", "b"})
    assert [tracker.matches(one) for one in actions] == [True, True, False]
    assert verbs(tracker.actions()) == {"a", "b"}
    assert verbs(tracker.actions(verb="a")) == {"a"}
    assert verbs(tracker.actions(timestamp__lt=LONG_AGO)) == set()


def test_ac_40_an_excluded_verb_is_not_matched(news: SimpleNamespace, log: Log) -> None:
    """By a tracker of all verbs that it was taken out of."""
    actions = [log(news.bob, verb, news.article) for verb in "ab"]
    track(news.ada, news.bob)
    untrack(news.ada, news.bob, verbs="a")
    tracker = Tracker.objects.get()
    assert [tracker.matches(one) for one in actions] == [False, True]
    assert verbs(tracker.actions()) == {"b"}


def test_ac_59_a_verb_with_a_separator_is_matched_as_a_whole(news: SimpleNamespace, log: Log) -> None:
    """Not by its parts."""
    actions = [log(news.bob, verb, news.article) for verb in ("a;b", "a", "b")]
    for tracker, expected in (
        (TempTracker(news.ada, news.bob, verbs="a;b"), [True, False, False]),
        (TempTracker(news.ada, news.bob, verbs=["a", "b"]), [False, True, True]),
    ):
        assert [tracker.matches(one) for one in actions] == expected
        assert verbs(tracker.actions()) == {one.verb for one in actions if tracker.matches(one)}


def test_an_action_without_an_actor_is_matched_by_its_objects(news: SimpleNamespace, log: Log) -> None:
    """Nobody is nobody's actor."""
    sold = log(None, "sold", news.article)
    assert TempTracker(news.ada, news.article, actor_only=False).matches(sold)
    assert not TempTracker(news.ada, Article).matches(sold)


def test_matching_many_actions_takes_one_query(
    news: SimpleNamespace, log: Log, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """And none where only the actor counts, or the verb does not fit."""
    for _ in range(5):
        log(news.bob, "wrote", [news.article, news.page])
    with django_assert_num_queries(1):
        actions = list(Action.objects.all())
    with django_assert_num_queries(0):
        assert all(TempTracker(None, news.bob).matches(one) for one in actions)
        assert not any(TempTracker(None, news.page, "read", actor_only=False).matches(one) for one in actions)
    with django_assert_num_queries(1):
        assert all(TempTracker(None, news.page, actor_only=False).matches(one) for one in actions)


Objects = st.lists(st.sampled_from(["ada", "bob", "article", "other", "page", "Article", "User"]), max_size=3)


@hypothesis_settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    actor=st.sampled_from(["ada", "bob", "article", None]),
    targets=Objects,
    related=Objects,
    tracked=st.sampled_from(["ada", "bob", "article", "Article", "User"]),
    only=st.booleans(),
    of_verbs=st.sets(st.sampled_from("ab")),
)
def test_ac_36_what_matches_is_what_is_listed(
    news: SimpleNamespace,
    log: Log,
    actor: str | None,
    targets: list[str],
    related: list[str],
    tracked: str,
    only: bool,
    of_verbs: set[str],
) -> None:
    """Whatever the action and the tracker: asked of the action, or of the database."""
    named = {**vars(news), "Article": Article, "User": User}
    Action.objects.all().delete()
    action = log(actor and named[actor], "a", [named[one] for one in targets], [named[one] for one in related])
    tracker = TempTracker(news.ada, named[tracked], of_verbs, actor_only=only, last_updated=LONG_AGO)
    expected = {action} if tracker.matches(action) else set()
    assert set(tracker.actions()) == expected
    assert tracker.update_unread() == expected


# -- What of it is unread


def test_ac_36_unread_is_what_came_since_the_tracker_and_can_be_read(news: SimpleNamespace, log: Log) -> None:
    """Older actions are among its actions, but never unread; those below READABLE_LEVEL are neither."""
    old = log(news.bob, "wrote", news.article, timestamp=NOW - timedelta(hours=1))
    tracker = TempTracker(news.ada, news.bob, last_updated=NOW - timedelta(minutes=1))
    new = log(news.bob, "sold", news.article)
    hidden = log(news.bob, "filed", news.article, level=level.HIDDEN)
    assert set(tracker.actions()) == {old, new}
    assert tracker.update_unread() == {new}
    assert tracker.matches(hidden)


def test_ac_37_reading_an_action_leaves_it_read_for_every_tracker(news: SimpleNamespace, log: Log) -> None:
    """Asking writes nothing: what is unread stays so until it is read."""
    track(news.ada, news.bob)
    wrote = log(news.bob, "wrote", news.article)
    trackers = [Tracker.objects.get(), TempTracker(news.ada, news.article, actor_only=False, last_updated=LONG_AGO)]
    for tracker in trackers * 2:
        assert tracker.update_unread() == {wrote}
    wrote.mark_read_for(news.ada, force=True)
    assert [tracker.update_unread() for tracker in trackers] == [set(), set()]
    wrote.mark_unread_for(news.ada)
    assert [tracker.update_unread() for tracker in trackers] == [{wrote}, {wrote}]
    ViewTracker(news.ada).mark_all_viewed()
    assert [tracker.update_unread() for tracker in trackers] == [set(), set()]


def test_ac_36_asking_what_is_unread_writes_nothing(news: SimpleNamespace, log: Log) -> None:
    """One query, which reads."""
    track(news.ada, news.bob)
    log(news.bob, "wrote", news.article)
    before = Tracker.objects.values().get()
    tracker = Tracker.objects.get()
    with CaptureQueriesContext(connection) as queries:
        tracker.update_unread()
    assert [query["sql"][:6] for query in queries.captured_queries] == ["SELECT"]
    assert Tracker.objects.values().get() == before


@pytest.mark.parametrize("who", [AnonymousUser(), None], ids=["anonymous", "nobody"])
def test_nothing_is_unread_for_an_anonymous_user(news: SimpleNamespace, log: Log, who: Any) -> None:
    """Who may still ask what an object's followers are told of."""
    wrote = log(news.bob, "wrote", news.article)
    tracker = TempTracker(who, news.bob, last_updated=LONG_AGO)
    assert tracker.update_unread() == set()
    assert list(tracker.actions()) == [wrote]


def test_nothing_is_unread_with_track_unread_off(news: SimpleNamespace, log: Log, settings: Any) -> None:
    """By any tracker."""
    track(news.ada, news.bob)
    log(news.bob, "wrote", news.article)
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_UNREAD": False}
    assert Tracker.objects.get().update_unread() == set()


# -- Whom it follows


def test_a_tracker_leads_to_what_is_left_of_a_deleted_object(news: SimpleNamespace) -> None:
    """Stored or not; what was not connected is gone without a trace."""
    track(news.ada, [news.article, news.page])
    temporary = TempTracker(news.ada, news.article)
    news.article.delete()
    item = DeletedItem.objects.get()
    assert Tracker.objects.get(tracked_type="newsroom.article").tracked == item == temporary.tracked
    Page.objects.all()._raw_delete("default")
    assert Tracker.objects.get(tracked_type="newsroom.page").tracked is None
    assert TempTracker(news.bob, item).tracked_ref == item.footfall_ref
