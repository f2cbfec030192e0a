"""What is unread, chosen and counted in SQL."""

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser, User
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from storedactions import at, follow, store

from footfall.storage import feeds
from footfall.storage.models import Action, ActionObject, Tracker, ViewMark

LABEL = "footfall_storage.action"


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create(username="ann")


def mark(user: User, action: Action | None, seconds: float, *, seen: bool = True, label: str = LABEL) -> None:
    key = "" if action is None else str(action.pk)
    ViewMark.objects.create(user=user, object_type=label, object_id=key, at=at(seconds), seen=seen)


def unread(user: Any) -> set[UUID]:
    """The ids of what is unread; counting them comes to the same, with any limit."""
    ids = list(feeds.unread_of(user).values_list("pk", flat=True))
    assert len(set(ids)) == len(ids) == feeds.unread_count_of(user)
    assert {one.pk for one in feeds.unread_of(user).defer("data")[:100]} == set(ids)
    for limit in (1, 2, 100):
        assert feeds.unread_count_of(user, limit=limit) == min(limit, len(ids))
    return set(ids)


# -- Marks


def test_ac_43_what_is_marked_as_read_is_not_counted(ann: User) -> None:
    """One action by its own mark, all that is stored by a mark on the model or on everything; ties are read."""
    follow(ann, ("auth.user", "77"))
    first, second, third = (store(("auth.user", "77"), seconds=seconds) for seconds in (1, 2, 3))
    assert unread(ann) == {first.pk, second.pk, third.pk}

    mark(ann, third, 3)
    assert unread(ann) == {first.pk, second.pk}
    mark(ann, None, 1)
    assert unread(ann) == {second.pk}
    mark(ann, None, 2, label="")
    assert unread(ann) == set()


def test_a_mark_of_somebody_else_or_on_something_else_says_nothing(ann: User) -> None:
    """Nor does one on the action that is older than its last change."""
    follow(ann, ("auth.user", "77"))
    action = store(("auth.user", "77"), seconds=5)
    mark(User.objects.create(username="bob"), action, 9)
    mark(ann, None, 9, label="newsroom.article")
    mark(ann, action, 4)

    assert unread(ann) == {action.pk}


def test_what_is_marked_as_unread_is_counted_whoever_is_followed_until_all_is_read(ann: User) -> None:
    """Once, though a tracker matches it too; a mark that is as late covers it."""
    old, other = store(("auth.user", "77"), seconds=-100), store(("auth.user", "78"))
    for action in (old, other):
        mark(ann, action, 10, seen=False)
    follow(ann, ("auth.user", "77"))
    assert unread(ann) == {old.pk, other.pk}
    assert list(feeds.unread_of(ann, actor_id="78")) == [other]

    mark(ann, None, 10)
    assert unread(ann) == set()


def test_marks_on_what_is_gone_or_was_never_an_action_count_for_nothing(ann: User) -> None:
    """And break nothing: not even one whose id is no UUID."""
    for key in ("", "7", "00000000-0000-0000-0000-000000000000", "x" * 36):
        ViewMark.objects.create(user=ann, object_type=LABEL, object_id=key, at=at(0), seen=False)

    assert unread(ann) == set()


def test_ac_49_an_action_that_gained_an_object_is_unread_again(ann: User) -> None:
    """By the time at which that was stored, not by the one at which it happened."""
    follow(ann, ("auth.user", "77"))
    action = store(("auth.user", "77"), renewed=at(1), changed=at(20))
    mark(ann, None, 10)
    assert unread(ann) == {action.pk}

    mark(ann, action, 20)
    assert unread(ann) == set()


def test_an_event_may_be_ahead_of_the_clock_by_which_it_is_stored(ann: User, settings: Any) -> None:
    """As far as MAX_CLOCK_SKEW_SECONDS allows."""
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_CLOCK_SKEW_SECONDS": 5000}
    follow(ann, ("auth.user", "77"), seconds=0)
    action = store(("auth.user", "77"), seconds=0, changed=at(-5000))

    assert unread(ann) == {action.pk}


# -- What it costs


def test_counting_is_one_query(ann: User, django_assert_num_queries: Any) -> None:
    """Also with a limit; a count that nobody is asked for is none."""
    follow(ann, ("auth.user", "77"))
    store(("auth.user", "77"))

    with django_assert_num_queries(2):
        assert feeds.unread_count_of(ann) == feeds.unread_count_of(ann, limit=10) == 1
    with django_assert_num_queries(0):
        assert feeds.unread_count_of(None) == feeds.unread_count_of(AnonymousUser()) == 0
        assert feeds.followed(ann, []) == set()


def test_nothing_is_unread_without_track_unread(ann: User, settings: Any, django_assert_num_queries: Any) -> None:
    """That takes no query."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_UNREAD": False}
    follow(ann, ("auth.user", "77"))
    mark(ann, store(("auth.user", "77")), 10, seen=False)

    with django_assert_num_queries(0):
        assert feeds.unread_count_of(ann) == 0 == len(feeds.unread_of(ann))


def test_what_is_followed_is_told_for_many_actions_by_one_query(ann: User, django_assert_num_queries: Any) -> None:
    """Of objects, of models, in the roles and of the verbs that the trackers say; not what was before them."""
    follow(ann, ("auth.user", "77"), "liked", seconds=0)
    follow(ann, ("newsroom.article", ""), excluded=["read"], actor_only=False, seconds=0)
    liked, read = (store(("auth.user", "77"), verb, seconds=0) for verb in ("liked", "read"))
    about, not_about = (store(None, verb, [("newsroom.article", "1")], seconds=1) for verb in ("liked", "read"))
    before = store(("auth.user", "77"), "liked", seconds=-1)
    ids = [action.pk for action in (liked, read, about, not_about, before)]

    with django_assert_num_queries(1):
        assert feeds.followed(ann, ids) == {liked.pk, about.pk}


class Elsewhere:
    """Marks are kept in a database of their own."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "archive" if model is ViewMark else None

    db_for_read = db_for_write


