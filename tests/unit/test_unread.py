"""Read and unread, for actions at hand: by the marks of `ViewMark`, of which reading a list writes none."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from newsroom.models import Article, Page, Topic
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks
from storedactions import START, at, follow, store

from footfall.producers import publish_action, scope
from footfall.producers.messages import View
from footfall.producers.testing import Captured, captured_messages
from footfall.storage import feeds, readerflags, unread
from footfall.storage.marks import raise_marks
from footfall.storage.models import Action, ActionObject, ActionStamp, SpiderTally, Tracker, ViewMark
from footfall.storage.viewtracker import ViewTracker
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db

LABEL = "footfall_storage.action"
TICK = timedelta(microseconds=1)


@pytest.fixture
def ada(db: None) -> User:
    """The reader."""
    return User.objects.create(username="ada")


@pytest.fixture
def bob(ada: User) -> User:
    """Ada follows him."""
    bob = User.objects.create(username="bob")
    follow(ada, bob)
    return bob


@pytest.fixture
def auto_read_off(settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "AUTO_READ": False}


def stamp(seconds: float) -> None:
    """The last time that was given to what was committed."""
    ActionStamp.objects.update_or_create(id=1, defaults={"at": at(seconds)})


def grow(action: Action, seconds: float) -> None:
    """``action`` gained an object, as the worker writes that."""
    Action.objects.filter(pk=action.pk).update(renewed=at(seconds), changed=at(seconds))
    ActionObject.objects.filter(action=action).update(renewed=at(seconds), changed=at(seconds))


def fresh(*actions: Action) -> list[Action]:
    """The same, as another page loads them."""
    return [Action.objects.get(pk=action.pk) for action in actions]


def is_unread(user: User, *actions: Action) -> list[bool]:
    """For another page of the user; counting in SQL comes to the same."""
    user = User.objects.get(pk=user.pk)
    answers = Action.bulk_is_unread_for(user, fresh(*actions))
    counted = set(feeds.unread_of(user).values_list("pk", flat=True))
    assert answers == [action.pk in counted for action in actions]
    return answers


# -- One action, and many


def test_ac_29_an_action_is_unread_for_who_follows_it(ada: User, bob: User) -> None:
    """Nothing has to be read first, and asking changes nothing."""
    action, other = store(bob), store(ada)
    assert is_unread(ada, action, other) == [True, False]
    assert is_unread(bob, action, other) == [False, False]
    assert action.is_unread_for(ada) and action.is_unread_for(ada)
    assert not ViewMark.objects.exists()


def test_ac_30_marking_as_read_tells_whether_it_was_unread(ada: User, bob: User) -> None:
    action, other = store(bob), store(ada)
    assert action.mark_read_for(ada) is True
    assert action.mark_read_for(ada) is False
    assert other.mark_read_for(ada) is False
    assert is_unread(ada, action, other) == [False, False]


def test_ac_31_bulk_forms_answer_for_each_action(ada: User, bob: User) -> None:
    """Also for those below READABLE_LEVEL, and for one that is given twice."""
    actions = [store(bob, level=level, seconds=level) for level in (0, 10, 20, 30, 40, 50)]
    expected = [False, False, False, True, True, True]
    assert Action.bulk_is_unread_for(ada, actions) == expected
    assert Action.bulk_is_unread_for(ada, iter([*actions, actions[4], actions[0]])) == [*expected, True, False]
    assert Action.bulk_mark_read_for(ada, [*actions, actions[4]]) == [*expected, True]
    assert Action.bulk_mark_read_for(ada, actions) == [False] * 6
    assert Action.bulk_is_unread_for(ada, []) == Action.bulk_mark_read_for(ada, []) == []


def test_ac_32_what_one_reads_stays_unread_for_others(ada: User, bob: User) -> None:
    carl = User.objects.create(username="carl")
    follow(carl, bob)
    action = store(bob)
    action.mark_read_for(ada)
    assert [one.is_unread_for(user) for one in [action] for user in (ada, bob, carl)] == [False, False, True]


def test_ac_33_force_marks_whatever_the_settings(ada: User, bob: User, auto_read_off: None) -> None:
    actions = [store(bob, seconds=n) for n in range(3)]
    assert Action.bulk_mark_read_for(ada, actions[:2], force=True) == [True, True]
    assert actions[2].mark_read_for(ada, force=True) is True
    assert is_unread(ada, *actions) == [False] * 3


def test_ac_55_with_auto_read_off_nothing_is_marked_without_force(ada: User, bob: User, auto_read_off: None) -> None:
    """Rendering leaves it unread, too."""
    action = store(bob)
    assert action.mark_read_for(ada) is False
    assert Action.bulk_mark_read_for(ada, [action, action]) == [False, False]
    with captured_messages() as published:
        action.render(ada)
    assert list(published) == [] and is_unread(ada, action) == [True]
    assert action.mark_read_for(ada, force=True) is True
    assert is_unread(ada, action) == [False]


def test_ac_34_what_is_rendered_is_read(
    ada: User, bob: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """By that very page at once, and everywhere when a worker has set the marks; not by another reader."""
    carl = User.objects.create(username="carl")
    follow(carl, bob)
    stored = [store(bob, seconds=n) for n in range(3)]
    page = fresh(*stored)
    with django_capture_on_commit_callbacks(execute=True):
        Action.bulk_render(page, ada)
    assert Action.bulk_is_unread_for(ada, page) == [False] * 3
    assert not ViewMark.objects.exists() and is_unread(ada, *stored) == [True] * 3
    assert drain() == 1
    assert is_unread(ada, *stored) == [False] * 3
    assert is_unread(carl, *stored) == [True] * 3
    assert set(ViewMark.objects.values_list("object_id", "at")) == {(str(one.pk), one.changed) for one in stored}


@pytest.mark.parametrize("how", ["objects", "models", "roles", "all"])
def test_ac_35_to_37_one_action_that_several_trackers_follow_is_unread_once(ada: User, bob: User, how: str) -> None:
    """And read once for all."""
    page, topic = Page.objects.create(title="p"), Topic.objects.create(slug="t")
    if how in ("objects", "all"):
        follow(ada, page, actor_only=False)
        follow(ada, topic, actor_only=False)
    if how in ("models", "all"):
        follow(ada, Page, actor_only=False)
        follow(ada, User)
    if how in ("roles", "all"):
        Tracker.objects.update(actor_only=False)
    action = store(bob, targets=[page, bob], related=[topic, page, bob])
    assert is_unread(ada, action) == [True] and Action.unread_count(ada) == 1
    assert action.mark_read_for(ada) is True
    assert is_unread(ada, action) == [False] and Action.unread_count(ada) == 0


def test_ac_38_with_track_unread_off_nothing_is_unread(ada: User, bob: User, settings: Any) -> None:
    """And nothing is asked or marked."""
    action = store(bob)
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_UNREAD": False}
    with captured_messages() as published, CaptureQueriesContext(connection) as queries:
        unread.load_flags(ada, [action])
        unread.publish_read(ada, [action])
        action.mark_unread_for(ada)
        assert action.is_unread_for(ada) is False and action.mark_read_for(ada) is False
        assert Action.bulk_is_unread_for(ada, [action, action]) == [False, False]
        assert Action.unread_count(ada) == 0
    assert len(queries) == 0 and list(published) == []
    assert not feeds.unread_of(ada).exists() and not ViewMark.objects.exists()


@pytest.mark.parametrize("nobody", [None, AnonymousUser()], ids=["None", "anonymous"])
def test_ac_39_for_an_anonymous_user_everything_is_read(
    bob: User, nobody: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Never an error, and no query."""
    action = store(bob)
    stamp(0)
    with captured_messages() as published, django_assert_num_queries(0):
        assert action.is_unread_for(nobody) is False and action.mark_read_for(nobody, force=True) is False
        assert Action.bulk_is_unread_for(nobody, [action, action]) == [False, False]
        assert Action.bulk_mark_read_for(nobody, [action, action]) == [False, False]
        action.mark_unread_for(nobody)
        Action.mark_all_read(nobody)
        unread.load_flags(nobody, [action])
        unread.publish_read(nobody, [action])
        assert Action.unread_count(nobody) == 0 and list(feeds.unread_of(nobody, verb="wrote")) == []
    assert list(published) == [] and not ViewMark.objects.exists()


@pytest.mark.parametrize("nobody", ["ada", 1, User], ids=["a name", "a key", "the model"])
def test_a_reader_is_a_user(bob: User, nobody: Any) -> None:
    action = store(bob)
    with pytest.raises(TypeError, match="A user"):
        action.is_unread_for(nobody)
    with pytest.raises(TypeError, match="A user"):
        action.mark_read_for(nobody)
    with pytest.raises(TypeError, match="A user"):
        Action.mark_all_read(nobody)
    with pytest.raises(ValueError, match="not saved"):
        action.is_unread_for(User(username="new"))


# -- What is unread


def test_ac_42_what_is_stored_after_the_feed_was_read_is_unread_though_it_happened_before(ada: User, bob: User) -> None:
    """Also after all was marked as read: the marks are about what was stored by then, not about the clock."""
    first = store(bob, seconds=10)
    stamp(10)
    list(ada.actions.feed())  # type: ignore[attr-defined]  # which connect() adds
    Action.mark_all_read(ada)
    late = store(bob, seconds=5, changed=at(11))
    assert is_unread(ada, first, late) == [False, True]


def test_ac_43_what_is_marked_as_read_before_the_first_feed_stays_read(ada: User, bob: User) -> None:
    action = store(bob)
    action.mark_read_for(ada)
    for _ in range(2):
        assert list(ada.actions.feed()) == [action]  # type: ignore[attr-defined]  # likewise
        assert is_unread(ada, action) == [False]