def test_marks_in_another_database_are_told_before_anything_is_asked(ann: User, settings: Any) -> None:
    """One query can't tell what is unread there."""
    settings.DATABASE_ROUTERS = [Elsewhere()]

    for ask in (feeds.unread_count_of, feeds.unread_of):
        with pytest.raises(ValueError, match="archive"):
            ask(ann)


# -- The rule, for anything that may be stored

LABELS = ("a.one", "b.two")
VERBS = ("v", "w;v", "x")
SECONDS = st.integers(0, 5)
KEYS = ("1", "2")

an_object = st.tuples(st.sampled_from(LABELS), st.sampled_from((*KEYS, "")))
some_verbs = st.lists(st.sampled_from(VERBS), max_size=2, unique=True)
an_action = st.fixed_dictionaries(
    {
        "actor": st.none() | an_object,
        "targets": st.lists(an_object, max_size=2, unique=True),
        "related": st.lists(an_object, max_size=2, unique=True),
        "verb": st.sampled_from(VERBS),
        "level": st.sampled_from((20, 30, 40)),
        "seconds": SECONDS,
        "later": SECONDS,
        "changed": SECONDS,
    }
)
a_tracker = st.fixed_dictionaries(
    {"verbs": some_verbs, "excluded": some_verbs, "actor_only": st.booleans(), "seconds": SECONDS}
)
a_wide_mark = st.none() | SECONDS
an_own_mark = st.none() | st.tuples(SECONDS, st.booleans())


class TestTheRule(TestCase):
    """Random trackers, actions and marks, against the rule as it is written down."""

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        actions=st.lists(st.tuples(an_action, an_own_mark), max_size=5),
        trackers=st.dictionaries(an_object, a_tracker, max_size=4),
        wide=st.tuples(a_wide_mark, a_wide_mark),
    )
    def test_sql_follows_the_rule(self, actions: Any, trackers: Any, wide: Any) -> None:
        """Feed, feed since following, unread actions and their count, and what is followed, all by one definition."""
        user, other = (User.objects.get_or_create(username=name)[0] for name in ("ann", "bob"))
        made = [follow(user, tracked, **values) for tracked, values in trackers.items()]
        follow(other, ("a.one", ""), actor_only=False)
        mark_wide(user, wide)
        stored = {}
        for values, own in actions:
            action = stored_action(**values)
            stored[action] = own
            if own is not None:
                mark(user, action, own[0], seen=own[1])
            mark(other, action, 5)

        assert unread(user) == {a.pk for a, own in stored.items() if is_unread(a, made, own, wide)}
        readable = {a for a in stored if a.level >= 30}
        assert set(feeds.feed_of(user)) == {a for a in readable if any(matches(tracker, a) for tracker in made)}
        new = {a for a in stored if any(matches(one, a) and a.renewed >= one.last_updated for one in made)}
        assert set(feeds.feed_of(user, since_following=True)) == new & readable
        newest = sorted(new & readable, key=lambda a: (a.timestamp, a.pk), reverse=True)
        assert paged(feeds.feed_of(user, since_following=True).for_viewer(None)) == newest
        assert feeds.followed(user, [a.pk for a in stored]) == {a.pk for a in new}
        for tracker in made:
            assert set(Action.objects.tracked_by(tracker)) == {a for a in readable if matches(tracker, a)}
        ordered = sorted(set(feeds.feed_of(user)), key=lambda a: (a.timestamp, a.pk), reverse=True)
        assert paged(feeds.feed_of(user).for_viewer(None)) == ordered
        assert list(feeds.feed_of(user).for_viewer(None)[1:3]) == ordered[1:3]
        assert feeds.feed_of(user).exists() == bool(ordered)


def stored_action(*, seconds: int, later: int, changed: int, actor: Any, **values: Any) -> Action:
    times: dict[str, Any] = {"renewed": at(seconds + later), "changed": at(seconds + changed)}
    return store(actor, seconds=seconds, **times, **values)


def mark_wide(user: User, wide: tuple[int | None, int | None]) -> None:
    for label, seconds in zip(("", LABEL), wide, strict=True):
        if seconds is not None:
            mark(user, None, seconds, label=label)


def matches(tracker: Tracker, action: Action) -> bool:
    return any(
        (entry.role == "a" or not tracker.actor_only)
        and entry.object_type == tracker.tracked_type
        and tracker.tracked_id in ("", entry.object_id)
        and (not tracker.verbs or action.verb in tracker.verbs)
        and action.verb not in tracker.excluded
        for entry in ActionObject.objects.filter(action=action)
    )


def is_unread(action: Action, trackers: list[Tracker], own: Any, wide: tuple[int | None, int | None]) -> bool:
    if action.level < 30:
        return False
    wide_marks = [at(seconds) for seconds in wide if seconds is not None]
    if own is not None and not own[1] and all(at(own[0]) > one for one in wide_marks):
        return True
    covering: list[datetime] = [*wide_marks, *([at(own[0])] if own is not None and own[1] else [])]
    return all(one < action.changed for one in covering) and any(
        matches(tracker, action) and action.renewed >= tracker.last_updated for tracker in trackers
    )


def paged(rows: Any) -> list[Action]:
    """All of ``rows``, by pages of two."""
    page = rows.page(2)
    found = list(page)
    while page.next:
        page = rows.page(2, after=page.next)
        found += page
    return found