def test_ac_44_a_tracker_for_other_verbs_takes_nothing_away(ada: User, bob: User) -> None:
    """Nor does a younger one, or one without this verb."""
    page = Page.objects.create(title="p")
    follow(ada, page, "closed", actor_only=False, seconds=-30)
    follow(ada, Page, actor_only=False, excluded=["wrote"])
    follow(ada, User, seconds=60)
    assert is_unread(ada, store(bob, targets=[page])) == [True]


def test_ac_45_a_tracker_of_a_class_makes_unread_beside_one_of_an_instance(ada: User, bob: User) -> None:
    """Each on its own, too."""
    carl = User.objects.create(username="carl")
    follow(ada, User, "read")
    wrote, read, of_another = store(bob), store(bob, "read"), store(carl, "read")
    assert list(ada.actions.feed().order_by("id")) == sorted(  # type: ignore[attr-defined]  # likewise
        [wrote, read, of_another], key=lambda action: action.pk
    )
    assert is_unread(ada, wrote, read, of_another) == [True] * 3
    Tracker.objects.exclude(tracked_id="").delete()
    assert is_unread(ada, wrote, read, of_another) == [False, True, True]


def test_ac_46_below_the_readable_level_nothing_is_unread(ada: User, bob: User, settings: Any) -> None:
    """Not even when it is marked so; the level is a setting."""
    actions = [store(bob, level=level) for level in range(0, 60, 10)]
    assert is_unread(ada, *actions) == [False] * 3 + [True] * 3
    unread.mark_unread(ada, actions)
    assert is_unread(ada, *actions) == [False] * 3 + [True] * 3
    assert ViewMark.objects.count() == 3
    settings.FOOTFALL = {**settings.FOOTFALL, "READABLE_LEVEL": "ERROR"}
    assert is_unread(ada, *actions) == [False] * 5 + [True]


def test_ac_49_an_action_that_gained_a_target_is_unread_again(ada: User, bob: User) -> None:
    """Whether it was read itself or with all others; and it can be read again."""
    own, with_all = store(bob), store(bob)
    stamp(0)
    own.mark_read_for(ada)
    Action.mark_all_read(ada)
    assert is_unread(ada, own, with_all) == [False, False]
    for action in (own, with_all):
        grow(action, seconds=5)
    assert is_unread(ada, own, with_all) == [True, True]
    assert Action.bulk_mark_read_for(ada, fresh(own, with_all)) == [True, True]
    assert is_unread(ada, own, with_all) == [False, False]


def test_ac_49_through_the_worker(
    ada: User, bob: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """From publishing to the second reading."""
    topic = Topic.objects.create(slug="t")
    Tracker.objects.update(last_updated=START - timedelta(days=1))

    def log(title: str) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            publish_action(bob, "tagged", Page.objects.create(title=title), topic, grouping_delay=600)
        drain()

    log("p")
    (action,) = Action.objects.all()
    assert is_unread(ada, action) == [True]
    with django_capture_on_commit_callbacks(execute=True):
        assert "tagged" in action.render(ada)
    drain()
    assert is_unread(ada, action) == [False]
    log("q")
    assert len(Action.objects.get().targets) == 2 and is_unread(ada, action) == [True]
    Action.mark_all_read(ada)
    assert is_unread(ada, action) == [False]


def test_what_was_grouped_in_since_it_was_loaded_stays_unread(
    ada: User, bob: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """The reader has read what they saw: marked at once, published, or all of a page."""
    shown = [store(bob), store(bob), store(bob)]
    stamp(5)
    for action in shown:
        grow(action, seconds=5)
    with django_capture_on_commit_callbacks(execute=True):
        shown[0].mark_read_for(ada)
        unread.publish_read(ada, [shown[1]])
        Action.mark_all_read(ada, up_to=max(one.changed for one in shown))
    drain()
    assert is_unread(ada, *shown) == [True] * 3


def test_what_is_older_than_the_tracker_is_never_unread(ada: User, bob: User) -> None:
    """At the same moment it is."""
    Tracker.objects.update(last_updated=at(0))
    older, equal = store(bob, seconds=-1, changed=at(9)), store(bob)
    assert is_unread(ada, older, equal) == [False, True]


def test_a_mark_on_everything_is_for_actions_too(ada: User, bob: User) -> None:
    """`ViewTracker` marks the same marks."""
    actions = [store(bob, seconds=n) for n in range(3)]
    tracker = ViewTracker(ada)
    tracker.mark_instance_viewed(actions[0])
    assert is_unread(ada, *actions) == [False, True, True]
    tracker.mark_all_viewed()
    assert is_unread(ada, *actions) == [False] * 3
    assert tracker.has_viewed(actions[1])
    tracker.mark_unseen(actions[1])
    assert is_unread(ada, *actions) == [False, True, False]
    tracker.mark_model_viewed(Action)
    assert is_unread(ada, *actions) == [False] * 3


# -- Marked as unread, and everything as read


@pytest.mark.parametrize("before", ["nothing", "one", "all", "unread", "everything"])
@pytest.mark.parametrize("after", ["one", "forced", "rendered", "all", "up to", "everything"])
def test_what_is_marked_as_unread_is_so_until_it_is_read(
    ada: User,
    before: str,
    after: str,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """Whether or not it is followed, whatever was marked before, and by whichever way it is read then."""
    action, other = store(Page.objects.create(title="p")), store(Article.objects.create(title="a"))
    stamp(0)
    ways: dict[str, Callable[[Action], Any]] = {
        "nothing": lambda action: None,
        "one": lambda action: action.mark_read_for(ada),
        "forced": lambda action: action.mark_read_for(ada, force=True),
        "unread": lambda action: action.mark_unread_for(ada),
        "rendered": lambda action: action.render(ada),
        "all": lambda action: Action.mark_all_read(ada),
        "up to": lambda action: Action.mark_all_read(ada, up_to=action.changed),
        "everything": lambda action: ViewTracker(ada).mark_all_viewed(),
    }
    ways[before](action)
    action.mark_unread_for(ada)
    assert action.is_unread_for(ada) and is_unread(ada, action, other) == [True, False]
    with django_capture_on_commit_callbacks(execute=True):
        ways[after](action)
    drain()
    assert is_unread(ada, action, other) == [False, False]
    grow(action, seconds=9)
    assert is_unread(ada, action) == [False], "nobody follows it"


def test_all_is_read_up_to_the_last_stamp(ada: User, bob: User) -> None:
    """Without any stamp nothing was ever stored; a mark is never lowered."""
    Action.mark_all_read(ada)
    assert not ViewMark.objects.exists()
    actions = [store(bob, seconds=n) for n in range(4)]
    stamp(3)
    Action.mark_all_read(ada, up_to=actions[1].changed)
    assert is_unread(ada, *actions) == [False, False, True, True]
    Action.mark_all_read(ada)
    Action.mark_all_read(ada, up_to=actions[1].changed)
    assert is_unread(ada, *actions) == [False] * 4
    assert [(mark.object_type, mark.object_id, mark.at) for mark in ViewMark.objects.all()] == [(LABEL, "", at(3))]


def test_what_changed_later_stays_marked_as_unread(ada: User, bob: User) -> None:
    """Also where nobody follows it: the reader did not see it."""
    actions = [store(("auth.user", "999"), seconds=n) for n in range(3)]
    stamp(3)
    unread.mark_unread(ada, actions)
    Action.mark_all_read(ada, up_to=actions[1].changed)
    assert is_unread(ada, *actions) == [False, False, True]
    assert ViewMark.objects.get(seen=False).object_id == str(actions[2].pk)


def test_more_than_a_statement_takes_are_no_longer_unread(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, by several."""
    monkeypatch.setattr(unread, "ROWS", 2)
    actions = [store(("auth.user", "999"), seconds=n) for n in range(5)]
    stamp(5)
    unread.mark_unread(ada, actions)
    Action.mark_all_read(ada, up_to=actions[3].changed)
    assert is_unread(ada, *actions) == [False] * 4 + [True]


def test_nothing_is_read_that_is_still_to_come(ada: User, bob: User) -> None:
    """A time ahead of the last stamp says nothing about what nobody has seen."""
    stamp(0)
    Action.mark_all_read(ada, up_to=at(3600))
    assert ViewMark.objects.get().at == at(0)
    assert is_unread(ada, store(bob, seconds=1)) == [True]


@pytest.mark.parametrize("when", [datetime(2024, 5, 1), "2024-05-01", 5])
def test_a_time_that_is_none_is_refused(ada: User, when: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Action.mark_all_read(ada, up_to=when)


def test_marks_of_read_actions_go_when_all_is_read(ada: User, bob: User) -> None:
    """They say nothing more; so the table doesn't grow with each reading."""
    actions = [store(bob, seconds=n) for n in range(20)]
    stamp(20)
    Action.bulk_mark_read_for(ada, actions)
    unread.mark_unread(ada, actions[:5])
    assert ViewMark.objects.count() == 20
    Action.mark_all_read(ada)
    assert ViewMark.objects.count() == 1


# -- On a page


def test_a_page_knows_what_is_unread(ada: User, bob: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """Until a mark is set through the same instance of the user, by whatever method."""
    actions = [store(bob, seconds=n) for n in range(5)]
    stamp(5)
    marks: list[Callable[[], Any]] = [
        lambda: actions[0].mark_read_for(ada),
        lambda: actions[0].mark_unread_for(ada),
        lambda: Action.mark_all_read(ada),
        lambda: ViewTracker(ada).mark_unseen(actions[3]),
    ]
    expected = [[False, True, True, True, True], [True] * 5, [False] * 5, [False, False, False, True, False]]
    page = fresh(*actions)
    for mark, answers in zip(marks, expected, strict=True):
        unread.load_flags(ada, page)
        with django_assert_num_queries(0):
            unread.load_flags(ada, page)
            Action.bulk_is_unread_for(ada, page)
        mark()
        assert Action.bulk_is_unread_for(ada, page) == answers


def test_another_reader_is_asked_for_anew(ada: User, bob: User) -> None:
    """What an action knows is about one user."""
    action = store(bob)
    unread.load_flags(ada, [action])
    assert action.is_unread_for(bob) is False and action.is_unread_for(ada) is True
    unread.publish_read(ada, [action])
    follow(bob, User)
    assert action.is_unread_for(bob) is True and action.is_unread_for(ada) is False


def test_only_what_is_unread_is_published(ada: User, bob: User) -> None:
    """Once for each; of what nobody has asked about, all that can be."""
    known = [store(bob, seconds=0), store(ada, seconds=1), store(bob, seconds=2, level=10)]
    unread.load_flags(ada, known)
    unknown = [store(bob, seconds=3), store(bob, seconds=4, level=10)]
    with captured_messages() as published:
        for _ in range(2):
            unread.publish_read(ada, [*known, *unknown, *unknown])
    assert [seen_in(one) for one in published] == [str(known[0].pk), str(unknown[0].pk)]


@pytest.mark.parametrize("user_agent", ["", "Googlebot/2.1", "Mozilla/5.0"])
def test_who_is_logged_in_has_read_it_by_whatever_user_agent(
    ada: User, bob: User, user_agent: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """A client of the site's own may send none: a reader is known, and filtering is for visitors."""
    action = store(bob)
    with django_capture_on_commit_callbacks(execute=True), scope(user_agent=user_agent):
        fresh(action)[0].render(ada)
    drain()
    assert is_unread(ada, action) == [False]
    assert not SpiderTally.objects.exists()


def test_marking_what_was_just_published_as_read_finds_it_read(ada: User, bob: User) -> None:
    """It is written then, all the same."""
    action = store(bob)
    unread.publish_read(ada, [action])
    assert action.mark_read_for(ada) is False
    assert is_unread(ada, action) == [False]
    action.mark_unread_for(ada)
    assert action.is_unread_for(ada)


def test_an_action_that_was_read_anew_is_asked_for_anew(ada: User, bob: User) -> None:
    action = store(bob)
    unread.publish_read(ada, [action])
    grow(action, seconds=5)
    assert action.is_unread_for(ada) is False
    action.changed = at(5)
    assert action.is_unread_for(ada) is True
    unread.publish_read(ada, [action])
    readerflags.forget(action)
    assert action.is_unread_for(ada) is True


@pytest.mark.parametrize("seconds", [3600 * 24 * 365 * 100, -3600 * 24 * 365 * 30], ids=["a clock ahead", "long ago"])
def test_what_no_event_may_say_is_written_at_once(ada: User, bob: User, seconds: float) -> None:
    """A page doesn't fail because a clock was wrong once."""
    Tracker.objects.update(last_updated=at(seconds))
    action = store(bob, seconds=seconds)
    with captured_messages() as published:
        assert "wrote" in action.render(ada)
    assert list(published) == [] and is_unread(ada, action) == [False]


def test_actions_that_know_their_reader_can_be_pickled_and_copied(ada: User, bob: User) -> None:
    """What they know stays behind: it is about one user's page."""
    actions = [store(bob), store(bob)]
    unread.load_flags(ada, actions)
    unread.publish_read(ada, actions[:1])
    for again in (pickle.loads(pickle.dumps(actions)), copy.deepcopy(actions)):
        assert again == actions and Action.bulk_is_unread_for(ada, again) == [True, True]
        assert b"LoadedMarks" not in pickle.dumps(again)
    assert Action.bulk_is_unread_for(ada, actions) == [False, True]


def test_without_time_zones_it_is_the_same(
    settings: Any, ada: User, bob: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """USE_TZ off: the database's times have none."""
    if connection.vendor == "postgresql":
        settings.TIME_ZONE = "UTC"
    settings.USE_TZ = False
    connection.__dict__.pop("timezone", None)
    try:
        when = datetime(2024, 5, 1, 14)
        Tracker.objects.update(last_updated=when)
        action = store(bob, timestamp=when, renewed=when, changed=when)
        ActionStamp.objects.create(at=when)
        assert is_unread(ada, action) == [True]
        with django_capture_on_commit_callbacks(execute=True):
            unread.publish_read(ada, [action])
        drain()
        assert is_unread(ada, action) == [False]
        action.mark_unread_for(ada)
        assert is_unread(ada, action) == [True]
        Action.mark_all_read(ada, up_to=when)
        assert is_unread(ada, action) == [False]
    finally:
        settings.USE_TZ = True
        connection.__dict__.pop("timezone", None)


# -- What it costs


def test_queries(ada: User, bob: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """Asking costs two, whatever the number; a write one more; publishing none; the count one."""
    actions = [store(bob, seconds=n) for n in range(100)]
    stamp(99)
    with django_assert_num_queries(2):
        assert actions[0].is_unread_for(ada)
    with django_assert_num_queries(2):
        assert Action.bulk_is_unread_for(ada, actions) == [True] * 100
    with django_assert_num_queries(1):
        assert Action.unread_count(ada) == 100
    with django_assert_num_queries(0):
        unread.publish_read(ada, fresh_ones := copy.copy(actions[50:60]))
    with django_assert_num_queries(0):
        assert Action.bulk_is_unread_for(ada, fresh_ones) == [False] * 10
    # SQLite takes one statement for each mark.
    with CaptureQueriesContext(connection) as queries:
        assert Action.bulk_mark_read_for(ada, actions[:50]) == [True] * 50
    statements = {query["sql"].split("(")[0] for query in queries}
    assert len(statements) == 3
    with django_assert_num_queries(1):
        assert actions[0].is_unread_for(ada) is False
    with django_assert_num_queries(2):
        actions[99].mark_unread_for(ada)
    with django_assert_num_queries(3 + 3):
        Action.mark_all_read(ada)
    with django_assert_num_queries(3 + 1):
        Action.mark_all_read(ada)


# -- The rule as a whole

a_step = st.tuples(
    st.sampled_from(["store", "grow", "load", "read", "publish", "take back", "all", "up to", "everything"]),
    st.integers(0, 3),
)


class TestAnyOrder(TestCase):
    """Whatever readers do in whatever order, against the rule as a reader would say it."""

    @hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(steps=st.lists(a_step, max_size=12), followed=st.booleans())
    def test_what_is_unread_is_what_came_since_it_was_read(self, steps: list[tuple[str, int]], followed: bool) -> None:
        """Unread is what is followed and came or grew since it was read, and what was taken back since."""
        ada, bob = (User.objects.get_or_create(username=name)[0] for name in ("ada", "bob"))
        for model in (Action, ActionObject, Tracker, ViewMark, ActionStamp):
            model._default_manager.all().delete()
        if followed:
            follow(ada, bob)
        loaded: list[Action] = []
        changed: list[int] = []
        read: list[int] = []
        taken_back: list[bool] = []
        for clock, (step, which) in enumerate(steps, start=1):
            if step == "store":
                loaded.append(store(bob, seconds=clock))
                stamp(clock)
                changed.append(clock)
                read.append(0)
                taken_back.append(False)
            elif step == "all":
                Action.mark_all_read(ada)
                read, taken_back = changed[:], [False] * len(changed)
            elif step == "everything":
                ViewMark.objects.filter(user=ada).delete()  # as it does with what is older
                ViewMark.objects.create(user=ada, at=at(clock))
                read, taken_back = changed[:], [False] * len(changed)
            elif which < len(loaded):
                one = loaded[which]
                seen = int((one.changed - START).total_seconds())
                if step == "grow":
                    grow(one, clock)
                    stamp(clock)
                    changed[which] = clock
                elif step == "load":
                    (loaded[which],) = fresh(one)
                elif step == "read":
                    one.mark_read_for(ada)
                    read[which], taken_back[which] = max(read[which], seen), False
                elif step == "publish":
                    unread.load_flags(ada, [one])
                    with captured_messages() as published:
                        unread.publish_read(ada, [one])
                    for one_view in published:
                        fold_in(ada, one_view)
                        read[which], taken_back[which] = max(read[which], seen), False
                    readerflags.forget(one)
                elif step == "take back":
                    one.mark_unread_for(ada)
                    taken_back[which] = True
                elif step == "up to" and not any(
                    back for back, when in zip(taken_back, changed, strict=True) if when > seen
                ):
                    Action.mark_all_read(ada, up_to=one.changed)
                    for other, when in enumerate(changed):
                        if when <= seen:
                            read[other], taken_back[other] = when, False
            expected = [
                back or (followed and last < when) for back, last, when in zip(taken_back, read, changed, strict=True)
            ]
            assert is_unread(ada, *loaded) == expected, (step, which)


def seen_in(published: Captured) -> str | None:
    """The id of the action that a published view is of."""
    assert isinstance(published.event, View) and published.event.object is not None
    assert published.event.object.type == LABEL
    return published.event.object.id


def fold_in(user: User, published: Captured) -> None:
    """As the worker does with a view."""
    raise_marks({(user.pk, LABEL, seen_in(published) or ""): published.event.at}, "default")
